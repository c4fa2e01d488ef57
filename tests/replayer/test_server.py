"""The application: who is served, what is logged, what a failure looks like."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.errors import DamagedCassette, NotACassette
from graphtape.cassettes.model import Ending
from graphtape.protocol.access import InvalidAccess
from graphtape.replayer import SESSION, InvalidChoice, make_app, server
from graphtape.replayer.plan import InvalidPace

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

BODY = {"assistant_id": "agent", "input": "hi"}


def recording(kit: Any, **more: Any) -> Any:
    made = kit.recording()
    made.run(made.thread(1), kit.uid(2), BODY, **more)
    made.json("GET", "/info", {"version": "1"})
    return made


async def test_foreign_host(kit: Any, play: Any) -> None:
    """A name that is not ours gets 421 with the option that allows it; allowed it is served."""
    made = recording(kit).close()
    client = await play(made)
    async with client.get("/info", headers={"Host": "evil.example"}) as response:
        assert (response.status, response.reason) == (421, "Misdirected Request")
        assert "--allow-host evil.example" in (await response.json())["detail"]
    client = await play(made, allow_hosts=["evil.example"])
    async with client.get("/info", headers={"Host": "evil.example:99"}) as response:
        assert response.status == 200


async def test_foreign_origin(kit: Any, play: Any) -> None:
    """A foreign page gets no CORS headers, and 403 where it would change something, with the option that allows it."""
    made = recording(kit).close()
    client = await play(made)
    headers = {"Origin": "https://evil.example"}
    async with client.get("/info", headers=headers) as response:
        assert response.status == 200
        assert "access-control-allow-origin" not in response.headers
    async with client.post("/threads", json={}, headers=headers) as response:
        assert response.status == 403
        assert "--cors-origin https://evil.example" in (await response.json())["detail"]
    client = await play(made, cors_origins=["https://evil.example"], expose_location=True)
    async with client.post("/threads", json={}, headers=headers) as response:
        assert response.status == 200
        exposed = response.headers["access-control-expose-headers"]
        assert exposed == "x-pagination-total, x-pagination-next, content-location, location"


async def test_loopback_origin(kit: Any, play: Any) -> None:
    """A page on loopback gets the real server's CORS headers, in preflights too; recorded ones are never sent."""
    made = kit.recording()
    made.json("GET", "/info", {}, headers=((b"access-control-allow-origin", b"*"), (b"vary", b"Origin")))
    client = await play(made)
    headers = {"Origin": "http://localhost:3000"}
    async with client.get("/info", headers=headers) as response:
        assert response.headers.getall("access-control-allow-origin") == ["http://localhost:3000"]
    async with client.get("/info") as response:
        assert "access-control-allow-origin" not in response.headers
    asked = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a"}
    async with client.options("/runs/stream", headers=asked) as response:
        assert (response.status, await response.text()) == (200, "OK")
        assert response.headers["access-control-allow-headers"] == "x-a"
        assert "date" not in response.headers  # the recorded answer has none


async def test_options_that_is_no_preflight(kit: Any, play: Any) -> None:
    """The server tells every OPTIONS about private networks, last of all; a foreign page is told nothing."""
    made = kit.recording()
    made.json("GET", "/info", {})
    client = await play(made)
    async with client.options("/threads") as response:
        assert response.status == 405
        assert list(response.headers.items())[-1] == ("access-control-allow-private-network", "true")
    async with client.options("/threads", headers={"Origin": "https://elsewhere.invalid"}) as response:
        assert "access-control-allow-private-network" not in response.headers
    preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    async with client.options("/threads", headers=preflight) as response:
        assert [name.lower() for name in response.headers][:2] == ["date", "server"]


