"""Build dist/ostiary-*.whl: the same bytes from the same tree, on any day, without the network.

    .venv/bin/python dev/wheel.py [FOLDER]

Times in the archive are those of the last commit (or SOURCE_DATE_EPOCH), permissions do not depend on the umask.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def epoch() -> str:
    """When the tree was last changed, as far as anyone recorded it."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    asked = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "1577836800"


def build(folder: Path) -> Path:
    """The wheel, in `folder`."""
    os.umask(0o022)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "SOURCE_DATE_EPOCH": epoch()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return max(folder.glob("ostiary-*.whl"), key=lambda path: path.stat().st_mtime)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
