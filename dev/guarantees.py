"""Write docs/guarantees.md from tests/requirements.py.

.venv/bin/python dev/guarantees.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.requirements import REQUIREMENTS  # noqa: E402 - the tests are no installed package

TARGET = ROOT / "docs" / "guarantees.md"
HEAD = """\
# Guarantees

Written by `make docs` from `tests/requirements.py`; do not edit. Each promise has its evidence, the limit of the proof
and, where it is not wholly kept yet, what is missing.

| | promise | |
|---|---|---|
"""


def page() -> str:
    """The whole document."""
    parts = [HEAD]
    for number, (name, one) in enumerate(REQUIREMENTS.items(), 1):
        parts.append(f"| {number} | [{name}](#{number}-{name}) | {'in part' if one.missing else 'holds'} |\n")
    for number, (name, one) in enumerate(REQUIREMENTS.items(), 1):
        parts.append(f"\n## {number}. {name}\n\n{one.promise}\n\n")
        if one.missing:
            parts.append(f"**Missing.** {one.missing}\n\n")
        parts.append(f"**Limit of the proof.** {one.limit}\n\n**Evidence.**\n\n")
        for test in one.proof:
            file, _, test_name = test.partition("::")
            words = test_name.removeprefix("test_").replace("_", " ")
            parts.append(f"- {words} (`{file}`)\n")
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
