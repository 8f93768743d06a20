"""WebSocket (RFC 6455) for both ends of the gateway: frames and handshake, pure; one open connection, on asyncio.

Text messages alone are spoken, and no extension is offered or taken: compression would let a few bytes grow to any size.
"""