async def test_large_body(kit: Any, play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request body above the limit is a 413 that says the limit."""
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 1000)
    client = await play(recording(kit))
    async with client.post("/threads", data=b"x" * 2000) as response:
        assert response.status == 413
        assert "larger than 1000 bytes" in (await response.json())["detail"]


async def test_log(kit: Any, play: Any) -> None:
    """Each request is one line: what was asked, the status, which exchange played, or why none did."""
    lines: list[str] = []
    client = await play(recording(kit), log=lines.append, speed="max")
    path = f"/threads/{kit.uid(1)}/runs/stream"
    await client.post(path, json=BODY)
    await client.post(path, json={**BODY, "assistant_id": "agnt"})
    await client.get("/nothing?a=1")
    assert lines[0] == f"POST {path} 200 exchange 2"
    assert lines[1].startswith(f"POST {path} 404 No run of assistant 'agnt' was recorded.")
    assert lines[2].startswith("GET /nothing?a=1 404 Nothing like GET /nothing was recorded.")


async def test_log_of_a_foreign_page(kit: Any, play: Any) -> None:
    """Its preflight is logged with the option that helps, which the browser shows to nobody; a welcome one is not."""
    lines: list[str] = []
    client = await play(recording(kit), log=lines.append)
    for origin in ("null", "http://localhost:3000"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        await client.options("/threads", headers=headers)
    assert lines == ["OPTIONS /threads 400 Disallowed CORS origin; start graphtape with --cors-origin null"]


async def test_log_of_a_cassette_that_is_not_whole(kit: Any, play: Any) -> None:
    """Its line comes before those of requests."""
    lines: list[str] = []
    client = await play(recording(kit).close(finished=False), log=lines.append)
    await client.get("/nothing")
    assert [("unfinished: its recorder was killed" in line) for line in lines] == [True, False]


async def test_bug_of_ours(kit: Any, play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is a 500 that asks for a report, in the log too; no traceback."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(server, "answer_of", broken)
    lines: list[str] = []
    client = await play(recording(kit), log=lines.append)
    async with client.get("/info") as response:
        assert response.status == 500
        assert (await response.json())["detail"].startswith(
            "graphtape failed on this request (ZeroDivisionError"
        )
    assert "Please report it" in lines[0]


async def test_bug_inside_a_stream(kit: Any, play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure after the head breaks the connection; a second head would be garbage in the stream."""
    monkeypatch.setattr("graphtape.replayer.sending.drive_framed", lambda *_: None)
    lines: list[str] = []
    client = await play(recording(kit), log=lines.append, speed="max")
    async with client.post(f"/threads/{kit.uid(1)}/runs/stream", json=BODY) as response:
        with pytest.raises(Exception, match="payload"):
            await response.read()
    assert "broken off" in lines[-1]


async def test_stop_breaks_open_streams(kit: Any, play: Any) -> None:
    """Stopping breaks open streams at once, without a terminating chunk, whether their clients read or not."""
    from graphtape.cassettes.clock import FakeClock

    client = await play(recording(kit), clock=FakeClock(autojump=False))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"GET /threads/{kit.uid(1)}/stream HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    await asyncio.wait_for(client.close(), 1)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


@pytest.mark.slow
async def test_stop_with_a_client_that_never_reads(kit: Any, play: Any) -> None:
    """A client that does not read holds up neither the others nor the stop."""
    made = kit.recording()
    events: list[Any] = [(0, "metadata", {})] + [(0, "values", {"x": "y" * 500_000})] * 20
    made.run(made.thread(1), kit.uid(2), BODY, events)
    made.json("GET", "/info", {})
    client = await play(made, speed="max")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1)
    body = b'{"assistant_id":"agent","input":"hi"}'
    head = f"POST /threads/{kit.uid(1)}/runs/stream HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.read(10)
    async with client.get("/info") as response:
        assert response.status == 200
    await asyncio.wait_for(client.close(), 1)
    writer.transport.abort()


@pytest.mark.parametrize(
    ("choices", "error", "text"),
    [
        ({"speed": "fast"}, InvalidPace, "neither a positive number nor 'max'"),
        ({"idle_limit": -1}, InvalidPace, "--idle-limit"),
        ({"match": "loose"}, InvalidChoice, "match 'loose' is neither 'strict' nor 'nearest'"),
        ({"ids": "new"}, InvalidChoice, "ids 'new' is neither 'recorded' nor 'unique'"),
        ({"ignore": ["a["]}, InvalidChoice, "--ignore: 'a\\[' is not a path"),
        ({"allow_hosts": ["http://a"]}, InvalidAccess, "--allow-host 'http://a' is no host name"),
        ({"cors_origins": ["a:1"]}, InvalidAccess, "--cors-origin 'a:1' is no origin"),
    ],
)
def test_wrong_choices(kit: Any, choices: Any, error: type[Exception], text: str) -> None:
    """An option with a value that it does not take is refused before anything is opened, in words."""
    with pytest.raises(error, match=text):
        make_app("no such file", **choices)


