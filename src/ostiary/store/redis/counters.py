"""Counters in Redis or Valkey; implements the port `Counters` by two scripts.

All keys of an installation have one hash tag, so that a script may decide over all of them, also in a cluster; where the
server names another node for them, that one is asked from then on. A failed exchange drops the connection: the next one
finds the server anew, by name, which is how a failover is followed.
"""

import asyncio
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, NoScriptError, RedisError

from ostiary.core.error import Code, GatewayError
from ostiary.core.limit import (
    EXCHANGE_SECONDS_MAX,
    LEASE_SHARE,
    REBUILD_SECONDS,
    SLOT_LEASE_SECONDS,
    WORKER_SILENCE_SECONDS,
)
from ostiary.gateway.ports import (
    BudgetAnswer,
    BudgetBatch,
    Granted,
    Lent,
    LimitAnswer,
    LimitBatch,
    Other,
    Stated,
)

_GRACE_SECONDS: Final = 2 * 86_400
_EXPIRY_SECONDS_MAX: Final = 2**33


class _Script:
    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_bytes()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_LIMITS: Final = _Script("limits.lua")
_BUDGETS: Final = _Script("budgets.lua")

_Amounts = tuple[str, str, str, str, str]
"""A worker, and what it spent and leases as text: money, tokens, money, tokens."""


class _Lent(msgspec.Struct, frozen=True, array_like=True):
    lease_nano: int
    lease_tokens: int
    others: tuple[_Amounts, ...]
    crossed: tuple[float, ...]
    spent_nano: int
    spent_tokens: int


class _BudgetAnswer(msgspec.Struct, frozen=True, array_like=True):
    generation: str
    rebuilding_seconds: float
    accounts: tuple[_Lent, ...]
    wants: tuple[Granted, ...]


_encode = msgspec.msgpack.Encoder().encode
_limit_answer = msgspec.msgpack.Decoder(LimitAnswer).decode
_budget_answer = msgspec.msgpack.Decoder(_BudgetAnswer).decode


