"""Cassettes made to cost a reader more than they are: small files that claim to be large."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from graphtape.cassettes import Cassette, CassetteError, CassetteWriter, Ending
from graphtape.cassettes.compression import SegmentCompressor, compress_whole
from graphtape.cassettes.framing import FrameType, encode_frame, file_header
from graphtape.cassettes.redaction.secrets import find_secrets
from graphtape.cassettes.streams import iter_blocks

RECORDS: list[Any] = [
    [1, 0, 0, {"started_unix_ns": 1}],
    [2, 0, 1, {"method": "GET", "target": "/", "headers": []}],
    [4, 0, 1],
    [5, 0, 1, {"status": 200, "headers": [[b"content-type", b"text/event-stream"]]}],
    [6, 0, 1, b"\0" * 1_000_000],
    [7, 0, 1, {"ending": "complete"}],
]
Build = Callable[..., Path]


@pytest.fixture
def build(tape: Path) -> Build:
    """One exchange of a megabyte in a small file, and any index."""

    def make(*, segments: int, parts: int, runs: bytes, overlap: bool = True) -> Path:
        data = file_header()
        start = len(data)
        data += encode_frame(start, FrameType.SEGMENT, msgpack.packb({"recording": 1}))
        raw = b"".join(msgpack.packb(record) for record in RECORDS)
        data += encode_frame(len(data), FrameType.BLOCK, SegmentCompressor().compress(raw))
        end = len(data)
        row = (1, "GET", "/", 200, "text/event-stream", "complete", 0, 0, 0, 0, 1_000_000, 1, False, runs)
        segment = (start, end - start, 1, 0, len(raw), len(RECORDS))
        at_exchanges = len(data)
        data += encode_frame(at_exchanges, FrameType.INDEX_PART, compress_whole(msgpack.packb([row])))
        offsets = []
        for group in range(parts):
            offsets.append(len(data))
            count = min(256, segments - 256 * group)
            data += encode_frame(
                len(data), FrameType.INDEX_PART, compress_whole(msgpack.packb([segment] * count))
            )
        listed = offsets if len(offsets) == -(-segments // 256) else offsets * -(-segments // 256)
        head = {
            "recordings": [{"started_unix_ns": 1}], "group": 256, "exchanges": 1, "segments": segments,
            "exchange_parts": struct.pack("<Q", at_exchanges),
            "segment_parts": struct.pack(f"<{len(listed)}Q", *listed),
        }  # fmt: skip
        head_at = len(data)
        data += encode_frame(head_at, FrameType.INDEX_HEAD, compress_whole(msgpack.packb(head)))
        data += encode_frame(len(data), FrameType.TRAILER, struct.pack("<QQ8s", end, head_at, b"TAPEEND\n"))
        assert len(data) < 100_000
        tape.write_bytes(data)
        return tape

    return make


def varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14]) if value else b"\0"


CLAIMS = {
    "the same part for each group": {"segments": 256 * 5000, "parts": 1, "runs": b"\0" + varint(1_000_000)},
    "overlapping segments": {"segments": 256, "parts": 1, "runs": b"\0\xff\x01"},
    "overlapping segments of two groups": {"segments": 300, "parts": 2, "runs": b"\x80\x02\x01"},
    "one segment again and again": {"segments": 1, "parts": 1, "runs": b"\0\0" * 30_000},
    "segments that are not listed": {"segments": 1, "parts": 1, "runs": b"\0" + varint(1_000_000)},
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
def test_claims_cost_nothing(build: Build, claim: dict[str, Any]) -> None:
    """An index that names one segment many times is replaced by a scan, or refused: never believed."""
    path = build(**claim)
    before = time.perf_counter()
    with Cassette.open(path) as cassette:
        with contextlib.suppress(CassetteError):
            assert len(cassette.exchange(1).body) == 1_000_000
        with pytest.raises(CassetteError):
            cassette.check()
    assert time.perf_counter() - before < 1


def test_honest_claim(build: Build) -> None:
    """The same file with an index that tells the truth is read."""
    with Cassette.open(build(segments=1, parts=1, runs=b"\0\0")) as cassette:
        assert len(cassette.exchange(1).body) == 1_000_000
        cassette.check()


@pytest.mark.slow
def test_time_follows_the_size(tape: Path, tmp_path: Path) -> None:
    """Four times the events take about four times as long to read and to scan, not sixteen times."""

    def seconds(count: int) -> float:
        path = tmp_path / f"{count}.tape"
        with CassetteWriter.create(path) as writer:
            writer.begin_recording(1, "http://u", "t")
            number = writer.request(0, "GET", "/", ())
            writer.request_end(number, 0)
            writer.response(number, 0, 200, "OK", ((b"content-type", b"text/event-stream"),))
            for at in range(count):
                writer.chunk(number, at, b'event: messages\ndata: [{"content":"s","id":"m"}]\n\n')
            writer.end(number, count, Ending.COMPLETE)
        before = time.process_time()
        with Cassette.open(path) as cassette:
            assert sum(1 for _ in iter_blocks(cassette.exchange(1))) == count
            assert find_secrets(cassette).passed
        return time.process_time() - before

    seconds(100)
    assert seconds(4000) < 10 * seconds(1000) + 0.05
