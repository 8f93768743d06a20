"""Simulated providers: the real bytes of each dialect from nothing but a seed and the request.

For `ostiary demo` and `ostiary simulate`, and for tests (re-exported by `ostiary.testing`). Everything a simulated
provider says names itself simulated, in its text, its fingerprint and its headers. It shares no code with the
gateway's dialects: what two independent readings of a vendor's format agree on is likely right.

behaviour (what to do) → openai | anthropic (pure: request → plan of bytes) → server (sockets) | fake (a port).
`hostile` plays a peer byte by byte.
"""
