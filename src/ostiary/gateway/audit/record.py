"""The payloads of journal records.

A payload is a struct as JSON. Fields are only ever added, with a default, so one decoder per kind reads every
version; `tests/unit/gateway/audit/golden` holds a record of each version, decoded for ever. A kind not known here
decodes to None: the reader counts and hashes it and goes on.

"""

from collections.abc import Callable
from typing import Final

import msgspec

from ostiary.core.error import Code
from ostiary.core.event import (
    BudgetAlert,
    Changed,
    Closed,
    Gap,
    Kind,
    Opened,
    Outcome,
    Recovered,
    Retired,
    Reviewed,
    Unauthenticated,
)

SEGMENT_FORMAT: Final = 1
"""Version of the frame format itself, in each segment's first record."""


class SegmentStarted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first record of each file of a chain. It has no sequence number but is part of the chain.

    `first_sequence` is the number of the next record; `previous_link` in hex and `previous_bytes` say where and how
    the file before ended: whatever stands there beyond `previous_bytes` does not count, and only where `abandoned`
    is true may anything but zeros stand there (the disk failed, and what was not yet on it was written again here).
    No call opened before sequence `open_floor` is still open. `boot` names the run of the operating system.
    """

    format: int
    origin: str
    epoch: int
    segment: int
    first_sequence: int
    previous_link: str
    previous_bytes: int
    at_ns: int
    open_floor: int
    boot: str = ""
    abandoned: bool = False


class _Closing(msgspec.Struct, frozen=True):
    opened: int = -1


Record = (
    SegmentStarted | Opened | Closed | Unauthenticated | Gap | Recovered | Retired | BudgetAlert | Changed | Reviewed
)

_DECODERS: Final[dict[int, msgspec.json.Decoder[Record]]] = {
    Kind.SEGMENT: msgspec.json.Decoder(SegmentStarted),
    Kind.OPENED: msgspec.json.Decoder(Opened),
    Kind.CLOSED: msgspec.json.Decoder(Closed),
    Kind.DENIED: msgspec.json.Decoder(Closed),
    Kind.UNAUTHENTICATED: msgspec.json.Decoder(Unauthenticated),
    Kind.GAP: msgspec.json.Decoder(Gap),
    Kind.RECOVERED: msgspec.json.Decoder(Recovered),
    Kind.RETIRED: msgspec.json.Decoder(Retired),
    Kind.ALERT: msgspec.json.Decoder(BudgetAlert),
    Kind.CHANGE: msgspec.json.Decoder(Changed),
    Kind.REVIEWED: msgspec.json.Decoder(Reviewed),
}
_CLOSING: Final = msgspec.json.Decoder(_Closing)


encode: Final[Callable[[Record], bytes]] = msgspec.json.Encoder().encode
"""The payload of a record."""


def decode(kind: int, payload: bytes) -> Record | None:
    """The record in a payload of any version, or None for a kind not known here.

    Raises ValueError where the payload is not what its kind says.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return None
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the payload is no record of kind {kind}: {error}") from error


def closes(payload: bytes) -> int:
    """The sequence number that a closing or denying record closes; -1 for none or where it cannot be read."""
    try:
        return _CLOSING.decode(payload).opened
    except msgspec.MsgspecError:
        return -1


def aborted(opened: Opened, sequence: int, at_ns: int) -> Closed:
    """The closing record that recovery writes for a call which a crash left open."""
    return Closed(
        request_id=opened.request_id,
        at_ns=at_ns,
        opened=sequence,
        outcome=Outcome.ABORTED,
        tenant=opened.tenant,
        team=opened.team,
        environment=opened.environment,
        key_id=opened.key_id,
        operation=opened.operation,
        client_dialect=opened.client_dialect,
        stream=opened.stream,
        end_user=opened.end_user,
        feature=opened.feature,
        label=opened.label,
        original_model=opened.original_model,
        error=Code.CALL_ABORTED,
        prompt_digest=opened.prompt_digest,
        snapshot=opened.snapshot,
        shadow_of=opened.shadow_of,
        project=opened.project,
    )