def test_wrong_files(kit: Any, tmp_path: Path) -> None:
    """A missing, foreign or damaged file is our error with its name; what was opened before is closed."""
    good = recording(kit).close()
    with pytest.raises(NotACassette, match=r"missing\.tape"):
        make_app([good, tmp_path / "missing.tape"])
    (tmp_path / "text.tape").write_text("hello")
    with pytest.raises(NotACassette, match=r"text\.tape"):
        make_app(tmp_path / "text.tape")
    data = bytearray(good.read_bytes())
    data[60] ^= 1
    (tmp_path / "bad.tape").write_bytes(data[:-20])
    with pytest.raises((DamagedCassette, NotACassette), match=r"bad\.tape"):
        make_app(tmp_path / "bad.tape")


async def test_several_cassettes(kit: Any, play: Any) -> None:
    """Several cassettes are played together, in the order given."""
    one, two = kit.recording(), kit.recording()
    one.thread(1)
    two.thread(2)
    two.json("GET", "/info", {"version": "2"})
    client = await play(one, two)
    ids = [(await (await client.post("/threads", json={})).json())["thread_id"] for _ in range(2)]
    assert ids == [kit.uid(1), kit.uid(2)]
    assert (await (await client.get("/info")).json()) == {"version": "2"}
    assert len(client.app[SESSION].threads) == 2


async def test_what_was_never_reached(kit: Any, play: Any) -> None:
    """An upstream that was never reached is listed but never selected."""
    made = kit.recording()
    made.json("GET", "/info", {"detail": "x"}, status=502, ending=Ending.UNREACHED)
    made.json("POST", "/runs/stream", {"detail": "x"}, BODY, status=502, ending=Ending.UNREACHED)
    client = await play(made)
    assert (await (await client.get("/info")).json())["version"] == "graphtape"
    assert (await client.post("/runs/stream", json=BODY)).status == 404


async def raw_exchange(client: Any, head: bytes) -> bytes:
    """What comes back for these bytes, until the server closes."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(head)
    data = await reader.read()
    writer.close()
    return data


async def test_hostile_targets(kit: Any, play: Any) -> None:
    """Targets that are no URLs are paths like any other: they are replayed, and nothing else suffers."""
    made = recording(kit)
    targets = ["//[x", "//evil/x?a=1", "/caf\udce9", "/a#b"]
    for position, target in enumerate(targets):
        made.json("GET", target, position)
    client = await play(made)
    for position, target in enumerate(targets):
        if not target.isascii():
            continue  # which no HTTP parser takes today
        sent = target.encode("utf-8", "surrogateescape")
        got = await raw_exchange(
            client, b"GET " + sent + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert got.startswith(b"HTTP/1.1 200 OK\r\n"), got
        assert got.endswith(b"\r\n\r\n%d" % position), got


async def test_credentials_stay_out_of_log_and_answer(kit: Any, play: Any) -> None:
    """Credentials in the query and in bodies reach neither the log nor the miss."""
    lines: list[str] = []
    made = recording(kit)
    made.json("POST", "/login", {}, {"password": "x", "user": "me"})
    client = await play(made, log=lines.append)
    for path, body in (
        ("/x?api_key=TOPSECRET&a=b", None),
        ("/login?access_token=TOPSECRET", {"password": ["TOPSECRET"], "user": {"api_key": "TOPSECRET"}}),
        (
            "/runs/stream",
            {**BODY, "input": {"password": "TOPSECRET"}, "config": {"x": {"api_key": "TOPSECRET"}}},
        ),
    ):
        async with client.post(path, json=body) as response:
            assert response.status == 404
            assert "TOPSECRET" not in await response.text()
    assert not any("TOPSECRET" in line for line in lines)
    assert any("api_key=" in line and "a=b" in line for line in lines)


async def test_long_heads(kit: Any, play: Any) -> None:
    """A target of 60 000 bytes and a thousand headers are taken, as the recorder takes them."""
    made = recording(kit)
    target = "/" + "a" * 60_000
    made.json("GET", target, 1)
    client = await play(made)
    fields = b"".join(b"x-%d: 1\r\n" % number for number in range(900))
    head = (
        b"GET "
        + target.encode()
        + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + fields
        + b"\r\n"
    )
    assert (await raw_exchange(client, head)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_malformed_request(kit: Any, play: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A request that is none gets 400, and nobody sees a traceback."""
    client = await play(recording(kit))
    assert b" 400 " in (await raw_exchange(client, b"hello\r\n\r\n")).split(b"\r\n")[0]
    assert not caplog.records


