"""Sticky: one caller stays at one target while it can, so that the provider's prompt cache is warm."""

from ostiary.gateway.route.plan import Scene
from ostiary.gateway.route.rendezvous import by_subject
from ostiary.snapshot.index import Target


def sticky(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets by the subject: each gets subjects by its weight."""
    return by_subject(targets, scene.subject)
