"""The proxy between a scripted upstream and a raw client."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.model import Ending
from graphtape.recorder.progress import Progress

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:10:36 GMT\r\nserver: uvicorn\r\nX-Odd-Case: a\r\nx-odd-case: b\r\n"
    b"connection: keep-alive\r\ncontent-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
EVENTS = (
    b'event: metadata\r\ndata: {"run_id":"1"}\r\n\r\n',
    b": heartbeat\r\n\r\n",
    "event: custom|sub é\r\ndata: \u2028\r\nid: 1-0\r\n\r\n".encode(),
)


def chunked(*parts: bytes, end: bool = True) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def test_a_stream_passes_unchanged(rig: Any, opened: Any, answering: Any) -> None:
    """Status, headers in order and spelling, and every byte reach the client and the file."""
    async with rig(answering(SSE_HEAD + chunked(*EVENTS))) as r:
        client = await r.get("/threads/1/stream")
        assert await client.head() == SSE_HEAD.replace(b"connection: keep-alive\r\n", b"")
        assert await client.chunked() == b"".join(EVENTS)
        await r.ended()
    cassette = opened(r.path)
    assert cassette.finished
    exchange = cassette.exchange(1)
    assert exchange.body == b"".join(EVENTS)
    assert exchange.ending is Ending.COMPLETE
    assert exchange.request_complete
    assert (b"X-Odd-Case", b"a") in exchange.response.headers
    assert (b"connection", b"keep-alive") in exchange.response.headers
    assert r.recorder.report().events == 2


async def test_the_request_reaches_the_upstream_byte_for_byte(rig: Any, answering: Any) -> None:
    """Nothing is added, nothing is reordered; only Host names the upstream and hop-by-hop fields are gone."""
    seen: list[bytes] = []
    async with rig(answering(OK, seen)) as r:
        client = await r.client()
        await client.send(
            b"POST /a/../b//%2F%2f;x?q=%20+&& HTTP/1.1\r\nx-One: 1\r\nHOST: " + r.host.encode() + b"\r\n"
            b"Connection: keep-alive, x-hop\r\nX-Hop: gone\r\nTE: trailers\r\nx-latin: \xe9\r\n"
            b"Authorization: Bearer t\r\n"
            b"content-LENGTH: 4\r\n\r\nbody"
        )
        await client.head()
        assert seen == [
            b"POST /a/../b//%2F%2f;x?q=%20+&& HTTP/1.1\r\nx-One: 1\r\nHOST: "
            + r.upstream.url[7:].encode()
            + b"\r\nx-latin: \xe9\r\nAuthorization: Bearer t\r\ncontent-LENGTH: 4\r\n\r\nbody"
        ]


@pytest.mark.parametrize(
    "target", ["/?", "/", "//", "/a?", "/%", "/?a=b?c", "/a%00", "/" + "x" * 20000, "/a:b@c"]
)
async def test_odd_targets(rig: Any, opened: Any, answering: Any, target: Any) -> None:
    """A target is passed on and recorded exactly, whatever it looks like."""
    seen: list[bytes] = []
    async with rig(answering(OK, seen)) as r:
        client = await r.get(target)
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        assert seen[0].split(b" ")[1] == target.encode()
        await r.ended()
    assert opened(r.path).exchange(1).request.target == target


async def test_upstream_with_a_path_prefix(rig: Any, answering: Any) -> None:
    """The prefix goes before every target, and comes off Location."""
    seen: list[bytes] = []
    response = b"HTTP/1.1 200 OK\r\nLocation: /api/v1/threads/1\r\ncontent-length: 0\r\n\r\n"
    async with rig(answering(response, seen), prefix="/api/v1/") as r:
        client = await r.get("/threads?x=1")
        assert b"Location: /threads/1\r\n" in await client.head()
    assert seen[0].startswith(b"GET /api/v1/threads?x=1 HTTP/1.1\r\n")


async def test_location_on_the_upstream_becomes_the_proxys(rig: Any, opened: Any) -> None:
    """An absolute Location of the upstream names the proxy as the client calls it; the file keeps the original."""

    async def script(peer: Any) -> None:
        request = await peer.request()
        host = request.split(b"Host: ")[1].split(b"\r\n")[0]
        await peer.send(
            b"HTTP/1.1 201 Created\r\nLOCATION: http://"
            + host
            + b"/x?y#z\r\nContent-Location: https://else/x\r\n"
            b"content-length: 0\r\n\r\n"
        )

    async with rig(script) as r:
        client = await r.get("/")
        head = await client.head()
        assert b"LOCATION: http://" + r.host.encode() + b"/x?y#z\r\n" in head
        assert b"Content-Location: https://else/x\r\n" in head
        await r.ended()
    assert dict(opened(r.path).response(1).headers)[b"LOCATION"].startswith(r.upstream.url.encode())


@pytest.mark.parametrize(
    ("method", "response", "expected"),
    [
        (
            "HEAD",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        ("GET", b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"),
        (
            "GET",
            b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
        ),
        (
            "DELETE",
            b"HTTP/1.1 202 Gone Odd\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 202 Gone Odd\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "PROPFIND",
            b"HTTP/1.1 418 \r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 418 \r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "OPTIONS",
            b"HTTP/1.1 200 OK\r\nallow: GET\r\ncontent-length: 0\r\n\r\n",
            (
                b"HTTP/1.1 200 OK\r\nallow: GET\r\ncontent-length: 0\r\n"
                b"access-control-allow-private-network: true\r\n\r\n"
            ),
        ),
    ],
)
async def test_answers_without_a_body(
    rig: Any, answering: Any, method: Any, response: Any, expected: Any
) -> None:
    """HEAD, 204, 304, empty bodies and any method: the head as it came, CORS aside, and the connection stays."""
    async with rig(answering(response)) as r:
        client = await r.get("/", method=method)
        assert await client.head() == expected
        await client.send(f"GET / HTTP/1.1\r\nHost: {r.host}\r\n\r\n".encode())
        assert (await client.head()).startswith(b"HTTP/1.1 ")


async def test_connections_are_kept(rig: Any, answering: Any) -> None:
    """Two requests of one client share its connection and the upstream's."""
    async with rig(answering(OK)) as r:
        client = await r.get("/")
        for _ in range(2):
            await client.head()
            assert await client.exactly(2) == b"ok"
            await client.send(f"GET / HTTP/1.1\r\nHost: {r.host}\r\n\r\n".encode())
        await client.head()
        assert r.upstream.connections == 1


