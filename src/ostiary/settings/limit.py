"""What a scope may take and spend."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.core.limit import CONCURRENT_REQUESTS_MAX, RATE_PER_MINUTE_MAX
from ostiary.settings.section import Amount, Day, Section


class LimitSettings(Section, frozen=True, kw_only=True):
    """What one scope may take, and how many may come at once."""

    requests_per_minute: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    request_burst: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    token_burst: Annotated[int, Meta(ge=1, le=RATE_PER_MINUTE_MAX)] | None = None
    concurrent_requests: Annotated[int, Meta(ge=1, le=CONCURRENT_REQUESTS_MAX)] | None = None


class IncreaseSettings(Section, frozen=True, kw_only=True):
    """More of a budget for a time: from the day `since` (now, where there is none) to the end of the day `until`."""

    until: Day
    since: Day | None = None
    amount: Amount | None = None
    tokens: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    reason: Annotated[str, Meta(max_length=200)] = ""


class BudgetSettings(Section, frozen=True, kw_only=True):
    """What one scope may spend in a period."""

    amount: Amount | None = None
    tokens: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    currency: Literal["USD"] = "USD"
    period: Literal["hour", "day", "week", "month", "year", "total"] = "month"
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    alerts: Annotated[list[Annotated[float, Meta(gt=0, le=10)]], Meta(max_length=10)] = []
    hard: bool = True
    increases: Annotated[list[IncreaseSettings], Meta(max_length=20)] = []


class EachUserSettings(Section, frozen=True, kw_only=True):
    """What each end user of a team may take and spend, as the team's calls name them."""

    limits: LimitSettings | None = None
    budget: BudgetSettings | None = None
