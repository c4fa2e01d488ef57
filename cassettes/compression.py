"""The compressor of a segment: zstd streams that can be read as far as they were flushed.

Knows nothing of records. One rule: nothing is decompressed beyond the limit that the caller states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import zstandard

from graphtape.cassettes.limits import MAX_WINDOW_BYTES

# Measured on eight interleaved streams of the Agent Server with new words and ids, one flush per event (share of the
# bytes on the wire; all take 1.4 us per event): level 1 as it comes 0.0462, with matches from 5 bytes on 0.0451, found
# by two hashes 0.0449, in a window that holds the whole segment 0.0444, and segments of 1.25 MiB 0.0438. Levels 5 and
# 6 gain no more and take half as long again, and twice.
_LEVEL: Final = 1
_WINDOW_LOG: Final = 21
_MATCHING: Final = {
    "strategy": zstandard.STRATEGY_DFAST,
    "min_match": 5,
    "hash_log": 16,
    "chain_log": 15,
}
_FLUSH_BLOCK: Final = zstandard.COMPRESSOBJ_FLUSH_BLOCK


class BadStream(Exception):
    """Compressed bytes that are not what the format says."""


# What is decompressed in one step where no limit can be set on a step: 4 bytes of zstd are 128 KiB at most (a
# block of one repeated byte), so that this is 8 MiB.
_SLICE_BYTES: Final = 256
_FIRST_BUFFER_BYTES: Final = 64 << 10


class SegmentCompressor:
    """One zstd stream at a time; what `compress` returned so far can always be decompressed."""

    __slots__ = ("_compress", "_context", "_flush")

    def __init__(self) -> None:
        params = zstandard.ZstdCompressionParameters.from_level(_LEVEL, window_log=_WINDOW_LOG, **_MATCHING)
        self._context = zstandard.ZstdCompressor(compression_params=params)
        self.restart()

    def restart(self) -> None:
        """Begin a new stream, which needs nothing of the one before."""
        stream = self._context.compressobj()
        self._compress, self._flush = stream.compress, stream.flush

    def compress(self, data: bytes) -> bytes:
        """Compress and flush: all of `data` can be decompressed from what has been returned."""
        return self._compress(data) + self._flush(_FLUSH_BLOCK)


class Decompressor:
    """Decompresses one stream at a time, within limits, into a buffer that it keeps."""

    __slots__ = ("_buffer", "_context")

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        # Kept, because fresh memory for every segment costs five times what decompressing does; it grows
        # with what it is asked for.
        self._buffer = bytearray(_FIRST_BUFFER_BYTES)

    def decompress(self, data: bytes, *, limit_bytes: int, expect_bytes: int = 0) -> memoryview:
        """All that `data` holds, whether or not the stream was ended; good until the next call.

        Args:
            data: the stream, as far as it goes.
            limit_bytes: the most it may give.
            expect_bytes: what it is said to give, at most the limit: the right buffer at once, if that is true.

        Raises:
            BadStream: not zstd, asks for too much memory, or would give more than `limit_bytes`.
        """
        if expect_bytes >= len(self._buffer):
            self._buffer = bytearray(min(expect_bytes, limit_bytes) + 1)
        while True:
            view = memoryview(self._buffer)[: limit_bytes + 1]
            size = self._fill(data, view)
            if size < len(view):
                return view[:size]
            # A buffer that was filled to its end proves nothing: zstandard's reader drops what did not fit. So
            # a larger one, and again from the start; not the largest at once, because clearing 8 MiB takes
            # longer than opening a small cassette.
            if size > limit_bytes:
                raise BadStream(f"decompresses to more than {limit_bytes} bytes")
            self._buffer = bytearray(min(4 * size, limit_bytes + 1))

    def _fill(self, data: bytes, view: memoryview) -> int:
        size = 0
        try:
            with self._context.stream_reader(data, read_across_frames=False) as reader:
                while size < len(view) and (read := reader.readinto(view[size:])):
                    size += read
        except zstandard.ZstdError as error:
            raise BadStream(f"not a zstd stream that can be read ({error})") from None
        return size

    def decompress_blocks(self, blocks: Sequence[bytes], *, limit_bytes: int) -> list[bytes]:
        """What each block of one stream adds to it; raises as `decompress`."""
        stream, total, parts = self._context.decompressobj(), 0, []
        try:
            for block in blocks:
                pieces = []
                for at in range(0, len(block), _SLICE_BYTES):
                    piece = stream.decompress(block[at : at + _SLICE_BYTES])
                    total += len(piece)
                    if total > limit_bytes:
                        raise BadStream(f"decompresses to more than {limit_bytes} bytes")
                    pieces.append(piece)
                parts.append(b"".join(pieces))
        except zstandard.ZstdError as error:
            raise BadStream(f"not a zstd stream that can be read ({error})") from None
        return parts


def compress_again(data: bytes) -> Iterator[bytes]:
    """The same stream in one block, in several ways, the likely smallest of the quick ones first."""
    for level in (3, 1, 9, 19):
        for parts in (1, 2, 3):
            params = zstandard.ZstdCompressionParameters.from_level(level, window_log=_WINDOW_LOG)
            stream = zstandard.ZstdCompressor(compression_params=params).compressobj()
            step = -(-len(data) // parts) or 1
            pieces = []
            for at in range(0, len(data), step):
                pieces.append(stream.compress(data[at : at + step]))
                pieces.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            yield b"".join(pieces)


def compress_whole(data: bytes) -> bytes:
    """One complete zstd frame, for the index."""
    return zstandard.ZstdCompressor(level=3).compress(data)
