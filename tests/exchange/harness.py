"""Whole calls in process: the real gateway application over a simulated upstream, a journal in memory, a sink that
remembers. No socket, no real time."""

import asyncio
import json

import msgspec

from ostiary.bootstrap.data import clients, provider_dialect, strategies
from ostiary.bootstrap.expression import conditions_of
from ostiary.bootstrap.scopes import FALLBACK_ON
from ostiary.core.call import DialectName, Operation
from ostiary.core.error import Code, GatewayError
from ostiary.core.event import Closed, Kind, Opened, Outcome
from ostiary.core.http import Answer, Origin, RequestHead
from ostiary.core.principal import Principal
from ostiary.core.secret import Secret
from ostiary.gateway.admit.bounds import DEFAULT
from ostiary.gateway.admit.idempotency import IdempotencyKeys
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit import record
from ostiary.gateway.audit.digest import Digests
from ostiary.gateway.dialect import IN_BODY
from ostiary.gateway.edge.app import Gateway
from ostiary.gateway.exchange import Exchange
from ostiary.gateway.ports import Receipt
from ostiary.gateway.world import World
from ostiary.net.credentials import ProviderCredentials
from ostiary.settings import FallbackSettings
from ostiary.simulator.fake import FakeUpstream
from ostiary.snapshot import codec
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import (
    AuthRow,
    FallbackRow,
    JournalRow,
    ModelRow,
    PriceRow,
    PricingRow,
    ProviderRow,
    Rates,
    Residency,
    SecretRef,
    ServerRow,
    Snapshot,
    TargetRow,
    TeamRow,
    TimeoutsRow,
    UnknownPrice,
)
from ostiary.testing.clock import FakeClock
from ostiary.testing.replay import MemoryReplays

KEY = b"osk-test-key-of-the-search-team"
UPSTREAM_KEY = "sk-upstream-canary-1234567890"
TIMEOUTS = TimeoutsRow(connect_seconds=2, first_token_seconds=20, idle_seconds=15, total_seconds=120)
PRINCIPAL = Principal("acme", "search", "production", "key-1", "search-prod")


class CountingIds:
    def __init__(self):
        self.count = 0

    def new(self):
        self.count += 1
        return f"req-{self.count}"


class Always:
    """Chance that always says the same."""

    def __init__(self, value=0.0):
        self.value = value

    def random(self):
        return self.value


class OneKey:
    def __init__(self, principal=PRINCIPAL):
        self.principal = principal

    def digest(self, credential):
        return b"digest of " + credential

    def find(self, digest):
        return self.principal if digest == self.digest(KEY) else None


class Secrets:
    def get(self, ref):
        return Secret(UPSTREAM_KEY)


class Journal:
    """Keeps records in memory; `failing` makes appends fail, `on_append` is told of each."""

    def __init__(self, durability="process"):
        self.durability = durability
        self.records = []
        self.failing = False
        self.fail_at = ()
        self.appends = 0
        self.syncs = []
        self.deferred = []

    def append(self, kind, payload, closes=None):
        self.appends += 1
        if self.failing or self.appends in self.fail_at:
            raise GatewayError(Code.AUDIT_UNAVAILABLE, "The journal cannot be written.")
        self.records.append((kind, record.decode(kind, payload)))
        return Receipt("test.0", len(self.records) - 1)

    def defer(self, kind, payload):
        self.deferred.append((kind, record.decode(kind, payload)))

    async def synced(self, receipt):
        self.syncs.append(receipt.sequence)

    def healthy(self):
        return not self.failing

    def of(self, kind):
        return [one for found, one in self.records if found is kind]


