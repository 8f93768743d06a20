"""Guards look at what is said. None is configured yet: a request passes unread and unchanged.

A guard will get the places where text stands (`Dialect.request_texts`), give findings, and may raise the
sensitivity label, after which policy decides again.
"""

from ostiary.core.label import Sensitivity
from ostiary.gateway.guard.holdback import F, Holdback


def screen_request(label: Sensitivity) -> Sensitivity:
    """The label a request has after all guards: never lower than before."""
    return label


def screen_stream() -> Holdback[F]:
    """The queue a stream's frames pass through."""
    return Holdback(window_bytes=0)
