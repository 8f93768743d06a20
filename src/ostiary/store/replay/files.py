"""Implements ReplayStore in a folder that all workers of a host share: one sealed file for each answer.

Whoever makes an answer holds an exclusive lock on its file for as long as it takes, so that a file that is neither whole
nor locked belongs to a process that died: its place is free again.
"""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from ostiary.core.error import Code, GatewayError, UpstreamError
from ostiary.core.limit import REPLAY_BYTES_MAX, REPLAY_POLL_SECONDS, REPLAY_SECONDS, REPLAYS_BYTES_MAX
from ostiary.core.port import Clock
from ostiary.gateway.ports import Recording, Replay, ReplayHead
from ostiary.store.replay.sealed import SALT_BYTES, Claimed, Content, End, Head, Opener, Piece, Sealer, SealError

_READ_BYTES: Final = 256 * 1024
_TRIES: Final = 20
_STRAY_SECONDS: Final = 60.0


class FileReplays:
    """The answers in one folder, which is made where it is missing."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    async def claim(self, name: str, seal: bytes, fingerprint: str) -> tuple[Recording, None] | tuple[None, Replay]:
        """See ReplayStore."""
        try:
            found = await asyncio.to_thread(self._claim, name, seal, fingerprint)
        except OSError as error:
            raise GatewayError(
                Code.GATEWAY_OVERLOADED, "There is no room to keep an answer.", retry_after_seconds=1.0
            ) from error
        return (found, None) if isinstance(found, _FileRecording) else (None, found)

    def sweep(self) -> int:
        """Remove what is too old, what nobody finished, and beyond REPLAYS_BYTES_MAX the oldest; how many."""
        removed, kept = 0, []
        now = self._now()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder):
                with contextlib.suppress(FileNotFoundError):
                    seen = entry.stat()
                    age = now - seen.st_mtime
                    if age > (_STRAY_SECONDS if entry.name.startswith(".") else REPLAY_SECONDS):
                        removed += _remove(Path(entry.path))
                    else:
                        kept.append((seen.st_mtime, seen.st_size, entry.path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= REPLAYS_BYTES_MAX:
                break
            total -= size
            removed += _remove(Path(path))
        return removed

    def _claim(self, name: str, seal: bytes, fingerprint: str) -> "_FileRecording | _FileReplay":
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / name
        for _ in range(_TRIES):
            recording = self._take(path, seal, fingerprint)
            if recording is not None:
                return recording
            with contextlib.suppress(FileNotFoundError):
                replay = self._look(path, seal)
                if replay is not None:
                    return replay
                time.sleep(0.005)  # in a thread; somebody else is removing what is there
        raise OSError(f"no place at {path}")

    def _take(self, path: Path, seal: bytes, fingerprint: str) -> "_FileRecording | None":
        """The place, if it is free: the file appears there complete with its lock and its first frame."""
        sealer = Sealer(seal, os.urandom(SALT_BYTES))
        draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.write(fd, sealer.preamble + sealer.frame(Claimed(fingerprint, int(self._now()))))
            os.link(draft, path)
        except FileExistsError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        finally:
            draft.unlink()
        return _FileRecording(fd, path, sealer)

    def _look(self, path: Path, seal: bytes) -> "_FileReplay | None":
        """What stands at a place; None where it is free now. Raises FileNotFoundError where it has become so."""
        fd = os.open(path, os.O_RDONLY)
        try:
            running = not _locked(fd, fcntl.LOCK_SH)
            replay = _FileReplay(fd, seal, running=running)
            claimed = replay.claimed
            expired = claimed is None or self._now() - claimed.at > REPLAY_SECONDS
            if running or not (expired or replay.ended is None):
                return replay
            # Nobody makes it any more. Only one may clear the place, and only the file that was looked at.
            if _locked(fd, fcntl.LOCK_EX) and os.path.samestat(os.fstat(fd), path.stat()):
                path.unlink()
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9


class _FileRecording:
    """Implements Recording: frames appended to a file whose lock it holds."""

    def __init__(self, fd: int, path: Path, sealer: Sealer) -> None:
        self._fd = fd
        self._path = path
        self._sealer = sealer
        self._room = REPLAY_BYTES_MAX
        self._keeps = True

    def begin(self, head: ReplayHead) -> None:
        """See Recording."""
        self._append(Head(head.status, head.headers, head.streamed, head.keepalive), 0)

    def piece(self, data: bytes) -> None:
        """See Recording."""
        self._append(Piece(data), len(data))

    def forbid(self) -> None:
        """See Recording."""
        self._keeps = False

    def finish(self) -> None:
        """See Recording."""
        self._write(End(self._keeps))
        self._close()

    def drop(self) -> None:
        """See Recording."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._close()

    def _append(self, content: Content, size: int) -> None:
        self._room -= size
        self._keeps = self._keeps and self._room >= 0
        if self._keeps:
            self._write(content)

    def _write(self, content: Content) -> None:
        if self._fd < 0:
            return
        frame = self._sealer.frame(content)
        try:
            if os.write(self._fd, frame) == len(frame):
                return
        except OSError:
            pass
        # Half a frame cannot be taken back: the place is given up, and whoever reads sees an answer that broke off.
        self.drop()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _FileReplay:
    """Implements Replay over a file: read as far as it goes, and followed where it is still being written."""

    def __init__(self, fd: int, seal: bytes, *, running: bool) -> None:
        self.running = running
        self.claimed: Claimed | None = None
        self.ended: End | None = None
        self._fd = fd
        self._opener = Opener(seal)
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        # What was not written under this seal counts as nothing.
        with contextlib.suppress(SealError):
            self._read()

    @property
    def fingerprint(self) -> str:
        """See Replay."""
        return "" if self.claimed is None else self.claimed.fingerprint

    async def head(self) -> ReplayHead | None:
        """See Replay."""
        while self._head is None and self.running:
            await self._more()
        head = self._head
        if head is None or (self.ended is not None and not self.ended.kept):
            return None
        return ReplayHead(head.status, head.headers, head.streamed, head.keepalive)

    async def pieces(self, after: int) -> AsyncIterator[bytes]:
        """See Replay."""
        place = after
        while True:
            while place < len(self._pieces):
                place += 1
                yield self._pieces[place - 1]
            if self.ended is not None:
                if not self.ended.kept:
                    raise UpstreamError(Code.UPSTREAM_CUT, "The answer grew beyond what is kept.")
                return
            if not self.running:
                raise UpstreamError(Code.UPSTREAM_CUT, "The call that made this answer is gone.")
            await self._more()

    def close(self) -> None:
        """See Replay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _more(self) -> None:
        """Wait for more; `running` is false once there will be none."""
        await asyncio.sleep(REPLAY_POLL_SECONDS)
        ended = _locked(self._fd, fcntl.LOCK_SH)  # before reading: what was written last is seen then
        if ended:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._read()
        self.running = not ended

    def _read(self) -> None:
        while data := os.read(self._fd, _READ_BYTES):
            for content in self._opener.feed(data):
                match content:
                    case Claimed():
                        self.claimed = content
                    case Head():
                        self._head = content
                    case Piece(data=piece):
                        self._pieces.append(piece)
                    case End():
                        self.ended = content


def _locked(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> bool:
    """Remove a file unless somebody is writing it."""
    with contextlib.suppress(FileNotFoundError), _opened(path) as fd:
        if _locked(fd, fcntl.LOCK_EX) and os.path.samestat(os.fstat(fd), path.stat()):
            path.unlink()
            return True
    return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
