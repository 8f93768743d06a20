"""Least latency: the target whose time to the first byte is shortest, by its decaying 90th percentile."""

from typing import Final

from ostiary.gateway.route.plan import Scene
from ostiary.snapshot.index import Target

_EXPLORED_SHARE: Final = 0.02
"""How many calls go to another target first, so that one that was slow once is not forgotten for ever."""


def least_latency(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets by their latency; one that has not been called yet comes first."""
    order = sorted(targets, key=lambda target: scene.health.of(target.name, scene.now).latency_seconds)
    if scene.draw.random() < _EXPLORED_SHARE:
        chosen = order.pop(int(scene.draw.random() * len(order)))
        order.insert(0, chosen)
    return tuple(order)
