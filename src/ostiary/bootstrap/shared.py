"""The shared counters of one data worker: their adapter, and under which names it states what."""

import importlib
from collections.abc import Callable
from pathlib import Path

from ostiary.bootstrap.job import CountersJob, DataJob
from ostiary.bootstrap.ledger import spent_by
from ostiary.core.error import Code, OperatorError
from ostiary.core.event import BudgetAlert
from ostiary.core.limit import EXCHANGE_SECONDS_MAX
from ostiary.core.port import Clock, Random
from ostiary.gateway.counting.shared import SharedCounters
from ostiary.gateway.ports import Counters, Observer
from ostiary.snapshot.index import Index
from ostiary.store.journal.layout import origins


def shared_counters(
    job: DataJob,
    origin: str,
    index: Index,
    *,
    clock: Clock,
    random: Random,
    observer: Observer,
    alerted: Callable[[BudgetAlert], None],
) -> SharedCounters | None:
    """The counters that workers share, where the operator has some. Nothing is sent yet. Raises OperatorError
    config.invalid, journal.corrupt."""
    counters, data_dir = job.counters, Path(job.data_dir)
    if counters is None:
        return None
    worker = worker_name(counters, origin)
    return SharedCounters(
        _connect(counters, worker),
        worker,
        clock=clock,
        random=random,
        observer=observer,
        alerted=alerted,
        workers=counters.workers,
        gone=tuple(
            (worker_name(counters, one), spent_by(data_dir, one, index))
            for one in _gone(job, counters, data_dir, origin)
        ),
    )


def worker_name(job: CountersJob, origin: str) -> str:
    """Under which name the spend of a journal's origin stands: the origin's, and whose journal it is, so that replicas
    which were given one name are not taken for one another."""
    return f"{job.identity}.{origin}"


def _gone(job: DataJob, counters: CountersJob, data_dir: Path, own: str) -> tuple[str, ...]:
    """The origins in this data folder for which no worker of this start speaks: the first worker does."""
    if job.slot != 0:
        return ()
    live = {f"{job.replica}.{slot + aside}" for slot in range(counters.workers) for aside in (0, 1_000)}
    return tuple(one for one in origins(data_dir / "journal") if one not in live and one != own)


def _connect(job: CountersJob, worker: str) -> Counters:
    try:
        module = importlib.import_module("ostiary.store.redis.counters")
        url = Path(job.url_file).read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise OperatorError(Code.CONFIG_INVALID, f"the shared counters cannot be used: {error}") from error
    found: Counters = module.RedisCounters(url, worker, prefix=job.prefix, seconds_max=EXCHANGE_SECONDS_MAX)
    return found
