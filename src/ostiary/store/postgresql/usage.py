"""Ports `UsageView`, `UsageUpkeep` and `UsageReader` on PostgreSQL."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from ostiary.core.error import OperatorError
from ostiary.core.limit import MODEL_NAME_BYTES_MAX, USAGE_PARTITIONS_AHEAD_COUNT
from ostiary.core.row import Row, Value
from ostiary.core.usage import Usage
from ostiary.govern.usage.daily import daily
from ostiary.govern.usage.model import (
    OF_SINGLE_CALLS,
    Batch,
    CallRow,
    Consumed,
    Dimension,
    Place,
    UsageLine,
    UsageQuery,
)
from ostiary.store.postgresql import alerts, offsets
from ostiary.store.postgresql.database import Database, Tx, legible
from ostiary.store.postgresql.partitions import Partitions

_COPY_CALLS: Final = (
    "COPY calls (origin, sequence, at_ns, day, tenant_id, environment, team, key_id, asked, served, provider, "
    "operation, outcome, status, error, stream, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, estimated, cost_nano, currency, total_ms, first_content_ms, request_id, "
    "cache_write_1h_tokens, input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, images, "
    "audio_milliseconds, characters, search_units, whole, project, feature, end_user) FROM STDIN"
)
_ADD_DAILY: Final = (
    "INSERT INTO usage_daily AS d (tenant_id, day, environment, team, key_id, asked, served, provider, currency, "
    "requests, succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, "
    "cache_write_tokens, reasoning_tokens, cost_nano) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (day, tenant_id, environment, team, key_id, asked, served, provider, currency) DO UPDATE SET "
    "requests = d.requests + excluded.requests, succeeded = d.succeeded + excluded.succeeded, "
    "failed = d.failed + excluded.failed, denied = d.denied + excluded.denied, "
    "cancelled = d.cancelled + excluded.cancelled, aborted = d.aborted + excluded.aborted, "
    "input_tokens = d.input_tokens + excluded.input_tokens, output_tokens = d.output_tokens + excluded.output_tokens, "
    "cached_tokens = d.cached_tokens + excluded.cached_tokens, "
    "cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens, "
    "reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens, cost_nano = d.cost_nano + excluded.cost_nano"
)
_ADD_PROJECTS: Final = (
    "INSERT INTO usage_projects AS d (tenant_id, day, environment, team, key_id, asked, served, provider, currency, "
    "project, requests, succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, "
    "cache_write_tokens, reasoning_tokens, cost_nano) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (day, tenant_id, environment, team, key_id, asked, served, provider, currency, project) DO UPDATE SET "
    "requests = d.requests + excluded.requests, succeeded = d.succeeded + excluded.succeeded, "
    "failed = d.failed + excluded.failed, denied = d.denied + excluded.denied, "
    "cancelled = d.cancelled + excluded.cancelled, aborted = d.aborted + excluded.aborted, "
    "input_tokens = d.input_tokens + excluded.input_tokens, output_tokens = d.output_tokens + excluded.output_tokens, "
    "cached_tokens = d.cached_tokens + excluded.cached_tokens, "
    "cache_write_tokens = d.cache_write_tokens + excluded.cache_write_tokens, "
    "reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens, cost_nano = d.cost_nano + excluded.cost_nano"
)
_INSERT_OPEN: Final = (
    "INSERT INTO open_calls (origin, sequence, at_ns, tenant_id, team, key_id, asked, request_id) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_DELETE_OPEN: Final = "DELETE FROM open_calls WHERE origin = %s AND sequence = %s"
_ADD_REFUSAL: Final = (
    "INSERT INTO refusals AS r (minute, source, code, count) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (minute, source, code) DO UPDATE SET count = r.count + excluded.count"
)
_INSERT_GAP: Final = (
    "INSERT INTO gaps (origin, sequence, from_ns, to_ns, calls, reason) VALUES (%s, %s, %s, %s, %s, %s)"
)
_INSERT_RECOVERY: Final = (
    "INSERT INTO recoveries (origin, sequence, at_ns, bytes_cut, aborted) VALUES (%s, %s, %s, %s, %s)"
)
_INSERT_UNREADABLE: Final = "INSERT INTO unreadable (origin, sequence, kind) VALUES (%s, %s, %s)"

_UTF8_BYTES_MAX: Final = 4

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
# By nearest rank. The second fraction is 0.95 less than nothing that counts: 0.95 is not exact in binary, and times a
# number of calls it may come out just above the rank that is meant.
_TIMES: Final = (
    ", percentile_disc(0.5) WITHIN GROUP (ORDER BY total_ms), "
    "percentile_disc(0.949999999999) WITHIN GROUP (ORDER BY total_ms) FROM calls"
)
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


class PostgresqlUsage:
    """See the ports for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._partitions = Partitions(database)

    def place(self, consumer: str, origin: str) -> Place:
        with self._database.read() as tx:
            return offsets.place(tx, consumer, origin)

    def apply(self, consumer: str, origin: str, before: Place, after: Place, batch: Batch) -> bool:
        try:
            self._partitions.make({call.day for call in batch.calls})
            with self._database.write() as tx:
                # First: it is what others who project the same origin wait for.
                if not offsets.advance(tx, consumer, origin, before, after):
                    return False
                _add(tx, origin, batch)
                return True
        except OperatorError:
            self._partitions.forget()  # another process may have dropped one
            raise

    def keep(self, today: str, since: str) -> None:
        first = dt.date.fromisoformat(today)
        ahead = [first + dt.timedelta(days=days) for days in range(USAGE_PARTITIONS_AHEAD_COUNT + 1)]
        self._partitions.make(day.isoformat() for day in ahead)
        if since:
            self._partitions.drop_before(since)

    def report(self, query: UsageQuery) -> list[UsageLine]:
        columns: LiteralString = ", ".join([_COLUMN[dimension] for dimension in query.by])
        where, values = _where(query)
        with self._database.read() as tx:
            sums = tx.rows(
                "SELECT " + columns + _SUMS + _source(query.by) + where + " GROUP BY " + columns + _THERE, values
            )
            times = tx.rows("SELECT " + columns + _TIMES + where + _SUCCEEDED + " GROUP BY " + columns, values)
        return _lines(len(query.by), sums, times)

    def consumed(self, query: UsageQuery) -> list[Consumed]:
        columns: LiteralString = ", ".join([*(_COLUMN[dimension] for dimension in query.by), _SAME])
        where, values = _where(query)
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT " + columns + _COUNTED + where + _CHARGED + " GROUP BY " + columns + " ORDER BY " + columns,
                values,
            )
        return [_consumed(len(query.by), row) for row in rows]


