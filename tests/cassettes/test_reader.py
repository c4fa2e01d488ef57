"""Tests of `graphtape.cassettes.reader`: what comes out of a cassette, whole, cut, changed, or made by an enemy."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes import (
    Cassette,
    CassetteError,
    CassetteWriter,
    DamagedCassette,
    Ending,
    NewerFormat,
    NoSuchExchange,
    NotACassette,
)
from graphtape.cassettes.compression import compress_whole
from graphtape.cassettes.framing import FRAME_HEAD_BYTES, FrameType, encode_frame, file_header, iter_frames
from graphtape.cassettes.indexfile import TRAILER_BYTES, read_trailer
from graphtape.cassettes.limits import MAX_SEGMENT_BYTES
from graphtape.cassettes.records import End, Record
from graphtape.cassettes.scan import FileSource

GOLDEN = Path(__file__).parents[1] / "golden"
RecordExchange = Callable[..., int]


def load_golden_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_goldens", GOLDEN / "make_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_golden_script()


def contents_of(path: Path) -> list[Any]:
    with Cassette.open(path) as cassette:
        return list(cassette.iter_contents())


@pytest.fixture
def sample(tape: Path, record_exchange: RecordExchange) -> Path:
    """A finished cassette with three exchanges."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
        for at in range(3):
            record_exchange(writer, b"one", b"two %d" % at, target=f"/{at}")
    return tape


@pytest.mark.parametrize("name", ["minimal", "full", "torn"])
def test_golden(name: str, tape: Path) -> None:
    """A golden cassette says what its twin spells; what is written today says the same."""
    twin = json.loads((GOLDEN / f"{name}.json").read_text())
    assert json.loads(json.dumps(MAKE.spell(GOLDEN / f"{name}.tape"))) == twin
    MAKE.WRITERS[name](tape)
    again = json.loads(json.dumps(MAKE.spell(tape)))
    for key in ("finished", "recordings", "exchanges", "contents"):
        assert again[key] == twin[key]


def test_golden_of_a_later_version() -> None:
    """A later format says: update."""
    with pytest.raises(NewerFormat, match="Update"):
        Cassette.open(GOLDEN / "newer.tape")


def prefixes_agree(contents: list[Any], whole: list[Any]) -> None:
    assert contents == whole[: len(contents)]


def read_everything(path: Path) -> list[Any]:
    """Every way of reading; raises only CassetteError if the file is not as written."""
    with Cassette.open(path) as cassette:
        contents = list(cassette.iter_contents())
        for summary in list(cassette.exchanges):
            exchange = cassette.exchange(summary.number)
            assert exchange.body == b"".join(chunk.data for chunk in cassette.iter_chunks(summary.number))
            assert cassette.request(summary.number)[0] == exchange.request
            assert cassette.response(summary.number) == exchange.response
            assert (summary.ending, summary.chunks) == (exchange.ending, len(exchange.chunks))
        assert len([item for item in contents if hasattr(item, "content")]) == len(
            list(cassette.iter_records())
        )
        cassette.digest()
        return contents


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minimal", "full", "torn", "newer"])
def test_golden_cut_at_every_byte(name: str, tape: Path) -> None:
    """A cassette cut anywhere is a prefix of what was written, or our error; never anything else."""
    data = (GOLDEN / f"{name}.tape").read_bytes()
    whole = [] if name == "newer" else contents_of(GOLDEN / f"{name}.tape")
    tape.write_bytes(data)
    shortest = len(whole)
    for end in range(len(data) - 1, -1, -1):
        os.truncate(tape, end)
        try:
            contents = read_everything(tape)
        except CassetteError:
            assert end < 16 or name == "newer"
            continue
        prefixes_agree(contents, whole)
        assert len(contents) <= shortest
        shortest = len(contents)
    assert shortest == 0 or name == "newer"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minimal", "full", "torn", "newer"])
