"""Tests of `workbench/client.py`."""

from __future__ import annotations

import asyncio

import pytest

from graphtape.cassettes.model import Request
from graphtape.workbench.client import NoAnswer, Received, new_session, send


async def exchange(
    answer: bytes, request: Request, body: bytes = b"", **options: object
) -> tuple[bytes, Received]:
    """Send to a server that says `answer` and closes; returns what it saw, and what came back."""
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        seen.extend(await reader.readexactly(len(body)))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with new_session() as session:
            received = await send(session, f"http://127.0.0.1:{port}", request, body, **options)  # type: ignore[arg-type]
    finally:
        server.close()
        await server.wait_closed()
    return bytes(seen), received


async def test_request_as_recorded() -> None:
    """Target and headers go out as they were recorded, with nothing added but host and length."""
    headers = (
        (b"X-B", b"2"),
        (b"host", b"old"),
        (b"content-length", b"99"),
        (b"origin", b"http://page"),
        (b"connection", b"x-hop"),
        (b"x-hop", b"1"),
        (b"Accept", b"\xc3\xa9"),
    )
    request = Request(0, "POST", "/a%2fb?x=%7B&y=+", headers)
    seen, received = await exchange(b"HTTP/1.1 204 No Content\r\n\r\n", request, b"body")
    head, _, body = seen.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    assert line == b"POST /a%2fb?x=%7B&y=+ HTTP/1.1"
    names = sorted(field.split(b":")[0].lower() for field in fields)
    assert names == [b"accept", b"content-length", b"host", b"x-b"]
    assert "Accept: é".encode() in fields
    assert body == b"body"
    assert (received.status, received.whole) == (204, True)


async def test_answer_as_it_came() -> None:
    """A coded body stays coded, a redirect is not followed, headers keep their spelling."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: /x\r\ncontent-ENCODING: gzip\r\nContent-Length: 3\r\n\r\nabc"
    _, received = await exchange(answer, Request(0, "GET", "/", ()))
    assert received == Received(
        302,
        "Found",
        ((b"Location", b"/x"), (b"content-ENCODING", b"gzip"), (b"Content-Length", b"3")),
        b"abc",
        True,
    )


async def test_response_that_breaks() -> None:
    """A connection that breaks inside the body is a result: what came, and that it is not whole."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    _, received = await exchange(answer, Request(0, "GET", "/", ()))
    assert (received.body, received.whole) == (b"abc", False)


async def test_enough() -> None:
    """Reading stops where the caller has enough."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    _, received = await exchange(answer, Request(0, "GET", "/", ()), enough=lambda data: True)
    assert (received.body, received.whole) == (b"abc", False)


async def test_callback_that_fails() -> None:
    """What a callback raises is the caller's, even if it looks like a broken connection."""

    def closed(_: bytes) -> bool:
        raise BrokenPipeError

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    with pytest.raises(BrokenPipeError):
        await exchange(answer, Request(0, "GET", "/", ()), enough=closed)


async def test_no_answer_at_all() -> None:
    """A server that closes without a word is our error."""
    with pytest.raises(NoAnswer, match="no answer to GET /x"):
        await exchange(b"", Request(0, "GET", "/x", ()))
