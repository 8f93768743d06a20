"""Split: an experiment or a canary. Each subject is at one target for as long as the shares stay what they are."""

from ostiary.gateway.route.plan import Scene
from ostiary.gateway.route.rendezvous import by_subject
from ostiary.snapshot.index import Target


def split(targets: tuple[Target, ...], scene: Scene) -> tuple[Target, ...]:
    """The targets by the subject and the model: each gets subjects by its weight. The model counts, so that who is in
    the small share of one experiment is not for that reason in the small share of the next."""
    return by_subject(targets, f"{targets[0].model.name}\0{scene.subject}") if targets else targets
