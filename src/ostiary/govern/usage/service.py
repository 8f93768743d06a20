"""Reporting usage."""

from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.usage.model import Consumed, Dimension, UsageLine, UsageQuery
from ostiary.govern.usage.ports import UsageReader

DEFAULT_BY: Final = (Dimension.TEAM, Dimension.MODEL)


class UsageService:
    """Reports for those who may see them."""

    def __init__(self, store: UsageReader) -> None:
        self._store = store

    def report(self, actor: Actor, query: UsageQuery) -> list[UsageLine]:
        """The lines of a report; an actor of one tenant gets that tenant's.

        Raises CallerError: object.invalid (no grouping, a day that is none), object.not_found (a foreign tenant),
        auth.forbidden.
        """
        scoped = _scoped(actor, query)
        if not query.by:
            raise CallerError(Code.OBJECT_INVALID, "A report needs something to group by.", param="by")
        return self._store.report(scoped)

    def consumed(self, actor: Actor, query: UsageQuery) -> list[Consumed]:
        """What the charged calls consumed, for applying another price list. Raises CallerError as `report` does."""
        return self._store.consumed(_scoped(actor, query))


def _scoped(actor: Actor, query: UsageQuery) -> UsageQuery:
    tenant = query.tenant if query.tenant is not None else actor.tenant
    actor.require(Permission.USAGE_READ, tenant)
    return msgspec.structs.replace(query, tenant=tenant)