@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_golden_with_every_byte_changed(name: str, mask: int, tape: Path) -> None:
    """A changed byte anywhere is an error with its place, or a shorter prefix; never a wrong record."""
    data = (GOLDEN / f"{name}.tape").read_bytes()
    whole = [] if name == "newer" else contents_of(GOLDEN / f"{name}.tape")
    tape.write_bytes(data)
    with tape.open("r+b", buffering=0) as file:
        for at, byte in enumerate(data):
            os.pwrite(file.fileno(), bytes([byte ^ mask]), at)
            contents: list[Any] = []
            damaged: DamagedCassette | None = None
            try:
                contents = read_everything(tape)
            except DamagedCassette as error:
                damaged = error
            except CassetteError:
                assert at < 16 or name == "newer"
            os.pwrite(file.fileno(), bytes([byte]), at)
            prefixes_agree(contents, whole)
            assert damaged is None or damaged.offset <= at


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minimal", "full"])
def test_check_of_a_changed_golden(name: str, tape: Path) -> None:
    """`check` finds a changed byte anywhere in a finished cassette; in the trailer, it is then unfinished."""
    data = (GOLDEN / f"{name}.tape").read_bytes()
    tape.write_bytes(data)
    with tape.open("r+b", buffering=0) as file:
        for at in range(16, len(data), 13):
            os.pwrite(file.fileno(), bytes([data[at] ^ 0x10]), at)
            sound = False
            with contextlib.suppress(CassetteError), Cassette.open(tape) as cassette:
                sound = cassette.check().finished
            os.pwrite(file.fileno(), data[at : at + 1], at)
            assert not sound


def not_there(path: Path) -> None:
    pass


def a_directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("event: values\n")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (not_there, "no such file; `graphtape record"),
        (a_directory, "directory; name a .tape file"),
        (empty, "empty.*--overwrite"),
        (text, "not a cassette"),
        (a_pipe, "not a regular file"),
    ],
)
def test_what_cannot_be_opened(tape: Path, make: Callable[[Path], None], words: str) -> None:
    """Each thing that is no cassette is called by its name, with the next step where there is one."""
    make(tape)
    with pytest.raises(NotACassette, match=words):
        Cassette.open(tape)


