"""A secret that cannot be printed, logged, compared by value in a log, or encoded by accident."""

from typing import Final, NoReturn, final

_MASK: Final = "[secret]"


@final
class Secret:
    """Holds a secret text; only `reveal()` gives it. `str`, `repr` and formatting give a mask, pickling raises."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("a secret may not be empty")
        self._text = text

    def reveal(self) -> str:
        """The secret itself. Call it only where it goes on the wire."""
        return self._text

    def __repr__(self) -> str:
        return _MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")
