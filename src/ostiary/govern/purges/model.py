"""A purge."""

from typing import Final

import msgspec

EVERYBODY: Final = ""
"""In place of a tenant: all of them."""


class Purge(msgspec.Struct, frozen=True):
    """No answer with this tag that was asked for before change `number` is given any more. `tenant` EVERYBODY: whichever
    it belongs to; `tag` empty: whatever its tags. Tags are told apart by what stands before the colon: `model:chat`,
    `team:search`, and `tag:…` for those an entry or a caller gives."""

    tenant: str
    tag: str
    at_ns: int
    number: int = 0
