"""Throws broken cassettes at everything that reads one. `make fuzz` runs it under atheris, a test under hypothesis.

    python tests/fuzz/fuzz_reader.py FOLDER [libFuzzer options, e.g. -max_total_time=60]

FOLDER receives what was found interesting; it is filled from the golden and the bundled cassettes first.

What the fuzzer changes is not the file but what the file is made of, so that checksums and compression do not keep
every change out: `take_apart` and `put_together` go from one to the other. One rule: whatever comes in, only
`GraphtapeError` may come out, in bounded time and memory (libFuzzer's own `-timeout` and `-rss_limit_mb`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SEEDS = (
    *sorted((ROOT / "tests/golden").glob("*.tape")),
    *sorted((ROOT / "cassettes/samples").glob("*.tape")),
)

PLAIN, PACKED, FORGED = range(3)
"""How a part becomes a payload: as it is; compressed; compressed, with its offsets set to what they should be."""
_PART = struct.Struct("<BBI")  # frame type, how, length
RAW_FILE = 0xFF
"""Instead of a frame type: the rest is the file itself."""

INSTRUMENTED = (
    "cassettes.redaction.cleaning",
    "cassettes.redaction.secrets_text",
    "cassettes.runs",
    "cassettes.showing.listing",
    "cassettes.showing.timeline",
)
"""What atheris watches as it is imported, with all that these import."""


def take_apart(file: bytes) -> bytes:
    """The parts of a valid cassette, in the form that is fuzzed."""
    from graphtape.cassettes.compression import Decompressor
    from graphtape.cassettes.framing import HEADER_BYTES, FrameType

    frames, at = [], HEADER_BYTES
    while at + 9 <= len(file):
        _, length, type_ = struct.unpack_from("<IIB", file, at)
        frames.append((type_, file[at + 9 : at + 9 + length]))
        at += 9 + length
    segment_of, segment = [], 0
    for type_, _ in frames:
        segment += type_ == FrameType.SEGMENT
        segment_of.append(segment)
    raws: dict[int, bytes] = {}
    for number in range(1, segment + 1):
        places = [
            place
            for place, (type_, _) in enumerate(frames)
            if type_ == FrameType.BLOCK and segment_of[place] == number
        ]
        found = Decompressor().decompress_blocks([frames[place][1] for place in places], limit_bytes=8 << 20)
        raws.update(zip(places, found, strict=True))
    parts = []
    for place, (type_, payload) in enumerate(frames):
        if type_ == FrameType.BLOCK:
            parts.append((type_, PACKED, raws[place]))
        elif type_ in (FrameType.INDEX_PART, FrameType.INDEX_HEAD):
            parts.append((type_, FORGED, bytes(Decompressor().decompress(payload, limit_bytes=8 << 20))))
        else:
            parts.append((type_, FORGED if type_ == FrameType.TRAILER else PLAIN, payload))
    return b"".join(_PART.pack(type_, how, len(raw)) + raw for type_, how, raw in parts)


def put_together(parts: bytes) -> bytes:
    """A cassette whose checksums agree, whatever its parts say."""
    from graphtape.cassettes.compression import SegmentCompressor, compress_whole
    from graphtape.cassettes.framing import FrameType, encode_frame, file_header

    file, at = bytearray(file_header()), 0
    stream = SegmentCompressor()
    index_parts: list[int] = []
    segments: list[list[int]] = []  # offset and size of each
    data_end, head_at = 0, 0
    while at + _PART.size <= len(parts):
        type_, how, length = _PART.unpack_from(parts, at)
        at += _PART.size
        if type_ == RAW_FILE:
            return parts[at:]
        payload = parts[at : at + min(length, 1 << 20)]
        at += len(payload)
        offset = len(file)
        if type_ == FrameType.SEGMENT:
            stream.restart()
            segments.append([offset, 0])
        elif type_ == FrameType.BLOCK:
            payload = stream.compress(payload) if how else payload
        elif type_ == FrameType.INDEX_PART:
            data_end = data_end or offset
            index_parts.append(offset)
            payload = compress_whole(_forged_rows(payload, segments) if how == FORGED else payload)
        elif type_ == FrameType.INDEX_HEAD:
            data_end = data_end or offset
            head_at = offset
            payload = compress_whole(_forged_head(payload, index_parts) if how == FORGED else payload)
        elif type_ == FrameType.TRAILER and how == FORGED:
            payload = struct.pack("<QQ8s", data_end, head_at, b"TAPEEND\n")
        elif how:
            payload = compress_whole(payload)
        file += encode_frame(offset, type_, payload)
        if segments and type_ in (FrameType.SEGMENT, FrameType.BLOCK):
            segments[-1][1] = len(file) - segments[-1][0]
    return bytes(file)


def _forged_rows(payload: bytes, segments: list[list[int]]) -> bytes:
    """Rows of segments that stand where segments stand, and are as long."""
    rows = _unpacked(payload)
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list) or len(rows[0]) > 8:
        return payload
    for row, place in zip(rows, segments, strict=False):
        if isinstance(row, list) and row:
            row[:2] = place
    return _packed(rows, payload)


def _forged_head(payload: bytes, parts: list[int]) -> bytes:
    """An index head that lists the parts there are."""
    head = _unpacked(payload)
    if not isinstance(head, dict):
        return payload
    segments = parts[-1:]
    head["exchange_parts"] = struct.pack(f"<{len(parts) - len(segments)}Q", *parts[: -len(segments) or None])
    head["segment_parts"] = struct.pack(f"<{len(segments)}Q", *segments)
    return _packed(head, payload)


def _unpacked(payload: bytes) -> Any:
    import msgpack  # type: ignore[import-untyped]

    with contextlib.suppress(Exception):
        return msgpack.unpackb(payload, unicode_errors="surrogateescape", strict_map_key=False)
    return None


def _packed(value: Any, otherwise: bytes) -> bytes:
    import msgpack

    with contextlib.suppress(Exception):
        return bytes(msgpack.packb(value, unicode_errors="surrogateescape"))
    return otherwise


class Target:
    """Everything that reads a cassette, in one folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._tape = folder / "fuzzed.tape"
        self._copy = folder / "copy.tape"

    def __call__(self, parts: bytes) -> None:
        """Read it in every way; raises what is not ours."""
        self.read(put_together(parts))

    def read(self, file: bytes) -> None:
        """As above, of a file that stands as it is."""
        from graphtape.cassettes import Cassette
        from graphtape.protocol.errors import GraphtapeError

        self._tape.write_bytes(file)
        with contextlib.suppress(GraphtapeError), Cassette.open(self._tape) as cassette:
            for use in (_summaries, _records, _exchanges, _check, _digest, _runs, _secrets):
                with contextlib.suppress(GraphtapeError):
                    use(cassette)
            with contextlib.suppress(GraphtapeError):
                self._rewritten(list_of(cassette))

    def _rewritten(self, listed: list[Any]) -> None:
        from graphtape.cassettes import Cassette
        from graphtape.cassettes.redaction.cleaning import clean
        from graphtape.cassettes.rewrite import rewrite

        rewrite(self._tape, self._copy, overwrite=True)
        with Cassette.open(self._copy) as copy:
            copy.check()
            assert len(list_of(copy)) == len(listed), "a copy that holds other exchanges than the original"
        clean(self._tape, self._copy, values=[("A", "agent")], paths=["input.*"], echo=True, overwrite=True)
        with Cassette.open(self._copy) as copy:
            copy.check()