class _Keys:
    """The keys of one script in order, each once, by their numbers there."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self._numbers.setdefault(self._tag + name, len(self._numbers) + 1)

    def all(self) -> tuple[str, ...]:
        return tuple(self._numbers)


class RedisCounters:
    """Implements Counters. `url` is redis://, rediss:// or unix://; `worker` is the name under which this worker's
    statements stand, its own for as long as its journal is; `prefix` tells installations in one database apart."""

    def __init__(
        self,
        url: str,
        worker: str,
        *,
        prefix: str = "ostiary",
        seconds_max: float = EXCHANGE_SECONDS_MAX,
        rebuild_seconds: float = REBUILD_SECONDS,
    ) -> None:
        self.worker = worker
        self._tag = "{" + prefix + "}:"
        self._seconds_max = seconds_max
        self._rebuild_seconds = rebuild_seconds
        try:
            self._client = Redis.from_url(
                url,
                # None: the library would make a task of each write, which may swallow a cancellation in Python 3.11, and
                # every operation has its bound here.
                socket_timeout=None,
                socket_connect_timeout=seconds_max,
                retry=Retry(NoBackoff(), 0),
                max_connections=2,
                client_name="ostiary",
            )
        except (ValueError, TypeError) as error:
            raise GatewayError(Code.COUNTERS_UNAVAILABLE, "The counters' URL is not understood.") from error

    async def exchange(
        self, limits: LimitBatch | None, budgets: BudgetBatch | None
    ) -> tuple[LimitAnswer | None, BudgetAnswer | None]:
        """See Counters."""
        calls: list[tuple[_Script, tuple[str, ...], bytes]] = []
        if limits is not None:
            calls.append((_LIMITS, *self._limits(limits)))
        if budgets is not None:
            calls.append((_BUDGETS, *self._budgets(budgets)))
        said = await self._asked(lambda: self._run(calls))
        try:
            return (
                None if limits is None else _limit_answer(said[0]),
                None if budgets is None else _answer(_budget_answer(said[-1])),
            )
        except msgspec.MsgspecError as error:
            raise GatewayError(Code.COUNTERS_UNAVAILABLE, "The counters gave an answer of another form.") from error

    async def leased(self, worker: str) -> tuple[tuple[str, int], ...]:
        """See Counters."""

        async def ask() -> Any:
            return await self._client.smembers(f"{self._tag}leases:{worker}")

        found: list[tuple[str, int]] = []
        for member in await self._asked(ask):
            start, _, scope = member.decode("utf-8", "replace").partition(":")
            if start.isdecimal():
                found.append((scope, int(start)))
        return tuple(sorted(found))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _asked(self, ask: Callable[[], Any]) -> Any:
        """What an operation gives, within the time it may take; on any failure the connection is dropped."""
        try:
            async with asyncio.timeout(self._seconds_max):
                try:
                    return await ask()
                except MovedError as moved:
                    await self._move(moved.host, moved.port)
                    return await ask()
        except (RedisError, OSError, TimeoutError) as error:
            await self._client.connection_pool.disconnect()
            # Only the kind: the library's words may hold what it was given.
            reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise GatewayError(
                Code.COUNTERS_UNAVAILABLE, f"The shared counters cannot be used: {reason}.", retry_after_seconds=1.0
            ) from error

    async def _move(self, host: str, port: int) -> None:
        """The node of a cluster that has our slot is another one."""
        pool = self._client.connection_pool
        await pool.disconnect()
        pool.reset()  # type: ignore[no-untyped-call]  # the library has no annotation here
        pool.connection_kwargs.update(host=host, port=port)

    async def _run(self, calls: list[tuple[_Script, tuple[str, ...], bytes]]) -> list[bytes]:
        """The scripts' answers, from one round trip unless the server has forgotten one."""
        pipeline = self._client.pipeline(transaction=False)
        for script, keys, payload in calls:
            pipeline.evalsha(script.digest, len(keys), *keys, payload)
        said = await pipeline.execute(raise_on_error=False)
        for i, one in enumerate(said):
            if isinstance(one, NoScriptError):
                script, keys, payload = calls[i]
                said[i] = await self._client.eval(script.text, len(keys), *keys, payload)  # type: ignore[arg-type]  # bytes are sent as they are
            elif isinstance(one, Exception):
                raise one
        return said

    def _limits(self, batch: LimitBatch) -> tuple[tuple[str, ...], bytes]:
        keys = _Keys(self._tag)
        keys.number("workers")
        number = keys.number
        takes = [
            (
                [(number(f"slots:{slot.scope}"), slot.limit) for slot in take.slots],
                [(number(f"rate:{cell.name}"), cell.interval_seconds, cell.burst, cell.cost) for cell in take.cells],
            )
            for take in batch.takes
        ]
        corrections = [(number(f"rate:{name}"), seconds) for name, seconds in batch.corrections]
        opened = [(number(f"slots:{scope}"), count) for scope, count in batch.open]
        payload = _encode(
            (self.worker, batch.beat, WORKER_SILENCE_SECONDS, int(SLOT_LEASE_SECONDS), corrections, opened, takes)
        )
        return keys.all(), payload

    def _budgets(self, batch: BudgetBatch) -> tuple[tuple[str, ...], bytes]:
        keys = _Keys(self._tag)
        keys.number("generation")
        keys.number(f"leases:{self.worker}")
        accounts = [self._stated(keys, one) for one in batch.stated]
        wants = [(want.nano, want.tokens, want.accounts) for want in batch.wants]
        payload = _encode((self.worker, batch.generation, self._rebuild_seconds, LEASE_SHARE, accounts, wants))
        return keys.all(), payload

    def _stated(self, keys: _Keys, one: Stated) -> tuple[object, ...]:
        name = f"{one.start}:{one.scope}"
        expiry = one.end + _GRACE_SECONDS if 0 < one.end < _EXPIRY_SECONDS_MAX else 0
        others = [
            (
                other.worker,
                str(other.spent_nano),
                str(other.spent_tokens),
                str(other.lease_nano),
                str(other.lease_tokens),
                other.final,
                keys.number(f"leases:{other.worker}") if other.final else 0,
            )
            for other in one.others
            if other.worker != self.worker
        ]
        return (
            one.mine,
            str(one.spent_nano),
            str(one.spent_tokens),
            max(one.lease_nano, 0),
            max(one.lease_tokens, 0),
            one.held_nano,
            one.held_tokens,
            -1 if one.budget_nano is None else one.budget_nano,
            -1 if one.budget_tokens is None else one.budget_tokens,
            one.alerts,
            expiry,
            others,
            name,
            keys.number(f"budget:{name}"),
        )


def _answer(said: _BudgetAnswer) -> BudgetAnswer:
    return BudgetAnswer(
        said.generation,
        said.rebuilding_seconds,
        tuple(
            Lent(
                one.lease_nano,
                one.lease_tokens,
                tuple(Other(name, int(a), int(b), int(c), int(d)) for name, a, b, c, d in one.others),
                one.crossed,
                one.spent_nano,
                one.spent_tokens,
            )
            for one in said.accounts
        ),
        said.wants,
    )