async def test_connection_of_a_failure_is_not_kept(rig: Any, answering: Any) -> None:
    """Servers close the connection after a 500 without announcing it; the next request gets a new one."""
    failed = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno"
    async with rig(answering(failed)) as r:
        client = await r.get("/")
        await client.head()
        assert await client.exactly(2) == b"no"
        await client.send(f"POST / HTTP/1.1\r\nHost: {r.host}\r\nContent-Length: 0\r\n\r\n".encode())
        await client.head()
        assert r.upstream.connections == 2


async def test_http_1_0_client(rig: Any, answering: Any) -> None:
    """A chunked answer is closed off by the connection's end for a client that knows no chunks."""
    async with rig(answering(SSE_HEAD + chunked(*EVENTS))) as r:
        client = await r.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        head = await client.head()
        assert b"transfer-encoding" not in head
        assert b"connection: close\r\n" in head
        assert await client.rest() == b"".join(EVENTS)


async def test_http_1_0_client_when_the_upstream_breaks(rig: Any) -> None:
    """Where only the connection's end says "whole", a break is a reset, after the bytes."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunked(b"part", end=False))

    async with rig(script) as r:
        client = await r.client()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.head()
        with pytest.raises(ConnectionResetError):
            await client.rest()


@pytest.mark.parametrize("request_line", ["CONNECT h:443 HTTP/1.1", "OPTIONS * HTTP/1.1"])
async def test_targets_that_are_no_path(rig: Any, answering: Any, request_line: str) -> None:
    """A tunnel or an asterisk cannot be forwarded: 400, and the connection ends."""
    async with rig(answering(OK)) as r:
        client = await r.client()
        await client.send(f"{request_line}\r\nHost: {r.host}\r\n\r\n".encode())
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert r.upstream.connections == 0


async def test_answer_that_ends_with_its_connection(rig: Any, opened: Any) -> None:
    """A body without length or chunks is whole when the upstream closes; the client gets it chunked."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it")

    async with rig(script) as r:
        client = await r.get("/")
        assert b"transfer-encoding: chunked" in await client.head()
        assert await client.chunked() == b"all of it"
        await r.ended()
    assert opened(r.path).exchange(1).ending is Ending.COMPLETE


