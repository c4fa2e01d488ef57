"""HTTP itself: frames, chunks, headers in order, heartbeats, methods and connections.

Each script records its runs and asks for the same again, without the recorder in between: what belongs to the
connection is then comparable too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from graphtape.tests.live.conformance.joins import MODES_OF, UNKNOWN, body_of
from graphtape.tests.live.conformance.staging import Stage, new_thread, run_of
from graphtape.tests.live.conformance.wire import Answer, Wire, read_chunks, read_head, request_bytes


async def _take(stage: Stage, body: Mapping[str, object]) -> tuple[str, str]:
    """Record a run; the path of a thread's runs for the next, and the recorded thread."""
    recorded = await new_thread(stage.record)
    await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", body)
    return await new_thread(stage.probe), recorded


FRAMED = ("burst", "levels", "failing", "odd_unicode", "custom_data")


async def frames(stage: Stage) -> None:
    """Streams with and without ids: each event one chunk, its lines ended by CRLF, and the heads in order."""

    async def one(graph: str, *, resumable: bool) -> tuple[Answer, Answer]:
        body = body_of(graph if graph in MODES_OF else "burst", resumable=resumable)
        if graph not in MODES_OF:
            body |= {"assistant_id": graph, "input": {"texts": []}, "stream_mode": ["custom", "values"]}
        thread, _ = await _take(stage, body)
        post = await stage.probe.ask("POST", f"/threads/{thread}/runs/stream", body)
        path = f"/threads/{thread}/runs/{run_of(post)}/stream"
        return post, await stage.probe.ask("GET", path, headers={"last-event-id": "-1"})

    kinds = [(graph, resumable) for graph in FRAMED for resumable in (True, False)]
    taken = await asyncio.gather(*(one(graph, resumable=resumable) for graph, resumable in kinds))
    for (graph, resumable), (post, join) in zip(kinds, taken, strict=True):
        name = f"{graph}, {'with' if resumable else 'without'} ids"
        stage.keep(name, post, exact=True, thread=name)
        assert all(chunk.endswith(b"\r\n\r\n") for chunk in post.chunks)
        # Lines end by CRLF and nothing else does: no bare LF or CR in a chunk.
        assert all(b"\n" not in chunk.replace(b"\r\n", b"") for chunk in post.chunks)
        stage.keep(f"{name}: join", join, exact=True, thread=name)


async def heartbeats(stage: Stage) -> None:
    """A comment every five seconds in a chunk of its own; a newline where JSON is waited for."""
    body = {"assistant_id": "silent", "input": {"done": []}, "stream_mode": ["values", "custom"]}
    taking = asyncio.create_task(_take(stage, body))
    await asyncio.sleep(0.2)
    thread = await new_thread(stage.probe)
    idle = await stage.probe.open("GET", f"/threads/{UNKNOWN}/stream")
    post = await stage.probe.open("POST", f"/threads/{thread}/runs/stream", body)
    base = f"/threads/{thread}/runs/{run_of(post.answer)}"
    await post.events(2)  # the second follows the first within a millisecond: a join between them is chance
    join = await stage.probe.open("GET", f"{base}/stream")
    values = await stage.probe.open("GET", f"{base}/join")
    stage.keep("stream", await post.end(), exact=True)
    await taking
    stage.keep("join of the stream", await join.end(), exact=True)
    stage.keep("join", await values.end(), exact=True)
    stage.keep("stream of a thread where nothing happens", await idle.leave(), exact=True)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATHS = (
    "/ok",
    "/info",
    "/threads",
    "/threads/search",
    "/threads/{t}",
    "/threads/{t}/state",
    "/threads/{t}/history",
    "/threads/{t}/runs",
    "/threads/{t}/runs/stream",
    "/threads/{t}/runs/wait",
    "/threads/{t}/runs/{r}",
    "/threads/{t}/runs/{r}/join",
    "/threads/{t}/runs/{r}/cancel",
    "/runs/stream",
    "/runs/wait",
    "/assistants/search",
    "/store/items",
    "/nope",
)


async def methods(stage: Stage) -> None:
    """Wrong methods: 405 with the server's `allow`, whatever was recorded."""
    body = body_of("burst", resumable=True)
    recorded = await new_thread(stage.record)
    post = await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", body)
    for path in PATHS:
        filled = path.replace("{t}", recorded).replace("{r}", run_of(post))
        for method in METHODS:
            answer = await stage.probe.ask(method, filled)
            if answer.status == 405:
                stage.keep(f"{method} {path}", answer, exact=True)


async def heads(stage: Stage) -> None:
    """HEAD gives the head of GET."""
    body = body_of("burst", resumable=True)
    recorded = await new_thread(stage.record)
    post = await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", body)
    run = run_of(post)
    await stage.record.ask("GET", "/ok")
    for path in (
        f"/threads/{recorded}/stream",
        f"/threads/{recorded}/runs/{run}/stream",
        f"/threads/{recorded}",
        f"/threads/{recorded}/state",
        f"/threads/{recorded}/runs/{run}",
        f"/threads/{UNKNOWN}",
        "/ok",
        "/nope",
    ):
        name = path.replace(recorded, "{t}").replace(run, "{r}").replace(UNKNOWN, "{unknown}")
        stream = await stage.probe.open("HEAD", path)
        stage.keep(f"HEAD {name}", await stream.leave(), exact=True)


