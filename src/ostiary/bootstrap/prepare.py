"""What happens before anything is started: check, lock, publish, bind; then this process becomes the supervisor.

Everything that can be wrong with a configuration or a machine is found here and told to the person at the terminal.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from ostiary.bootstrap.answers_url import answers_job
from ostiary.bootstrap.counters import shared_counters
from ostiary.bootstrap.discover import Found
from ostiary.bootstrap.emergency import remember_storage
from ostiary.bootstrap.job import MINDED, DataJob, OpsJob, SupervisorJob, TlsFiles, encode
from ostiary.bootstrap.lock import lock
from ostiary.bootstrap.offline import JOURNAL_DIR, Offline, make_data_dir, opened
from ostiary.bootstrap.publication import SECRETS_DIR, Publication
from ostiary.bootstrap.replica import replica_name
from ostiary.bootstrap.server_url import is_local
from ostiary.bootstrap.storage import handed_on
from ostiary.bootstrap.system import UuidIds
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import STORE_TRANSACTION_SECONDS_MAX
from ostiary.serving.tls import Certificate
from ostiary.settings import DEFAULT_TEAM, DEFAULT_TENANT, Loaded, ServerSettings
from ostiary.store.journal.disk import OsDisk
from ostiary.store.journal.layout import origins
from ostiary.store.journal.opening import recover_idle


class Prepared(msgspec.Struct, frozen=True):
    """All that is needed to run, and what to tell: the minted key (empty: none was), what was found, warnings."""

    job: SupervisorJob
    url: str
    admin_url: str
    key: str
    found: tuple[Found, ...]
    warnings: tuple[str, ...]


def prepare(loaded: Loaded) -> Prepared:
    """Make everything ready. Raises OperatorError; nothing is left running then."""
    settings = loaded.settings
    data_dir = loaded.data_dir
    server = settings.server
    make_data_dir(data_dir)
    lock_fd = lock(data_dir, server.drain_seconds + 5.0, _tell)
    tls = _tls(loaded, server)
    counters = shared_counters(loaded, data_dir)
    answers = answers_job(loaded, data_dir)
    sockets = _bind(server.host, server.port, server.workers)
    admin = _bind(settings.admin.host, settings.admin.port, 1)
    port, admin_port = sockets[0].getsockname()[1], admin[0].getsockname()[1]
    replica = replica_name(data_dir / JOURNAL_DIR, os.environ.get("OSTIARY_REPLICA", "r0"), UuidIds())
    with opened(loaded) as offline:
        offline.claim(replica)
        lost = offline.lost((*origins(offline.journal_root), *(f"{replica}.{slot}" for slot in range(server.workers))))
        if lost:
            raise OperatorError(Code.CONFIG_INVALID, lost)
        # From the first moment, so that nobody declares lost what is just starting; the ops process goes on saying so.
        offline.origin_store.seen([f"{replica}.{slot}" for slot in range(server.workers)], offline.clock.now_ns())
        publication = Publication(offline, frozenset({port, admin_port}))
        publication.take_file(loaded)
        key = "" if loaded.file is not None else _first_key(offline)
        if key:
            publication.refresh_rows()
        # Before any worker takes its slot: what a crash left open in slots that nobody takes this time is closed too.
        recovered = recover_idle(offline.journal_root, disk=OsDisk(), clock=offline.clock)
    metrics_dir = data_dir / "metrics"
    shutil.rmtree(metrics_dir, ignore_errors=True)  # counters belong to one run
    metrics_dir.mkdir(mode=0o700)
    data = tuple(
        DataJob(
            data_dir=str(data_dir),
            replica=replica,
            slot=slot,
            socket_fd=_inherited(one),
            durability=settings.journal.durability,
            drain_seconds=server.drain_seconds,
            drain_notice_seconds=server.drain_notice_seconds if not is_local(server.host) else 0.0,
            log_level=settings.log.level,
            workers=server.workers,
            tls=tls,
            counters=counters,
            answers=answers,
        )
        for slot, one in enumerate(sockets)
    )
    in_use = handed_on(loaded, data_dir / SECRETS_DIR)
    remember_storage(data_dir / SECRETS_DIR, in_use)
    ops = OpsJob(
        data_dir=str(data_dir),
        config_file="" if loaded.file is None else str(loaded.file.resolve()),
        storage=in_use,
        socket_fd=_inherited(admin[0]),
        log_level=settings.log.level,
        replica=replica,
        drain_seconds=settings.journal.drain_seconds,
    )
    url = f"{'https' if tls else 'http'}://{_shown(server.host)}:{port}"
    admin_url = f"http://{_shown(settings.admin.host)}:{admin_port}"
    os.set_inheritable(lock_fd, True)
    job = SupervisorJob(
        data=data,
        ops=ops,
        lock_fd=lock_fd,
        metrics_dir=str(metrics_dir),
        announcement=f"ready: gateway {url}   health and metrics {admin_url}",
        log_level=settings.log.level,
        stop_seconds=server.drain_seconds + 5.0,
        ship_seconds=settings.journal.drain_seconds + STORE_TRANSACTION_SECONDS_MAX,
    )
    notes: tuple[str, ...] = tuple(
        f"journal {one.origin}: recovered after a crash; {one.aborted} calls closed as aborted, {one.bytes_cut} bytes cut"
        for one in recovered
    )
    if os.geteuid() == 0:
        notes += ("running as root: nothing here needs it; a user of its own limits what a fault can reach",)
    return Prepared(job, url, admin_url, key, publication.found, (*publication.warnings, *notes))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person who waits


def become_supervisor(job: SupervisorJob) -> NoReturn:
    """Replace this process, and with it all it has imported, by the supervisor. Descriptors to inherit stay open, and a
    signal that comes meanwhile waits until the supervisor minds it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # closed from the start: there is no stream then
            stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, MINDED)
    os.execv(sys.executable, [sys.executable, "-m", "ostiary.bootstrap.supervisor", encode(job)])  # noqa: S606 - our own module


def _first_key(offline: Offline) -> str:
    """The one key of an installation without a file, minted on its first start; empty later on."""
    if offline.key_store.list():
        return ""
    minted = offline.keys.create(offline.actor, DEFAULT_TENANT, DEFAULT_TEAM, "first")
    return minted.secret.reveal()


def _tls(loaded: Loaded, server: ServerSettings) -> TlsFiles | None:
    if server.tls is None:
        return None
    base = loaded.base
    files = TlsFiles(
        certificate_file=str((base / server.tls.certificate_file).resolve()),
        key_file=str((base / server.tls.key_file).resolve()),
        minimum_version=server.tls.minimum_version,
        client_ca_file=str((base / server.tls.client_ca_file).resolve()) if server.tls.client_ca_file else "",
    )
    try:
        Certificate(
            Path(files.certificate_file),
            Path(files.key_file),
            files.minimum_version,
            Path(files.client_ca_file) if files.client_ca_file else None,
        )
    except OperatorError as error:
        raise loaded.error(("server", "tls"), error.message) from error
    return files


def _bind(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one address, which no other program may share: the first one is bound alone."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound: list[socket.socket] = []
    try:
        alone = _socket(family)
        alone.bind((host, port))
        port = alone.getsockname()[1]
        if count == 1:
            return [alone]
        alone.close()
        for _ in range(count):
            one = _socket(family)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((host, port))
            bound.append(one)
    except OSError as error:
        for one in bound:
            one.close()
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port or stop what uses it",
        ) from error
    return bound


def _socket(family: socket.AddressFamily) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return one


def _inherited(one: socket.socket) -> int:
    one.set_inheritable(True)
    return one.detach()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