def test_no_permission(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of somebody else is our error (root may read anything: the refusal is simulated)."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NotACassette, match="no permission"):
        Cassette.open(sample)


def test_path_with_a_nul() -> None:
    """A path that no system takes is our error too."""
    with pytest.raises(NotACassette, match="cannot be opened"):
        Cassette.open("a\0b")


def test_reading_fails(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is our error."""
    with Cassette.open(sample) as cassette:

        def fail(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(NotACassette, match="cannot be read"):
            cassette.exchange(1)


def test_closed(sample: Path) -> None:
    """Reading from a closed cassette is a mistake of the programmer."""
    cassette = Cassette.open(sample)
    cassette.close()
    cassette.close()
    with pytest.raises(ValueError, match="closed"):
        cassette.exchange(1)


def test_numbers(sample: Path) -> None:
    """Exchanges are numbered from 1; another number says what there is."""
    with Cassette.open(sample) as cassette:
        assert [summary.target for summary in cassette.exchanges] == ["/0", "/1", "/2"]
        assert [summary.target for summary in cassette.exchanges[1:]] == ["/1", "/2"]
        assert cassette.exchanges[-1].number == 3
        assert cassette.exchange(2).chunks[1].data == b"two 1"
        for number in (0, 4, -1):
            with pytest.raises(NoSuchExchange, match="exchanges 1 to 3"):
                cassette.exchange(number)
        with pytest.raises(NoSuchExchange):
            list(cassette.iter_chunks(99))
        with pytest.raises(IndexError):
            _ = cassette.exchanges[3]


def test_summary(sample: Path) -> None:
    """The index knows what a listing needs."""
    with Cassette.open(sample) as cassette:
        summary = cassette.exchanges[0]
    assert (summary.method, summary.status, summary.content_type) == ("POST", 200, "text/event-stream")
    assert (summary.request_bytes, summary.response_bytes, summary.chunks) == (2, 8, 2)
    assert (summary.at_ns, summary.response_ns, summary.ended_ns) == (0, 1_000_000, 4_000_000)
    assert (summary.ending, summary.redacted) == (Ending.COMPLETE, False)


def test_digest(sample: Path, record_exchange: RecordExchange) -> None:
    """The digest is of the data: a new index does not change it, another byte does."""
    with Cassette.open(sample) as cassette:
        digest = cassette.digest()
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    data = sample.read_bytes()
    end = struct.unpack("<Q", data[-TRAILER_BYTES + FRAME_HEAD_BYTES :][:8])[0]
    sample.write_bytes(data[:end])
    with Cassette.open(sample) as cassette:
        assert (cassette.digest(), cassette.finished) == (digest, False)
    with CassetteWriter.append_to(sample) as writer:
        writer.begin_recording(2, "u", "p")
    with Cassette.open(sample) as cassette:
        assert cassette.digest() != digest


@pytest.mark.slow
def test_opening_reads_little(tape: Path) -> None:
    """Opening a large cassette and listing it reads kilobytes; one exchange reads its own segments."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "u", "p")
        for at in range(10):
            number = writer.request(at, "GET", f"/{at}", ())
            for _ in range(8):
                writer.chunk(number, at, os.urandom(250_000))
            writer.end(number, at, Ending.COMPLETE)
            writer.flush()
    assert tape.stat().st_size > 20_000_000
    with Cassette.open(tape) as cassette:
        assert [summary.response_bytes for summary in cassette.exchanges] == [2_000_000] * 10
        assert cassette.bytes_read < 4_096
        assert len(cassette.exchange(7).body) == 2_000_000
        assert cassette.bytes_read < 5_000_000


@pytest.mark.slow
def test_one_gigabyte(tape: Path) -> None:
    """A cassette of 1 GB closes by writing kilobytes, and opens by reading kilobytes."""
    noise = os.urandom(2 << 20)
    writer = CassetteWriter.create(tape)
    try:
        writer.begin_recording(1, "u", "p")
        number = writer.request(0, "GET", "/big", ())
        for at in range(500):
            for part in range(0, 2 << 20, 1 << 18):
                # Noise does not compress, and a segment is shorter than the distance to the same noise.
                writer.chunk(number, at, noise[part : part + (1 << 18)])
            writer.flush()
        writer.end(number, 1_000, Ending.COMPLETE)
        writer.flush()
        before = writer.bytes_written
        assert before > 1_000_000_000
        writer.close()
        assert tape.stat().st_size - before < 64 << 10
        tracemalloc.start()
        with Cassette.open(tape) as cassette:
            assert cassette.exchanges[0].chunks == 4_000
            assert cassette.bytes_read < 64 << 10
            chunks = cassette.iter_chunks(1)
            assert len(next(chunks).data) == 1 << 18
            assert cassette.bytes_read < 4 << 20
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
        writer.close()
        tape.unlink()


@pytest.mark.slow
def test_memory_of_reading_a_long_body(tape: Path) -> None:
    """Chunks are read a few segments at a time, whatever the size of the body."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "u", "p")
        number = writer.request(0, "GET", "/", ())
        for at in range(160):
            writer.chunk(number, at, os.urandom(100) * 2_500)
        writer.end(number, 1, Ending.COMPLETE)
    with Cassette.open(tape) as cassette:
        tracemalloc.start()
        try:
            assert sum(len(chunk.data) for chunk in cassette.iter_chunks(1)) == 40_000_000
            assert tracemalloc.get_traced_memory()[1] < 20 << 20
        finally:
            tracemalloc.stop()


def test_damaged_block_of_a_finished_cassette(sample: Path) -> None:
    """The rest opens and lists; reading what is damaged says where."""
    data = bytearray(sample.read_bytes())
    data[60] ^= 0x20
    sample.write_bytes(data)
    with Cassette.open(sample) as cassette:
        assert len(cassette.exchanges) == 3
        with pytest.raises(DamagedCassette, match="damaged at byte 37"):
            cassette.exchange(1)
        with pytest.raises(DamagedCassette):
            cassette.check()


def test_damaged_index(sample: Path) -> None:
    """A changed byte in any part of the index costs a scan, and no record; `check` names it."""
    with Cassette.open(sample) as cassette:
        expected = [cassette.exchange(number) for number in (1, 2, 3)]
    data = sample.read_bytes()
    source = FileSource(sample)
    trailer = read_trailer(source)
    assert trailer is not None
    starts = [offset for offset, _, _ in iter_frames(source, trailer[0], source.size)]
    source.close()
    assert len(starts) == 4
    for start in starts:
        changed = bytearray(data)
        changed[start + 12] ^= 0x20
        sample.write_bytes(changed)
        with Cassette.open(sample) as cassette:
            assert [cassette.exchange(number) for number in (1, 2, 3)] == expected
            assert [summary.number for summary in cassette.exchanges] == [1, 2, 3]
            if start != starts[-1]:
                with pytest.raises(DamagedCassette, match="is whole"):
                    cassette.check()
            else:
                assert cassette.torn_at == start


def test_trailing_garbage(sample: Path) -> None:
    """What was appended to a finished cassette by others is a torn tail."""
    size = sample.stat().st_size
    with sample.open("ab") as file:
        file.write(b"garbage behind the end")
    with Cassette.open(sample) as cassette:
        assert (cassette.torn_at, len(cassette.exchanges), cassette.finished) == (size, 3, False)


def raw_cassette(path: Path, *frames: tuple[int, bytes]) -> Path:
    data = file_header()
    for type_, payload in frames:
        data += encode_frame(len(data), type_, payload)
    path.write_bytes(data)
    return path


def block(*records: object) -> tuple[int, bytes]:
    return FrameType.BLOCK, compress_whole(b"".join(msgpack.packb(record) for record in records))


SEGMENT = (FrameType.SEGMENT, msgpack.packb({"recording": 1}))
BEGIN = (1, 0, 0, {"started_unix_ns": 1})
REQUEST = (2, 0, 1, {"method": "GET", "target": "/"})
END = (7, 0, 1, {"ending": "complete"})


def test_least_cassette(tape: Path) -> None:
    """Optional keys may be missing."""
    with Cassette.open(raw_cassette(tape, SEGMENT, block(BEGIN, REQUEST, END))) as cassette:
        assert cassette.exchange(1).ending is Ending.COMPLETE


BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(MAX_SEGMENT_BYTES + 1))

HOSTILE: dict[str, list[tuple[int, bytes]]] = {
    "block without segment": [block(BEGIN)],
    "segment of no recording": [(FrameType.SEGMENT, msgpack.packb({})), block(BEGIN)],
    "segment that is no map": [(FrameType.SEGMENT, b"\x01"), block(BEGIN)],
    "segment with deep nesting": [(FrameType.SEGMENT, b"\x91" * 5000), block(BEGIN)],
    "segment of another recording": [(FrameType.SEGMENT, msgpack.packb({"recording": 2})), block(BEGIN)],
    "block that is no zstd": [SEGMENT, (FrameType.BLOCK, b"no zstd")],
    "bomb": [SEGMENT, (FrameType.BLOCK, BOMB)],
    "request before any recording": [(FrameType.SEGMENT, msgpack.packb({"recording": 0})), block(REQUEST)],
    "request out of order": [SEGMENT, block(BEGIN, (2, 0, 7, {"method": "GET", "target": "/"}))],
    "request twice": [SEGMENT, block(BEGIN, REQUEST, REQUEST)],
    "chunk of nobody": [SEGMENT, block(BEGIN, (6, 0, 1, b""))],
    "chunk after the end": [SEGMENT, block(BEGIN, REQUEST, END, (6, 0, 1, b""))],
    "chunk without bytes": [SEGMENT, block(BEGIN, REQUEST, (6, 0, 1))],
    "chunk of text": [SEGMENT, block(BEGIN, REQUEST, (6, 0, 1, "text"))],
    "flags of text": [SEGMENT, block(BEGIN, REQUEST, (6, 0, 1, b"", "text"))],
    "exchange that is a list": [SEGMENT, block(BEGIN, REQUEST, (6, 0, [1], b""))],
    "type that is a list": [SEGMENT, block(BEGIN, ([], 0, 0))],
    "record cut short": [SEGMENT, (FrameType.BLOCK, compress_whole(msgpack.packb(BEGIN)[:-2]))],
    "status of a million": [SEGMENT, block(BEGIN, REQUEST, (5, 0, 1, {"status": 1_000_000}))],
}


@pytest.mark.parametrize("frames", HOSTILE.values(), ids=HOSTILE)
def test_hostile_data(tape: Path, frames: list[tuple[int, bytes]]) -> None:
    """Frames whose checksums agree but hold nonsense are damage, with the offset."""
    with pytest.raises(DamagedCassette, match="damaged at byte"):
        Cassette.open(raw_cassette(tape, *frames))


def indexed(path: Path, head: object, *parts: bytes, trailer: bytes | None = None) -> Path:
    """A cassette with one exchange and any index."""
    data = file_header()
    for type_, payload in (SEGMENT, block(BEGIN, REQUEST, (6, 5, 1, b"data"), END)):
        data += encode_frame(len(data), type_, payload)
    end = len(data)
    for part in parts:
        data += encode_frame(len(data), FrameType.INDEX_PART, part)
    head_at = len(data)
    data += encode_frame(head_at, FrameType.INDEX_HEAD, compress_whole(msgpack.packb(head)))
    data += encode_frame(
        len(data), FrameType.TRAILER, trailer or struct.pack("<QQ8s", end, head_at, b"TAPEEND\n")
    )
    path.write_bytes(data)
    return path


def rows(*values: object) -> bytes:
    return compress_whole(msgpack.packb(values))


EXCHANGE_ROW = (1, "GET", "/", None, "", "complete", 0, None, 5, 0, 4, 1, False, b"\x00\x00")


def lying(
    head: dict[str, Any] | None = None,
    exchange: object = EXCHANGE_ROW,
    segment: object = None,
    size: int | None = None,
) -> Callable[[Path], Path]:
    """An index that is right but for what is given."""

    def make(path: Path) -> Path:
        indexed(path, {})
        source = FileSource(path)
        trailer = read_trailer(source)
        source.close()
        assert trailer is not None
        end = trailer[0]
        row = segment or (16, end - 16, 1, 0, MAKE_RAW, 4)
        first = encode_frame(end, FrameType.INDEX_PART, rows(exchange))
        good = {
            "recordings": [{"started_unix_ns": 1}],
            "group": 256,
            "exchanges": 1,
            "exchange_parts": struct.pack("<Q", end),
            "segments": 1,
            "segment_parts": struct.pack("<Q", end + len(first)),
        }
        return indexed(path, good | (head or {}), rows(exchange), rows(row))

    return make


MAKE_RAW = sum(len(msgpack.packb(record)) for record in (BEGIN, REQUEST, (6, 5, 1, b"data"), END))

LIES: dict[str, Callable[[Path], Path]] = {
    "head is no map": lambda path: indexed(path, [1]),
    "head is empty": lambda path: indexed(path, {}),
    "other groups": lying({"group": 3}),
    "counts below zero": lying({"exchanges": -1}),
    "huge counts": lying({"exchanges": 1 << 40, "exchange_parts": b""}),
    "parts missing": lying({"exchanges": 1000}),
    "parts outside": lying({"exchange_parts": struct.pack("<Q", 1 << 60)}),
    "part is a block": lying({"exchange_parts": struct.pack("<Q", 37)}),
    "recordings of text": lying({"recordings": ["x"]}),
    "recordings missing": lying({"recordings": 7}),
    "row too short": lying(exchange=(1, "GET")),
    "row of wrong types": lying(exchange=(*EXCHANGE_ROW[:12], 1, b"")),
    "row with a huge number": lying(exchange=(1 << 63, *EXCHANGE_ROW[1:])),
    "row is text": lying(exchange="row"),
    "endless number": lying(exchange=(*EXCHANGE_ROW[:13], b"\xff" * 50)),
    "half a run": lying(exchange=(*EXCHANGE_ROW[:13], b"\x00")),
    "segment that is not listed": lying(exchange=(*EXCHANGE_ROW[:13], b"\x05\x00")),
    "a billion segments": lying(exchange=(*EXCHANGE_ROW[:13], b"\x00\xff\xff\xff\xff\x0f")),
    "no segments": lying(exchange=(*EXCHANGE_ROW[:13], b"")),
    "segment before the data": lying(segment=(0, 50, 1, 0, MAKE_RAW, 4)),
    "segment behind the data": lying(segment=(16, 1 << 20, 1, 0, MAKE_RAW, 4)),
    "segment elsewhere": lying(segment=(37, 20, 1, 0, MAKE_RAW, 4)),
    "segment of another recording": lying(segment=(16, 60, 9, 0, MAKE_RAW, 4)),
    "segment too large": lying(segment=(16, 1 << 40, 1, 0, MAKE_RAW, 4)),
    "segment of other bytes": lying(segment=(16, 21, 1, 0, 0, 0)),
    "trailer far away": lambda path: indexed(
        path, {}, trailer=struct.pack("<QQ8s", 1 << 60, 1 << 61, b"TAPEEND\n")
    ),
    "trailer backwards": lambda path: indexed(path, {}, trailer=struct.pack("<QQ8s", 90, 20, b"TAPEEND\n")),
    "trailer too long": lambda path: indexed(path, {}, trailer=bytes(500)),
}


@pytest.mark.parametrize("make", LIES.values(), ids=LIES)
def test_lying_index(tape: Path, make: Callable[[Path], Path]) -> None:
    """An index that lies is our error or is replaced by the truth; it never gives wrong bytes."""
    make(tape)
    try:
        with Cassette.open(tape) as cassette:
            assert [summary.target for summary in cassette.exchanges] == ["/"]
            assert cassette.exchange(1).body == b"data"
            assert [chunk.data for chunk in cassette.iter_chunks(1)] == [b"data"]
    except CassetteError:
        pass
    # And it is seen: as damage, or as a cassette that was never finished.
    try:
        with Cassette.open(tape) as cassette:
            assert not cassette.check().finished
    except CassetteError:
        pass


def test_index_that_tells_the_truth(tape: Path) -> None:
    """The index that the lies above change is right."""
    with Cassette.open(lying()(tape)) as cassette:
        assert cassette.finished
        assert cassette.check().chunks == 1
        assert cassette.exchange(1).body == b"data"


@pytest.mark.parametrize(("raw_bytes", "records"), [(1, 0), (0, 1), (-1, 0)])
def test_index_that_describes_another_segment(tape: Path, raw_bytes: int, records: int) -> None:
    """A segment that is not the size the index says is damage: it might be a part of what was written."""
    source = FileSource(lying()(tape))
    trailer = read_trailer(source)
    source.close()
    assert trailer is not None
    row = (16, trailer[0] - 16, 1, 0, MAKE_RAW + raw_bytes, 4 + records)
    with (
        Cassette.open(lying(segment=row)(tape)) as cassette,
        pytest.raises(DamagedCassette, match="not the one"),
    ):
        cassette.exchange(1)


def test_void_is_skipped(tape: Path) -> None:
    """Padding between and inside segments is nothing."""
    void = (FrameType.VOID, bytes(50))
    path = raw_cassette(tape, void, SEGMENT, void, block(BEGIN, REQUEST), void)
    with Cassette.open(path) as cassette:
        assert cassette.check().exchanges == 1
        assert len(list(cassette.iter_contents())) == 2


def arbitrary(path: Path, data: bytes) -> None:
    path.write_bytes(file_header() + data)
    with contextlib.suppress(CassetteError):
        read_everything(path)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_behind_the_header(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes are a cassette or our error."""
    arbitrary(tmp_path_factory.getbasetemp() / "arbitrary.tape", data)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(
        st.tuples(st.integers(1, 7), st.binary(max_size=40))
        | st.lists(
            st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 3), st.binary(max_size=4)),
            max_size=4,
        ).map(lambda records: block(*records))
        | st.just(SEGMENT)
        | st.just(block(BEGIN, REQUEST)),
        max_size=6,
    )
)
def test_arbitrary_frames(tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[int, bytes]]) -> None:
    """Any frames with good checksums are a cassette or our error."""
    path = raw_cassette(tmp_path_factory.getbasetemp() / "frames.tape", *frames)
    with contextlib.suppress(CassetteError):
        read_everything(path)


