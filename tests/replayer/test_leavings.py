"""What an answer leaves in memory when its client has left: nothing that only a collection would find."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from graphtape.replayer import serve
from graphtape.replayer.wire import WireResponse
from graphtape.workbench.serving import loop_factory

pytestmark = pytest.mark.slow  # sockets

EVENTS = 2000
BODY = {"assistant_id": "agent", "input": "hi"}
RUN = b'{"assistant_id":"agent","input":"hi"}'
PLAIN = b"GET /sse HTTP/1.1\r\nhost: localhost\r\n\r\n"
STREAM = b"POST /runs/stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(RUN), RUN)


async def left(path: Any, request: bytes, speed: str) -> weakref.ref[WireResponse]:
    """The answer that a client left, after it had come that far."""
    async with serve([path], port=0, speed="max" if speed == "max" else 1) as mock:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(mock.url.rpartition(":")[2]), limit=1000
        )
        writer.write(request)
        await reader.readuntil(b"data: ")
        (answer,) = [weakref.ref(one) for one in gc.get_objects() if isinstance(one, WireResponse)]
        writer.transport.abort()
        async with asyncio.timeout(5):
            while answer() is not None:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    return answer


@pytest.mark.parametrize("speed", ["1", "max"])
@pytest.mark.parametrize("request_bytes", [PLAIN, STREAM], ids=["plain", "run"])
def test_nothing_waits_for_the_collector(kit: Any, request_bytes: bytes, speed: str) -> None:
    """On the event loop of the command line; asyncio's own keeps what it met when it wrote."""
    make_loop = loop_factory()
    if make_loop is None:
        pytest.skip("uvloop is not installed")
    made = kit.recording()
    reads = [(10.0, b"data: " + b"x" * 5000 + b"\n\n")] * EVENTS
    made.call("GET", "/sse", reads=reads, headers=kit.STREAM_TAIL)
    made.run(None, kit.uid(2), BODY, [(10 * at, "values", {"x": "y" * 5000}) for at in range(EVENTS)])
    made.close()
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(left(made.path, request_bytes, speed))
    finally:
        gc.enable()