async def test_compressed_answer(rig: Any, opened: Any, answering: Any) -> None:
    """A compressed body stays exactly as it came, for the client and in the file."""
    packed = gzip.compress(b"data: x\n\n" * 50)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with rig(answering(head + packed)) as r:
        client = await r.get("/", "Accept-Encoding: gzip")
        assert await client.head() == head
        assert await client.exactly(len(packed)) == packed
        await r.ended()
    assert opened(r.path).exchange(1).body == packed


@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("cut", [0, 1, 20, 43])
async def test_upstream_breaks_off(rig: Any, opened: Any, framing: Any, cut: Any) -> None:
    """The client's connection breaks at the same byte, without an end; the cassette says who did it."""
    part = b"".join(EVENTS)[:cut]

    async def script(peer: Any) -> None:
        await peer.request()
        if framing == "chunked":
            await peer.send(SSE_HEAD + (chunked(part, end=False) if part else b""))
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + part)

    async with rig(script) as r:
        client = await r.get("/")
        await client.head()
        got = await client.rest()
        assert got == (chunked(part, end=False) if framing == "chunked" and part else part)
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.body == part
    assert exchange.ending is Ending.UPSTREAM_BROKE
    assert exchange.detail


async def test_client_leaves_while_nothing_flows(rig: Any, opened: Any) -> None:
    """The upstream's connection closes at once, and the cassette says that the client left."""
    upstream_saw = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunked(EVENTS[0], end=False))
        await peer.gone()
        upstream_saw.set()

    async with rig(script) as r:
        client = await r.get("/")
        await client.until(b'"1"}')
        client.close()
        await asyncio.wait_for(upstream_saw.wait(), 5)
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.ending is Ending.CLIENT_LEFT
    assert exchange.body == EVENTS[0]


async def test_client_leaves_before_the_head(rig: Any, opened: Any) -> None:
    """As above while the upstream has not answered yet."""
    asked, upstream_saw = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        asked.set()
        await peer.gone()
        upstream_saw.set()

    async with rig(script) as r:
        client = await r.get("/")
        await asked.wait()
        client.abort()
        await asyncio.wait_for(upstream_saw.wait(), 5)
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.ending is Ending.CLIENT_LEFT
    assert exchange.response is None


async def test_client_leaves_inside_its_body(rig: Any, opened: Any) -> None:
    """A request that is not whole is recorded as such; the upstream sees its connection close."""
    arrived, upstream_saw = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\nhalf")
        arrived.set()
        await peer.gone()
        upstream_saw.set()

    async with rig(script) as r:
        client = await r.get("/", "Content-Length: 100", method="POST")
        await client.send(b"half")
        await arrived.wait()
        client.abort()
        await asyncio.wait_for(upstream_saw.wait(), 5)
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.ending is Ending.CLIENT_LEFT
    assert not exchange.request_complete


@pytest.mark.slow
async def test_slow_client_holds_up_nobody(rig: Any, opened: Any) -> None:
    """A client that does not read stops its own upstream only; what came late is marked."""
    piece = b"x" * 65536
    sent = 0

    async def script(peer: Any) -> None:
        nonlocal sent
        request = await peer.request()
        if b"/slow" not in request:
            await peer.send(OK)
            return
        await peer.send(SSE_HEAD)
        for _ in range(250):
            await peer.send(chunked(piece, end=False))
            sent += 1
        await peer.send(chunked())

    async with rig(script) as r:
        slow = await r.get("/slow")
        await slow.head()
        slow.writer.transport.pause_reading()
        before = -1
        while sent != before or not sent:
            before = sent
            fast = await r.get("/fast")
            await fast.head()
            assert await fast.exactly(2) == b"ok"
        assert sent < 250
        slow.writer.transport.resume_reading()
        assert len(await slow.chunked()) == 250 * len(piece)
        await r.ended()
    cassette = opened(r.path)
    chunks = list(cassette.iter_chunks(1))
    assert any(chunk.delayed for chunk in chunks)
    assert not chunks[0].delayed
    assert sum(len(chunk.data) for chunk in chunks) == 250 * len(piece)


