"""References in an operator's file: `${env:NAME}` and `${file:path}`, relative to the file."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

_REFERENCE: Final = re.compile(r"\$\{(env|file):([^}]+)\}")


def resolve(text: str, base: Path, put: Callable[[str], str] = lambda value: value) -> str:
    """`text` with its references replaced, each by what `put` makes of its value. Raises ValueError naming the variable
    or file that is not there."""

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            found = os.environ.get(name)
            if not found:
                raise ValueError(f"the environment variable {name} is not set")
            return put(found)
        try:
            return put((base / name).read_text(encoding="utf-8").rstrip("\n"))
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file {name} cannot be read: {error}") from error

    return _REFERENCE.sub(value, text)


def reference(text: str) -> tuple[str, str] | None:
    """(kind, name) where `text` is exactly one reference, else None."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else (match.group(1), match.group(2))
