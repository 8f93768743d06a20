"""What a person may have meant by a name that is not there."""

import difflib
from collections.abc import Iterable
from typing import Final

_SHOWN_MAX: Final = 12


def near(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that says that there is no `name`: the nearest of those there are, or all of them."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if found:
        return f"; did you mean `{found[0]}`?"
    return f"; known: {', '.join(names[:_SHOWN_MAX])}" if names else ""
