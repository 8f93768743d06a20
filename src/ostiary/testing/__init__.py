from ostiary.testing.provider import (
    Behaviour as Behaviour,
    FakeReply as FakeReply,
    FakeUpstream as FakeUpstream,
    Fault as Fault,
    HostilePeer as HostilePeer,
    Received as Received,
    Recorded as Recorded,
    SimulatedProvider as SimulatedProvider,
)
