"""A stream on its way from a provider to a client: bytes in, bytes out, and what was learnt of it. No I/O.

Frames pass the guards' queue in order. Within one dialect a frame leaves as it came; otherwise it is encoded from its
canonical events.
"""

from typing import Final

import msgspec

from ostiary.core.digest import RunningDigest
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Frame, StreamDecoder, StreamEncoder
from ostiary.gateway.guard.holdback import Holdback

KEEPALIVE: Final = b": keep-alive\n\n"
"""What keeps a silent stream open: a comment, which every reader of events skips."""


class Piece(msgspec.Struct, frozen=True):
    """What may be sent after some bytes came in. `content` says that something produced is among them, `ended` that
    the stream is complete."""

    data: bytes
    content: bool
    ended: bool


class Relay:
    """One stream. `usage`, `produced_bytes`, `response_model` and `finish_reason` are what is known so far."""

    def __init__(
        self,
        decoder: StreamDecoder,
        encoder: StreamEncoder | None,
        screened: Holdback[Frame],
        *,
        include_usage: bool,
        digest: RunningDigest,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._screened = screened
        self._show_usage_only = include_usage or encoder is not None
        self._digest = digest
        self.usage: Usage | None = None
        self.produced_bytes = 0
        self.response_model = ""
        self.finish_reason = ""

    def feed(self, data: bytes) -> Piece:
        """What `data` (b"" at its end) lets out. Raises UpstreamError as the decoder does."""
        frames = self._decoder.feed(data) if data else self._decoder.close()
        frames = self._screened.push(frames)
        if not data:
            frames = [*frames, *self._screened.flush()]
        content = ended = False
        encoder = self._encoder
        out: list[bytes] = []
        for frame in frames:
            if frame.content:
                content = True
                self.produced_bytes += frame.produced_bytes
            if frame.usage is not None:
                self.usage = frame.usage
            if frame.response_model:
                self.response_model = frame.response_model
            if frame.finish_reason:
                self.finish_reason = frame.finish_reason
            if frame.terminal:
                ended = True
            if encoder is not None:
                out += [encoder.encode(event) for event in frame.events]
            elif self._show_usage_only or not frame.usage_only:
                out.append(frame.raw)
        joined = out[0] if len(out) == 1 else b"".join(out)
        self._digest.update(joined)
        return Piece(joined, content, ended or not data)

    def digest(self) -> str:
        """The keyed digest of all that was let out, in hex."""
        return self._digest.hexdigest()