class Observer:
    def __init__(self):
        self.records = []
        self.refused = []
        self.alerts = []
        self.sheds = []
        self.credentials = []
        self.comparisons = []

    def closed(self, record):
        self.records.append(record)

    def unauthenticated(self, code):
        self.refused.append(code)

    def alerted(self, scope, share):
        self.alerts.append((scope, share))

    def streams(self, open_count):
        pass

    def credential_refused(self, provider, key):
        self.credentials.append((provider, key))

    def shed(self, gate, reason, priority):
        self.sheds.append((gate, str(reason), str(priority)))

    def compared(self, model, outcome, similarity):
        self.comparisons.append((model, outcome, similarity))


class Ready:
    reason = ""

    def ready(self):
        return self.reason

    def degraded(self):
        return ""


class Refusals:
    def __init__(self):
        self.seen = []

    def refused(self, peer, code):
        self.seen.append((peer, code))


class RecordingSink:
    """Remembers what a client would get. `pause` is awaited in each write; `records_at` is how many journal records
    stood when each piece was sent."""

    def __init__(self, journal):
        self.gone = False
        self.begun = False
        self.status = 0
        self.headers = {}
        self.pieces = []
        self.ended = False
        self.streamed = False
        self.aborted = False
        self.records_at = []
        self.pause = None
        self.wrote = asyncio.Event()
        self.started = asyncio.Event()
        self._journal = journal

    def answer(self, status, headers, body):
        assert not self.begun, "answered twice"
        self.begun, self.ended = True, True
        self.status, self.headers = status, dict(headers)
        self.pieces.append(body)
        self.records_at.append(len(self._journal.records))

    def begin(self, status, headers, *, keepalive=b""):
        assert not self.begun, "begun twice"
        self.begun, self.streamed = True, True
        self.keepalive = keepalive
        self.started.set()
        self.status, self.headers = status, dict(headers)

    def write(self, data):
        assert not self.ended
        self.pieces.append(data)
        self.records_at.append(len(self._journal.records))
        self.wrote.set()
        return None if self.pause is None else self.pause()

    def end(self):
        assert not self.ended
        self.ended = True

    def abort(self):
        assert self.begun
        assert not self.ended
        self.aborted = True

    def upgrade(self, headers):
        assert not self.begun, "answered already"
        if self.gone:
            return None
        self.begun, self.status, self.headers = True, 101, dict(headers)
        self.channel = ClientChannel(self._journal)
        self.started.set()
        return self.channel

    @property
    def body(self):
        return b"".join(self.pieces)

    @property
    def json(self):
        return json.loads(self.body)


