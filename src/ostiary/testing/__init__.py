"""Fakes of every port, for the product's own tests and for those who build on it. Never imported by the product."""

from ostiary.testing.provider import (
    Behaviour,
    FakeReply,
    FakeUpstream,
    Fault,
    HostilePeer,
    Received,
    Recorded,
    SimulatedProvider,
)

__all__ = [
    "Behaviour",
    "FakeReply",
    "FakeUpstream",
    "Fault",
    "HostilePeer",
    "Received",
    "Recorded",
    "SimulatedProvider",
]