def _source(by: Sequence[Dimension]) -> LiteralString:
    if OF_SINGLE_CALLS.intersection(by):
        return _BY_CALL
    return _BY_PROJECT if Dimension.PROJECT in by else _DAILY


def _where(query: UsageQuery) -> tuple[LiteralString, tuple[Value, ...]]:
    """Only the bounds there are: what is compared with a day lets the database pass over the other days' partitions."""
    text: LiteralString = " WHERE true"
    values: list[Value] = []
    if query.since:
        text += " AND day >= %s"
        values.append(query.since)
    if query.until:
        text += " AND day <= %s"
        values.append(query.until)
    if query.tenant is not None:
        text += " AND tenant_id = %s"
        values.append(query.tenant)
    if query.team is not None:
        text += " AND team = %s"
        values.append(query.team)
    return text, tuple(values)


def _add(tx: Tx, origin: str, batch: Batch) -> None:
    calls = [msgspec.structs.astuple(_legible(call)) for call in batch.calls]
    days, projects = daily(calls)
    tx.copy(_COPY_CALLS, calls)
    tx.run_many(_ADD_DAILY, days)
    tx.run_many(_ADD_PROJECTS, projects)
    tx.run_many(
        _INSERT_OPEN,
        [
            (
                origin,
                sequence,
                call.at_ns,
                call.tenant,
                call.team,
                call.key_id,
                legible(call.asked),
                legible(call.request_id),
            )
            for sequence, call in batch.opened.items()
        ],
    )
    tx.run_many(_DELETE_OPEN, [(origin, sequence) for sequence in batch.closed])
    # In order, as the daily rows: two who add to the same rows never wait for each other.
    tx.run_many(
        _ADD_REFUSAL, sorted((item.minute, legible(item.source), item.code, item.count) for item in batch.refusals)
    )
    tx.run_many(
        _INSERT_GAP,
        [(origin, sequence, gap.from_ns, gap.to_ns, gap.calls, legible(gap.reason)) for sequence, gap in batch.gaps],
    )
    tx.run_many(
        _INSERT_RECOVERY,
        [(origin, sequence, item.at_ns, item.bytes_cut, item.aborted) for sequence, item in batch.recoveries],
    )
    tx.run_many(_INSERT_UNREADABLE, [(origin, sequence, kind) for sequence, kind in batch.unreadable])
    alerts.add(tx, batch.alerts)


def _legible(call: CallRow) -> CallRow:
    """The call with every text as PostgreSQL can hold it, and names of models as its indexes can: a caller may name a
    model as it likes. What is cut here stands whole in the journal."""
    asked, served = _model(call.asked), _model(call.served)
    if (
        asked is call.asked
        and served is call.served
        and "\0" not in call.error + call.request_id + call.operation + call.feature
    ):
        return call
    return msgspec.structs.replace(
        call,
        asked=asked,
        served=served,
        error=legible(call.error),
        request_id=legible(call.request_id),
        operation=legible(call.operation),
        feature=legible(call.feature),
    )


def _model(text: str) -> str:
    """The very same text where it may stand as it is."""
    if "\0" in text:
        text = legible(text)
    if len(text) * _UTF8_BYTES_MAX <= MODEL_NAME_BYTES_MAX or len(text.encode()) <= MODEL_NAME_BYTES_MAX:
        return text
    return text.encode()[:MODEL_NAME_BYTES_MAX].decode("utf-8", "ignore")


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
    latencies = {row[:width]: (row[width], row[width + 1]) for row in times}
    return [
        _line(group, totals[group], costs[group], latencies.get(group, (None, None)))
        for group in sorted(totals, key=_text)
    ]


def _line(group: Row, totals: Sequence[int], cost_nano: dict[str, int], latencies: tuple[Value, Value]) -> UsageLine:
    requests, succeeded, errors, denied, cancelled, given, produced, cached, written, reasoning = totals
    p50_ms, p95_ms = latencies
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
        p50_ms=None if p50_ms is None else float(p50_ms),
        p95_ms=None if p95_ms is None else float(p95_ms),
    )


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


def _text(group: Row) -> tuple[str, ...]:
    return tuple(str(word) for word in group)