class ClientChannel:
    """The gateway's end of a client's WebSocket. `say` is the client's, `leave` ends it; `got` is what it was sent, with
    the number of journal records at that moment."""

    def __init__(self, journal):
        self.gone = self.stalled = self.breached = self.draining = False
        self.code, self.reason = 1006, ""
        self.closed = None
        self.got = []
        self.changed = asyncio.Event()
        self.pause = None
        self._journal = journal
        self._said = asyncio.Queue()

    def say(self, event):
        self._said.put_nowait(event if isinstance(event, bytes) else json.dumps(event).encode())

    def leave(self, code=1000, *, stalled=False, breached=False):
        self.code, self.stalled, self.breached = code, stalled, breached
        if code == 1006:
            self.gone = True
        self._said.put_nowait(None)

    async def receive(self):
        return await self._said.get()

    async def send(self, message):
        if self.gone or self.closed:
            return
        self.got.append((json.loads(message), len(self._journal.records)))
        self.changed.set()
        if self.pause is not None:
            await self.pause()

    def close(self, code, reason=""):
        self.closed = self.closed or (code, reason)
        self.changed.set()

    @property
    def events(self):
        return [event for event, _ in self.got]

    def of(self, kind):
        return [event for event in self.events if event["type"] == kind]

    async def until(self, kind, count=1):
        """The last of so many events of a kind, once they are there."""
        async with asyncio.timeout(5):
            while len(self.of(kind)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.of(kind)[count - 1]


def provider(name, dialect, **fields):
    return ProviderRow(
        name=name,
        dialect=DialectName(dialect),
        origin=Origin("http", f"{name}.test", 80),
        **{
            "path": "/v1",
            "auth": AuthRow("x-api-key" if dialect == "anthropic" else "bearer", SecretRef("env", "X")),
            "price_provider": "list",
            "count_tokens": dialect == "anthropic",
            **fields,
        },
    )


def fallback(name, *on):
    """A fallback after these failures; none given: after those that the file's default names."""
    return FallbackRow(
        name, on or tuple(code for word in FallbackSettings(model=name).on for code in FALLBACK_ON[word])
    )


def model(name, *targets, **fields):
    return ModelRow(
        name=name,
        targets=tuple(TargetRow(*target) if isinstance(target, tuple) else target for target in targets),
        **{"timeouts": TIMEOUTS, **fields},
    )


def snapshot(**fields):
    rates = Rates(input=150_000_000, output=600_000_000, cached=75_000_000)
    base = {
        "format": 1,
        "id": "",
        "created_ns": 0,
        "providers": (
            provider("oai", "openai"),
            provider("ant", "anthropic"),
            provider("goo", "gemini", path="/v1beta"),
            provider("res", "openai-responses"),
            provider("spare", "openai"),
            provider("onsite", "openai", residency=Residency.PRIVATE),
        ),
        "models": (
            model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("spare"),)),
            model("claude", ("ant", "claude-sonnet")),
            model("gem", ("goo", "gemini-x")),
            model("reasoner", ("res", "gpt-x")),
            model("spare", ("spare", "gpt-spare")),
            model("pair", ("oai", "first", 1), ("spare", "second", 1)),
            model("capped", ("oai", "gpt-4o-mini"), max_tokens=100),
            model("private", ("onsite", "tiny")),
            model("mixed", ("oai", "gpt-4o-mini"), ("onsite", "tiny")),
            model("sandboxed", ("oai", "gpt-4o-mini"), environments=("sandbox",)),
            model("secretive", ("oai", "gpt-4o-mini")),
            model("lenient", ("ant", "claude-sonnet"), drop_unsupported=True),
        ),
        "teams": (
            TeamRow(
                tenant="acme",
                name="search",
                environment="production",
                models=(
                    "gpt",
                    "claude",
                    "gem",
                    "reasoner",
                    "spare",
                    "pair",
                    "capped",
                    "private",
                    "mixed",
                    "sandboxed",
                    "lenient",
                ),
            ),
        ),
        "pricing": PricingRow(
            rows=tuple(
                PriceRow(provider="list", model=name, rates=rates, version="v1")
                for name in ("gpt-4o-mini", "claude-sonnet", "gpt-spare", "first", "second", "tiny")
            ),
            unknown=UnknownPrice.CEILING,
            ceiling=Rates(input=30_000_000_000, output=120_000_000_000),
            version="v1",
        ),
        "journal": JournalRow(),
        "server": ServerRow(),
    }
    return codec.seal(Snapshot(**{**base, **fields}))


