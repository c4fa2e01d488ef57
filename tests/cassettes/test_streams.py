"""Tests of `graphtape.cassettes.streams`: codings undone and blocks cut, each with its time."""

from __future__ import annotations

import gzip
import importlib
import sys
import types
import zlib
from collections.abc import Callable

import pytest
import zstandard

from graphtape.cassettes import Chunk, Ending, Exchange, Request, Response, UndecodableBody
from graphtape.cassettes.streams import (
    TimedBlock,
    content_codings,
    decoded_body,
    decoded_chunks,
    iter_blocks,
)
from graphtape.protocol.errors import EventTooLarge

MS = 1_000_000
MakeExchange = Callable[..., Exchange]
BODY = b"event: a\r\ndata: 1\r\n\r\n: heartbeat\r\n\r\nevent: b\r\ndata: \xe2\x82\xac\r\n\r\ndata: tail"


def coded(name: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"Content-Type", b"text/event-stream"), (b"Content-Encoding", name))


def raw_deflate(data: bytes) -> bytes:
    state = zlib.compressobj(wbits=-15)
    return state.compress(data) + state.flush()


CODED = {
    "none": ((), BODY),
    "identity": (coded(b"identity"), BODY),
    "gzip": (coded(b"gzip"), gzip.compress(BODY)),
    "x-gzip": (coded(b"X-GZIP"), gzip.compress(BODY)),
    "gzip members": (coded(b"gzip"), gzip.compress(BODY[:30]) + gzip.compress(BODY[30:]) + b"\0padding"),
    "deflate": (coded(b"deflate"), zlib.compress(BODY)),
    "raw deflate": (coded(b"deflate"), raw_deflate(BODY)),
    "zstd": (coded(b"zstd"), zstandard.compress(BODY)),
    "zstd frames": (coded(b"zstd"), zstandard.compress(BODY[:30]) + zstandard.compress(BODY[30:])),
    "two codings": (coded(b"gzip, zstd"), zstandard.compress(gzip.compress(BODY))),
}


