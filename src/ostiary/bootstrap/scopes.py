"""Limits, budgets, fallbacks and kept answers of the operator's file as rows of a snapshot."""

import datetime as dt
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ostiary.bootstrap.near import near
from ostiary.core.error import Code
from ostiary.core.usage import NANO_PER_UNIT
from ostiary.settings import (
    AnswerCacheSettings,
    BudgetSettings,
    HedgeSettings,
    IncreaseSettings,
    LimitSettings,
    Loaded,
)
from ostiary.snapshot.tables import (
    BUILTIN,
    BudgetRow,
    CacheRow,
    CacheScope,
    HedgeRow,
    IncreaseRow,
    LimitRow,
    Period,
    SemanticRow,
)

_BURST_SHARE: Final = 6
"""A sixth of a minute's requests, ten seconds' worth, may come at once unless the file says otherwise."""

FALLBACK_ON: Final[dict[str, tuple[Code, ...]]] = {
    "error": (
        Code.UPSTREAM_UNREACHABLE,
        Code.UPSTREAM_TLS,
        Code.UPSTREAM_PROTOCOL,
        Code.UPSTREAM_CUT,
        Code.UPSTREAM_ERROR,
        Code.UPSTREAM_CREDENTIAL,
    ),
    "timeout": (Code.UPSTREAM_TIMEOUT,),
    "rate_limit": (Code.UPSTREAM_RATE_LIMITED,),
    "overload": (Code.UPSTREAM_OVERLOADED, Code.MODEL_BUSY),
    "unsupported": (Code.REQUEST_UNSUPPORTED,),
    "context_window": (Code.UPSTREAM_CONTEXT_WINDOW,),
    "content_filter": (Code.UPSTREAM_CONTENT_FILTER,),
    "budget": (Code.BUDGET_EXHAUSTED,),
    "schema": (Code.UPSTREAM_SCHEMA,),
    "guard": (Code.GUARD_ANSWER,),
    "quality": (Code.UPSTREAM_QUALITY,),
}
"""After which of our reason codes a fallback is tried, by the file's words."""


def cache_row(loaded: Loaded, model: str, cache: AnswerCacheSettings | None) -> CacheRow | None:
    """The row of how a model's answers are kept, if they are. Raises OperatorError config.invalid where they are compared
    by a model that is not there, or by itself."""
    if cache is None:
        return None
    semantic, models = cache.semantic, loaded.settings.models
    if semantic is not None and semantic.embedder != BUILTIN:
        path = ("models", model, "cache", "semantic", "embedder")
        if semantic.embedder == model:
            raise loaded.error(path, "a model that answers does not embed")
        if semantic.embedder not in models and f"{semantic.embedder.partition('/')[0]}/*" not in models:
            raise loaded.error(
                path,
                f"no model `{semantic.embedder}`{near(semantic.embedder, (BUILTIN, *models))}; `{BUILTIN}` needs none",
            )
    return CacheRow(
        cache.ttl_seconds,
        cache.stale_if_error_seconds,
        CacheScope(cache.scope),
        cache.single_flight,
        tuple(dict.fromkeys(cache.tags)),
        None if semantic is None else SemanticRow(semantic.mode == "serve", semantic.floor, semantic.embedder),
    )


def hedge_row(hedge: HedgeSettings | None) -> HedgeRow | None:
    """The row of when a slow call is put to a second target."""
    if hedge is None:
        return None
    nano = None if hedge.cost is None else int(Decimal(hedge.cost) * NANO_PER_UNIT)
    return HedgeRow(hedge.after_seconds, hedge.share, nano)


def limit_row(limits: LimitSettings) -> LimitRow:
    """The row of a limit, with what the file leaves to us."""
    requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
    return LimitRow(
        requests_per_minute=requests,
        request_burst=limits.request_burst or max((requests or 0) // _BURST_SHARE, 1),
        tokens_per_minute=tokens,
        token_burst=limits.token_burst or tokens or 1,
        concurrent_requests=limits.concurrent_requests,
    )


def budget_row(budget: BudgetSettings) -> BudgetRow:
    """The row of a budget. Raises ValueError, told in the file's terms."""
    if budget.amount is None and budget.tokens is None:
        raise ValueError("a budget needs an `amount`, `tokens`, or both")
    try:
        zone = ZoneInfo(budget.time_zone)
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise ValueError(
            f"no time zone `{budget.time_zone}`; names are those of the IANA database, such as Europe/Zurich"
        ) from error
    return BudgetRow(
        nano=None if budget.amount is None else int(Decimal(budget.amount) * NANO_PER_UNIT),
        tokens=budget.tokens,
        currency=budget.currency,
        period=Period(budget.period),
        time_zone=budget.time_zone,
        alerts=tuple(sorted(set(budget.alerts))),
        hard=budget.hard,
        increases=tuple(_increase_row(one, budget, zone) for one in budget.increases),
    )


def _increase_row(increase: IncreaseSettings, budget: BudgetSettings, zone: ZoneInfo) -> IncreaseRow:
    """The row of an increase: whole days of the budget's time zone. Raises ValueError, told in the file's terms."""
    if increase.amount is None and increase.tokens is None:
        raise ValueError("an increase needs an `amount`, `tokens`, or both")
    if (increase.amount is not None and budget.amount is None) or (
        increase.tokens is not None and budget.tokens is None
    ):
        raise ValueError("an increase can only raise what the budget bounds: its `amount`, its `tokens`")
    start = 0 if increase.since is None else _midnight(increase.since, zone)
    end = _midnight(increase.until, zone, days=1)
    if end <= start:
        raise ValueError(f"an increase until {increase.until} cannot begin on {increase.since}")
    return IncreaseRow(
        start=start,
        end=end,
        nano=0 if increase.amount is None else int(Decimal(increase.amount) * NANO_PER_UNIT),
        tokens=increase.tokens or 0,
    )


def _midnight(day: str, zone: ZoneInfo, days: int = 0) -> int:
    """The seconds since 1970 at which a local day, or the one `days` later, begins."""
    try:
        date = dt.date.fromisoformat(day) + dt.timedelta(days=days)
        return int(dt.datetime.combine(date, dt.time(), zone).timestamp())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no day {day}") from error
