"""What is no HTTP, and what the mock says to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphtape.replayer.serving import serve

pytestmark = pytest.mark.slow  # sockets: not for `make test-unit`

ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"date: Sat, 21 Nov 2026 00:10:36 GMT\r\n"
    b"server: uvicorn\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 30\r\n"
    b"connection: close\r\n"
    b"\r\n"
    b"Invalid HTTP request received."
)
"""As the Agent Server's, with the date of the recording."""


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"garbage\r\n\r\n", "Invalid method"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTPS"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n", "header token"),
        (b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n", "Content-Length"),
        (b"GET /info HTTP/1.1\r\nhost: localhost\r\n\r\nrubbish\r\n\r\n", "Invalid method"),
    ],
)
async def test_what_is_no_http(kit: Any, request_: bytes, why: str) -> None:
    """It gets the server's words, no time of today, and the end of the connection; the log says what was wrong."""
    made = kit.recording()
    made.json("GET", "/info", {"version": "1"})
    log: list[str] = []
    async with serve(made.close(), log=log.append) as mock:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rsplit(":", 1)[1]))
        writer.write(request_)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    assert answer.endswith(ANSWER)
    assert answer == ANSWER or answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert log[-1].startswith("400 to what is no HTTP (")
    assert why in log[-1]
