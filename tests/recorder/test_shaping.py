"""`--widen` between a scripted upstream and a raw client: what goes up, what comes down, what the cassette keeps."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.model import Ending
from graphtape.protocol.headers import get
from graphtape.recorder.progress import Progress
from graphtape.recorder.shaping import Passage, make_shaper
from graphtape.tests.recorder.wide_upstream import (
    EVENTS,
    HEAD,
    HEARTBEAT,
    NARROW,
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


async def test_a_stream(rig: Any, opened: Any) -> None:
    """The upstream is asked for everything; the client gets what it asked, one event a chunk; the file has both."""
    server = Server()
    async with rig(server, widen=True) as r:
        client = await post(
            r, "/threads/t/runs/stream", {"assistant_id": "a", "input": 1}, "Accept-Encoding: gzip"
        )
        assert await client.head() == HEAD
        assert await chunks(client) == NARROW
        await r.ended()
    ((_, fields, body),) = server.seen
    assert json.loads(body) == {
        "assistant_id": "a",
        "input": 1,
        "stream_mode": WIDE,
        "stream_subgraphs": True,
        "stream_resumable": True,
    }
    assert fields["content-length"] == str(len(body))
    assert fields["accept-encoding"] == "identity"
    exchange = opened(r.path).exchange(1)
    assert exchange.request_body == body
    assert get(exchange.request.headers, b"content-length") == str(len(body)).encode()
    assert exchange.body == b"".join(EVENTS)
    assert exchange.ending is Ending.COMPLETE
    assert exchange.asked.body == {"stream_mode": None, "stream_subgraphs": None, "stream_resumable": None}
    assert exchange.asked.headers == ((b"Content-Length", b"33"), (b"Accept-Encoding", b"gzip"))
    assert exchange.asked.target is None
    assert opened(r.path).asked(1) == exchange.asked


async def test_without_the_option(rig: Any, opened: Any) -> None:
    """Nothing is touched."""
    server = Server()
    async with rig(server) as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        await client.head()
        assert b"".join(await chunks(client)) == b"".join(EVENTS)
        await r.ended()
    assert server.seen[0][2] == b'{"assistant_id":"a"}'
    assert opened(r.path).asked(1) is None


async def test_events_come_one_by_one(rig: Any) -> None:
    """An event is with the client when it has come; half a one is not."""
    first, half = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(HEAD + chunked(EVENTS[0], EVENTS[1][:20], end=False))
        await first.wait()
        await peer.send(chunked(EVENTS[1][20:], end=False))
        await half.wait()
        await peer.send(chunked(*EVENTS[2:]))

    async with rig(script, widen=True) as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        await client.head()
        whole = chunked(NARROW[0], end=False)
        assert await client.exactly(len(whole)) == whole
        first.set()
        whole = chunked(NARROW[1], end=False)
        assert await client.exactly(len(whole)) == whole
        half.set()
        assert await chunks(client) == NARROW[2:]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/threads/t/runs/wait", b'{"assistant_id":"a"}'),
        ("/runs/wait", b'{"assistant_id":"a"}'),
        ("/runs/batch", b'[{"assistant_id":"a"}]'),
        ("/threads/t/runs/crons", b'{"assistant_id":"a"}'),
        ("/threads/t/runs/stream", b'{"assistant_id":"a","stream_mode":"bogus"}'),
        ("/threads/t/runs/stream", b'{"assistant_id":'),
        ("/threads/t/runs/stream", b""),
        ("/threads/t/history", b'{"assistant_id":"a"}'),
    ],
)
async def test_what_passes_as_it_came(rig: Any, opened: Any, path: str, body: bytes) -> None:
    """Waits, batches and what the server refuses are not widened, byte for byte."""
    server = Server()
    async with rig(server, widen=True) as r:
        await (await post(r, path, body)).head()
        await r.ended()
    assert server.seen[0][2] == body
    assert opened(r.path).asked(1) is None


@pytest.mark.slow
async def test_a_stream_that_breaks_off(rig: Any, opened: Any) -> None:
    """The client's breaks at the same event, and does not look whole."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(HEAD + chunked(*EVENTS[:4], EVENTS[4][:17], end=False))
        peer.close()

    async with rig(script, widen=True) as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        await client.head()
        assert await client.rest() == chunked(*NARROW[:3], EVENTS[4][:17], end=False)
        await r.ended()
    assert opened(r.path).exchange(1).ending is Ending.UPSTREAM_BROKE


async def test_an_answer_that_is_no_stream(rig: Any) -> None:
    """A refusal passes, and the run is not known."""
    refusal = b'HTTP/1.1 409 Conflict\r\ncontent-length: 13\r\n\r\n{"detail":"x"}'[:-1]
    server = Server(**{"POST /threads/t/runs/stream": refusal})
    async with rig(server, widen=True) as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        assert (await client.head()).startswith(b"HTTP/1.1 409")
        assert await client.exactly(13) == b'{"detail":"x"'
        await (await r.get("/threads/t/runs/r")).head()
        await r.ended(2)
        assert server.seen[1][1].get("accept-encoding") is None


