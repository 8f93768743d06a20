"""Purging kept answers by tag."""

import re
from typing import Final

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import CACHE_SECONDS_MAX, CACHE_TAG_CHARS_MAX, MODEL_NAME_BYTES_MAX, PURGES_MAX
from ostiary.core.port import Clock, Ids
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.purges.model import EVERYBODY, Purge
from ostiary.govern.purges.ports import PurgeStore

LIFE_NS: Final = 2 * CACHE_SECONDS_MAX * 1_000_000_000
"""No answer is kept for longer: fresh at most CACHE_SECONDS_MAX, and as long again in place of a failure."""

_TAG: Final = re.compile(rf"[A-Za-z0-9._:/-]{{1,{CACHE_TAG_CHARS_MAX}}}")


class PurgeService:
    """Purges of one installation. They reach every worker within the time in which any change does."""

    def __init__(self, store: PurgeStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    def purge(
        self,
        actor: Actor,
        *,
        tenant: str | None = None,
        model: str | None = None,
        team: str | None = None,
        tag: str | None = None,
    ) -> Purge:
        """Purge by one of model, team and tag, or a tenant's answers as a whole. Raises CallerError: object.invalid where
        more than one is given, or none without a tenant, or a team without its tenant; auth.forbidden."""
        actor.require(Permission.CACHE_PURGE, tenant)
        given = {kind: name for kind, name in (("model", model), ("team", team), ("tag", tag)) if name is not None}
        if len(given) > 1:
            raise CallerError(Code.OBJECT_INVALID, "A purge goes by a model, a team or a tag: one of them at a time.")
        if not given and not tenant:
            raise CallerError(Code.OBJECT_INVALID, "Say what to purge: a model, a team, a tag or a tenant.")
        if team is not None and not tenant:
            raise CallerError(Code.OBJECT_INVALID, "A team's name counts in its tenant: give the tenant too.")
        for kind, name in given.items():
            if kind == "tag" and _TAG.fullmatch(name) is None:
                raise CallerError(
                    Code.OBJECT_INVALID,
                    f"A tag has 1 to {CACHE_TAG_CHARS_MAX} letters, digits, dots, dashes, underscores, colons and slashes.",
                )
            if not 0 < len(name.encode("utf-8", "replace")) <= MODEL_NAME_BYTES_MAX:
                raise CallerError(Code.OBJECT_INVALID, f"The name of a {kind} has 1 to {MODEL_NAME_BYTES_MAX} bytes.")
        whole = next((f"{kind}:{name}" for kind, name in given.items()), "")
        now = self._clock.now_ns()
        purge = Purge(EVERYBODY if tenant is None else tenant, whole, now)
        change = Change(self._ids.new(), now, actor.name, "cache.purge", purge.tenant, whole)
        number = self._store.purge(purge, change, now - LIFE_NS)
        return Purge(purge.tenant, whole, now, number)

    def list(self, actor: Actor) -> list[Purge]:
        """Those in force that the actor may see, the last first."""
        actor.require(Permission.CACHE_READ, actor.tenant)
        return [
            one
            for one in self._store.list(self._clock.now_ns() - LIFE_NS, PURGES_MAX)
            if one.tenant == EVERYBODY or actor.sees(one.tenant)
        ]