class House:
    """The gateway with everything around it."""

    def __init__(
        self,
        *,
        durability="process",
        principal=PRINCIPAL,
        draw=0.0,
        behaviour=None,
        script=(),
        replays=None,
        clock=None,
        shared_answers=None,
        tickets=None,
        **fields,
    ):
        self.clock = clock or FakeClock()
        self.upstream = FakeUpstream(self.clock, behaviour, script, advance=self.clock.advance)
        self.journal = Journal(durability)
        self.observer = Observer()
        self.refusals = Refusals()
        self.health = Ready()
        self.ids = CountingIds()
        self.slept = []
        index = Index(snapshot(**fields))
        self.world = World(
            index=index,
            conditions=conditions_of(index),
            upstream=self.upstream,
            journal=self.journal,
            credentials=ProviderCredentials(self.upstream, self.upstream, Secrets(), self.clock),
            observer=self.observer,
            clock=self.clock,
            ids=self.ids,
            random=Always(draw),
            clients=clients(),
            providers=provider_dialect,
            strategies=strategies(),
            digests=Digests(b"k" * 32),
            replays=replays or MemoryReplays(self.clock),
            idempotency=IdempotencyKeys(b"k" * 32),
            sleep=self.sleep,
            shared_answers=shared_answers,
            tickets=tickets,
        )
        self.gateway = Gateway(self.world, OneKey(principal), self.health, self.refusals)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.clock.advance(seconds)

    def head(self, path, *, method="POST", headers=None, query=b"", key=KEY):
        given = {b"host": b"x", b"content-type": b"application/json"}
        if key is not None:
            given[b"authorization"] = b"Bearer " + key
        given.update({name: value for name, value in (headers or {}).items() if value is not None})
        return RequestHead(method, path, query, given, "192.0.2.7", self.clock.monotonic())

    async def post(self, path, body, *, sink=None, headers=None, key=KEY, query=b""):
        """One request to its end; gives the sink."""
        sink = sink or RecordingSink(self.journal)
        verdict = self.gateway.accept(self.head(path, headers=headers, key=key, query=query))
        if isinstance(verdict, Answer):
            sink.answer(verdict.status, verdict.headers, verdict.body)
        else:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            await self.gateway.serve(verdict, data, sink)
        return sink

    async def call(self, dialect, body, *, addressed=IN_BODY, sink=None, operation=Operation.CHAT):
        """One call in any dialect, as the edge would hand it over; gives the sink."""
        sink = sink or RecordingSink(self.journal)
        arrival = Arrival(
            self.ids.new(),
            PRINCIPAL,
            operation,
            DialectName(dialect),
            addressed,
            {},
            DEFAULT,
            self.clock.monotonic(),
            "POST",
            b"",
            b"",
        )
        await Exchange(self.world, arrival, json.dumps(body).encode(), sink).run()
        return sink

    def get(self, path, **options):
        return self.gateway.accept(self.head(path, method="GET", **options))

    async def chat(self, model="gpt", *, sink=None, headers=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "Say something."}], **fields}
        return await self.post(b"/v1/chat/completions", body, sink=sink, headers=headers)

    async def message(self, model="claude", *, sink=None, headers=None, **fields):
        body = {
            "model": model,
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "Say something."}],
            **fields,
        }
        return await self.post(b"/v1/messages", body, sink=sink, headers=headers)

    # --- what must hold after every call ------------------------------------------------------------------

    def check(self):
        """The guarantees that hold whatever happened: pairs of records, holds closed, nothing open."""
        opened = {i: one for i, (kind, one) in enumerate(self.journal.records) if kind is Kind.OPENED}
        closing = [
            one.opened for one in self.journal.of(Kind.CLOSED) if one.opened >= 0 or not (one.cache or one.degraded)
        ]
        assert sorted(closing) == sorted(opened), "every opening record has exactly one closing one"
        assert all(one.opened == -1 for one in self.journal.of(Kind.DENIED))
        assert self.world.holds.open_count == 0
        assert self.world.limits.open_count == 0
        assert self.world.holds.reserved_nano == 0
        assert self.world.open_calls == 0
        assert all(found[:2] == (0, 0) for found in self.world.gates.standing().values()), "every place is given back"
        assert self.world.open_streams == 0
        assert self.world.flights.open_count == 0

    @property
    def opened(self) -> list[Opened]:
        return self.journal.of(Kind.OPENED)

    @property
    def closed(self) -> Closed:
        found = self.journal.of(Kind.CLOSED) + self.journal.of(Kind.DENIED)
        assert len(found) == 1, found
        return found[0]

    @property
    def outcome(self) -> Outcome:
        return self.closed.outcome


def events(body):
    """The data of a stream's events."""
    return [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]


def replaced(value, **fields):
    return msgspec.structs.replace(value, **fields)