async def test_a_compressed_answer(rig: Any) -> None:
    """What the upstream compresses though it was asked not to cannot be narrowed and passes."""
    head = HEAD.replace(b"server: uvicorn", b"content-encoding: br")
    async with rig(Server(**{"POST /threads/t/runs/stream": head + chunked(*EVENTS)}), widen=True) as r:
        client = await post(r, "/threads/t/runs/stream", b'{"assistant_id":"a"}')
        await client.head()
        assert b"".join(await chunks(client)) == b"".join(EVENTS)


async def test_run_objects(rig: Any) -> None:
    """`POST .../runs` and every read of the run show what the client asked, with the right length."""
    server = Server(
        **{
            "GET /threads/t/runs": json_answer([run_object(WIDE, wide=True)]),
        }
    )
    async with rig(server, widen=True) as r:
        body = {"assistant_id": "a", "stream_mode": "custom"}
        own = run_object(["custom"], wide=False)
        assert await json_of(await post(r, "/threads/t/runs", body)) == own
        assert await json_of(await r.get("/threads/t/runs/r")) == own
        assert await json_of(await r.get("/threads/t/runs?limit=5")) == [own]
        other = await json_of(await r.get("/threads/t/runs/other"))
        assert other == {}


async def sent_join(rig: Any, asked: dict[str, Any], *headers: str, query: str = "") -> tuple[str, Any, Any]:
    """What the upstream sees of a join of a run, what the client gets, and what the file says was asked."""
    server = Server()
    async with rig(server, widen=True) as r:
        await (await post(r, "/threads/t/runs", {"assistant_id": "a", **asked})).head()
        client = await r.get(f"/threads/t/runs/r/stream{query}", *headers)
        await client.head()
        body = await chunks(client)
        await r.ended(2)
    line, fields, _ = server.seen[1]
    return f"{line} {fields.get('last-event-id')}", body, r.path


async def test_joins(rig: Any, opened: Any) -> None:
    """What the client's run had not stored is not asked for; what the narrowing needs is; the filter is ours."""
    plain = "GET /threads/t/runs/r/stream"
    line, body, path = await sent_join(rig, {}, "Last-Event-ID: -1", query="?a=1&stream_mode=values")
    assert line == f"{plain}?a=1 None"
    assert body == NARROW[1:]
    asked = opened(path).asked(2)
    assert asked.target == "/threads/t/runs/r/stream?a=1&stream_mode=values"
    assert asked.headers == ((b"Last-Event-ID", b"-1"),)

    line, body, _ = await sent_join(rig, {"stream_resumable": True}, "Last-Event-ID: 7")
    assert (line, body) == (f"{plain} 7", [EVENTS[number] for number in (0, 1, 2, 4)])

    tuples = {"stream_mode": ["messages-tuple", "values"]}
    line, body, path = await sent_join(rig, tuples, query="?stream_mode=messages")
    assert (line, body) == (f"{plain} -1", [HEARTBEAT])
    assert opened(path).asked(2).target is not None
    line, _, path = await sent_join(rig, tuples | {"stream_resumable": True}, "Last-Event-ID: 0")
    assert line == f"{plain} -1"
    assert opened(path).asked(2).headers == ((b"Last-Event-ID", b"0"),)


async def test_what_was_asked_is_masked(rig: Any, opened: Any) -> None:
    """The client's own target is a target like any other."""
    _, _, path = await sent_join(rig, {}, query="?api_key=s3cret&stream_mode=values")
    assert "s3cret" not in opened(path).asked(2).target
    assert b"s3cret" not in path.read_bytes()


async def test_a_compressed_request(rig: Any) -> None:
    """Is not taken apart."""
    body = gzip.compress(b'{"assistant_id":"a"}')
    server = Server()
    async with rig(server, widen=True) as r:
        await (await post(r, "/runs/stream", body, "Content-Encoding: gzip")).head()
    assert not make_shaper(widen=True, clock=FakeClock()).wants_body(  # type: ignore[union-attr]
        "POST", "/runs/stream", ((b"Content-Encoding", b"gzip"),)
    )
    assert server.seen[0][2] == body


async def test_a_run_that_nobody_widened(rig: Any) -> None:
    """Its joins pass as they came."""
    server = Server()
    async with rig(server, widen=True) as r:
        client = await r.get("/threads/t/runs/r/stream?stream_mode=values", "Last-Event-ID: -1")
        await client.head()
        assert b"".join(await chunks(client)) == b"".join(EVENTS)
    assert server.seen[0][0] == "GET /threads/t/runs/r/stream?stream_mode=values"
    assert server.seen[0][1]["last-event-id"] == "-1"