async def test_large_body_is_streamed_up(rig: Any, opened: Any) -> None:
    """A request body of unknown size reaches the upstream piece by piece, before it is whole."""
    got = 0
    first = asyncio.Event()

    async def script(peer: Any) -> None:
        nonlocal got
        head = await peer.request()
        assert b"Transfer-Encoding: chunked\r\n" in head
        while size := int(await peer.reader.readuntil(b"\r\n"), 16):
            await peer.reader.readexactly(size + 2)
            got += size
            first.set()
        await peer.send(OK)

    async with rig(script) as r:
        client = await r.get("/", "Transfer-Encoding: chunked", method="PUT")
        await client.send(chunked(b"a" * 1000, end=False))
        await first.wait()
        await client.send(chunked(*[b"b" * 100_000] * 20))
        await client.head()
        assert got == 2_001_000
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert len(exchange.request_body) == got
    assert exchange.request_complete


async def test_compressed_request(rig: Any, opened: Any, answering: Any) -> None:
    """It reaches the upstream as it is; what cannot be searched for credentials is not kept."""
    seen: list[bytes] = []
    packed = gzip.compress(b'{"password":"x"}')
    async with rig(answering(OK, seen)) as r:
        client = await r.get("/", "Content-Encoding: gzip", f"Content-Length: {len(packed)}", method="POST")
        await client.send(packed)
        await client.until(b"ok")
        await r.ended()
    assert seen[0].endswith(packed)
    assert opened(r.path).exchange(1).request_body == b"[redacted]"


async def test_expect_continue(rig: Any, answering: Any) -> None:
    """A client that waits for 100 Continue gets it, and the upstream is not asked to wait."""
    seen: list[bytes] = []
    async with rig(answering(OK, seen)) as r:
        client = await r.get("/", "Expect: 100-continue", "Content-Length: 3", method="POST")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.head()).startswith(b"HTTP/1.1 200")
    assert b"xpect" not in seen[0]
    assert seen[0].endswith(b"abc")


async def test_upstream_not_there(rig: Any, opened: Any, unused_tcp_port: Any) -> None:
    """502 with words that help, recorded as what it is, with the request's body."""
    async with rig(None, url=f"http://u:secret-pw@127.0.0.1:{unused_tcp_port}") as r:
        client = await r.get("/", "Content-Length: 2", "Origin: http://localhost:3000", method="POST")
        await client.send(b"{}")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert b"access-control-allow-origin: http://localhost:3000\r\n" in head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        detail = json.loads(await client.exactly(length))["detail"]
        assert f"127.0.0.1:{unused_tcp_port}" in detail
        assert "refused" in detail
        assert "secret-pw" not in detail
        await r.ended()
    exchange = opened(r.path).exchange(1)
    assert exchange.ending is Ending.UNREACHED
    assert exchange.response.status == 502
    assert exchange.request_body == b"{}"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"\x16\x03\x01 garbage\r\n\r\n", "HTTP"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "switched"),
    ],
)
async def test_upstream_answers_no_http(rig: Any, opened: Any, answer: Any, word: Any) -> None:
    """Garbage, nothing, half a head: 502 with the reason; the recorder lives on."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(answer)

    async with rig(script) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 502 ")
        assert word.encode() in await client.until(b"}")
        await r.ended()
    assert opened(r.path).exchange(1).ending is Ending.UNREACHED


async def test_upstream_never_answers(rig: Any, opened: Any) -> None:
    """No response head within --upstream-timeout is a 504 that names the option."""

    async def script(peer: Any) -> None:
        await peer.gone()

    async with rig(script, upstream_timeout=0.02) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
        assert b"--upstream-timeout" in await client.until(b"}")
        await r.ended()
    assert opened(r.path).exchange(1).ending is Ending.UNREACHED


async def test_who_waited_in_vain_does_not_ask_again(rig: Any) -> None:
    """A kept connection that takes the request and stays silent is no connection that had been closed."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    async with rig(script, upstream_timeout=0.2) as r:
        client = await r.get("/")
        await client.head()
        assert await client.exactly(2) == b"ok"
        await client.send(f"GET / HTTP/1.1\r\nHost: {r.host}\r\n\r\n".encode())
        assert (await client.head()).startswith(b"HTTP/1.1 504 ")
        assert r.upstream.connections == 1


