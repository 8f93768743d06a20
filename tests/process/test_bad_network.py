"""FD-16: a network that is slow, loses packets, has next to no bandwidth or delivers byte by byte, on both sides of the
gateway. What TCP makes of a lost packet is a pause in which nothing arrives; so it is done here."""

import asyncio
import contextlib
import json
import random
import threading

import msgspec
import pytest

from tests.process.house import House, ProviderThread, rss

PACKET_BYTES = 1_400


class Weather(msgspec.Struct, frozen=True):
    """Of one direction: seconds that a packet takes, from `least` to `most`, the share of packets that are lost and cost
    `lost_seconds` more, bytes a second (0: no bound), and bytes a packet."""

    least: float = 0.0
    most: float = 0.0
    lost: float = 0.0
    lost_seconds: float = 0.4
    bytes_per_second: int = 0
    packet_bytes: int = PACKET_BYTES


WEATHERS = {
    "200 ms more or less 100": Weather(least=0.1, most=0.3),
    "one packet of twenty lost": Weather(least=0.01, most=0.02, lost=0.05),
    "10 kB a second": Weather(bytes_per_second=10_000),
    "byte by byte": Weather(packet_bytes=1),
}


class Network:
    """A relay to `port` through the weather, on a loop of its own. Packets keep their order."""

    def __init__(self, port, weather):
        self.to, self.weather = port, weather
        self.draw = random.Random(7)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.tasks = set()

    def __enter__(self):
        self.thread.start()
        self.server = self.run(asyncio.start_server(self.meet, "127.0.0.1", 0, backlog=512))
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        async def end():
            self.server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def meet(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        asyncio.current_task().add_done_callback(self.tasks.discard)
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
            await asyncio.gather(self.carry(reader, far_writer), self.carry(far_reader, writer))

    async def carry(self, reader, writer):
        weather, loop = self.weather, self.loop
        queue = asyncio.Queue(64)

        async def arrive():
            while (packet := await queue.get()) is not None:
                due, data = packet
                await asyncio.sleep(max(due - loop.time(), 0.0))
                writer.write(data)
                await writer.drain()

        async def leave():
            free = loop.time()
            while data := await reader.read(weather.packet_bytes):
                if weather.bytes_per_second:
                    free = max(free, loop.time()) + len(data) / weather.bytes_per_second
                    await asyncio.sleep(max(free - loop.time(), 0.0))
                wait = self.draw.uniform(weather.least, weather.most)
                if self.draw.random() < weather.lost:
                    wait += weather.lost_seconds
                await queue.put((loop.time() + wait, data))
            await queue.put(None)

        try:
            await asyncio.gather(arrive(), leave())
        except OSError:
            pass
        finally:
            writer.close()


def words(body):
    """What a stream of OpenAI's form said, and whether it ended."""
    lines = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    said = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])
    return said, lines[-1] == "[DONE]"


def said(body):
    """What a plain answer said."""
    return json.loads(body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "name",
    [
        "one packet of twenty lost",
        "byte by byte",
        *(pytest.param(name, marks=pytest.mark.drill) for name in ("200 ms more or less 100", "10 kB a second")),
    ],
)
def test_fd16_calls_arrive_whole_in_any_weather_and_hold_no_more_memory(tmp_path, name):
    weather = WEATHERS[name]
    provider = ProviderThread()
    try:
        with Network(provider.port, weather) as far, House(tmp_path, far.port).start() as house:
            long = "word " * 1_000
            fair = words(house.chat(stream=True, text=long).body)
            plain, across_plain = (house.chat(model, text=long).body for model in ("chat", "claude"))
            before = rss(house.worker(0))
            direct = house.port
            with Network(direct, weather) as near:
                house.port = near.port
                streams = house.many(lambda i: house.chat(stream=True, text=long).body, 16)
                across = house.many(lambda i: house.chat(model="claude", text=long), 8)
                answers = house.many(lambda i: house.chat(text=long), 8)
            house.port = direct
            assert fair[1]
            assert [words(body) for body in streams] == [fair] * 16
            assert [said(one.body) for one in answers] == [said(plain)] * 8
            assert [said(one.body) for one in across] == [said(across_plain)] * 8
            assert rss(house.worker(0)) - before < 16 * 2**20
    finally:
        provider.stop()