async def test_thread_streams(rig: Any) -> None:
    """Narrowed by run; replayed from the beginning if anything is to be replayed; nonsense is left to the server."""
    server = Server()
    async with rig(server, widen=True) as r:
        await (await post(r, "/threads/t/runs", {"assistant_id": "a", "stream_resumable": True})).head()
        client = await r.get("/threads/t/stream", "Last-Event-ID: 5")
        await client.head()
        assert await chunks(client) == [EVENTS[number] for number in (0, 1, 2, 4)]
        for headers, query in ((["Last-Event-ID: zzz"], ""), ([], "?stream_modes=bogus"), ([], "")):
            await (await r.get(f"/threads/t/stream{query}", *headers)).head()
        await r.ended(5)
    found = [fields.get("last-event-id") for _, fields, _ in server.seen[1:]]
    assert found == ["-", "zzz", None, None]


async def test_a_thread_stream_before_the_first_run(rig: Any) -> None:
    """A page that follows a thread before anything runs sees of it what it asked for."""
    started = asyncio.Event()

    async def script(peer: Any) -> None:
        if (await peer.request()).startswith(b"GET "):
            await peer.send(HEAD)
            await started.wait()
            await peer.send(chunked(*EVENTS))
        else:
            started.set()
            await peer.send(json_answer(run_object(WIDE, wide=True), "content-location: /threads/t/runs/r"))

    async with rig(script, widen=True) as r:
        client = await r.get("/threads/t/stream")
        assert await client.head()
        await (await post(r, "/threads/t/runs", {"assistant_id": "a", "stream_resumable": True})).head()
        assert await chunks(client) == [EVENTS[number] for number in (0, 1, 2, 4)]


INTERRUPT = {"value": "?", "id": "i"}


@pytest.mark.parametrize("path", ["GET /threads/t/runs/r/join", "POST /threads/t/runs/r/cancel"])
async def test_the_result_of_a_join(rig: Any, opened: Any, path: str) -> None:
    """Newlines pass as they come; the answer is made of the client's modes, with a question to the upstream."""
    twice = json.dumps({"__interrupt__": [INTERRUPT, INTERRUPT]}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    server = Server(**{path: head + chunked(b"\n", twice)})
    async with rig(server, widen=True) as r:
        await (await post(r, "/threads/t/runs", {"assistant_id": "a"})).head()
        method, _, target = path.partition(" ")
        client = await r.get(target, "Content-Length: 0", method=method)
        assert await client.head() == head
        assert await chunks(client) == [b"\n", b'{"n": 1}']
        await r.ended(2)
    assert server.seen[2][0] == "GET /threads/t/runs/r/stream?stream_mode=values"
    assert server.seen[2][1]["last-event-id"] == "-1"
    assert opened(r.path).exchange(2).body == b"\n" + twice
    assert len(opened(r.path).exchanges) == 2


async def test_doubts_are_told(rig: Any, opened: Any) -> None:
    """What could not be narrowed for certain is a line on the terminal, and no error for the client."""
    shown = io.StringIO()
    bad = event("messages", "no pair", 5)
    server = Server(**{"POST /threads/t/runs/stream": HEAD + chunked(*EVENTS[:2], bad)})
    clock = FakeClock(autojump=False)
    async with rig(server, widen=True, clock=clock, progress=Progress(shown, clock)) as r:
        client = await post(
            r, "/threads/t/runs/stream", {"assistant_id": "a", "stream_mode": ["messages-tuple", "values"]}
        )
        await client.head()
        assert len(await chunks(client)) == 3
        await r.ended()
    assert "run r: " in shown.getvalue()


def test_without_widen_nothing_is_shaped() -> None:
    """The default passes every exchange as it came."""
    assert make_shaper(widen=False, clock=FakeClock()) is None


def test_a_shape_that_nothing_was_answered_to() -> None:
    """A request that never got an answer is forgotten, and one that passes has no pieces to make."""
    shaper = make_shaper(widen=True, clock=FakeClock(), events=True)
    assert shaper is not None
    shape = shaper.shape_for("POST", "/threads/t/runs/stream", (), b'{"assistant_id":"a"}')
    assert shape is not None
    assert b'"events"' in (shape.body or b"")
    shape.abandon()
    assert shaper.shape_for("GET", "/threads/t/runs", (), None) is None
    assert shape.response(500, ()) is Passage.AS_IT_IS
    assert (shape.feed(b"x"), shape.finish(), shape.question, shape.answer(b"")) == ([b"x"], [], None, [])
    assert shape.narrowed(b"x") == b"x"
    assert shaper.shape_for("HEAD", "/threads/t/runs/r", (), None) is None
    assert shaper.shape_for("GET", "/nowhere", (), None) is None
