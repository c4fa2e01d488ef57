"""What stands on the wire, byte by byte."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphtape.replayer.server import SESSION

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

BODY = b'{"assistant_id":"agent","input":"hi"}'


def recording(kit: Any, **more: Any) -> Any:
    made = kit.recording()
    made.run(made.thread(1), kit.uid(2), {"assistant_id": "agent", "input": "hi"}, **more)
    made.json("GET", "/info", {"version": "1"})
    return made


async def exchange(client: Any, *requests: bytes, read: int = 1 << 20) -> bytes:
    """What comes back on one connection until it is closed, or for half a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    answer = b""
    for request in requests:
        writer.write(request)
        await writer.drain()
    try:
        while data := await asyncio.wait_for(reader.read(read), 0.1):
            answer += data
    except TimeoutError:
        answer += b"(open)"
    writer.close()
    await writer.wait_closed()
    return answer


def ask(method: str, path: str, *headers: bytes, body: bytes = b"", version: str = "1.1") -> bytes:
    length = b"content-length: %d\r\n" % len(body) if body else b""
    lines = b"".join(header + b"\r\n" for header in headers)
    return f"{method} {path} HTTP/{version}\r\nhost: localhost\r\n".encode() + length + lines + b"\r\n" + body


@pytest.mark.slow
@pytest.mark.parametrize("speed", [1, "20", "max"])
async def test_stream_on_the_wire(kit: Any, play: Any, speed: Any) -> None:
    """Header order and names are the recorded ones, nothing of aiohttp's; one chunk per event; the connection stays."""
    client = await play(recording(kit), speed=speed)
    path = f"/threads/{kit.uid(1)}/runs/stream"
    answer = await exchange(client, ask("POST", path, body=BODY))
    events = [kit.sse(*event[1:]) for event in kit.simple_events(kit.uid(2))]
    location = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}".encode()
    head = [
        b"HTTP/1.1 200 OK", b"date: Sat, 21 Nov 2026 00:10:36 GMT", b"server: uvicorn",
        b"location: " + location + b"/stream", b"content-location: " + location, b"cache-control: no-store",
        b"connection: keep-alive", b"x-accel-buffering: no", b"content-type: text/event-stream; charset=utf-8",
        b"vary: Origin", b"transfer-encoding: chunked", b"graphtape-match: exact",
    ]  # fmt: skip
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    assert answer == b"\r\n".join(head) + b"\r\n\r\n" + chunks + b"0\r\n\r\n(open)"


@pytest.mark.slow
async def test_json_on_the_wire(kit: Any, play: Any) -> None:
    """A plain answer has the recorded head, and no header that was not recorded."""
    client = await play(recording(kit), speed="max")
    assert await exchange(client, ask("GET", "/info")) == (
        b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:10:36 GMT\r\nserver: uvicorn\r\ncontent-length: 15\r\n"
        b'content-type: application/json\r\n\r\n{"version":"1"}(open)'
    )


async def test_no_date_of_today(kit: Any, play: Any) -> None:
    """What is derived from nothing recorded has the date and the server of the first recorded answer, never today's."""
    client = await play(recording(kit), speed="max")
    for path in (f"/threads/{kit.uid(50)}", "/threads/nope", "/nothing"):
        answer = (await exchange(client, ask("GET", path, b"connection: close"))).lower()
        assert answer.split(b"\r\n")[1:3] == [b"date: sat, 21 nov 2026 00:10:36 gmt", b"server: uvicorn"]


