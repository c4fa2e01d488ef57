"""What an exchange leaves in memory when it is over, however it ended: nothing that only a collection would find."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from graphtape.recorder import relay

pytestmark = pytest.mark.slow  # sockets

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """Weak references to all that the recorder makes, while the collector is off."""
    made: list[weakref.ref[Any]] = []
    begin = relay.Relay.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        made.append(weakref.ref(self))

    monkeypatch.setattr(relay.Relay, "__init__", noted)
    gc.collect()
    gc.disable()
    yield made
    gc.enable()


async def read_to_the_end(r: Any) -> None:
    await (await r.get("/", "Connection: close")).rest()


async def left_inside_the_answer(r: Any) -> None:
    client = await r.get()
    await client.until(b"data: 1")
    client.abort()


async def left_inside_its_body(r: Any) -> None:
    client = await r.client()
    await client.send(f"POST / HTTP/1.1\r\nHost: {r.host}\r\nContent-Length: 99\r\n\r\n{{".encode())
    await r.arrived.wait()
    client.abort()


@pytest.mark.parametrize(
    ("answer", "then", "client"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "close", read_to_the_end),
        (STREAM + b"9\r\ndata: 1\n\n\r\n", "close", read_to_the_end),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nok", "close", read_to_the_end),
        (b"no HTTP\r\n\r\n", "close", read_to_the_end),
        (b"", "close", read_to_the_end),
        (STREAM + b"9\r\ndata: 1\n\n\r\n", "stay", left_inside_the_answer),
        (b"", "stay", left_inside_its_body),
    ],
    ids=[
        "complete", "stream cut", "body cut", "no HTTP", "no answer", "client left", "client left early",
    ],
)  # fmt: skip
async def test_nothing_waits_for_the_collector(
    rig: Any, relays: Any, answer: bytes, then: str, client: Callable[[Any], Awaitable[None]]
) -> None:
    """An exchange is gone when it has ended, with all its buffers: its errors do not hold it."""
    arrived = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await peer.send(answer)
        if then == "stay":
            await peer.gone()
        peer.close()

    async with rig(script) as r:
        r.arrived = arrived
        async with asyncio.timeout(5):
            await client(r)
            await r.ended()
            r.close_clients()
            while any(ref() is not None for ref in relays):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
    assert len(relays) == 1
