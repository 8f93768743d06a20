"""Data workers run on uvloop and the rest on asyncio's own loop, whose transports differ in kind: each asynchronous
test here runs on both."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