async def test_informational_answers_are_skipped(rig: Any, answering: Any) -> None:
    """A 103 before the answer is not taken for it."""
    async with rig(answering(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)) as r:
        client = await r.get("/")
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK")


async def test_websocket_is_refused(rig: Any, opened: Any, answering: Any) -> None:
    """An upgrade gets a clear answer, recorded, and never reaches the upstream."""
    async with rig(answering(OK)) as r:
        client = await r.get(
            "/ws",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: eHl6",
            "Sec-WebSocket-Version: 13",
        )
        assert (await client.head()).startswith(b"HTTP/1.1 501 ")
        assert b"WebSocket" in await client.until(b"}")
        await r.ended()
        assert r.upstream.connections == 0
    assert opened(r.path).exchange(1).response.status == 501


async def test_streams_interleave(rig: Any, opened: Any) -> None:
    """Several streams at once: each client gets its own, and the file holds them in the order of their reads."""
    gates = {b"/a": asyncio.Event(), b"/b": asyncio.Event()}

    async def script(peer: Any) -> None:
        name = (await peer.request()).split(b" ")[1]
        await peer.send(SSE_HEAD + chunked(name, end=False))
        await gates[name].wait()
        await peer.send(chunked(name * 2))

    async with rig(script) as r:
        a, b = await r.get("/a"), await r.get("/b")
        await a.until(b"/a\r\n")
        await b.until(b"/b\r\n")
        gates[b"/b"].set()
        assert await b.chunked() == b"/b/b"
        gates[b"/a"].set()
        assert await a.chunked() == b"/a/a"
        await r.ended(2)
    cassette = opened(r.path)
    assert {cassette.exchange(n).body for n in (1, 2)} == {b"/a/a/a", b"/b/b/b"}


async def test_file_first_then_client(rig: Any, answering: Any) -> None:
    """At the moment the client has a byte, a flush has already taken it."""
    flushed = bytearray()

    class Spy:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self._waiting = b""

        def __getattr__(self, name: Any) -> Any:
            return getattr(self._inner, name)

        def chunk(self, number: Any, at_ns: Any, data: Any, delayed: Any = False) -> None:
            self._waiting += data
            self._inner.chunk(number, at_ns, data, delayed)

        def flush(self) -> None:
            self._inner.flush()
            flushed.extend(self._waiting)
            self._waiting = b""

    turn = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        for i in range(50):
            await peer.send(chunked(b"%03d" % i, end=False))
            await turn.wait()
            turn.clear()
        await peer.send(chunked())

    async with rig(script, wrap=Spy) as r:
        client = await r.get("/")
        await client.head()
        for i in range(50):
            assert await client.exactly(8) == b"3\r\n%03d\r\n" % i
            assert flushed.endswith(b"%03d" % i)
            turn.set()
        assert await client.exactly(5) == b"0\r\n\r\n"