def list_of(cassette: Any) -> list[Any]:
    """The summaries."""
    return list(cassette.exchanges)


def _summaries(cassette: Any) -> None:
    from graphtape.cassettes.showing.listing import listing, listing_json

    listing_json([listing(cassette, path="x", size_bytes=1)])


def _records(cassette: Any) -> None:
    for _ in cassette.iter_records():
        pass


def _exchanges(cassette: Any) -> None:
    from graphtape.cassettes.showing.timeline import timeline, timeline_json
    from graphtape.cassettes.streams import iter_blocks
    from graphtape.protocol.errors import GraphtapeError

    for number in range(1, min(len(cassette.exchanges), 64) + 1):
        with contextlib.suppress(GraphtapeError):
            exchange = cassette.exchange(number)
            assert b"".join(chunk.data for chunk in cassette.iter_chunks(number)) == exchange.body
            for _ in iter_blocks(exchange):
                pass
            for _ in timeline_json(timeline(cassette, number, path="x")):
                pass


def _check(cassette: Any) -> None:
    cassette.check()


def _digest(cassette: Any) -> None:
    cassette.digest()


def _runs(cassette: Any) -> None:
    from graphtape.cassettes.placing import read_tapes

    read_tapes([cassette])


def _secrets(cassette: Any) -> None:
    from graphtape.cassettes.redaction.redactor import Redactor
    from graphtape.cassettes.redaction.secrets import find_secrets
    from graphtape.cassettes.redaction.secrets_text import format_secrets, secrets_json

    report = find_secrets(cassette, Redactor(values=[("A", "agent")]))
    list(format_secrets("x", report))
    secrets_json("x", report)


def seed(folder: Path) -> None:
    """Put the parts of every golden and bundled cassette there, and the files as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for tape in SEEDS:
        file = tape.read_bytes()
        with contextlib.suppress(Exception):  # `torn` and `newer` cannot be taken apart
            (folder / f"parts-{tape.stem}").write_bytes(take_apart(file))
        (folder / f"file-{tape.stem}").write_bytes(_PART.pack(RAW_FILE, 0, 0) + file)


def main() -> None:
    """Run the fuzzer until it is told to stop."""
    atheris: Any = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["graphtape"]):
        for name in INSTRUMENTED:
            importlib.import_module(f"graphtape.{name}")

    corpus = Path(sys.argv[1])
    seed(corpus)
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        target = Target(Path(folder))

        def one(data: bytes) -> None:
            target(data)

        options = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", f"-artifact_prefix={corpus}/found-"]
        atheris.Setup([sys.argv[0], str(corpus), *options, *sys.argv[2:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
