"""Cheapest: the target that would cost least for what this call may consume at most."""

from ostiary.gateway.route.plan import Scene
from ostiary.snapshot.index import Target


def cheapest(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets by price. Those without a known price come last, in the order of the file."""

    def price(target: Target) -> int:
        row = target.price(scene.now_seconds)
        if row is None:
            return 2**63
        rates = row.rates
        return scene.bound.input_tokens * rates.input + scene.bound.output_tokens * rates.output

    return tuple(sorted(targets, key=price))