async def connections(stage: Stage) -> None:
    """Keep-alive after a finished stream; `Connection: close`; header names in any case; a content-type that lies."""
    body = body_of("burst", resumable=True)
    thread, _ = await _take(stage, body)
    path = f"/threads/{thread}/runs/stream"
    wire = stage.probe
    kept = await _on_one_connection(
        wire, [("POST", path, body), ("GET", f"/threads/{UNKNOWN}", None), ("POST", path, body)]
    )
    for number, answer in enumerate(kept, start=1):
        stage.keep(f"request {number} of one connection", answer, exact=True)
    close = {"connection": "close"}
    stage.keep("close, stream", await wire.ask("POST", path, body, headers=close), exact=True)
    stage.keep("close, JSON", await wire.ask("GET", f"/threads/{UNKNOWN}", headers=close), exact=True)
    for name, headers in {
        "no content-type": {"content-type": ""},
        "text content-type": {"content-type": "text/plain"},
        "accept JSON": {"accept": "application/json"},
        "accept gzip": {"accept-encoding": "gzip, br, deflate"},
        "a key": {"x-api-key": "secret", "authorization": "Bearer x"},
        "a request id": {"x-request-id": "mine"},
    }.items():
        stage.keep(name, await wire.ask("POST", path, body, headers=headers), exact=True)


async def _on_one_connection(wire: Wire, requests: list[tuple[str, str, object]]) -> list[Answer]:
    reader, writer = await asyncio.open_connection(wire.host, wire.port)
    answers = []
    for method, path, body in requests:
        content = None if body is None else json.dumps(body).encode()
        writer.write(request_bytes(method, path, f"{wire.host}:{wire.port}", content=content))
        answer = Answer()
        await read_head(reader, answer)
        async for chunk in read_chunks(reader, answer, method):
            answer.chunks.append(chunk)
        answers.append(answer)
    writer.close()
    return answers


async def cors(stage: Stage) -> None:
    """A page on this machine: simple requests and preflights."""
    body = body_of("burst", resumable=True)
    thread, _ = await _take(stage, body)
    origin = {"origin": "http://localhost:3000"}
    path = f"/threads/{thread}/runs/stream"
    stage.keep("POST stream", await stage.probe.ask("POST", path, body, headers=origin), exact=True)
    stage.keep("GET thread", await stage.probe.ask("GET", f"/threads/{UNKNOWN}", headers=origin), exact=True)
    preflight = origin | {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key,last-event-id",
    }
    stage.keep("preflight", await stage.probe.ask("OPTIONS", path, headers=preflight), exact=True)
    private = preflight | {"access-control-request-private-network": "true"}
    stage.keep("preflight, private", await stage.probe.ask("OPTIONS", path, headers=private), exact=True)


async def http_1_0(stage: Stage) -> None:
    """A client of HTTP/1.0 gets the whole, ended by the end of the connection (the server sends chunks even so)."""
    body = body_of("burst", resumable=True)
    thread, _ = await _take(stage, body)
    path = f"/threads/{thread}/runs/stream"
    answer = await stage.probe.ask("POST", path, body, version="HTTP/1.0")
    assert answer.whole
    assert len(answer.events) > 200
    if stage.is_mock:
        assert not answer.header("transfer-encoding")
        assert answer.header("connection") == "close"
        # What differs by design is taken out, so that the rest is compared.
        answer.headers = [pair for pair in answer.headers if pair[0] != "connection"]
    else:
        answer.headers = [
            pair for pair in answer.headers if pair[0] not in ("transfer-encoding", "connection")
        ]
    stage.keep("stream", answer)


MALFORMED = {
    "no method": b"garbage\r\n\r\n",
    "a method in small letters": b"get /ok HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown version": b"GET /ok HTTP/9.9\r\nhost: localhost\r\n\r\n",
    "bare line feeds": b"GET /ok HTTP/1.1\nhost: localhost\n\n",
    "a path that is not ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a header without a colon": b"GET /ok HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
    "a header with a space": b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx y: 1\r\n\r\n",
    "a zero in a header": b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n",
    "a length that is none": b"GET /ok HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
    "two lengths": b"POST /threads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
}


async def malformed(stage: Stage) -> None:
    """What is no HTTP gets one answer, and the connection is closed."""
    await _take(stage, body_of("burst", resumable=True))
    for name, request in MALFORMED.items():
        reader, writer = await asyncio.open_connection(stage.probe.host, stage.probe.port)
        writer.write(request)
        answer = Answer()
        await read_head(reader, answer)
        answer.chunks.append(await reader.read())
        answer.whole = True
        writer.close()
        stage.keep(name, answer, exact=True)
