"""Tests of `graphtape.cassettes.compression`: streams that can be read as far as they were flushed."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard

from graphtape.cassettes.compression import BadStream, Decompressor, SegmentCompressor, compress_whole


def test_every_flush_can_be_read() -> None:
    """After each flush, everything compressed so far comes back from what was returned so far."""
    compressor, decompressor = SegmentCompressor(), Decompressor()
    written, raw = b"", b""
    for at in range(50):
        part = b"event: values %d\r\n" % at * at
        raw += part
        written += compressor.compress(part)
        assert bytes(decompressor.decompress(written, limit_bytes=1 << 20)) == raw


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 131_072, 262_144, 300_000, 1 << 20])
def test_sizes_around_those_of_buffers(size: int) -> None:
    """What is well compressed comes back whole, whatever its size, also from a decompressor that was used before."""
    raw = (b"event: values\r\ndata: {}\r\n\r\n" * (size // 20 + 1))[:size]
    compressor, decompressor = SegmentCompressor(), Decompressor()
    for _ in range(2):
        compressor.restart()
        half = size // 2
        written = compressor.compress(raw[:half]) + compressor.compress(raw[half:])
        assert bytes(decompressor.decompress(written, limit_bytes=1 << 21)) == raw
        assert bytes(decompressor.decompress(written, limit_bytes=size)) == raw
        assert b"".join(decompressor.decompress_blocks([written], limit_bytes=size)) == raw
        with pytest.raises(BadStream, match="more than"):
            decompressor.decompress(written, limit_bytes=size - 1)


def test_restart() -> None:
    """A new stream needs nothing of the one before."""
    compressor, decompressor = SegmentCompressor(), Decompressor()
    compressor.compress(b"before" * 100)
    compressor.restart()
    after = compressor.compress(b"before" * 100)
    assert bytes(decompressor.decompress(after, limit_bytes=1000)) == b"before" * 100


def test_blocks_one_by_one() -> None:
    """Each block of a stream gives what was flushed with it."""
    compressor = SegmentCompressor()
    parts = [b"one", b"two" * 1000, os.urandom(200_000), b""]
    blocks = [compressor.compress(part) for part in parts]
    assert Decompressor().decompress_blocks(blocks, limit_bytes=1 << 20) == parts


def test_exactly_the_limit() -> None:
    """The limit itself is allowed, one byte more is not."""
    data = compress_whole(bytes(1000))
    assert len(Decompressor().decompress(data, limit_bytes=1000)) == 1000
    with pytest.raises(BadStream, match="more than 999 bytes"):
        Decompressor().decompress(data, limit_bytes=999)
    noise = os.urandom(700_001)
    whole = SegmentCompressor().compress(noise)
    assert bytes(Decompressor().decompress(whole, limit_bytes=len(noise))) == noise
    with pytest.raises(BadStream, match="more than"):
        Decompressor().decompress(whole, limit_bytes=len(noise) - 1)


@pytest.mark.slow
def test_bomb() -> None:
    """A small stream that would give a gigabyte is refused, in the memory of the limit."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush()
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(BadStream, match="more than"):
            Decompressor().decompress(bomb, limit_bytes=1 << 20)
        with pytest.raises(BadStream, match="more than"):
            Decompressor().decompress_blocks([bomb], limit_bytes=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_window_above_the_limit() -> None:
    """A stream that asks for a window of 2 GiB is refused."""
    params = zstandard.ZstdCompressionParameters.from_level(1, window_log=27, write_content_size=0)
    big = zstandard.ZstdCompressor(compression_params=params).compressobj()
    with pytest.raises(BadStream, match="zstd"):
        Decompressor().decompress(big.compress(b"x") + big.flush(), limit_bytes=100)


@pytest.mark.parametrize("data", [b"no zstd at all", b"\x28\xb5\x2f\xfd" + b"\xff" * 40])
def test_garbage(data: bytes) -> None:
    """What is not zstd is our error."""
    with pytest.raises(BadStream):
        Decompressor().decompress(data, limit_bytes=100)
    with pytest.raises(BadStream):
        Decompressor().decompress_blocks([data], limit_bytes=100)


@pytest.mark.parametrize("expect_bytes", [0, 1, 99_999, 100_000, 200_000, 1 << 40])
def test_what_is_expected_may_be_wrong(expect_bytes: int) -> None:
    """What a stream is said to give changes neither what it gives nor the limit."""
    data = compress_whole(bytes(100_000))
    found = Decompressor().decompress(data, limit_bytes=200_000, expect_bytes=expect_bytes)
    assert bytes(found) == bytes(100_000)
    with pytest.raises(BadStream, match="more than 99999"):
        Decompressor().decompress(data, limit_bytes=99_999, expect_bytes=expect_bytes)
