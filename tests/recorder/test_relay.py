"""One exchange on its way through, where a shape needs more than to pass each read: bodies held, questions asked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.recorder.widening import LARGEST_BODY_BYTES

ZERO = 1_700_000_000_000  # what the fake clock says
WIDE = ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"]
HEARTBEAT = b": heartbeat\r\n\r\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\nlocation: /threads/t/runs/r/stream\r\n"
    b"content-location: /threads/t/runs/r\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def event(name: str, data: Any, at: int | None = None) -> bytes:
    id_line = "" if at is None else f"id: {ZERO + at}-0\r\n"
    return f"event: {name}\r\ndata: {json.dumps(data)}\r\n{id_line}\r\n".encode()


EVENTS = [
    event("metadata", {"run_id": "r", "attempt": 1}, 1),
    event("values", {"n": 0}, 2),
    HEARTBEAT,
    event("updates", {"a": 1}, 3),
    event("values", {"n": 1}, 4),
]
NARROW = [re.sub(rb"id: .*\r\n", b"", EVENTS[number]) for number in (0, 1, 2, 4)]


def chunked(*parts: bytes, end: bool = True) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


def json_answer(value: Any, *more: str) -> bytes:
    body = json.dumps(value).encode()
    lines = [
        "HTTP/1.1 200 OK",
        f"content-length: {len(body)}",
        "content-type: application/json",
        *more,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def run_object(modes: Any, *, wide: bool) -> dict[str, Any]:
    return {"run_id": "r", "kwargs": {"stream_mode": modes, "subgraphs": wide, "resumable": wide}}


class Server:
    """Answers by the path of a request; keeps what it was sent."""

    def __init__(self, **answers: bytes) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, bytes] = {
            "POST /threads/t/runs/stream": HEAD + chunked(*EVENTS),
            "POST /threads/t/runs": json_answer(
                run_object(WIDE, wide=True), "content-location: /threads/t/runs/r"
            ),
            "GET /threads/t/runs/r": json_answer(run_object(WIDE, wide=True)),
            "GET /threads/t/runs/r/stream": HEAD + chunked(*EVENTS),
            "GET /threads/t/stream": HEAD + chunked(*EVENTS),
        } | answers

    async def __call__(self, peer: Any) -> None:
        while True:
            head, _, body = (await peer.request()).partition(b"\r\n\r\n")
            request_line, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = request_line.split(" ")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            if fields.get("transfer-encoding") == "chunked":
                while size := int((await peer.reader.readuntil(b"\r\n")), 16):
                    body += await peer.reader.readexactly(size + 2)
                    body = body[:-2]
                await peer.reader.readexactly(2)
            self.seen.append((f"{method} {target}", fields, body))
            await peer.send(self.answers.get(f"{method} {target.partition('?')[0]}", json_answer({})))


async def post(r: Any, path: str, body: Any, *headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    client = await r.client()
    lines = [f"POST {path} HTTP/1.1", f"Host: {r.host}", f"Content-Length: {len(data)}", *headers, "", ""]
    await client.send("\r\n".join(lines).encode() + data)
    return client


async def chunks(client: Any) -> list[bytes]:
    """The HTTP chunks of a body."""
    found = []
    while size := int(await client.until(b"\r\n"), 16):
        found.append((await client.exactly(size + 2))[:-2])
    await client.exactly(2)
    return found


async def json_of(client: Any) -> Any:
    head = await client.head()
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
    return json.loads(await client.exactly(length))


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
        assert not r.recorder._shaper._runs, "nothing is waited for"
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