@pytest.mark.parametrize(("headers", "body"), CODED.values(), ids=CODED)
def test_blocks_whatever_the_coding(
    make_exchange: MakeExchange, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    """The blocks partition the decoded body, read whole or byte by byte."""
    for chunks in ((body,), tuple(body[at : at + 1] for at in range(len(body)))):
        exchange = make_exchange(*chunks, headers=headers)
        assert decoded_body(exchange) == BODY
        blocks = list(iter_blocks(exchange))
        assert b"".join(timed.raw for timed in blocks) == BODY
        assert [timed.block.name for timed in blocks if timed.block.is_event] == ["a", "b"]
        assert not blocks[-1].block.terminated


def test_times_are_of_the_read_that_completed_the_block(make_exchange: MakeExchange) -> None:
    """Not of the one that began it; the tail has the time of the last read."""
    exchange = make_exchange(b"data: 1\n", b"\ndata: 2\n\nda", b"ta: 3", b"\n\ntail")
    assert [(timed.at_ns // MS, timed.raw) for timed in iter_blocks(exchange)] == [
        (1, b"data: 1\n\n"),
        (1, b"data: 2\n\n"),
        (3, b"data: 3\n\n"),
        (3, b"tail"),
    ]


def test_compressed_reads_keep_their_times(make_exchange: MakeExchange) -> None:
    """A server that flushes its compressor per event gives each event at its read."""
    state = zlib.compressobj(wbits=31)
    parts = [state.compress(b"data: %d\n\n" % at) + state.flush(zlib.Z_SYNC_FLUSH) for at in range(3)]
    exchange = make_exchange(*parts, headers=coded(b"gzip"))
    assert [(timed.at_ns // MS, timed.raw) for timed in iter_blocks(exchange)] == [
        (0, b"data: 0\n\n"),
        (1, b"data: 1\n\n"),
        (2, b"data: 2\n\n"),
    ]


@pytest.mark.parametrize(
    ("name", "body"), [(b"gzip", gzip.compress(BODY * 50)), (b"zstd", zstandard.compress(BODY * 50))]
)
def test_coded_body_that_breaks_off(make_exchange: MakeExchange, name: bytes, body: bytes) -> None:
    """Gives what can be decoded of it."""
    assert (BODY * 50).startswith(decoded_body(make_exchange(body[:-9], headers=coded(name))))


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        (b"gzip", b"not gzip at all", "not valid gzip in the read that starts at byte 4"),
        (b"zstd", b"not zstd at all!", "not valid zstd"),
        (b"deflate", b"\xff\xff\xff\xff", "not valid deflate"),
        (b"compress", b"x", "'compress', which graphtape cannot undo"),
    ],
)
def test_body_that_is_not_what_it_says(
    make_exchange: MakeExchange, name: bytes, body: bytes, words: str
) -> None:
    """Our error, with the coding and the place."""
    first = gzip.compress(b"")[:4] if name == b"gzip" else b""
    exchange = make_exchange(first, body, headers=coded(name))
    with pytest.raises(UndecodableBody, match=words):
        list(iter_blocks(exchange))


@pytest.mark.slow
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_bomb(
    make_exchange: MakeExchange, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that expands beyond the limit is refused on the way."""
    monkeypatch.setattr("graphtape.cassettes.streams.MAX_DECODED_BODY_BYTES", 1 << 20)
    name = b"gzip" if compress is gzip.compress else b"zstd"
    exchange = make_exchange(compress(bytes(8 << 20)), headers=coded(name))
    assert exchange.response is not None
    size = 0
    with pytest.raises(UndecodableBody, match="more than 1048576 bytes"):  # noqa: PT012 - the pieces before count
        for chunk in decoded_chunks(exchange.response, exchange.chunks):
            size += len(chunk.data)
    assert size <= 1 << 20


def test_large_zstd_body(make_exchange: MakeExchange) -> None:
    """Blocks larger than any buffer come whole."""
    body = bytes(range(256)) * 4_000
    assert decoded_body(make_exchange(zstandard.compress(body), headers=coded(b"zstd"))) == body


def test_brotli_without_its_package(make_exchange: MakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    with pytest.raises(UndecodableBody, match="pip install brotli"):
        decoded_body(make_exchange(b"x", headers=coded(b"br")))


def test_brotli_with_its_package(make_exchange: MakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses it, read by read, and its error becomes ours."""

    class error(Exception):  # noqa: N801 - named as brotli names it
        pass

    class Decompressor:
        def process(self, data: bytes) -> bytes:
            if data == b"bad":
                raise error("bad stream")
            return data.upper()

    module = types.ModuleType("brotli")
    module.Decompressor = Decompressor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brotli", module)
    assert importlib.import_module("brotli") is module
    assert decoded_body(make_exchange(b"a", b"b", headers=coded(b"br"))) == b"AB"
    with pytest.raises(UndecodableBody, match="not valid br"):
        decoded_body(make_exchange(b"bad", headers=coded(b"br")))


def test_no_response() -> None:
    """An exchange that was never answered has no blocks and no body."""
    exchange = Exchange(1, 1, Request(0, "GET", "/", ()), b"", None, (), Ending.UNFINISHED, None)
    assert list(iter_blocks(exchange)) == []
    assert decoded_body(exchange) == b""


def test_codings() -> None:
    """Several headers and lists are one list, in order."""
    response = Response(
        0, 200, "", ((b"content-encoding", b"gzip, identity"), (b"Content-Encoding", b" BR "))
    )
    assert content_codings(response.headers) == ("gzip", "br")


def test_plain_chunks_pass() -> None:
    """Without a coding the reads are the very same."""
    chunks = (Chunk(1, b"a"), Chunk(2, b"b", True))
    assert list(decoded_chunks(Response(0, 200, "", ()), chunks)) == list(chunks)


def test_event_too_large(make_exchange: MakeExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder's limit is an error of ours."""
    decoder = sys.modules["graphtape.cassettes.streams"].__dict__["Decoder"]
    monkeypatch.setattr("graphtape.cassettes.streams.Decoder", lambda: decoder(max_event_bytes=10))
    with pytest.raises(EventTooLarge):
        list(iter_blocks(make_exchange(b"data: " + b"x" * 20, b"y\n\n")))


def test_many_small_reads_of_one_event(make_exchange: MakeExchange) -> None:
    """An event in thousands of reads is one block."""
    body = b"data: " + b"x" * 5_000 + b"\n\n"
    (only,) = iter_blocks(make_exchange(*(body[at : at + 1] for at in range(len(body)))))
    assert only == TimedBlock(only.block, (len(body) - 1) * MS, body)
