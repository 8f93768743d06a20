"""Ports `UsageView` and `UsageReader` on SQLite."""

from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from ostiary.core.row import Row
from ostiary.core.usage import Usage
from ostiary.govern.usage.daily import daily
from ostiary.govern.usage.model import OF_SINGLE_CALLS, Batch, Consumed, Dimension, Place, UsageLine, UsageQuery
from ostiary.store.sqlite import alerts, offsets
from ostiary.store.sqlite.database import Database, Tx

_INSERT_CALL: Final = (
    "INSERT INTO calls (origin, sequence, at_ns, day, tenant_id, environment, team, key_id, asked, served, provider, "
    "operation, outcome, status, error, stream, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, estimated, cost_nano, currency, total_ms, first_content_ms, request_id, "
    "cache_write_1h_tokens, input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, images, "
    "audio_milliseconds, characters, search_units, whole, project, feature, end_user) VALUES ("
    "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ADD_DAILY: Final = (
    "INSERT INTO usage_daily (tenant_id, day, environment, team, key_id, asked, served, provider, currency, requests, "
    "succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, succeeded = succeeded + excluded.succeeded, "
    "failed = failed + excluded.failed, denied = denied + excluded.denied, "
    "cancelled = cancelled + excluded.cancelled, aborted = aborted + excluded.aborted, "
    "input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, "
    "cached_tokens = cached_tokens + excluded.cached_tokens, "
    "cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, "
    "reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, cost_nano = cost_nano + excluded.cost_nano"
)
_ADD_PROJECTS: Final = (
    "INSERT INTO usage_projects (tenant_id, day, environment, team, key_id, asked, served, provider, currency, project, "
    "requests, succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_nano) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, succeeded = succeeded + excluded.succeeded, "
    "failed = failed + excluded.failed, denied = denied + excluded.denied, "
    "cancelled = cancelled + excluded.cancelled, aborted = aborted + excluded.aborted, "
    "input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, "
    "cached_tokens = cached_tokens + excluded.cached_tokens, "
    "cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, "
    "reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, cost_nano = cost_nano + excluded.cost_nano"
)
_INSERT_OPEN: Final = (
    "INSERT INTO open_calls (origin, sequence, at_ns, tenant_id, team, key_id, asked, request_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELETE_OPEN: Final = "DELETE FROM open_calls WHERE origin = ? AND sequence = ?"
_ADD_REFUSAL: Final = (
    "INSERT INTO refusals (minute, source, code, count) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET count = count + excluded.count"
)
_INSERT_GAP: Final = "INSERT INTO gaps (origin, sequence, from_ns, to_ns, calls, reason) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_RECOVERY: Final = "INSERT INTO recoveries (origin, sequence, at_ns, bytes_cut, aborted) VALUES (?, ?, ?, ?, ?)"
_GIVE_UP: Final = "DELETE FROM calls WHERE day < ?"
_INSERT_UNREADABLE: Final = "INSERT INTO unreadable (origin, sequence, kind) VALUES (?, ?, ?)"

_WHERE: Final = (
    " WHERE (?1 = '' OR day >= ?1) AND (?2 = '' OR day <= ?2) AND (?3 IS NULL OR tenant_id = ?3) "
    "AND (?4 IS NULL OR team = ?4)"
)
_SUMS: Final = (
    ", currency, sum(requests), sum(succeeded), sum(failed) + sum(aborted), sum(denied), sum(cancelled), "
    "sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(reasoning_tokens), "
    "sum(cost_nano)"
)
# What the sums of a report are made of: the sums of days; the same with projects told apart, where what no project
# accounts for is of none; or single calls, which alone know the rest.
_DAILY: Final = " FROM usage_daily"
_BY_PROJECT: Final = (
    " FROM (SELECT day, tenant_id, environment, team, key_id, asked, served, provider, currency, '' AS project, requests, "
    "succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_nano FROM usage_daily "
    "UNION ALL SELECT day, tenant_id, environment, team, key_id, asked, served, provider, currency, project, "
    "requests, succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_nano FROM usage_projects "
    "UNION ALL SELECT day, tenant_id, environment, team, key_id, asked, served, provider, currency, '', -requests, "
    "-succeeded, -failed, -denied, -cancelled, -aborted, -input_tokens, -output_tokens, -cached_tokens, "
    "-cache_write_tokens, -reasoning_tokens, -cost_nano FROM usage_projects) AS told"
)
_BY_CALL: Final = (
    " FROM (SELECT calls.*, 1 AS requests, CASE outcome WHEN 'succeeded' THEN 1 ELSE 0 END AS succeeded, "
    "CASE outcome WHEN 'failed' THEN 1 ELSE 0 END AS failed, CASE outcome WHEN 'denied' THEN 1 ELSE 0 END AS denied, "
    "CASE outcome WHEN 'cancelled' THEN 1 ELSE 0 END AS cancelled, "
    "CASE outcome WHEN 'aborted' THEN 1 ELSE 0 END AS aborted FROM calls) AS told"
)
_THERE: Final = ", currency HAVING sum(requests) > 0"
_TIMES: Final = ", total_ms FROM calls"
_KINDS: Final = (
    "input_tokens, output_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, "
    "input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, images, audio_milliseconds, "
    "characters, search_units"
)
_SAME: Final = "day, operation, provider, served, currency, estimated, whole, " + _KINDS
_COUNTED: Final = ", count(*), sum(cost_nano) FROM calls"
_CHARGED: Final = " AND currency <> ''"
_SUCCEEDED: Final = " AND outcome = 'succeeded'"

_COLUMN: Final[dict[Dimension, LiteralString]] = {
    Dimension.DAY: "day",
    Dimension.ENVIRONMENT: "environment",
    Dimension.TENANT: "tenant_id",
    Dimension.TEAM: "team",
    Dimension.KEY: "key_id",
    Dimension.MODEL: "asked",
    Dimension.SERVED: "served",
    Dimension.PROVIDER: "provider",
    Dimension.PROJECT: "project",
    Dimension.FEATURE: "feature",
    Dimension.END_USER: "end_user",
}


class SqliteUsage:
    """See the ports for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def place(self, consumer: str, origin: str) -> Place:
        with self._database.read() as tx:
            return offsets.place(tx, consumer, origin)

    def apply(self, consumer: str, origin: str, before: Place, after: Place, batch: Batch) -> bool:
        calls = [msgspec.structs.astuple(call) for call in batch.calls]
        days, projects = daily(calls)
        with self._database.write() as tx:
            if offsets.place(tx, consumer, origin) != before:
                return False
            tx.run_many(_INSERT_CALL, calls)
            tx.run_many(_ADD_DAILY, days)
            tx.run_many(_ADD_PROJECTS, projects)
            _add(tx, origin, batch)
            offsets.advance(tx, consumer, origin, after)
            return True

    def keep(self, today: str, since: str) -> None:
        del today  # one table holds every day
        if since:
            with self._database.write() as tx:
                tx.run(_GIVE_UP, (since,))

    def report(self, query: UsageQuery) -> list[UsageLine]:
        columns: LiteralString = ", ".join([_COLUMN[dimension] for dimension in query.by])
        bounds = (query.since, query.until, query.tenant, query.team)
        with self._database.read() as tx:
            sums = tx.rows(
                "SELECT " + columns + _SUMS + _source(query.by) + _WHERE + " GROUP BY " + columns + _THERE, bounds
            )
            times = tx.rows("SELECT " + columns + _TIMES + _WHERE + _SUCCEEDED + " ORDER BY total_ms", bounds)
        return _lines(len(query.by), sums, times)

    def consumed(self, query: UsageQuery) -> list[Consumed]:
        columns: LiteralString = ", ".join([*(_COLUMN[dimension] for dimension in query.by), _SAME])
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT " + columns + _COUNTED + _WHERE + _CHARGED + " GROUP BY " + columns + " ORDER BY " + columns,
                (query.since, query.until, query.tenant, query.team),
            )
        return [_consumed(len(query.by), row) for row in rows]


def _source(by: Sequence[Dimension]) -> LiteralString:
    if OF_SINGLE_CALLS.intersection(by):
        return _BY_CALL
    return _BY_PROJECT if Dimension.PROJECT in by else _DAILY


def _add(tx: Tx, origin: str, batch: Batch) -> None:
    """What a batch holds beside its calls."""
    tx.run_many(
        _INSERT_OPEN,
        [
            (origin, sequence, call.at_ns, call.tenant, call.team, call.key_id, call.asked, call.request_id)
            for sequence, call in batch.opened.items()
        ],
    )
    tx.run_many(_DELETE_OPEN, [(origin, sequence) for sequence in batch.closed])
    tx.run_many(_ADD_REFUSAL, [(item.minute, item.source, item.code, item.count) for item in batch.refusals])
    tx.run_many(
        _INSERT_GAP,
        [(origin, sequence, gap.from_ns, gap.to_ns, gap.calls, gap.reason) for sequence, gap in batch.gaps],
    )
    tx.run_many(
        _INSERT_RECOVERY,
        [(origin, sequence, item.at_ns, item.bytes_cut, item.aborted) for sequence, item in batch.recoveries],
    )
    tx.run_many(_INSERT_UNREADABLE, [(origin, sequence, kind) for sequence, kind in batch.unreadable])
    alerts.add(tx, batch.alerts)


def _lines(width: int, sums: Sequence[Row], times: Sequence[Row]) -> list[UsageLine]:
    totals: dict[Row, list[int]] = {}
    costs: dict[Row, dict[str, int]] = {}
    for row in sums:
        group, currency, values = row[:width], str(row[width]), [int(value or 0) for value in row[width + 1 :]]
        known = totals.setdefault(group, [0] * (len(values) - 1))
        for index, value in enumerate(values[:-1]):
            known[index] += value
        money = costs.setdefault(group, {})
        if currency:
            money[currency] = money.get(currency, 0) + values[-1]
    latencies: dict[Row, list[float]] = {}
    for row in times:
        latencies.setdefault(row[:width], []).append(float(row[width] or 0))
    return [_line(group, totals[group], costs[group], latencies.get(group, [])) for group in sorted(totals, key=_text)]


def _consumed(width: int, row: Row) -> Consumed:
    day, operation, provider, served, currency, estimated, whole = row[width : width + 7]
    *kinds, calls, nano = (int(value or 0) for value in row[width + 7 :])
    return Consumed(
        group=_text(row[:width]),
        day=str(day),
        operation=str(operation),
        provider=str(provider),
        served=str(served),
        usage=Usage(**dict(zip(_KINDS.split(", "), kinds, strict=True))),
        calls=calls,
        cost_nano=nano,
        currency=str(currency),
        estimated=bool(estimated),
        whole=bool(whole),
    )


def _line(group: Row, totals: Sequence[int], cost_nano: dict[str, int], latencies: Sequence[float]) -> UsageLine:
    requests, succeeded, errors, denied, cancelled, given, produced, cached, written, reasoning = totals
    return UsageLine(
        group=_text(group),
        requests=requests,
        succeeded=succeeded,
        errors=errors,
        denied=denied,
        cancelled=cancelled,
        input_tokens=given,
        output_tokens=produced,
        cached_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        cost_nano=cost_nano,
        p50_ms=_percentile(latencies, 50),
        p95_ms=_percentile(latencies, 95),
    )


def _text(group: Row) -> tuple[str, ...]:
    return tuple(str(word) for word in group)


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """By nearest rank: the smallest value that `percent` of all do not exceed."""
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]