def test_iter_chunks_is_lazy(sample: Path) -> None:
    """Nothing is read before the first chunk is asked for."""
    with Cassette.open(sample) as cassette:
        before = cassette.bytes_read
        chunks: Iterator[Any] = cassette.iter_chunks(1)
        assert cassette.bytes_read == before
        assert next(chunks).data == b"one"


def test_masks_found_late(tape: Path, writer: CassetteWriter) -> None:
    """What was masked in a body is said by list, request and exchange alike, by index and by scan."""
    number = writer.request(0, "POST", "/t", (), redacted=("header cookie",))
    other = writer.request(0, "POST", "/t", ())
    for at in (number, other):
        writer.request_body(at, 0, b"{}")
        writer.request_end(at, 0)
    late: dict[str, Any] = {"redacted": ["body password", "header cookie", 7]}
    writer.add(Record(number, 1, End(1, Ending.COMPLETE, "", late)))
    writer.add(Record(other, 1, End(1, Ending.COMPLETE, "", {"redacted": "nonsense"})))
    writer.flush()
    for closed in (False, True):
        if closed:
            writer.close()
        with Cassette.open(tape) as cassette:
            assert [summary.redacted for summary in cassette.exchanges] == [True, False]
            assert cassette.request(number)[0].redacted == ("header cookie", "body password")
            assert cassette.exchange(number).request.redacted == ("header cookie", "body password")
            assert cassette.request(other)[0].redacted == ()
            cassette.check()


