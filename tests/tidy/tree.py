"""The tree as these tests look at it: every Python file parsed once."""

import ast
import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "ostiary"
TESTS = ROOT / "tests"


class Module:
    """A Python file: its path from the root, text, lines and syntax tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(ROOT).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)

    def functions(self):
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    def comments(self, pattern: str):
        """(line number, match) of every comment that matches; text in strings does not count."""
        inside = {
            line
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
            for line in range(node.lineno, node.end_lineno or node.lineno)
        }
        for number, line in enumerate(self.lines, 1):
            match = re.search(pattern, line)
            if match and number not in inside:
                yield number, match


@functools.cache
def modules(folder: Path) -> tuple[Module, ...]:
    return tuple(Module(path) for path in sorted(folder.rglob("*.py")))


@functools.cache
def tracked() -> tuple[str, ...]:
    """The names of all files under version control; where there is no repository, of all that look like it."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        ignored = {".venv", ".git", "__pycache__", "node_modules", "results"}
        return tuple(
            sorted(
                path.relative_to(ROOT).as_posix()
                for path in ROOT.rglob("*")
                if path.is_file() and not ignored & set(path.relative_to(ROOT).parts)
            )
        )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))
