"""One way to write a test for the blocking and the asynchronous form of an SDK."""


class Sdk:
    """A client of either form. Tests pass what to do with it as a function: the same words serve both forms."""

    def __init__(self, client, *, blocking):
        self.client = client
        self.blocking = blocking

    async def call(self, ask):
        """The result of one method."""
        return ask(self.client) if self.blocking else await ask(self.client)

    async def events(self, ask):
        """All events of a stream."""
        stream = await self.call(ask)
        return list(stream) if self.blocking else [event async for event in stream]

    async def helper(self, ask, final):
        """All events that a `stream` helper gives, and what its method `final` makes of them."""
        if self.blocking:
            with ask(self.client) as stream:
                return list(stream), getattr(stream, final)()
        async with ask(self.client) as stream:
            return [event async for event in stream], await getattr(stream, final)()

    async def items(self, ask):
        """All items of a list that comes in pages."""
        pages = ask(self.client)
        return list(pages) if self.blocking else [item async for item in pages]

    async def first_event_and_close(self, ask):
        """Begin a stream, and leave after its first event."""
        stream = await self.call(ask)
        if self.blocking:
            event = next(iter(stream))
            stream.close()
            return event
        async for event in stream:
            await stream.close()
            return event
        raise AssertionError("the stream has no event")
