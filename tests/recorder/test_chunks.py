"""Chunk data taken out of reads: however the reads fall, and only where it is plainly chunk data."""

from __future__ import annotations

import random

import pytest

from graphtape.recorder.chunks import ChunkData


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def fed(*reads: bytes) -> tuple[bytes, bytes | None]:
    """What is taken out of reads, and what is left to the parser, all that comes later included."""
    chunks, data, rest = ChunkData(), b"", None
    for read in reads:
        if rest is not None:
            rest += read
        else:
            data += chunks.feed(read)
            rest = chunks.rest
    return data, rest


BODY = (
    chunk(b"event: a\r\ndata: 1\r\n\r\n")
    + chunk(b"x" * 300)
    + chunk(b"\r\n")
    + b"C8\r\n"
    + b"y" * 200
    + b"\r\n"
)
DATA = b"event: a\r\ndata: 1\r\n\r\n" + b"x" * 300 + b"\r\n" + b"y" * 200


def test_one_chunk() -> None:
    """As nearly every read is."""
    assert fed(chunk(b"event")) == (b"event", None)


def test_every_size_and_every_lie_about_it() -> None:
    """A size is taken at its word only where it is the size, whatever the digits it has."""
    for size in (*range(1, 300), 4095, 4096, 65535, 65536, 1 << 20):
        data = bytes(size)
        for head in (b"%x", b"%X"):
            whole = head % size + b"\r\n" + data + b"\r\n"
            assert fed(whole) == (data, None)
            assert fed(whole, b"0\r\n\r\n") == (data, b"0\r\n\r\n")
        for wrong in (size - 1, size + 1):
            lie = b"%x\r\n%b\r\n" % (wrong, data)
            taken, rest = fed(lie, b"0\r\n\r\n")
            assert (taken, rest) != (data, b"0\r\n\r\n")
            assert rest is not None


def test_every_cut() -> None:
    """Where a read ends makes no difference, nor where two do; the last chunk is the parser's."""
    last = b"0\r\ntrailer: 1\r\n\r\n"
    stream = BODY + last
    for cut in range(len(stream)):
        assert fed(stream[:cut], stream[cut:]) == (DATA, last)
    chance = random.Random(1)
    for _ in range(2000):
        cuts = sorted(chance.sample(range(1, len(stream)), 6))
        reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert fed(*reads) == (DATA, last)


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\n\r\n",
        b"00\r\n\r\n",
        b"5;name=value\r\nhello\r\n",
        b"05\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"1_0\r\n" + b"x" * 16 + b"\r\n",
        b" 5\r\nhello\r\n",
        b"5\nhello\n",
        b"123456789\r\nx",
        b"\r\n",
        b"-1\r\n",
        b"-1\r\n\r\n",
        b"garbage",
    ],
)
def test_what_is_left_to_the_parser(rest: bytes) -> None:
    """All but a plain size and its line end, with all that follows, at once or in the next read."""
    assert fed(BODY + rest + BODY) == (DATA, rest + BODY)
    assert fed(BODY, rest + BODY) == (DATA, rest + BODY)
    assert fed(rest, BODY) == (b"", rest + BODY)


@pytest.mark.parametrize("end", [b"X\r\n", b"\rX", b"\n\r", b"5\r\nhello\r\n", b"\n"])
def test_a_chunk_that_does_not_end_where_it_should(end: bytes) -> None:
    """The parser, which has not seen this chunk, is given what no chunk begins with, at every cut."""
    stream = BODY + b"3\r\nabc" + end
    for cut in range(len(stream)):
        data, rest = fed(stream[:cut], stream[cut:])
        assert data == DATA + b"abc"
        assert rest is not None
        assert rest.startswith(b"?")
