"""What both ends of the wire do with asyncio's transports."""