@pytest.mark.slow
async def test_keep_alive(kit: Any, play: Any) -> None:
    """A connection serves several requests, also after a stream."""
    client = await play(recording(kit), speed="max")
    stream = ask("POST", f"/threads/{kit.uid(1)}/runs/stream", body=BODY)
    answer = await exchange(client, stream, ask("GET", "/info"), ask("GET", "/info"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_connection_close(kit: Any, play: Any) -> None:
    """A client that asks for it gets a second `connection` header beside the recorded one, as from the real server."""
    client = await play(recording(kit), speed="max")
    path = f"/threads/{kit.uid(1)}/runs/stream"
    answer = await exchange(client, ask("POST", path, b"connection: close", body=BODY))
    assert b"connection: keep-alive\r\n" in answer
    assert b"\r\nconnection: close\r\ntransfer-encoding: chunked\r\n" in answer
    assert answer.endswith(b"0\r\n\r\n")


async def test_http_1_0(kit: Any, play: Any) -> None:
    """A client of HTTP/1.0 gets the body until the connection closes, in no chunks."""
    client = await play(recording(kit), speed="max")
    path = f"/threads/{kit.uid(1)}/runs/stream"
    answer = await exchange(client, ask("POST", path, body=BODY, version="1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert b"keep-alive" not in head
    assert body == b"".join(kit.sse(*event[1:]) for event in kit.simple_events(kit.uid(2)))


async def test_broken_stream_has_no_end(kit: Any, play: Any) -> None:
    """A recording without an end is no complete HTTP message: the terminating chunk is missing."""
    client = await play(recording(kit, ending=None).close(finished=False), speed="max")
    answer = await exchange(client, ask("POST", f"/threads/{kit.uid(1)}/runs/stream", body=BODY))
    assert answer.endswith(b'{"text":"b"}\r\n\r\n\r\n')


@pytest.mark.slow
async def test_header_that_may_not_be_sent(kit: Any, play: Any) -> None:
    """A recorded header that would split the answer is not sent."""
    made = kit.recording()
    made.json("GET", "/info", {}, headers=((b"x-good", b"1"), (b"x-bad", b"1\r\nset-cookie: a=b")))
    answer = await exchange(await play(made, speed="max"), ask("GET", "/info"))
    assert b"x-good: 1\r\n" in answer
    assert b"set-cookie" not in answer


@pytest.mark.slow
async def test_two_fresh_servers(kit: Any, play: Any) -> None:
    """The same requests to two fresh servers give identical bytes, heads included, derived answers too."""
    cassette = recording(kit).close()
    path = f"/threads/{kit.uid(1)}"
    requests = [
        ask(method, target, b"connection: close", b"origin: http://localhost:3000", body=body)
        for method, target, body in (
            ("POST", "/threads", b"{}"),
            ("POST", "/threads", b"{}"),
            ("POST", f"{path}/runs/stream", BODY),
            ("GET", path, b""),
            ("GET", f"{path}/state", b""),
            ("POST", f"{path}/history", b'{"limit":9}'),
            ("POST", f"{path}/runs/stream", BODY),
            ("POST", "/threads/search", b"{}"),
            ("GET", f"{path}/runs", b""),
            ("POST", f"{path}/runs/wait", b'{"assistant_id":"nope"}'),
            ("GET", "/docs", b""),
        )
    ]
    answers = []
    for _ in range(2):
        client = await play(cassette, speed="max")
        answers.append([await exchange(client, request) for request in requests])
    assert answers[0] == answers[1]
    assert [answer.split(b" ", 2)[1] for answer in answers[0]] == [b"200"] * 9 + [b"404"] * 2


async def test_head_has_no_body(kit: Any, play: Any) -> None:
    """HEAD is answered with the head of GET and nothing else; the connection goes on."""
    client = await play(recording(kit), speed="max")
    answer = await exchange(client, ask("HEAD", "/info"), ask("HEAD", "/info", b"connection: close"))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b"content-length: 15\r\n") == 2
    assert b"version" not in answer


@pytest.mark.slow
async def test_http_1_0_that_asks_to_stay(kit: Any, play: Any) -> None:
    """A client of HTTP/1.0 that asks for it may send another request, if the length of the answer is known."""
    client = await play(recording(kit), speed="max")
    answer = await exchange(client, ask("GET", "/info", b"connection: keep-alive", version="1.0"))
    assert b"connection: keep-alive\r\n" in answer
    assert answer.endswith(b'{"version":"1"}(open)')


@pytest.mark.slow
async def test_client_that_leaves_at_max(kit: Any, play: Any) -> None:
    """At max a run whose client leaves in the middle has happened all the same."""
    made = kit.recording()
    events: list[Any] = [(0, "metadata", {})] + [(0, "values", {"x": "y" * 500_000})] * 20
    made.run(made.thread(1), kit.uid(2), {"assistant_id": "agent", "input": "hi"}, events)
    client = await play(made, speed="max")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1)
    writer.write(ask("POST", f"/threads/{kit.uid(1)}/runs/stream", body=BODY))
    await reader.read(10)
    path = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"
    assert (await (await client.get(path)).json())["status"] == "running"
    writer.transport.abort()
    for _ in range(100):
        status = (await (await client.get(path)).json())["status"]
        if status != "running":
            break
    assert status == "success"


async def test_client_that_does_not_read_at_max(kit: Any, play: Any) -> None:
    """What a client leaves unread holds up its own run and nobody else's."""
    made = kit.recording()
    events = [(1, "metadata", {}), *((1, "values", {"text": "x" * (1 << 20)}),) * 24]
    for number in (2, 3):
        made.run(None, kit.uid(number), {"assistant_id": "agent", "input": number}, events)
    client = await play(made, speed="max")
    bodies = [b'{"assistant_id":"agent","input":%d}' % number for number in (2, 3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1 << 12)
    writer.write(ask("POST", "/runs/stream", body=bodies[0]))
    async with client.post("/runs/stream", data=bodies[1]) as response:
        assert len(await response.read()) > 24 << 20
    runs = client.app[SESSION].runs
    assert 0 < runs[kit.uid(2)].written < 25 == runs[kit.uid(3)].written
    while b"0\r\n\r\n" not in await reader.read(1 << 20):
        pass
    assert runs[kit.uid(2)].written == 25
    writer.close()
    await writer.wait_closed()
