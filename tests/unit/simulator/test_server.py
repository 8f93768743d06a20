import asyncio

import pytest

from ostiary.testing import Behaviour, Fault, SimulatedProvider
from ostiary.testing.upstream import CHAT, CHAT_STREAM


async def exchange(port, *requests):
    """Raw bytes in, raw bytes out until the server closes or `connection: close` was honoured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in requests:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    answer = b""
    while answer.count(b"HTTP/1.1 ") < len(requests) or not answer.endswith((b"}", b"0\r\n\r\n")):
        answer += await _some(reader)
    writer.close()
    await writer.wait_closed()
    return answer


async def _some(reader):
    data = await asyncio.wait_for(reader.read(65_536), 5)
    assert data
    return data


async def test_it_answers_in_turn_on_one_connection():
    async with SimulatedProvider() as provider:
        answer = await exchange(provider.port, CHAT, CHAT_STREAM, CHAT)
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert provider.connections == 1
        assert [entry.done for entry in provider.requests] == [True] * 3
        assert [entry.connection for entry in provider.requests] == [1, 1, 1]
        await provider.until(lambda: provider.open_connections == 0)


async def test_it_sees_a_client_go_away():
    async with SimulatedProvider(Behaviour(fault=Fault.INFINITE)) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n"
            % len(CHAT_STREAM)
            + CHAT_STREAM
        )
        assert await reader.read(100)
        writer.transport.abort()
        await provider.until(lambda: provider.requests[0].cancelled)
        assert not provider.requests[0].done


async def test_without_record_it_forgets():
    async with SimulatedProvider(record=False) as provider:
        await exchange(provider.port, CHAT)
        assert provider.requests == []


async def test_waiting_for_what_does_not_come_ends():
    async with SimulatedProvider() as provider:
        with pytest.raises(TimeoutError):
            await provider.until(lambda: False, seconds=0.01)
