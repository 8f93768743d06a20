"""The queue every stream passes through: original frames, held until a guard has cleared them.

The window is how many bytes of content stay behind the newest frame. With no guard it is 0 and every frame leaves as
it came, byte for byte. A guard that needs to see a text whole before it goes on will ask for a window; a frame
touched by a finding is then the only one encoded anew.
"""

from typing import Generic, Protocol, TypeVar


class Framed(Protocol):
    """What the queue needs of a frame: the bytes it came in."""

    @property
    def raw(self) -> bytes: ...


F = TypeVar("F", bound=Framed)


class Holdback(Generic[F]):
    """Frames in, cleared frames out, in order."""

    def __init__(self, window_bytes: int = 0) -> None:
        self._window = window_bytes
        self._held: list[F] = []
        self._bytes = 0

    @property
    def open(self) -> bool:
        """Whether every frame leaves as it came."""
        return self._window == 0

    def push(self, frames: list[F]) -> list[F]:
        """Add frames; gives those that may leave."""
        if self._window == 0:
            return frames
        self._held += frames
        self._bytes += sum(len(frame.raw) for frame in frames)
        cleared = 0
        while cleared < len(self._held) and self._bytes - len(self._held[cleared].raw) >= self._window:
            self._bytes -= len(self._held[cleared].raw)
            cleared += 1
        leaving, self._held = self._held[:cleared], self._held[cleared:]
        return leaving

    def flush(self) -> list[F]:
        """All that is left, at the end of the stream."""
        leaving, self._held, self._bytes = self._held, [], 0
        return leaving
