"""A network as bad as is asked for, between any two programs that talk TCP. What TCP makes of a lost packet is a pause in
which nothing arrives, and so it is made here."""

import asyncio
import contextlib
import random
import threading

import msgspec

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
            left = list(self.tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

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
            async with asyncio.TaskGroup() as both:
                both.create_task(self.carry(reader, far_writer))
                both.create_task(self.carry(far_reader, writer))

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
            async with asyncio.TaskGroup() as both:  # an end of one is an end of the other
                both.create_task(arrive())
                both.create_task(leave())
        except* OSError:
            pass
        finally:
            writer.close()
