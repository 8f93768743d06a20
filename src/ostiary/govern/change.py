"""The record of a change, stored in the same transaction as the change itself."""

import msgspec


class Change(msgspec.Struct, frozen=True):
    """Who did what to which object, when (wall-clock nanoseconds), with the fields set. Never holds a secret."""

    id: str
    at_ns: int
    actor: str
    action: str
    tenant: str
    object_id: str
    detail: dict[str, str | int | list[str] | None] = {}
