"""One exchange on its way through, where a shape needs more than to pass each read: bodies held, questions asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.recorder.widening import LARGEST_BODY_BYTES
from graphtape.tests.recorder.wide_upstream import (
    WIDE,
    Server,
    chunked,
    chunks,
    event,
    json_answer,
    json_of,
    post,
    run_object,
)

INTERRUPT = {"value": "?", "id": "i"}


@pytest.mark.slow
async def test_a_large_body(rig: Any, opened: Any) -> None:
    """What is too large to be held passes as it is, whole, whether its length is told or not."""
    body = b'{"assistant_id":"a","x":"' + b"x" * LARGEST_BODY_BYTES + b'"}'
    server = Server()
    async with rig(server, widen=True) as r:
        await (await post(r, "/threads/t/runs/stream", body)).head()
        client = await r.client()
        await client.send(
            f"POST /threads/t/runs/stream HTTP/1.1\r\nHost: {r.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + chunked(body)
        )
        await client.head()
        await r.ended(2)
    assert [seen[2] == body for seen in server.seen] == [True, True]
    assert len(opened(r.path).exchange(2).request_body) == len(body)


async def test_a_chunked_body_that_is_waited_for(rig: Any) -> None:
    """A body without a length, behind `Expect: 100-continue`, is widened like any other."""
    server = Server()
    async with rig(server, widen=True) as r:
        client = await r.client()
        await client.send(
            f"POST /runs/stream HTTP/1.1\r\nHost: {r.host}\r\nTransfer-Encoding: chunked\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(chunked(b'{"assistant', b'_id":"a"}'))
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        await r.ended()
    assert json.loads(server.seen[0][2])["stream_mode"] == WIDE


async def test_a_client_that_leaves_inside_its_body(rig: Any, opened: Any) -> None:
    """The exchange is recorded with what came of it."""
    async with rig(Server(), widen=True) as r:
        client = await r.client()
        await client.send(
            f"POST /runs/stream HTTP/1.1\r\nHost: {r.host}\r\nContent-Length: 50\r\n\r\nhalf".encode()
        )
        client.close()
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.ending is Ending.CLIENT_LEFT
    assert not exchange.request_complete


async def test_an_upstream_that_is_not_there(rig: Any, opened: Any) -> None:
    """The 502 of any request; the file has what would have been sent."""
    async with rig(Server(), widen=True, url="http://127.0.0.1:9") as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        assert (await client.head()).startswith(b"HTTP/1.1 502")
        await r.ended()
        assert r.recorder._shaper._runs.seen("r", "t") is None, "nothing is waited for"
    assert json.loads(opened(r.path).exchange(1).request_body)["stream_mode"] == WIDE


async def test_a_run_object_that_is_too_large(rig: Any, monkeypatch: Any) -> None:
    """What cannot be held passes as it came."""
    monkeypatch.setattr("graphtape.recorder.relay.LARGEST_SHAPED_BYTES", 50)
    async with rig(Server(), widen=True) as r:
        wide = run_object(WIDE, wide=True)
        assert await json_of(await post(r, "/threads/t/runs", {"assistant_id": "a"})) == wide


async def test_a_run_object_that_breaks_off(rig: Any, opened: Any) -> None:
    """The client's connection breaks too."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        peer.close()

    async with rig(script, widen=True) as r:
        client = await post(r, "/threads/t/runs", {"assistant_id": "a"})
        await client.rest()
        await r.ended()
    assert opened(r.path).exchange(1).ending is Ending.UPSTREAM_BROKE


async def test_a_question_without_an_answer(rig: Any) -> None:
    """Then the interrupts alone are the answer."""
    twice = json_answer({"__interrupt__": [INTERRUPT, INTERRUPT]})
    values = event("values", {"n": 1})
    refused = b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n" % len(values) + values
    server = Server(**{"GET /threads/t/runs/r/join": twice, "GET /threads/t/runs/r/stream": refused})
    async with rig(server, widen=True) as r:
        await (await post(r, "/threads/t/runs", {"assistant_id": "a"})).head()
        client = await r.get("/threads/t/runs/r/join")
        head = await client.head()
        assert b"content-length" not in head
        assert json.loads(b"".join(await chunks(client))) == {"__interrupt__": [INTERRUPT]}