@pytest.fixture
def long(tape: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recorder killed in its second recording: exchanges 2 and 3 in turns over some thirty small segments."""
    monkeypatch.setattr("graphtape.cassettes.writer.SEGMENT_CUT_RECORDS", 10)
    writer = CassetteWriter.create(tape)
    writer.begin_recording(1, "u", "p")
    writer.chunk(writer.request(10**12, "GET", "/earlier", ()), 10**12, b"later than all that follows")
    writer.begin_recording(2, "u", "p")
    numbers = [writer.request(0, "GET", f"/{at}", ()) for at in range(2)]
    for at in range(300):
        writer.chunk(numbers[at // 40 % 2], 10 + 5 * (at // 2), b"%d" % at, delayed=at % 7 == 0)
        writer.flush()
    data = tape.read_bytes()
    writer.close()
    tape.write_bytes(data)
    return tape


def test_chunks_since(long: Path) -> None:
    """The chunks since a time are those of all chunks that have it or a later one, at any time."""
    with Cassette.open(long) as cassette:
        for number in (2, 3):
            every = list(cassette.iter_chunks(number))
            assert len(every) in (140, 160)
            for since_ns in range(0, 800, 3):
                found = list(cassette.iter_chunks(number, since_ns=since_ns))
                assert found == [chunk for chunk in every if chunk.at_ns >= since_ns]


def test_chunks_since_a_time_read_little(long: Path) -> None:
    """What lies before is not read."""
    with Cassette.open(long) as cassette:
        before = cassette.bytes_read
        assert next(cassette.iter_chunks(3, since_ns=710)).at_ns == 710
        assert cassette.bytes_read - before < long.stat().st_size / 10


def test_records_by_columns(long: Path) -> None:
    """Segments of nothing but chunks, which are read by columns, give the records that a rewrite sees."""
    with Cassette.open(long) as cassette:
        assert list(cassette.iter_records()) == list(cassette.iter_contents())
