"""What the recorder masks, from the wire to the file: named values in tokens, JSON paths, echoes."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes import Cassette
from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.cassettes.redaction.secrets import find_secrets
from graphtape.recorder.progress import Progress

SECRET = "Zunter2-fish"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def event(text: str) -> bytes:
    return b"event: messages\ndata: " + json.dumps([{"content": text, "id": "m"}, {}]).encode() + b"\n\n"


def tokens(text: str) -> list[bytes]:
    return [event(text[at : at + 3]) for at in range(0, len(text), 3)]


async def test_a_value_in_tokens(rig: Any, tmp_path: Path) -> None:
    """The client gets every byte as it comes; in the file the value is masked before the cassette is finished."""
    steps = asyncio.Queue[bytes | None]()

    async def upstream(peer: Any) -> None:
        await peer.request()
        await peer.send(HEAD)
        while (data := await steps.get()) is not None:
            await peer.send(data)
        peer.close()

    redactor = Redactor(values=[("PIN", SECRET)])
    async with rig(upstream, redactor=redactor) as r:
        client = await r.get("/")
        for data in tokens(f"It is {SECRET}."):
            steps.put_nowait(data)
            assert (await client.until(data)).endswith(data)
        with Cassette.open(r.path) as cassette:
            assert not find_secrets(cassette, redactor).passed, "the client has it, and so has the file"
        steps.put_nowait(None)
        await r.ended()
    with Cassette.open(r.path) as cassette:
        exchange = cassette.exchange(1)
        assert exchange.body.endswith(b"".join(tokens(f"It is {'*' * len(SECRET)}.")))
        assert exchange.request.redacted == ("value PIN",)
        assert cassette.exchanges[0].redacted
        assert cassette.check().finished
        assert find_secrets(cassette, redactor).passed
    assert [file.name for file in r.path.parent.iterdir() if file.name.endswith(".masking")] == []


async def test_paths_and_echoes(rig: Any) -> None:
    """A member of the body is masked by its path, and a credential of the request where its response repeats it."""
    body = b'{"input":{"ssn":"123-45"}}'
    answer = b"you sent key-12345678, and password-1"

    async def upstream(peer: Any) -> None:
        head = await peer.request()
        assert b"key-12345678" in head
        assert b"123-45" in head
        assert b"accept-encoding: identity" in head.lower()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)

    async with rig(upstream, redactor=Redactor(paths=["input.ssn"], echo=True)) as r:
        client = await r.client()
        await client.send(
            b"POST /?password=password-1 HTTP/1.1\r\nHost: %b\r\nX-Api-Key: key-12345678\r\nAccept-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n" % (r.host.encode(), len(body)) + body
        )
        assert (await client.until(answer)).endswith(answer)
        await r.ended()
    with Cassette.open(r.path) as cassette:
        exchange = cassette.exchange(1)
        assert exchange.body == b"you sent ************, and **********"
        assert exchange.request_body == b'{"input":{"ssn":"[redacted]"}}'
        assert set(exchange.request.redacted) == {
            "header x-api-key", "query password", "body input.ssn", "echo",
        }  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 %b\r\ncontent-length: 0\r\n\r\n" % SECRET.encode(),
        b"HTTP/1.1 200 OK\r\nx-odd: %b\r\ncontent-length: 0\r\n\r\n" % SECRET.encode(),
        b"%b no HTTP\r\n\r\n" % SECRET.encode(),
        b"HTTP/1.1 200 OK\r\ncontent-length: %b\r\n\r\n" % SECRET.encode(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%b\r\n" % SECRET.encode(),
        HEAD + b"event: %b\ndata: {}\n\n" % SECRET.encode(),
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
        + gzip.compress(SECRET.encode()),
    ],
    ids=["reason", "header", "no HTTP", "length", "chunk size", "event name", "gzip"],
)
async def test_a_value_in_odd_places(rig: Any, answer: bytes) -> None:
    """Nor is it in what the file says of a broken answer, or in what the terminal shows."""
    said = io.StringIO()
    redactor = Redactor(values=[("PIN", SECRET)])

    async def upstream(peer: Any) -> None:
        await peer.request()
        await peer.send(answer)
        peer.close()

    clock = FakeClock(autojump=False)
    progress = Progress(said, clock, is_terminal=True)
    async with rig(upstream, redactor=redactor, prefix=f"/{SECRET}", clock=clock, progress=progress) as r:
        await (await r.get("/", "Connection: close")).rest()
        await r.ended()
        progress.refresh(force=True)
    with Cassette.open(r.path) as cassette:
        assert find_secrets(cassette, redactor).findings == ()
        assert "*" * len(SECRET) in cassette.recordings[0].upstream
    assert said.getvalue()
    assert SECRET not in said.getvalue()


async def test_json_that_came_as_a_form(rig: Any) -> None:
    """What `curl -d` sends: the upstream gets it as it is, the file without the credentials."""
    body = b'{"api_key":"zzzzzzzz","input":{"customer":"Ms Z&z"}}'

    async def upstream(peer: Any) -> None:
        assert (await peer.request()).endswith(body)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with rig(upstream, redactor=Redactor(["customer"])) as r:
        client = await r.client()
        await client.send(
            b"POST /runs/stream HTTP/1.1\r\nHost: %b\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n" % (r.host.encode(), len(body)) + body
        )
        assert b" 200 OK" in await client.until(b"\r\n\r\n")
        await r.ended()
    with Cassette.open(r.path) as cassette:
        exchange = cassette.exchange(1)
        assert exchange.request_body == b'{"api_key":"[redacted]","input":{"customer":"[redacted]"}}'
        assert set(exchange.request.redacted) == {"body api_key", "body customer"}
