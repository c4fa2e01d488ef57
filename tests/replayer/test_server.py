"""The application: who is served, what is logged, what a failure looks like."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes.errors import DamagedCassette, NotACassette
from graphtape.cassettes.model import Ending
from graphtape.protocol.errors import ProtocolError
from graphtape.replayer import SESSION, InvalidChoice, make_app, server
from graphtape.replayer.plan import InvalidPace

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
    monkeypatch.setattr("graphtape.replayer.sending.drive", lambda *_: None)
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
        ({"ignore": ["a["]}, ProtocolError, "not a path"),
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
