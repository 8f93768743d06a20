"""FD-16: a network that is slow, loses packets, has next to no bandwidth or delivers byte by byte, on both sides of the
gateway."""

import json

import pytest

from tests.process.house import House, ProviderThread, rss
from tests.process.network import Network, Weather

WEATHERS = {
    "200 ms more or less 100": Weather(least=0.1, most=0.3),
    "one packet of twenty lost": Weather(least=0.01, most=0.02, lost=0.05),
    "10 kB a second": Weather(bytes_per_second=10_000),
    "byte by byte": Weather(packet_bytes=1),
}


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
