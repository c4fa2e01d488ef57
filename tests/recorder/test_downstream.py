"""Heads and bodies as they are written to a client. The sockets are in test_proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import HttpVersion10, HttpVersion11

from graphtape.recorder.downstream import UNSENT_BYTES, Downstream


class Transport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.closed = False
        self.unsent = 0

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> None:
        return None


@pytest.fixture
def answer() -> Any:
    """`answer(method, version, keep_alive)` -> (Downstream, Transport)."""

    def make(method: Any = "GET", version: Any = HttpVersion11, keep_alive: Any = True) -> Any:
        transport = Transport()
        request: Any = SimpleNamespace(
            transport=transport, writer=None, method=method, version=version, keep_alive=keep_alive
        )
        return Downstream(request), transport

    return make


def test_chunked_in_the_place_of_the_original(answer: Any) -> None:
    """transfer-encoding keeps its place and spelling; other hop-by-hop fields and bad ones are gone."""
    down, transport = answer()
    down.head(
        200,
        "OK",
        ((b"A", b"1"), (b"Transfer-ENCODING", b"gzip, chunked"), (b"bad", b"x\r\ny: z"), (b"B", b"2")),
    )
    down.body(b"hello")
    down.body(b"")
    down.finish()
    assert transport.written == (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-ENCODING: chunked\r\nB: 2\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    assert down.keep_alive


@pytest.mark.parametrize(
    ("field", "body"),
    [((b"transfer-encoding", b"chunked"), b"2\r\nab\r\n0\r\n\r\n"), ((b"content-length", b"2"), b"ab")],
)
def test_a_held_head_goes_with_what_follows(answer: Any, field: Any, body: bytes) -> None:
    """One write for an answer that comes whole; byte for byte what several writes would be."""
    down, transport = answer()
    down.head(200, "OK", (field,), hold=True)
    assert not transport.written
    down.finish(b"ab")
    down.release()
    assert transport.written == b"HTTP/1.1 200 OK\r\n" + b": ".join(field) + b"\r\n\r\n" + body
    assert transport.writes == 1
    assert down.keep_alive


@pytest.mark.parametrize("first", [b"ab", b""])
def test_a_held_head_before_a_body_that_goes_on(answer: Any, first: bytes) -> None:
    """With the first piece if there is one; without it when it is released."""
    down, transport = answer()
    down.head(200, "OK", (), hold=True)
    if first:
        down.body(first)
    down.release()
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert transport.written == head + (b"2\r\nab\r\n" if first else b"")
    assert transport.writes == 1
    down.body(b"c")
    assert transport.writes == 2
    assert transport.written.endswith(b"\r\n1\r\nc\r\n")


def test_a_held_head_of_a_client_that_left(answer: Any) -> None:
    """Nothing is written to a connection that is closing."""
    down, transport = answer()
    down.head(200, "OK", (), hold=True)
    transport.closed = True
    down.body(b"ab")
    down.release()
    down.finish(b"cd")
    assert not transport.written


def test_client_that_closes(answer: Any) -> None:
    """A client that said close hears it."""
    down, transport = answer(keep_alive=False)
    down.head(200, "OK", ((b"content-length", b"0"),))
    down.finish()
    assert transport.written == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert not down.keep_alive


def test_http_1_0_keeps_alive_with_a_length(answer: Any) -> None:
    """An old client that asked for it can send another request."""
    down, transport = answer(version=HttpVersion10)
    down.head(200, "OK", ((b"content-length", b"1"),))
    down.body(b"x")
    down.finish()
    assert transport.written.endswith(b"connection: keep-alive\r\n\r\nx")
    assert down.keep_alive


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_none_may_be(answer: Any, status: Any) -> None:
    """A body of a 204 or 304 would be taken for the next response."""
    down, transport = answer()
    down.head(status, "", ((b"content-length", b"5"),))
    down.body(b"hello")
    down.finish()
    assert (b"content-length" in transport.written) is (status == 304)
    assert transport.written.endswith(b"\r\n\r\n")


def test_breaking_off(answer: Any) -> None:
    """No terminating chunk, and the connection closes; a whole answer is not touched."""
    down, transport = answer()
    down.head(200, "OK", ())
    down.body(b"x")
    down.break_off()
    assert transport.closed
    assert transport.written.endswith(b"1\r\nx\r\n")
    assert not down.keep_alive
    down.body(b"more")
    down.finish()
    whole, transport = answer()
    whole.head(200, "OK", ())
    whole.finish()
    whole.break_off()
    assert not transport.closed


def test_a_client_that_is_behind(answer: Any) -> None:
    """More than 1 MiB unread is behind."""
    down, transport = answer()
    assert transport.high == UNSENT_BYTES == 1 << 20
    transport.unsent = UNSENT_BYTES
    assert not down.is_behind
    transport.unsent += 1
    assert down.is_behind
