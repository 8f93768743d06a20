import asyncio

from ostiary.simulator.hostile import End, Forever, HostilePeer, Read, Wait


async def test_it_plays_what_it_is_told():
    gate = asyncio.Event()
    async with HostilePeer([Read(), b"one", Wait(gate), b"two", End.CLOSE], [End.RESET]) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        writer.write(b"GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi")
        assert await reader.readexactly(3) == b"one"
        gate.set()
        assert await reader.read() == b"two"
        writer.transport.abort()
        assert peer.received == [b"GET / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi"]
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.transport.abort()
        assert peer.connections == 2


async def test_it_pushes_as_much_as_is_taken_and_sees_the_client_go():
    async with HostilePeer([Forever(b"x" * 1000)]) as peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        await reader.readexactly(100_000)
        writer.transport.abort()
        await asyncio.wait_for(peer.gone.wait(), 5)
        assert peer.sent >= 90_000
