"""Bounds on calls in flight of the operator's file as rows of a snapshot: what stands there is for all workers of a
replica together, and each enforces its part."""

from ostiary.settings import CapacitySettings, Settings
from ostiary.snapshot.tables import GateRow, OverloadRow


def overload_row(settings: Settings) -> OverloadRow:
    """When a worker sheds calls."""
    overload = settings.overload
    return OverloadRow(
        GateRow(overload.concurrent_requests, overload.waiting_requests, overload.wait_seconds), overload.lag_seconds
    )


def gate_row(capacity: CapacitySettings | None, workers: int) -> GateRow | None:
    """One worker's part of what a server takes at once, at least one call."""
    if capacity is None:
        return None
    return GateRow(
        max(capacity.concurrent_requests // workers, 1),
        -(-capacity.waiting_requests // workers),
        capacity.wait_seconds,
    )
