"""What cannot be carried to another dialect: refused by name, or left out by name where the caller allowed it.

A hint is left out by name without being asked: a field that asks for no other answer, but tells who asks, what a
file is called, how a provider may save work, what a function gives back, or that thinking may be shown. Its caller sees in the answer's head that it did not arrive, and
loses nothing of the answer itself. Whatever else has no place is a wish that would not be met, and is refused.
"""

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import MODEL_NAME_BYTES_MAX


class Leave:
    """Collects the names of what is left out. `drop` is the caller's permission; `names` its words for our fields;
    `hints` the paths of those that no other dialect has a place for."""

    __slots__ = ("_drop", "_names", "dropped")

    def __init__(self, names: dict[str, str], *, drop: bool, hints: tuple[str, ...] = ()) -> None:
        self._names = names
        self._drop = drop
        self.dropped = [_bounded(path) for path in hints]

    def out(self, field: str, why: str = "cannot be carried to this model") -> None:
        """Leave out a field of ours, named in the caller's word. Raises CallerError request.unsupported."""
        self.place(self._names.get(field, field), why)

    def inside(self, path: str, field: str, why: str = "cannot be carried to this model") -> None:
        """The same of a field inside the part at `path`."""
        name = self._names.get(field, field)
        self.place(f"{path}.{name}" if path else name, why)

    def hint(self, field: str) -> None:
        """Leave out a hint, which needs nobody's leave: a field of ours, named in the caller's word."""
        self.dropped.append(_bounded(self._names.get(field, field)))

    def hint_inside(self, path: str, field: str) -> None:
        """The same of a hint inside the part at `path`."""
        name = self._names.get(field, field)
        self.dropped.append(_bounded(f"{path}.{name}" if path else name))

    def place(self, path: str, why: str = "cannot be carried to this model") -> None:
        """The same of what stands at `path` in the caller's request."""
        if not self._drop:
            path = _bounded(path)
            raise CallerError(Code.REQUEST_UNSUPPORTED, f"`{path}` {why}.", param=path)
        self.dropped.append(path)


def _bounded(path: str) -> str:
    """A path of bounded length: a member's name may be as long as a body."""
    return path if len(path) <= MODEL_NAME_BYTES_MAX else path[:MODEL_NAME_BYTES_MAX] + "…"
