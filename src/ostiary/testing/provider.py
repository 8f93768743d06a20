"""Simulated providers for tests, on a socket and in memory."""

from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.fake import FakeReply, FakeUpstream
from ostiary.simulator.hostile import HostilePeer
from ostiary.simulator.server import Recorded, SimulatedProvider

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
