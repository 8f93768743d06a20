"""Least busy: the target with the fewest calls under way for its share."""

from ostiary.gateway.route.plan import Scene
from ostiary.snapshot.index import Target


def least_busy(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets by calls under way over weight; among equals chance decides. Those of weight 0 come last."""

    def load(target: Target) -> tuple[float, float]:
        busy = scene.health.of(target.name, scene.now).in_flight
        return ((busy + 1) / target.weight if target.weight > 0 else float("inf"), scene.draw.random())

    return tuple(sorted(targets, key=load))
