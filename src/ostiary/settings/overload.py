"""When calls wait, and when they are shed."""

from typing import Annotated

from msgspec import Meta

from ostiary.core.limit import CALLS_REQUESTS_MAX, LAG_SECONDS, WAIT_SECONDS, WAITING_REQUESTS_MAX
from ostiary.settings.section import Seconds, Section


class OverloadSettings(Section, frozen=True, kw_only=True):
    """When a worker sheds calls."""

    concurrent_requests: Annotated[int, Meta(ge=1, le=CALLS_REQUESTS_MAX)] = CALLS_REQUESTS_MAX
    waiting_requests: Annotated[int, Meta(ge=0, le=WAITING_REQUESTS_MAX)] = WAITING_REQUESTS_MAX
    wait_seconds: Seconds = WAIT_SECONDS
    lag_seconds: Annotated[float, Meta(ge=0.02, le=60)] = LAG_SECONDS


class CapacitySettings(Section, frozen=True, kw_only=True):
    """How many calls a server takes at once, and how many may wait for it."""

    concurrent_requests: Annotated[int, Meta(ge=1, le=CALLS_REQUESTS_MAX)]
    waiting_requests: Annotated[int, Meta(ge=0, le=WAITING_REQUESTS_MAX)] = 100
    wait_seconds: Seconds = WAIT_SECONDS
