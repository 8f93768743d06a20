"""A data worker: one event loop that serves the gateway. Started by the supervisor as a process of its own.

It imports nothing of the control plane, reads what was published, and keeps the last good of it.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from ostiary.bootstrap.answers import shared_answers
from ostiary.bootstrap.expression import conditions_of
from ostiary.bootstrap.job import DataJob
from ostiary.bootstrap.ledger import Ledger
from ostiary.bootstrap.memory import Memory, give_back
from ostiary.bootstrap.ready import tell_ready
from ostiary.bootstrap.shared import shared_counters
from ostiary.bootstrap.system import SystemClock, SystemRandom, UuidIds
from ostiary.core.call import DialectName
from ostiary.core.error import Code, GatewayError, OperatorError, OstiaryError
from ostiary.core.event import Kind, Unauthenticated
from ostiary.core.limit import (
    CONNECTIONS_MAX,
    LEDGER_SECONDS,
    SECRETS_POLL_SECONDS,
    SNAPSHOT_POLL_SECONDS,
)
from ostiary.core.port import Clock
from ostiary.gateway.admit.idempotency import IdempotencyKeys
from ostiary.gateway.admit.ticket import Tickets
from ostiary.gateway.admit.watch import LoopWatch
from ostiary.gateway.audit import record
from ostiary.gateway.audit.alerts import Alerts
from ostiary.gateway.audit.digest import Digests
from ostiary.gateway.audit.refusals import Refusals
from ostiary.gateway.dialect import ClientDialect, ProviderDialect
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.bedrock import Bedrock
from ostiary.gateway.dialect.cohere import Cohere
from ostiary.gateway.dialect.completions import Completions
from ostiary.gateway.dialect.gemini import Gemini
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.responses import Responses
from ostiary.gateway.edge.app import Gateway
from ostiary.gateway.meter.hold import Holds
from ostiary.gateway.ports import Journal
from ostiary.gateway.route.plan import Strategy
from ostiary.gateway.route.strategies.cheapest import cheapest
from ostiary.gateway.route.strategies.least_busy import least_busy
from ostiary.gateway.route.strategies.least_latency import least_latency
from ostiary.gateway.route.strategies.priority import priority
from ostiary.gateway.route.strategies.split import split
from ostiary.gateway.route.strategies.sticky import sticky
from ostiary.gateway.route.strategies.weighted import weighted
from ostiary.gateway.world import World
from ostiary.net import address
from ostiary.net.client import HttpUpstream
from ostiary.net.credentials import ProviderCredentials
from ostiary.serving.server import Server
from ostiary.serving.tls import Certificate
from ostiary.snapshot.keys import KeyTable
from ostiary.snapshot.tables import ProviderRow
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.opening import open_journal
from ostiary.store.published.keyring import PublishedKeys
from ostiary.store.published.reader import PublishedReader
from ostiary.store.published.secrets import LoadedSecrets
from ostiary.store.replay.files import FileReplays
from ostiary.store.reviews.files import ReviewFiles
from ostiary.store.reviews.sealed import ReviewSeals
from ostiary.telemetry import log, shared
from ostiary.telemetry.metrics import Metrics

_MINUTE_NS: Final = 60_000_000_000
_TLS_POLL_TICKS: Final = 10
_LEDGER_TICKS: Final = round(LEDGER_SECONDS / SNAPSHOT_POLL_SECONDS)
_REPLAY_SWEEP_TICKS: Final = round(3_600 / SNAPSHOT_POLL_SECONDS)
"""Kept answers are looked through at the start and then about hourly."""

_SECRETS_POLL_TICKS: Final = round(SECRETS_POLL_SECONDS / SNAPSHOT_POLL_SECONDS)
_FAULT_REPEAT_SECONDS: Final = 60.0
_REASONS_KEPT: Final = 100
_DESCRIPTORS_KEPT: Final = 64
_DESCRIPTORS_WANTED: Final = 2 * CONNECTIONS_MAX + _DESCRIPTORS_KEPT
_FIRST_KEYS_TRIES: Final = 50
_log: Final = log.Log("data")


def clients() -> dict[DialectName, ClientDialect]:
    """The wire formats that clients may speak."""
    return {
        DialectName.OPENAI: OpenAI(),
        DialectName.ANTHROPIC: Anthropic(),
        DialectName.RESPONSES: Responses(),
        DialectName.COMPLETIONS: Completions(),
        DialectName.GEMINI: Gemini(),
    }


def provider_dialect(row: ProviderRow, dialect: DialectName) -> ProviderDialect:
    """A wire format a provider speaks, in the form its row asks for."""
    match dialect:
        case DialectName.OPENAI:
            return OpenAI(row.profile)
        case DialectName.ANTHROPIC:
            return Anthropic()
        case DialectName.RESPONSES:
            return Responses()
        case DialectName.COMPLETIONS:
            return Completions()
        case DialectName.GEMINI:
            return Gemini(row.profile)
        case DialectName.BEDROCK:
            return Bedrock()
        case DialectName.COHERE:
            return Cohere()
        case _:
            raise ValueError(dialect)


def strategies() -> dict[str, Strategy]:
    """The routing strategies this version knows."""
    return {
        "cheapest": cheapest,
        "least-busy": least_busy,
        "least-latency": least_latency,
        "priority": priority,
        "split": split,
        "sticky": sticky,
        "weighted": weighted,
    }


class RefusalRecorder:
    """Counts refused credentials and writes each minute's counts to the journal, as far as it takes them."""

    def __init__(self, journal: Journal, metrics: Metrics, clock: Clock) -> None:
        self._journal = journal
        self._metrics = metrics
        self._clock = clock
        self._refusals = Refusals()

    def refused(self, peer: str, code: Code) -> None:
        """Count one."""
        self._metrics.unauthenticated(code)
        self._write(self._refusals.add(self._clock.now_ns() // _MINUTE_NS, peer, code))

    def tick(self, *, final: bool = False) -> None:
        """Write what is due; at the end, everything."""
        due = self._refusals.flush() if final else self._refusals.due(self._clock.now_ns() // _MINUTE_NS)
        self._write(due)

    def _write(self, records: list[Unauthenticated]) -> None:
        # Counts of refused strangers are not worth refusing service for: a failing journal loses at most a minute.
        with contextlib.suppress(GatewayError):
            for one in records:
                self._journal.append(Kind.UNAUTHENTICATED, record.encode(one))


class Worker:
    """One data worker, from its job to its end."""

    def __init__(self, job: DataJob) -> None:
        self.job = job
        self.clock = SystemClock()
        self.metrics = _metrics(f"data-{job.slot}")
        data_dir = Path(job.data_dir)
        self.reader = PublishedReader(data_dir / "published")
        opened = open_journal(
            data_dir / "journal",
            job.replica,
            disk=OsDisk(),
            clock=self.clock,
            durability=job.durability,
            slot=job.slot,
        )
        self.journal = opened.journal
        if opened.bytes_cut or opened.aborted:
            _log.warning(
                "journal_recovered", origin=opened.origin, bytes_cut=opened.bytes_cut, calls_aborted=opened.aborted
            )
        index = self.reader.read_snapshot()
        self.secrets = LoadedSecrets()
        self._say_missing(self.secrets.load(index))
        self.keys = PublishedKeys((data_dir / "pepper.key").read_bytes(), self.clock)
        self.keys.swap(self._first_keys())
        self.upstream = HttpUpstream(self.clock, report=lambda text: _log.error("tls_files", reason=text))
        self.metadata = HttpUpstream(self.clock, vet=address.vet_metadata)
        self.credentials = ProviderCredentials(self.upstream, self.metadata, self.secrets, self.clock)
        self.replays = FileReplays(data_dir / "replay", self.clock)
        digest_key = (data_dir / "digest.key").read_bytes()
        self.shared = shared_counters(
            job,
            opened.origin,
            index,
            clock=self.clock,
            random=SystemRandom(),
            observer=self.metrics,
            alerted=Alerts(self.journal, self.metrics).tell,
        )
        self.world = World(
            index=index,
            conditions=conditions_of(index),
            upstream=self.upstream,
            journal=self.journal,
            credentials=self.credentials,
            observer=self.metrics,
            clock=self.clock,
            ids=UuidIds(),
            random=SystemRandom(),
            clients=clients(),
            providers=provider_dialect,
            strategies=strategies(),
            digests=Digests(digest_key),
            replays=self.replays,
            idempotency=IdempotencyKeys(digest_key),
            tickets=Tickets(digest_key, ReviewFiles(data_dir / "review", ReviewSeals(digest_key, os.urandom))),
            shared=self.shared,
            shared_answers=shared_answers(job.answers, digest_key, clock=self.clock, random=SystemRandom()),
        )
        holds = self.world.holds
        self.ledger = (
            Ledger(data_dir, holds) if isinstance(holds, Holds) else Ledger(data_dir, holds.escrow, self.journal.origin)
        )
        counted = self.ledger.restore(index, self.clock.now_ns() // 1_000_000_000)
        if counted:
            _log.info("budgets_restored", records=counted)
        if self.reader.purges_changed():
            self.world.answers.purge(self.reader.read_purges())
        self.metrics.known_models(frozenset(index.models))
        self.memory = Memory()
        self.refusals = RefusalRecorder(self.journal, self.metrics, self.clock)
        self.certificate: Certificate | None = None
        self.draining = False
        self.server: Server | None = None
        self._stop = asyncio.Event()
        self._notice_seconds = job.drain_notice_seconds
        self._said: dict[str, float] = {}

    def _first_keys(self) -> KeyTable:
        """The published keys. The publisher may be replacing them just now: then a moment later."""
        for _ in range(_FIRST_KEYS_TRIES):
            table = self.reader.read_keys()
            if table is not None:
                return table
            time.sleep(SNAPSHOT_POLL_SECONDS)  # before the loop serves anyone
        raise OperatorError(Code.CONFIG_INVALID, "the published keys and their delta do not belong together")

    def degraded(self) -> str:
        """What does not work as it should in a worker that serves, or empty."""
        away = "" if self.shared is None else self.shared.away
        return "; ".join(filter(None, (away, self.world.gates.degraded)))

    def ready(self) -> str:
        """Why this worker should get no traffic, or empty."""
        if self.draining:
            return "draining"
        if not self.journal.healthy() and self.world.index.snapshot.journal.on_failure == "refuse":
            return "the journal cannot be written"
        return ""

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        loop = asyncio.get_running_loop()
        self.journal.start()
        self.gateway = Gateway(self.world, self.keys, self, self.refusals)
        self.server = Server(self.gateway, self.clock, loop, _connections_max())
        await self._look_at_memory(loop)
        tls = self.job.tls
        if tls is not None:
            self.certificate = Certificate(
                Path(tls.certificate_file),
                Path(tls.key_file),
                tls.minimum_version,
                Path(tls.client_ca_file) if tls.client_ca_file else None,
            )
        loop.add_signal_handler(signal.SIGTERM, self._told_to_stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        if self.job.lifeline_fd >= 0:  # ends with the supervisor, however it ended
            loop.add_reader(self.job.lifeline_fd, self._stop.set)
        tasks: list[asyncio.Task[None]] = []
        if self.shared is not None:
            await self.shared.start()
            tasks.append(loop.create_task(self.shared.run()))
        await self.server.start(
            [socket.socket(fileno=self.job.socket_fd)], None if self.certificate is None else self.certificate.context
        )
        # What lives from here on is garbage of requests, made and freed by reference counts; the collector need not
        # walk the modules for it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        tasks.append(loop.create_task(self._watch()))
        lateness = LoopWatch(self.world.gates.pressure, loop)
        tell_ready(self.job.ready_fd)
        await self._stop.wait()
        if self.job.lifeline_fd >= 0:
            loop.remove_reader(self.job.lifeline_fd)
        self.draining = True
        _log.info("draining", connections=self.server.connections)
        await self.server.drain(self.job.drain_seconds, self._notice_seconds)
        await self.world.detached.end()
        await self.gateway.shadows.end()
        lateness.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.shared is not None:
            await self.shared.aclose()
        await self.world.answers.aclose()
        await self.credentials.aclose()
        await self.metadata.aclose()
        await self.upstream.aclose()
        self.refusals.tick(final=True)
        with self._told("ledger"):
            self.ledger.write(self.ledger.snapshot(self.journal.origin, self.journal.place()))
        self.metrics.flush()
        self.journal.close()

    def _told_to_stop(self) -> None:
        if self._stop.is_set() and self.server is not None:
            self.server.hurry()  # told twice
        self._stop.set()

    def _interrupted(self) -> None:
        self._notice_seconds = 0.0  # a person at a keyboard: no balancer needs to notice first
        self._told_to_stop()

    async def _watch(self) -> None:
        """Take new snapshots, keys and certificates; measure the loop; pass on what is due."""
        loop = asyncio.get_running_loop()
        ticks = 0
        while True:
            expected = loop.time() + SNAPSHOT_POLL_SECONDS
            await asyncio.sleep(SNAPSHOT_POLL_SECONDS)
            ticks += 1
            # Each on its own: while one of them fails, the others must go on. A revoked key has to go even where
            # metrics cannot be written, and nothing at all may end this task.
            with self._told("metrics"):
                self.metrics.loop_lag.set(max(0.0, loop.time() - expected))
                self.metrics.streams(self.world.open_streams)
                self._count_shadows()
                self.metrics.gates(self.world.gates.standing())
                self._tell_cache()
                if self.server is not None:
                    self.metrics.connections.set(self.server.connections)
                self.metrics.flush()
            with self._told("memory"):
                await self._look_at_memory(loop)
            unsynced_bytes, sync_seconds = self.journal.lag()
            self.metrics.unsynced_bytes.set(unsynced_bytes)
            self.metrics.sync_seconds.set(sync_seconds)
            if self.job.slot == 0 and ticks % _REPLAY_SWEEP_TICKS == 1:
                with self._told("replays"):
                    await loop.run_in_executor(None, self.replays.sweep)
            with self._told("refusals"):
                self.refusals.tick()
            with self._told("keys"):
                await self._take_keys(loop)
            with self._told("purges"):
                await self._take_purges(loop)
            with self._told("snapshot"):
                await self._take_snapshot(loop, look_at_secrets=ticks % _SECRETS_POLL_TICKS == 0)
            if ticks % _LEDGER_TICKS == 0:
                with self._told("ledger"):
                    await self._keep_ledger(loop)
            with self._told("certificate"):
                await self._take_certificate(loop, due=ticks % _TLS_POLL_TICKS == 0)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Log a failure, once a minute for each reason; what was in use stays in use."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see `_watch`
            reason = error.message if isinstance(error, OstiaryError) else f"{type(error).__name__}: {error}"
            now = self.clock.monotonic()
            if now - self._said.get(what + reason, -_FAULT_REPEAT_SECONDS) >= _FAULT_REPEAT_SECONDS:
                if len(self._said) >= _REASONS_KEPT:
                    self._said.clear()
                self._said[what + reason] = now
                _log.error("refresh_refused", what=what, reason=reason)

    async def _look_at_memory(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take no new calls while memory is short; where it runs out all the same, end those that hold most of it."""
        memory, server = self.memory, self.server
        if server is None or not memory.limit_bytes:
            return
        memory.look()
        self.world.gates.memory_short = memory.short
        server.bodies_bytes_max = memory.bodies_bytes_max(server.body_bytes, self.job.workers)
        excess = memory.excess_bytes
        if excess and (ended := server.shed(excess)):
            _log.warning("calls_ended_for_memory", calls=len(ended), held_bytes=sum(ended), excess_bytes=excess)
        if memory.short:
            await loop.run_in_executor(None, give_back)

    def _count_shadows(self) -> None:
        shadows = self.gateway.shadows
        if shadows.dropped:
            self.metrics.shadows_dropped.inc(shadows.dropped)
            shadows.dropped = 0

    def _tell_cache(self) -> None:
        answers = self.world.answers
        self.metrics.cache.bytes.set(answers.bytes)
        self.metrics.cache.answers.set(len(answers))
        self.metrics.cache.away.set(answers.away)

    async def _take_keys(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.reader.keys_changed():
            table = await loop.run_in_executor(None, self.reader.read_keys)
            if table is not None:
                self.keys.swap(table)

    async def _take_purges(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.reader.purges_changed():
            self.world.answers.purge(await loop.run_in_executor(None, self.reader.read_purges))

    async def _take_snapshot(self, loop: asyncio.AbstractEventLoop, *, look_at_secrets: bool) -> None:
        index = self.world.index
        if self.reader.snapshot_changed():
            index = await loop.run_in_executor(None, self.reader.read_snapshot)
        elif not (look_at_secrets and await loop.run_in_executor(None, self.secrets.changed)):
            return
        self._say_missing(await loop.run_in_executor(None, self.secrets.load, index))
        self.world.swap(index, await loop.run_in_executor(None, conditions_of, index))
        self.metrics.known_models(frozenset(index.models))
        _log.info("snapshot_taken", snapshot=index.id)

    async def _keep_ledger(self, loop: asyncio.AbstractEventLoop) -> None:
        await loop.run_in_executor(
            None, self.ledger.write, self.ledger.snapshot(self.journal.origin, self.journal.place())
        )

    async def _take_certificate(self, loop: asyncio.AbstractEventLoop, *, due: bool) -> None:
        if due and self.certificate is not None and await loop.run_in_executor(None, self.certificate.refresh):
            _log.info("certificate_reloaded")

    def _say_missing(self, missing: list[str]) -> None:
        for text in missing:
            _log.warning("secret_missing", reason=text)


def _metrics(name: str) -> Metrics:
    """Metrics in shared files where the supervisor named a folder for them, and that can be written to."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return Metrics(CollectorRegistry())
    try:
        shared.share(name)
        return Metrics(CollectorRegistry())
    except OSError as error:
        _log.error("metrics_not_shared", reason=str(error.strerror or error))
        shared.keep_to_oneself()
        return Metrics(CollectorRegistry())


def _connections_max() -> int:
    """How many client connections there may be: each may need a second one upstream, and some descriptors are needed
    besides. The operating system's limit is raised as far as it lets itself be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    allowed = _DESCRIPTORS_WANTED if soft == resource.RLIM_INFINITY else soft
    return max(min((allowed - _DESCRIPTORS_KEPT) // 2, CONNECTIONS_MAX), 1)


def main(argument: str) -> int:
    """Run a worker; the process's exit status."""
    job = msgspec.json.decode(argument, type=DataJob)
    log.configure(job.log_level, f"data-{job.slot}")

    async def work() -> None:
        await Worker(job).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())
    except OperatorError as error:
        _log.error("cannot_start", reason=error.message)
        return 2
    except OSError as error:
        _log.error("cannot_go_on", reason=f"{error.strerror or error}: {error.filename or 'the network'}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
