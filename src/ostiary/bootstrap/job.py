"""What one process tells another that it starts: one value, handed over as an argument."""

import signal
from typing import Final

import msgspec

MINDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What a supervisor is told by. They are held back while one comes to itself."""


class TlsFiles(msgspec.Struct, frozen=True):
    """The server's certificate files and rules."""

    certificate_file: str
    key_file: str
    minimum_version: str
    client_ca_file: str


class CountersJob(msgspec.Struct, frozen=True):
    """Where shared counters are: the file with their URL, what their names begin with, whose journals the data folder
    holds, and how many workers there are here."""

    url_file: str
    prefix: str
    identity: str
    workers: int


class AnswersJob(msgspec.Struct, frozen=True):
    """Where workers share kept answers: the file with the URL, and what names there begin with."""

    url_file: str
    prefix: str


class DataJob(msgspec.Struct, frozen=True, kw_only=True, tag="data"):
    """A data worker: its slot among how many, the socket it inherits, where its files are. It stops when `lifeline_fd` ends."""

    data_dir: str
    replica: str
    slot: int
    socket_fd: int
    durability: str
    drain_seconds: float
    drain_notice_seconds: float
    log_level: str
    workers: int = 1
    tls: TlsFiles | None = None
    counters: CountersJob | None = None
    answers: AnswersJob | None = None
    ready_fd: int = -1
    lifeline_fd: int = -1


class OpsJob(msgspec.Struct, frozen=True, kw_only=True, tag="ops"):
    """The ops process. `config_file` is empty where there is none; `storage` is the `storage.url` to go on with where
    that file has become unreadable; `drain_seconds` how long the store is waited for at the end."""

    data_dir: str
    config_file: str
    storage: str
    socket_fd: int
    log_level: str
    replica: str
    drain_seconds: float
    ready_fd: int = -1
    lifeline_fd: int = -1


class SupervisorJob(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor: whom to start and keep running, and what to print once all are ready. `lock_fd` holds the
    data folder's lock; `metrics_dir` is where workers share their metrics. `stop_seconds` are given to the data workers at
    the end, then `ship_seconds` to the ops process. Where another program of ours starts it,
    it says on `ready_fd` when all are ready, and stops when `lifeline_fd` ends.

    A job is an argument, which every user of the machine can read: there is never a secret in it."""

    data: tuple[DataJob, ...]
    ops: OpsJob | None
    lock_fd: int
    metrics_dir: str
    announcement: str
    log_level: str
    stop_seconds: float
    ship_seconds: float
    ready_fd: int = -1
    lifeline_fd: int = -1


def encode(job: DataJob | OpsJob | SupervisorJob) -> str:
    """The argument."""
    return msgspec.json.encode(job).decode("utf-8")
