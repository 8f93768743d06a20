"""What cannot be carried to another dialect: refused by name, or left out by name where the caller allowed it."""

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import MODEL_NAME_BYTES_MAX


class Leave:
    """Collects the names of what is left out. `drop` is the caller's permission; `names` its words for our fields."""

    __slots__ = ("_drop", "_names", "dropped")

    def __init__(self, names: dict[str, str], *, drop: bool) -> None:
        self._names = names
        self._drop = drop
        self.dropped: list[str] = []

    def out(self, field: str, why: str = "cannot be carried to this model") -> None:
        """Leave out a field of ours, named in the caller's word. Raises CallerError request.unsupported."""
        self.place(self._names.get(field, field), why)

    def inside(self, path: str, field: str, why: str = "cannot be carried to this model") -> None:
        """The same of a field inside the part at `path`."""
        name = self._names.get(field, field)
        self.place(f"{path}.{name}" if path else name, why)

    def place(self, path: str, why: str = "cannot be carried to this model") -> None:
        """The same of what stands at `path` in the caller's request."""
        if not self._drop:
            if len(path) > MODEL_NAME_BYTES_MAX:  # a member's name may be as long as a body
                path = path[:MODEL_NAME_BYTES_MAX] + "…"
            raise CallerError(Code.REQUEST_UNSUPPORTED, f"`{path}` {why}.", param=path)
        self.dropped.append(path)
