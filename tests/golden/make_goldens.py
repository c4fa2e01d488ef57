"""Makes the golden cassettes and their JSON twins.

    python tests/golden/make_goldens.py

The cassettes are checked in and are not made anew when the code changes: they show that what was written once is
read for ever. Make them anew only together with a change of FORMAT.md, and look at the differences of the twins.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from zlib import crc32

from graphtape.cassettes import Cassette, CassetteWriter, Chunk, Ending, Recording, Request, Response
from graphtape.cassettes.framing import encode_frame, file_header
from graphtape.cassettes.records import End, Record, Unknown

HERE = Path(__file__).parent
STARTED = 1_795_220_119_715_000_000
MS = 1_000_000
JSON = ((b"content-type", b"application/json"),)
SSE = ((b"date", b"Sat, 21 Nov 2026 00:10:36 GMT"), (b"content-type", b"text/event-stream; charset=utf-8"))


def write_minimal(path: Path) -> None:
    """One recording, one exchange, whole."""
    with CassetteWriter.create(path, overwrite=True) as writer:
        writer.begin_recording(STARTED, "http://127.0.0.1:2024", "graphtape 0.1.0")
        number = writer.request(5 * MS, "GET", "/ok", ((b"host", b"127.0.0.1:2025"),))
        writer.request_end(number, 5 * MS)
        writer.response(number, 7 * MS, 200, "OK", JSON)
        writer.chunk(number, 7 * MS + 250_000, b'{"ok":true}')
        writer.end(number, 7 * MS + 300_000, Ending.COMPLETE)
        writer.flush()


def write_full(path: Path) -> None:
    """Everything the format can say: two recordings, interleaved exchanges, all endings, and what is not known yet."""
    with CassetteWriter.create(path, overwrite=True) as writer:
        writer.begin_recording(STARTED, "https://example.test/prefix", "graphtape 0.1.0")
        _interleaved(writer)
        _endings(writer)
        writer.flush()
    with CassetteWriter.append_to(path) as writer:
        _unknown(writer)
        writer.flush()


def _interleaved(writer: CassetteWriter) -> None:
    stream = writer.request(
        1 * MS,
        "POST",
        "/threads/01a1fb75/runs/stream?api_key=%2A%2A%2A",
        ((b"Authorization", b"***"), (b"content-type", b"application/json"), (b"x-odd", b"\xff\x00")),
        "1.1",
        ("header authorization", "query api_key"),
    )
    writer.request_body(stream, 1 * MS, b'{"assistant_id":"agent",')
    writer.request_body(stream, 2 * MS, b'"input":{"text":"h\xc3\xa4"}}')
    writer.request_end(stream, 2 * MS)
    other = writer.request(3 * MS, "GET", "/caf\udce9", ())
    writer.request_end(other, 3 * MS)
    writer.response(stream, 10 * MS, 200, "OK", SSE)
    writer.chunk(stream, 11 * MS, b"event: metadata\r\ndata: {}\r\n\r\nevent: val")
    writer.flush()
    body = gzip.compress(b'{"ok":true}', mtime=0)
    writer.response(other, 12 * MS, 200, "OK", (*JSON, (b"content-encoding", b"gzip")))
    writer.chunk(other, 12 * MS, body[:9])
    writer.chunk(stream, 13 * MS, b"ues\r\ndata: [\xe2\x82")
    writer.chunk(other, 13 * MS + 1, body[9:])
    writer.end(other, 14 * MS, Ending.COMPLETE)
    writer.flush()
    writer.chunk(stream, 3_000_000 * MS, b"\xac]\r\n\r\n", delayed=True)
    writer.chunk(stream, 3_000_000 * MS, b"")
    writer.end(stream, 3_000_001 * MS, Ending.COMPLETE)


def _endings(writer: CassetteWriter) -> None:
    at_ns = 3_000_002 * MS
    for ending, detail in (
        (Ending.UPSTREAM_BROKE, "ConnectionResetError: reset by peer"),
        (Ending.CLIENT_LEFT, ""),
        (Ending.RECORDER_STOPPED, ""),
        (Ending.UNREACHED, "connection refused"),
    ):
        number = writer.request(at_ns, "PUT", f"/store/{ending.value}", (), "1.0")
        writer.request_body(number, at_ns, b"{")
        if ending is not Ending.CLIENT_LEFT:
            writer.request_end(number, at_ns)
        status, reason = (502, "Bad Gateway") if ending is Ending.UNREACHED else (204, "")
        writer.response(number, at_ns + 1, status, reason, ())
        writer.end(number, at_ns + 2, ending, detail)
    writer.request(at_ns, "POST", "/never/answered", ())


def _unknown(writer: CassetteWriter) -> None:
    """What a later version may add without a new format version."""
    writer.add(
        Record(0, 0, Recording(2, STARTED + 10**12, "http://127.0.0.1:1", "graphtape 9.9", {"host": "box"}))
    )
    number = 8
    request = Request(1, "GET", "/later", ((b"a", b"1"), (b"a", b"2")), extra={"h2": {"stream": 3}})
    writer.add(Record(number, 1, request))
    writer.add(Record(number, 2, Unknown(2, 77, ("x", 1.5, None, b"\x00", [1], {"k": True}))))
    writer.add_frame(200, b"a frame of a later version")
    writer.add(Record(number, 3, Response(3, 299, "Odd", (), {"trailers": [[b"t", b"v"]]})))
    writer.chunk(number, 4, b"known")
    writer.flush()
    writer.add(Record(number, 5, Chunk(5, b"flags and more", True), (64, "seen by", 2)))
    writer.add(Record(0, 6, Unknown(6, 78, ())))
    writer.add(Record(number, 7, End(7, Ending.COMPLETE, "", {"bytes_left": 0})))


def write_torn(path: Path) -> None:
    """A recorder that was killed inside a write: the last frame is cut."""
    writer = CassetteWriter.create(path, overwrite=True)
    writer.begin_recording(STARTED, "http://127.0.0.1:2024", "graphtape 0.1.0")
    number = writer.request(1 * MS, "POST", "/runs/stream", JSON)
    writer.request_body(number, 1 * MS, b"{}")
    writer.request_end(number, 1 * MS)
    writer.response(number, 2 * MS, 200, "OK", SSE)
    writer.flush()
    for at in range(4):
        writer.chunk(number, (3 + at) * MS, b'event: values\r\ndata: {"n":%d}\r\n\r\n' % at)
        writer.flush()
    data = path.read_bytes()
    writer.close()
    path.write_bytes(data[:-7])


def write_newer(path: Path) -> None:
    """A cassette of format 2: only its header is known to us."""
    header = file_header(2)
    assert header[12:] == struct.pack("<I", crc32(header[:12]))
    path.write_bytes(
        header + encode_frame(len(header), 1, b"\x81\xa9recording\x01") + b"whatever format 2 has here"
    )


WRITERS = {"minimal": write_minimal, "full": write_full, "torn": write_torn, "newer": write_newer}


def spell(path: Path) -> object:
    """What a cassette says, as JSON: every record, every summary."""
    with Cassette.open(path) as cassette:
        return plain(
            {
                "finished": cassette.finished,
                "torn_at": cassette.torn_at,
                "digest": cassette.digest(),
                "recordings": cassette.recordings,
                "exchanges": list(cassette.exchanges),
                "contents": list(cassette.iter_contents()),
            }
        )


def plain(value: object) -> object:
    """A value as JSON has it; bytes are spelt in latin-1 behind `bytes:`."""
    if isinstance(value, bytes):
        return "bytes:" + value.decode("latin-1")
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        named = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **named}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"is": type(value).__name__, **{name: plain(getattr(value, name)) for name in value._fields}}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def main(directory: Path = HERE) -> None:
    for name, write in WRITERS.items():
        path = directory / f"{name}.tape"
        write(path)
        twin = {"error": "NewerFormat"} if name == "newer" else spell(path)
        text = json.dumps(twin, indent=1, ensure_ascii=True)
        path.with_suffix(".json").write_text(text + "\n", encoding="ascii")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