async def test_stop_while_streaming(rig: Any, opened: Any) -> None:
    """Stopping breaks the client's stream without an end, and the cassette is closed with what it got."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunked(EVENTS[0], end=False))
        await peer.gone()

    async with rig(script) as r:
        client = await r.get("/")
        await client.until(b'"1"}\r\n\r\n\r\n')
    assert await client.rest() == b""
    cassette = opened(r.path)
    assert cassette.finished
    assert cassette.exchange(1).ending is Ending.RECORDER_STOPPED
    assert r.recorder.report().unfinished == 1


async def test_file_first_then_upstream(rig: Any, opened: Any) -> None:
    """What the upstream has of a request is in the file, also while no answer comes; a killed recorder keeps it."""
    taken = asyncio.Event()
    body = b"x" * 300_000
    recorded: list[tuple[str, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.request()
        with opened(r.path) as cassette:
            recorded.extend([(cassette.request(1)[0].method, cassette.request(1)[1])])
        taken.set()
        await peer.gone()

    async with rig(script) as r:
        client = await r.client()
        await client.send(
            b"POST /up HTTP/1.1\r\nHost: %b\r\nContent-Length: 300000\r\n\r\n" % r.host.encode() + body
        )
        await asyncio.wait_for(taken.wait(), 10)
        assert recorded == [("POST", body)]
        client.close()
        await r.ended()


async def test_foreign_host_and_origin(rig: Any, answering: Any) -> None:
    """A rebound name gets 421, a foreign page that writes 403; neither reaches upstream or cassette."""
    async with rig(answering(OK)) as r:
        client = await r.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 421 ")
        assert b"--allow-host evil.example" in await client.until(b"}")
        client = await r.client()
        await client.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 421 ")
        client = await r.get("/", "Origin: https://evil.example", "content-length: 0", method="POST")
        assert (await client.head()).startswith(b"HTTP/1.1 403 ")
        assert b"--cors-origin https://evil.example" in await client.until(b"}")
        assert r.upstream.connections == 0
        assert r.recorder.capture.tally.exchanges == 0


async def test_cors_is_our_own(rig: Any, opened: Any, answering: Any) -> None:
    """The upstream's CORS headers stay in the file; the client gets the recorder's."""
    response = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\n"
        b"access-control-allow-credentials: true\r\nvary: Origin\r\n\r\n"
    )
    async with rig(answering(response)) as r:
        client = await r.get("/", "Origin: http://localhost:3000")
        assert await client.head() == (
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: http://localhost:3000\r\n"
            b"access-control-expose-headers: x-pagination-total, x-pagination-next, content-location\r\n"
            b"vary: Origin\r\n\r\n"
        )
        client = await r.get("/", "Origin: https://evil.example")
        assert b"access-control" not in await client.head()
        await r.ended(2)
    assert (b"access-control-allow-credentials", b"true") in opened(r.path).response(1).headers


async def test_who_is_refused_is_told(rig: Any, answering: Any) -> None:
    """What a browser hides from its page is on the terminal, with the option that helps."""
    said = io.StringIO()
    foreign = ("Origin: https://evil.example", "content-length: 0")
    progress = Progress(said, FakeClock(), is_terminal=False)
    async with rig(answering(OK), progress=progress) as r:
        asked = "Access-Control-Request-Method: POST"
        for method, *fields in (("OPTIONS", asked), ("POST",)):
            await (await r.get("/threads", *foreign, *fields, method=method)).head()
        client = await r.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        await client.head()
        lines = [line for line in said.getvalue().splitlines() if "refused" in line]
    assert len(lines) == 3
    assert ["--cors-origin https://evil.example" in line for line in lines] == [True, True, False]
    assert "--allow-host evil.example" in lines[2]


async def test_preflight_is_answered_here(rig: Any, answering: Any) -> None:
    """A preflight is not forwarded; any other OPTIONS request is."""
    async with rig(answering(OK)) as r:
        client = await r.get(
            "/threads", "Origin: http://localhost:1", "Access-Control-Request-Method: POST", method="OPTIONS"
        )
        assert b"access-control-allow-methods: DELETE, GET" in await client.head()
        assert r.upstream.connections == 0


@pytest.mark.parametrize("answers", [True, False])
async def test_options_that_is_no_preflight(rig: Any, answering: Any, answers: bool) -> None:
    """As the server tells every OPTIONS about private networks, last of all; a foreign page is told nothing.

    The same if the recorder answers in the place of an upstream that is not there (False).
    """
    told = b"access-control-allow-private-network: true\r\n"
    response = b"HTTP/1.1 405 No\r\ncontent-length: 0\r\nvary: Origin\r\n" + told + b"\r\n"
    async with rig(answering(response)) as r:
        if not answers:
            await r.upstream.stop()
        for number, (fields, is_told) in enumerate(
            [((), True), (("Origin: http://localhost:1",), True), (("Origin: https://evil.example",), False)]
        ):
            head = await (await r.get("/threads", *fields, method="OPTIONS")).head()
            assert head.count(told) == is_told
            assert head.endswith(told + b"\r\n") is is_told
            await r.ended(number + 1)


async def test_credentials_reach_the_upstream_and_nothing_else(rig: Any, opened: Any, answering: Any) -> None:
    """Headers, query, body and userinfo credentials are nowhere in the file."""
    seen: list[bytes] = []
    response = b"HTTP/1.1 200 OK\r\nset-cookie: s=sesame-1\r\ncontent-length: 8\r\n\r\nsesame-2"
    async with rig(answering(response, seen)) as r:
        body = b'{"input":{"n":1},"config":{"configurable":{"openai_api_key":"sesame-3"}},"password":["sesame-4"]}'
        client = await r.get(
            "/x?api_key=sesame-5&a=1",
            "Authorization: Bearer sesame-6",
            "X-Api-Key: sesame-7",
            "Cookie: sesame-8",
            "X-My-Token: sesame-9",
            f"Content-Length: {len(body)}",
            method="POST",
        )
        await client.send(body)
        assert b"set-cookie: s=sesame-1" in await client.head()
        await r.ended()
    assert seen[0].count(b"sesame") == 7
    exchange = opened(r.path).exchange(1)
    assert b"sesame" not in repr((exchange.request, exchange.request_body, exchange.response)).encode()
    assert exchange.request.target == "/x?api_key=[redacted]&a=1"
    assert json.loads(exchange.request_body)["input"] == {"n": 1}
    assert exchange.body == b"sesame-2"
    assert "header authorization" in exchange.request.redacted


async def test_userinfo_of_the_upstream(rig: Any, opened: Any, answering: Any) -> None:
    """http://user:pass@host works upstream and is stored nowhere; the client's own Authorization wins."""
    seen: list[bytes] = []
    async with rig(answering(OK, seen), userinfo="user:p%40ss-word@") as r:
        await (await r.get("/")).until(b"ok")
        await (await r.get("/", "Authorization: Bearer mine")).until(b"ok")
        await r.ended(2)
    assert b"\r\nAuthorization: Basic dXNlcjpwQHNzLXdvcmQ=\r\n" in seen[0]
    assert b"Basic" not in seen[1]
    cassette = opened(r.path)
    assert cassette.recordings[0].upstream == r.upstream.url
    assert b"Basic" not in repr(cassette.exchange(1)).encode()


@pytest.mark.parametrize("ends", [True, False, None])
async def test_failing_disk_stops_the_traffic(rig: Any, ends: bool | None) -> None:
    """By default nothing passes unrecorded: the client gets no byte that is not in the file.

    The same if the upstream breaks off as well, behind one more piece (False) or without (None).
    """
    from graphtape.cassettes.errors import CassetteWriteFailed

    class Full:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.full = False

        def __getattr__(self, name: Any) -> Any:
            return getattr(self._inner, name)

        def flush(self) -> None:
            if self.full:
                raise CassetteWriteFailed("x.tape", "no space left")
            self._inner.flush()

    disks: list[Full] = []

    def wrap(writer: Any) -> Any:
        disks.append(Full(writer))
        return disks[0]

    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunked(b"first", end=False))
        await go_on.wait()
        if ends is not None:
            await peer.send(chunked(b"second", end=ends))
        peer.close()

    async with rig(script, wrap=wrap) as r:
        client = await r.get("/")
        await client.until(b"first\r\n")
        disks[0].full = True
        go_on.set()
        assert await client.rest() == b""
        await asyncio.wait_for(r.recorder.failed.wait(), 5)
    assert "no space left" in r.recorder.report().failure
