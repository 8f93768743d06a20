"""A checkpoint: where every chain stood at a time, to be kept where nobody who can write the journal can write.

Truncation, a rewritten chain or a vanished origin below a checkpoint is found by `verify` with it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.store.journal.verify import Anchor, OriginReport

FORMAT: Final = 1


class Checkpoint(msgspec.Struct, frozen=True):
    """The anchors by origin, and when they were taken (wall-clock nanoseconds)."""

    format: int
    at_ns: int
    origins: dict[str, Anchor]


def take(reports: Iterable[OriginReport], at_ns: int) -> Checkpoint:
    """A checkpoint of what was just verified. Raises OperatorError journal.corrupt where something did not hold."""
    anchors: dict[str, Anchor] = {}
    for report in reports:
        if report.problems:
            first = report.problems[0]
            raise OperatorError(Code.JOURNAL_CORRUPT, f"{first.file}, byte {first.offset}: {first.reason}.")
        if report.anchor is not None:
            anchors[report.origin] = report.anchor
    return Checkpoint(FORMAT, at_ns, anchors)


def encode(checkpoint: Checkpoint) -> bytes:
    """The checkpoint as a JSON document."""
    return msgspec.json.format(msgspec.json.encode(checkpoint), indent=2) + b"\n"


def decode(data: bytes) -> Checkpoint:
    """Raises OperatorError config.invalid for what is no checkpoint of a known format."""
    try:
        checkpoint = msgspec.json.decode(data, type=Checkpoint)
    except msgspec.MsgspecError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"This is no checkpoint: {error}.") from error
    if checkpoint.format != FORMAT:
        raise OperatorError(Code.CONFIG_INVALID, f"The checkpoint has format {checkpoint.format}, known is {FORMAT}.")
    return checkpoint
