"""Reference: the same recorded chunks in an MCAP file (chunked, zstd), and in plain msgpack with zstd-1 blocks.

Frozen. Usage: mcap_ref.py CHUNKS OUT; CHUNKS as written by bench/corpus.py: stream (u32), time in ns (u64),
length (u32), bytes. Prints one JSON document: bytes and microseconds per event, milliseconds for a seek to the middle.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

import msgpack
import zstandard
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

ENTRY = struct.Struct("<IQI")
BLOCK_BYTES = 256 * 1024


def chunks(path: str) -> list[tuple[int, int, bytes]]:
    data, at, found = Path(path).read_bytes(), 0, []
    while at < len(data):
        stream, at_ns, size = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        found.append((stream, at_ns, data[at : at + size]))
        at += size
    return found


def mcap_numbers(entries: list[tuple[int, int, bytes]], out: str) -> dict[str, float]:
    start = time.perf_counter()
    with open(out, "wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start()
        channels: dict[int, int] = {}
        for number, (stream, at_ns, data) in enumerate(entries):
            channel = channels.get(stream)
            if channel is None:
                channel = channels[stream] = writer.register_channel(f"/{stream}", "sse", 0)
            writer.add_message(channel, log_time=at_ns, data=data, publish_time=at_ns, sequence=number)
        writer.finish()
    encoded = time.perf_counter()
    with open(out, "rb") as file:
        count = sum(1 for _ in make_reader(file).iter_messages())
    decoded = time.perf_counter()
    assert count == len(entries)
    middle = entries[len(entries) // 2][1]
    seeks = []
    for _ in range(5):
        before = time.perf_counter()
        with open(out, "rb") as file:
            next(iter(make_reader(file).iter_messages(start_time=middle)))
        seeks.append(time.perf_counter() - before)
    return {
        "bytes": Path(out).stat().st_size,
        "encode_us": (encoded - start) / count * 1e6,
        "decode_us": (decoded - encoded) / count * 1e6,
        "seek_ms": sorted(seeks)[2] * 1e3,
    }


def block_bytes(entries: list[tuple[int, int, bytes]]) -> int:
    pack, compress = msgpack.Packer().pack, zstandard.ZstdCompressor(level=1).compress
    block, size = bytearray(), 0
    for entry in entries:
        block += pack(entry)
        if len(block) >= BLOCK_BYTES:
            size += len(compress(bytes(block)))
            block.clear()
    return size + len(compress(bytes(block)))


if __name__ == "__main__":
    found = chunks(sys.argv[1])
    print(json.dumps({"mcap": mcap_numbers(found, sys.argv[2]), "blocks": {"bytes": block_bytes(found)}}))