@pytest.mark.parametrize("line", [b"CONNECT a.example:443", b"OPTIONS *"])
async def test_target_that_is_no_path(kit: Any, play: Any, line: bytes) -> None:
    """CONNECT and `OPTIONS *` get a 400 with a reason, and the connection is closed."""
    client = await play(recording(kit))
    got = await raw_exchange(client, line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"answers requests for a path" in got


async def test_absolute_form(kit: Any, play: Any) -> None:
    """A request in absolute form is answered for its path; its authority is what counts as host."""
    client = await play(recording(kit))
    tail = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await raw_exchange(client, b"GET http://127.0.0.1:1/info" + tail)).endswith(b'{"version":"1"}')
    refused = await raw_exchange(client, b"GET http://evil.example/info" + tail)
    assert refused.startswith(b"HTTP/1.1 421 ")


async def test_location_of_the_upstream(kit: Any, play: Any) -> None:
    """An absolute location on the recorded upstream leads to the mock; any other stays."""
    made = recording(kit)
    for path, location in (("/own", b"http://127.0.0.1:2024/abs?q"), ("/other", b"http://other.example/abs")):
        made.json("GET", path, {}, status=302, headers=((b"location", location), (b"content-length", b"2")))
    client = await play(made)
    async with client.get("/own", allow_redirects=False) as response:
        assert response.headers["location"] == f"http://{client.host}:{client.port}/abs?q"
    async with client.get("/other", allow_redirects=False) as response:
        assert response.headers["location"] == "http://other.example/abs"


async def test_broken_for_http_1_0(kit: Any, play: Any) -> None:
    """What broke off is reset for a client of HTTP/1.0, to whom a clean close would mean the end."""
    made = kit.recording()
    made.call(
        "GET", "/sse", reads=((1, b"data: 1\n\n"),), ending=Ending.UPSTREAM_BROKE, headers=kit.STREAM_TAIL
    )
    client = await play(made, speed="max")
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /sse HTTP/1.0\r\nHost: localhost\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_deep_json(kit: Any, play: Any) -> None:
    """Bodies nested beyond what can be walked are compared as bytes; no request fails over them."""
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    made = recording(kit)
    made.json("POST", "/deep", {"ok": 1}, deep)
    client = await play(made)
    for path, body, status in (
        ("/deep", deep, 200),
        ("/deep", deep + b" ", 404),
        ("/threads/search", deep, 422),
        ("/runs/stream", deep, 422),
        ("/threads", deep, 422),
    ):
        async with client.post(path, data=body) as response:
            assert response.status == status, path
            text = await response.text()
    assert "nested deeper than" in text


def test_no_cassette() -> None:
    """An empty list is a mistake, not a mock that knows nothing."""
    with pytest.raises(InvalidChoice, match="at least one path"):
        make_app([])


async def test_stream_that_cannot_be_read(kit: Any, play: Any) -> None:
    """A recorded stream that is not what its head says is a 422 for its own request, not the nearest of others."""
    made = kit.recording()
    body = {"assistant_id": "agent", "input": {"n": 1}, "stream_mode": ["values"]}
    broken = {**body, "input": {"n": 0}}
    headers = (*kit.STREAM_TAIL, (b"content-encoding", b"gzip"))
    made.call("POST", "/runs/stream", broken, reads=((1, b"no gzip"),), headers=headers)
    made.run(None, kit.uid(7), body)
    client = await play(made, speed="max")
    async with client.post("/runs/stream", json={**body, "input": {"n": 2}}) as response:
        assert (response.status, response.headers["graphtape-match"]) == (200, "nearest")
    async with client.post("/runs/stream", json=broken) as response:
        assert response.status == 422
        assert "not valid gzip" in (await response.json())["detail"]


async def test_compressed_request(kit: Any, play: Any) -> None:
    """A compressed body is no JSON to the server, whatever is in it; nothing unpacks it here."""
    client = await play(recording(kit))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    for body in (b"no gzip", gzip.compress(orjson.dumps(BODY))):
        async with client.post("/runs/stream", data=body, headers=headers) as response:
            assert response.status == 422
            assert "JSON" in (await response.json())["detail"]
