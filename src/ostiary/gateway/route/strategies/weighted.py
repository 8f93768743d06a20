"""Weighted choice: each target comes first with the probability of its share; the rest follow the same way."""

from operator import attrgetter
from typing import Final

from ostiary.gateway.route.plan import Scene
from ostiary.snapshot.index import Target

_weight: Final = attrgetter("weight")


def weighted(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets in an order drawn without replacement by weight. Those of weight 0 come last, in file order."""
    left = [target for target in targets if target.weight > 0]
    order: list[Target] = []
    while len(left) > 1:
        mark = scene.draw.random() * sum(map(_weight, left))
        chosen = left[-1]
        for target in left:
            mark -= target.weight
            if mark < 0:
                chosen = target
                break
        left.remove(chosen)
        order.append(chosen)
    if len(order) + len(left) == len(targets):
        return (*order, *left)
    return (*order, *left, *(target for target in targets if target.weight <= 0))
