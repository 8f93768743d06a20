"""What one process tells another that it starts: one value, handed over as an argument."""

import msgspec


class TlsFiles(msgspec.Struct, frozen=True):
    """The server's certificate files and rules."""

    certificate_file: str
    key_file: str
    minimum_version: str
    client_ca_file: str


class DataJob(msgspec.Struct, frozen=True, kw_only=True, tag="data"):
    """A data worker: its slot, the socket it inherits, where its files are. It stops when `lifeline_fd` ends."""

    data_dir: str
    replica: str
    slot: int
    socket_fd: int
    durability: str
    drain_seconds: float
    drain_notice_seconds: float
    log_level: str
    tls: TlsFiles | None = None
    ready_fd: int = -1
    lifeline_fd: int = -1


class OpsJob(msgspec.Struct, frozen=True, kw_only=True, tag="ops"):
    """The ops process. `config_file` is empty where there is none."""

    data_dir: str
    config_file: str
    socket_fd: int
    log_level: str
    replica: str
    ready_fd: int = -1
    lifeline_fd: int = -1


class SupervisorJob(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor: whom to start and keep running, and what to print once all are ready. `lock_fd` holds the
    data folder's lock; `metrics_dir` is where workers share their metrics."""

    data: tuple[DataJob, ...]
    ops: OpsJob | None
    lock_fd: int
    metrics_dir: str
    announcement: str
    log_level: str
    stop_seconds: float


def encode(job: DataJob | OpsJob | SupervisorJob) -> str:
    """The argument."""
    return msgspec.json.encode(job).decode("utf-8")
