"""Write docs/conformance.md from tests/conformance.

.venv/bin/python dev/conformance.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conformance.matrix import page  # noqa: E402 - the tests are no installed package

if __name__ == "__main__":
    (ROOT / "docs" / "conformance.md").write_text(page(), encoding="utf-8")
