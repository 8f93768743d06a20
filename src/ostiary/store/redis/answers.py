"""Answers kept in Redis or Valkey, for all workers and replicas; implements the port `AnswerCache`.

    name  = {prefix}:answer:<format>:<HMAC-SHA-256(seal, key)>
    value = salt(32) AES-256-GCM(HMAC-SHA-256(seal, salt), nonce 0, msgpack of the answer, the name beside it)

Neither tells what was asked or answered, and nothing can be put in another's place: a value opens only under its own name.
The format stands in the name, so that versions of this program that write differently do not meet. A server that does not
answer within ANSWER_SECONDS_MAX, or not at all, has nothing, and for a while is not asked again.
"""

import asyncio
import hmac
import os
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ostiary.core.limit import (
    ANSWER_SECONDS_MAX,
    ANSWERS_UNDER_WAY_MAX,
    ANSWERS_WAITING_BYTES_MAX,
    SHARED_ANSWER_BYTES_MAX,
)
from ostiary.core.port import Clock, Random
from ostiary.gateway.counting.circuit import Circuit
from ostiary.gateway.ports import CacheKey, Kept

FORMAT: Final = 1
_SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)
_TAG_BYTES: Final = 16
_OVERHEAD_BYTES: Final = 16 * 1024
_VALUE_BYTES_MAX: Final = _SALT_BYTES + _TAG_BYTES + SHARED_ANSWER_BYTES_MAX + _OVERHEAD_BYTES
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Kept).decode


class RedisAnswers:
    """Implements AnswerCache. `seal` is a secret that all who share the answers have; `away` says whether the server is
    left alone just now, `failures` how often it failed."""

    def __init__(
        self,
        url: str,
        seal: bytes,
        *,
        clock: Clock,
        random: Random,
        prefix: str = "ostiary",
        seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        """Raises ValueError for a URL that is not understood. Nothing is sent yet."""
        self._seal = seal
        self._clock = clock
        self._circuit = Circuit(random)
        self._begins = "{" + prefix + "}" + f":answer:{FORMAT}:"
        self._seconds_max = seconds_max
        self._under_way = 0
        self._waiting_bytes = 0
        self._probing = False
        self._writing: set[asyncio.Task[None]] = set()
        self.failures = 0
        try:
            self._client = Redis.from_url(
                url,
                # None: the library would make a task of each write, which may swallow a cancellation in Python 3.11, and
                # every operation has its bound here.
                socket_timeout=None,
                socket_connect_timeout=seconds_max,
                retry=Retry(NoBackoff(), 0),
                max_connections=ANSWERS_UNDER_WAY_MAX + 1,
                client_name="ostiary-answers",
            )
        except TypeError as error:
            raise ValueError("not a URL of a Redis server") from error

    @property
    def away(self) -> bool:
        """Whether calls do without."""
        return self._circuit.away

    async def find(self, key: CacheKey) -> Kept | None:
        """See AnswerCache."""
        name = self._name(key)
        value = await self._asked("get", name)
        if not isinstance(value, bytes) or not _SALT_BYTES + _TAG_BYTES < len(value) <= _VALUE_BYTES_MAX:
            return None
        try:
            opened = self._cipher(value[:_SALT_BYTES]).decrypt(_NONCE, value[_SALT_BYTES:], name.encode("ascii"))
            return _decode(opened)
        except (InvalidTag, msgspec.MsgspecError):
            return None  # of another seal, or changed: nobody's answer

    async def keep(self, key: CacheKey, kept: Kept) -> None:
        """See AnswerCache. Written behind the caller's back; beyond ANSWERS_WAITING_BYTES_MAX it is not."""
        size, life = kept.size, kept.last - self._clock.now_ns() // 1_000_000_000
        if (
            size > SHARED_ANSWER_BYTES_MAX
            or life <= 0
            or self._waiting_bytes + size > ANSWERS_WAITING_BYTES_MAX
            or not self._may_ask()
        ):
            return
        self._waiting_bytes += size
        task = asyncio.get_running_loop().create_task(self._write(key, kept, life))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def settled(self) -> None:
        """See AnswerCache."""
        while self._writing:
            await asyncio.wait(tuple(self._writing))

    async def aclose(self) -> None:
        """Give up what is not written yet, and close the connections."""
        for task in tuple(self._writing):
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._client.aclose()

    async def _write(self, key: CacheKey, kept: Kept, life_seconds: int) -> None:
        try:
            name, salt = self._name(key), os.urandom(_SALT_BYTES)
            sealed = self._cipher(salt).encrypt(_NONCE, _encode(kept), name.encode("ascii"))
            await self._asked("set", name, salt + sealed, ex=life_seconds)
        finally:
            self._waiting_bytes -= kept.size

    def _name(self, key: CacheKey) -> str:
        return self._begins + hmac.digest(self._seal, _encode(key), "sha256").hex()

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._seal, salt, "sha256"))

    def _may_ask(self) -> bool:
        """Whether the server is asked: while it is away, by one call at a time and only every now and then."""
        if self._under_way >= ANSWERS_UNDER_WAY_MAX:
            return False
        circuit = self._circuit
        return not circuit.away or (not self._probing and self._clock.monotonic() >= circuit.attempt_at)

    async def _asked(self, command: str, *arguments: Any, **options: Any) -> Any:
        """What the server says to a command within the time it may take; None on any failure."""
        if not self._may_ask():
            return None
        self._under_way += 1
        self._probing = probing = self._circuit.away
        try:
            async with asyncio.timeout(self._seconds_max):
                said = await getattr(self._client, command)(*arguments, **options)
        except (RedisError, OSError, TimeoutError):
            self.failures += 1
            self._circuit.failed(self._clock.monotonic())
            return None
        finally:
            self._under_way -= 1
            if probing:
                self._probing = False
        self._circuit.succeeded()
        return said
