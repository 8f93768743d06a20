"""Implements ReviewDesk in a folder that the workers of a host share with its ops process: one file for each ticket, whose
ending says where it stands.

    <folder>/<digest of the tenant>/<ticket>.asked    left by a worker: what is known of it, and the request, sealed
                                    <ticket>.queued   empty: the database has it
                                    <ticket>.said     put there by the ops process: the decision, sealed

A ticket's name holds when it ends, so that a sweep needs to open nothing.
"""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.limit import REVIEWS_WAITING_COUNT_MAX
from ostiary.core.review import Decision, Review
from ostiary.gateway.admit.ticket import read
from ostiary.store.reviews.sealed import ReviewSeals

QUESTION: Final = "question"
DECISION: Final = "decision"
_ASKED: Final = ".asked"
_QUEUED: Final = ".queued"
_SAID: Final = ".said"
_SETTLED_NS: Final = 2_000_000_000
"""A folder that was changed more recently than this is looked at again: its time may not tell of the next change."""

_HEAD: Final = msgspec.msgpack.Decoder(tuple[Review, bytes])
_DECISION: Final = msgspec.msgpack.Decoder(Decision)
_encode: Final = msgspec.msgpack.Encoder().encode


@final
class ReviewFiles:
    """The tickets of one host. Workers call the first two methods; the rest is the ops process's, and blocks."""

    def __init__(self, folder: Path, seals: ReviewSeals) -> None:
        self._folder = folder
        self._seals = seals
        self._looked: dict[str, int] = {}

    async def leave(self, review: Review, question: bytes) -> bool:
        """See ReviewDesk."""
        return await asyncio.to_thread(self._leave, review, question)

    async def decision(self, tenant: str, ticket: str) -> Decision | None:
        """See ReviewDesk."""
        return await asyncio.to_thread(self._decision, tenant, ticket)

    def left(self) -> Iterator[tuple[Review, bytes]]:
        """What workers left and the database does not have yet: each with its sealed request."""
        for folder in self._folders():
            try:
                changed = folder.stat().st_mtime_ns
                if self._looked.get(folder.name) == changed:
                    continue
                found = sorted(folder.glob(f"*{_ASKED}"))
            except FileNotFoundError:
                continue
            if not found and time.time_ns() - changed > _SETTLED_NS:
                self._looked[folder.name] = changed
            for path in found:
                with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                    yield _HEAD.decode(path.read_bytes())

    def queued(self, review: Review) -> None:
        """The database has it: what was left here is given up. Raises OSError."""
        path = self._path(review.tenant, review.id)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{path}{_QUEUED}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        Path(f"{path}{_ASKED}").unlink(missing_ok=True)

    def told(self, tenant: str, ticket: str) -> bool:
        """Whether the decision stands here."""
        return Path(f"{self._path(tenant, ticket)}{_SAID}").exists()

    def tell(self, tenant: str, ticket: str, sealed: bytes) -> None:
        """Put a decision where workers find it. Raises OSError."""
        path = self._path(tenant, ticket)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(Path(f"{path}{_SAID}"), sealed)
        for ending in (_QUEUED, _ASKED):
            Path(f"{path}{ending}").unlink(missing_ok=True)

    def sweep(self, now_seconds: int) -> int:
        """Remove what has ended, and drafts that nobody finished; how many. Raises OSError."""
        removed = 0
        for folder in self._folders():
            for entry in os.scandir(folder):
                ticket = read(entry.name.rpartition(".")[0])
                with contextlib.suppress(FileNotFoundError):
                    stray = entry.name.startswith(".") and now_seconds - entry.stat().st_mtime > 60
                    ended = ticket is None or ticket.until <= now_seconds
                    if stray or (ended and not entry.name.startswith(".")):
                        Path(entry.path).unlink()
                        removed += 1
        return removed

    def _leave(self, review: Review, question: bytes) -> bool:
        path = self._path(review.tenant, review.id)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            waiting = sum(entry.name.endswith((_ASKED, _QUEUED)) for entry in os.scandir(path.parent))
            if waiting >= REVIEWS_WAITING_COUNT_MAX:
                return False
            sealed = self._seals.seal(review.tenant, review.id, QUESTION, question)
            _write(Path(f"{path}{_ASKED}"), _encode((review, sealed)))
        except OSError:
            return False
        return True

    def _decision(self, tenant: str, ticket: str) -> Decision | None:
        try:
            sealed = Path(f"{self._path(tenant, ticket)}{_SAID}").read_bytes()
            return _DECISION.decode(self._seals.open(tenant, ticket, DECISION, sealed))
        except (OSError, OstiaryError, msgspec.MsgspecError):
            return None

    def _folders(self) -> list[Path]:
        try:
            return sorted(Path(entry.path) for entry in os.scandir(self._folder) if entry.is_dir())
        except FileNotFoundError:
            return []

    def _path(self, tenant: str, ticket: str) -> Path:
        return self._folder / hashlib.sha256(tenant.encode()).hexdigest()[:32] / ticket


def _write(path: Path, data: bytes) -> None:
    """Durably: whole or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
