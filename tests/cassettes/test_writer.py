"""Tests of `graphtape.cassettes.writer`: what is in the file, when, and what happens when it cannot be."""

from __future__ import annotations

import errno
import gc
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes import (
    Cassette,
    CassetteError,
    CassetteExists,
    CassetteWriteFailed,
    CassetteWriter,
    DamagedCassette,
    Ending,
    NewerFormat,
    NotACassette,
    Recording,
)
from graphtape.cassettes.compression import SegmentCompressor
from graphtape.cassettes.framing import HEADER_BYTES, file_header
from graphtape.cassettes.index import SegmentRow
from graphtape.cassettes.limits import (
    BLOCK_CUT_BYTES,
    CHUNK_CUT_BYTES,
    HEADERS_CUT,
    MAX_RECORDINGS,
    MAX_TIME_NS,
    SEGMENT_CUT_RECORDS,
    SMALL_CHUNK_BYTES,
)
from graphtape.cassettes.model import Response
from graphtape.cassettes.records import Record
from graphtape.cassettes.scan import FileSource, scan

RecordExchange = Callable[..., int]


def test_new_file(tape: Path) -> None:
    """A cassette is readable by its owner only, and opens before anything is in it."""
    before = os.umask(0)
    try:
        writer = CassetteWriter.create(tape)
    finally:
        os.umask(before)
    assert stat.S_IMODE(tape.stat().st_mode) == 0o600
    with Cassette.open(tape) as cassette:
        assert (len(cassette.exchanges), cassette.finished, cassette.torn_at) == (0, False, None)
    writer.close()
    with Cassette.open(tape) as cassette:
        assert (len(cassette.exchanges), cassette.finished) == (0, True)


def test_existing_file(tape: Path) -> None:
    """Nothing is overwritten without the flag; with it, the old content goes and the mode becomes 0600."""
    tape.write_text("precious")
    tape.chmod(0o644)
    with pytest.raises(CassetteExists, match="--overwrite"):
        CassetteWriter.create(tape)
    assert tape.read_text() == "precious"
    CassetteWriter.create(tape, overwrite=True).close()
    assert stat.S_IMODE(tape.stat().st_mode) == 0o600
    assert tape.read_bytes().startswith(file_header())


def test_file_in_use(tape: Path, writer: CassetteWriter) -> None:
    """A second writer is refused, and takes nothing from the first."""
    writer.flush()
    size = tape.stat().st_size
    for again in (CassetteWriter.append_to, lambda path: CassetteWriter.create(path, overwrite=True)):
        with pytest.raises(CassetteError, match="another graphtape"):
            again(tape)
    assert tape.stat().st_size == size


@pytest.mark.parametrize("make", [CassetteWriter.create, CassetteWriter.append_to])
def test_places_that_cannot_be_written(make: Callable[[Path], CassetteWriter], tmp_path: Path) -> None:
    """A missing folder and a directory are errors with a next step."""
    with pytest.raises(CassetteError, match="directory does not exist"):
        make(tmp_path / "no" / "a.tape")
    (tmp_path / "dir").mkdir()
    with pytest.raises(CassetteError):
        make(tmp_path / "dir")


def test_nothing_before_flush(tape: Path, writer: CassetteWriter) -> None:
    """Records reach the file with flush, all at once; a flush without records writes nothing."""
    writer.flush()
    size = writer.bytes_written
    assert tape.stat().st_size == size
    number = writer.request(0, "GET", "/", ())
    writer.chunk(number, 1, b"x" * 1000)
    assert tape.stat().st_size == size
    writer.flush()
    assert tape.stat().st_size == writer.bytes_written > size
    size = writer.bytes_written
    writer.flush()
    assert writer.bytes_written == size
    with Cassette.open(tape) as cassette:
        assert cassette.exchange(1).body == b"x" * 1000


def test_one_write_per_flush(writer: CassetteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was appended, a flush is one write, also across segments."""
    sizes: list[int] = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", counted)
    number = writer.request(0, "GET", "/", ())
    for at in range(20):
        writer.chunk(number, at, os.urandom(100_000))
    writer.flush()
    assert len(sizes) == 1
    assert sizes[0] > 2_000_000


def test_interleaved_exchanges(tape: Path, writer: CassetteWriter) -> None:
    """Any number of exchanges may be open at once; each keeps its own bytes and times."""
    numbers = [writer.request(at, "GET", f"/{at}", ()) for at in range(50)]
    for turn in range(20):
        for number in numbers:
            writer.chunk(number, turn * 1000 + number, b"%d:%d " % (number, turn))
    for number in reversed(numbers):
        writer.end(number, 10**6, Ending.COMPLETE)
    writer.close()
    with Cassette.open(tape) as cassette:
        for number in numbers:
            chunks = list(cassette.iter_chunks(number))
            assert [chunk.data for chunk in chunks] == [b"%d:%d " % (number, turn) for turn in range(20)]
            assert [chunk.at_ns for chunk in chunks] == [turn * 1000 + number for turn in range(20)]


def test_long_reads_are_split(tape: Path, writer: CassetteWriter) -> None:
    """A read above the limit becomes several records of the same time; nothing is refused for its size."""
    data = os.urandom(3 * CHUNK_CUT_BYTES + 5)
    number = writer.request(0, "POST", "/", ())
    writer.request_body(number, 1, data)
    writer.chunk(number, 2, data, delayed=True)
    writer.close()
    with Cassette.open(tape) as cassette:
        exchange = cassette.exchange(number)
        assert (exchange.request_body, exchange.body) == (data, data)
        assert {(chunk.at_ns, chunk.delayed) for chunk in exchange.chunks} == {(2, True)}
        assert max(len(chunk.data) for chunk in exchange.chunks) <= CHUNK_CUT_BYTES
        assert cassette.exchanges[0].request_bytes == len(data)


def test_many_tiny_records(tape: Path, writer: CassetteWriter) -> None:
    """A body that comes byte by byte stays within the reader's limit on records."""
    number = writer.request(0, "GET", "/", ())
    for at in range(SEGMENT_CUT_RECORDS + 10):
        writer.chunk(number, at, b"x")
    writer.close()
    with Cassette.open(tape) as cassette:
        assert cassette.check().chunks == SEGMENT_CUT_RECORDS + 10
    source = FileSource(tape)
    segments = scan(source, None).index.segments
    source.close()
    assert [SegmentRow(*segments.get(at)).records for at in range(segments.count)] == [
        SEGMENT_CUT_RECORDS,
        12,
    ]


def test_small_chunks_of_any_time(tape: Path, writer: CassetteWriter) -> None:
    """Times go forth and back in steps of any size, up to the last there is; one beyond harms nothing."""
    number = writer.request(0, "GET", "/", ())
    times = [5, 3, 1 << 40, 1 << 40, 7, (1 << 61) + 1]
    times += [MAX_TIME_NS - step for step in range(90 * (1 << 30), -1, -(1 << 29))]
    for at_ns in times:
        writer.chunk(number, at_ns, b"x")
        for beyond in (-1, MAX_TIME_NS + 1):
            with pytest.raises(ValueError, match="out of range"):
                writer.chunk(number, beyond, b"y")
    writer.chunk(number, MAX_TIME_NS, b"x")
    writer.close()
    with Cassette.open(tape) as cassette:
        chunks = list(cassette.iter_chunks(number))
        assert [chunk.at_ns for chunk in chunks] == [*times, MAX_TIME_NS]
        assert {chunk.data for chunk in chunks} == {b"x"}
        assert cassette.exchanges[0].chunks == cassette.exchanges[0].response_bytes == len(chunks)


def test_refused_records_harm_none_that_wait(tape: Path, writer: CassetteWriter) -> None:
    """A record that cannot be packed is refused alone: what waits for a flush is written."""
    number = writer.request(0, "GET", "/", ())
    writer.chunk(number, 1, b"first")
    with pytest.raises(ValueError, match="64 bits"):
        writer.add(Record(number, 2, Response(2, 1 << 70, "", ())))
    with pytest.raises(ValueError, match="above the limit"):
        writer.request(2, "GET", "/" * (2 << 20), ())
    writer.chunk(number, 3, b"second")
    writer.flush()
    with Cassette.open(tape) as cassette:
        assert cassette.exchange(number).body == b"firstsecond"


def test_what_waits_is_bounded(tape: Path, writer: CassetteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flush, chunks of any size are compressed before twice the size of a block waits."""
    waited: list[int] = []
    real = SegmentCompressor.compress

    def measured(compressor: SegmentCompressor, data: bytes) -> bytes:
        waited.append(len(data))
        return real(compressor, data)

    monkeypatch.setattr(SegmentCompressor, "compress", measured)
    number = writer.request(0, "GET", "/", ())
    sizes = (1, 100, SMALL_CHUNK_BYTES, SMALL_CHUNK_BYTES + 1, CHUNK_CUT_BYTES)
    for size in sizes:
        for at in range(2000 if size <= SMALL_CHUNK_BYTES else 50):
            writer.chunk(number, at, bytes(size))
    writer.close()
    assert BLOCK_CUT_BYTES <= max(waited) < 2 * BLOCK_CUT_BYTES + CHUNK_CUT_BYTES


def test_two_recordings(tape: Path, record_exchange: RecordExchange) -> None:
    """Continued, a cassette has a second zero of time, and its exchanges count on."""
    for turn in range(3):
        with CassetteWriter.append_to(tape) as writer:
            assert writer.begin_recording(1000 + turn, "http://u", "p") == turn + 1
            assert record_exchange(writer, b"a", at_ns=5) == turn + 1
    with Cassette.open(tape) as cassette:
        assert [recording.started_unix_ns for recording in cassette.recordings] == [1000, 1001, 1002]
        assert [summary.recording for summary in cassette.exchanges] == [1, 2, 3]
        assert {summary.at_ns for summary in cassette.exchanges} == {5}
        cassette.check()


@pytest.mark.slow
def test_continued_beyond_index_groups(tape: Path, record_exchange: RecordExchange) -> None:
    """Full and part-full groups of the index survive being continued."""
    for turn in range(3):
        with CassetteWriter.append_to(tape) as writer:
            writer.begin_recording(turn, "http://u", "p")
            for _ in range(200):
                number = writer.request(0, "GET", f"/{turn}", ())
                writer.end(number, 1, Ending.COMPLETE)
    with Cassette.open(tape) as cassette:
        assert cassette.check().exchanges == 600
        assert [cassette.exchanges[at].target for at in (0, 199, 200, 511, 599)] == [
            "/0",
            "/0",
            "/1",
            "/2",
            "/2",
        ]


def test_continue_after_a_crash(tape: Path, record_exchange: RecordExchange) -> None:
    """The torn tail is cut, the rest kept, and what was open stays unfinished."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
        record_exchange(writer, b"one")
        writer.request(5, "GET", "/open", ())
        writer.flush()
        crashed = tape.read_bytes() + b"\x01\x02\x03 half a frame"
    tape.write_bytes(crashed)
    with CassetteWriter.append_to(tape) as writer:
        writer.begin_recording(2, "http://u", "p")
        with pytest.raises(ValueError, match="exchange 2 is not open"):
            writer.chunk(2, 0, b"")
        assert record_exchange(writer, b"three") == 3
    with Cassette.open(tape) as cassette:
        assert cassette.check().unfinished == (2,)
        assert cassette.exchange(3).body == b"three"


def test_crash_while_continuing(tape: Path, record_exchange: RecordExchange) -> None:
    """Between the cut index and the next close, every old record is there."""
    with CassetteWriter.append_to(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
        record_exchange(writer, b"one")
    writer = CassetteWriter.append_to(tape)
    with Cassette.open(tape) as cassette:
        assert not cassette.finished
        assert cassette.exchange(1).body == b"one"
    writer.close()


@pytest.mark.parametrize("size", [0, 5, HEADER_BYTES - 1])
def test_continue_half_a_header(tape: Path, size: int) -> None:
    """A cassette that was cut in its header begins anew: nothing was in it."""
    tape.write_bytes(file_header()[:size])
    with CassetteWriter.append_to(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
    with Cassette.open(tape) as cassette:
        assert len(cassette.recordings) == 1


def test_continue_what_is_no_cassette(tape: Path) -> None:
    """Another file, or a later format, is left as it is."""
    for content, error in ((b"some text, no cassette", NotACassette), (file_header(2), NewerFormat)):
        tape.write_bytes(content)
        with pytest.raises(error):
            CassetteWriter.append_to(tape)
        assert tape.read_bytes() == content


def test_continue_a_damaged_cassette(tape: Path, record_exchange: RecordExchange) -> None:
    """Damage in the middle is not cut off as if it were a torn tail."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
        record_exchange(writer, *(b"chunk %d" % at for at in range(10)))
        data = bytearray(tape.read_bytes())
    data[len(data) // 2] ^= 1
    tape.write_bytes(data)
    with pytest.raises(DamagedCassette):
        CassetteWriter.append_to(tape)
    assert tape.read_bytes() == data


def test_failed_write(tape: Path, writer: CassetteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails half way leaves a good prefix, says so, and the writer refuses more."""
    number = writer.request(0, "GET", "/", ())
    writer.chunk(number, 1, b"kept")
    writer.flush()
    good = tape.read_bytes()
    real = os.write
    calls = 0

    def failing(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(fd, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", failing)
    writer.chunk(number, 2, b"lost")
    with pytest.raises(CassetteWriteFailed, match=r"No space left.*--append"):
        writer.flush()
    monkeypatch.undo()
    assert tape.read_bytes() == good
    for refused in (
        lambda: writer.chunk(number, 3, b""),
        lambda: writer.request(3, "GET", "/", ()),
        lambda: writer.end(number, 3, Ending.COMPLETE),
        writer.flush,
    ):
        with pytest.raises(CassetteWriteFailed):
            refused()
    writer.close()
    assert tape.read_bytes() == good
    with Cassette.open(tape) as cassette:
        assert (cassette.torn_at, cassette.exchange(1).body) == (None, b"kept")


def test_descriptor_closed_under_the_writer(tape: Path, writer: CassetteWriter) -> None:
    """A failed write like any other; and the number, which may be another file's by then, is left alone."""
    number = writer.request(0, "GET", "/", ())
    writer.flush()
    fd = writer._fd
    os.close(fd)
    writer.chunk(number, 2, b"lost")
    with pytest.raises(CassetteWriteFailed, match="Bad file descriptor"):
        writer.flush()
    with tape.open("rb") as other:
        if other.fileno() != fd:
            os.dup2(other.fileno(), fd)
        writer.sync()
        writer.close()

        assert os.fstat(fd).st_size == tape.stat().st_size
        if other.fileno() != fd:
            os.close(fd)


def test_failing_close(tape: Path, writer: CassetteWriter) -> None:
    """A descriptor that cannot even be closed is our error too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer._fd)
    os.close(writer._fd)
    with pytest.raises(CassetteWriteFailed, match="Bad file descriptor"):
        writer.close()


def test_disk_limit_for_real(tape: Path) -> None:
    """The same with a limit of the system: the file stays a good prefix."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "http://u", "p")
        number = writer.request(0, "GET", "/", ())
        writer.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        try:
            with pytest.raises(CassetteWriteFailed):  # noqa: PT012 - which of the writes fails is the system's
                for at in range(100):
                    writer.chunk(number, at, os.urandom(3_000))
                    writer.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
    with Cassette.open(tape) as cassette:
        assert cassette.torn_at is None
        assert 10 < sum(1 for _ in cassette.iter_chunks(1)) < 20


def test_sync(writer: CassetteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` works from another thread, also after close; a disk that refuses is our error."""
    writer.flush()
    thread = threading.Thread(target=writer.sync)
    thread.start()
    thread.join()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("graphtape.cassettes.writer._datasync", refuse)
    with pytest.raises(CassetteWriteFailed, match="Input/output"):
        writer.sync()
    with pytest.raises(CassetteWriteFailed, match="Input/output"):
        writer.close(synced=True)
    writer.sync()


def test_sync_of_a_new_file(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sync, and no other, syncs the folder that has the file's name."""
    folders: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: folders.append(os.readlink(f"/proc/self/fd/{fd}")))
    with CassetteWriter.create(tape) as writer:
        writer.sync()
        writer.sync()

    assert folders == [str(tape.parent)]


def test_misuse(tape: Path, writer: CassetteWriter) -> None:
    """Mistakes of a programmer are ValueErrors, and leave the cassette as it was."""
    number = writer.request(0, "GET", "/", ())
    writer.end(number, 1, Ending.COMPLETE)
    still_open = writer.request(1, "GET", "/", ())
    for misuse in (
        lambda: writer.chunk(number, 2, b""),
        lambda: writer.request_body(number, 2, b""),
        lambda: writer.request_end(number, 2),
        lambda: writer.response(99, 2, 200, "", ()),
        lambda: writer.end(number, 2, Ending.COMPLETE),
        lambda: writer.request(2, "GET", "/", ((b"a", b"b"),) * (HEADERS_CUT + 1)),
        lambda: writer.request(2, "GET", "/" * (2 << 20), ()),
        lambda: writer.request(1 << 70, "GET", "/", ()),
        lambda: writer.request(-1, "GET", "/", ()),
        lambda: writer.chunk(still_open, -1, b""),
        lambda: writer.chunk(still_open, 1 << 63, b""),
    ):
        with pytest.raises(ValueError, match=r"not open|above the limit|64 bits|out of range"):
            misuse()
    second = writer.request(3, "GET", "/", ())
    assert second == 3
    writer.close()
    writer.close()
    for misuse in (
        writer.flush,
        lambda: writer.request(0, "GET", "/", ()),
        lambda: writer.chunk(second, 0, b""),
    ):
        with pytest.raises(ValueError, match="closed"):
            misuse()
    with Cassette.open(tape) as cassette:
        assert cassette.check().exchanges == 3


def test_request_before_recording(tape: Path) -> None:
    """An exchange belongs to a recording."""
    with CassetteWriter.create(tape) as writer, pytest.raises(ValueError, match="before any recording"):
        writer.request(0, "GET", "/", ())


def test_too_many_recordings(writer: CassetteWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full cassette says: start a new one."""
    monkeypatch.setattr("graphtape.cassettes.index.MAX_RECORDINGS", 3)
    assert MAX_RECORDINGS > 3
    writer.begin_recording(1, "", "")
    writer.begin_recording(1, "", "")
    with pytest.raises(CassetteWriteFailed, match="start a new one"):
        writer.add(Record(0, 0, Recording(4, 1, "", "")))


@pytest.mark.slow
def test_forgotten_writer(tape: Path) -> None:
    """A writer that is dropped without close warns, and frees the file."""
    writer = CassetteWriter.create(tape)
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031
        del writer
        gc.collect()
    CassetteWriter.append_to(tape).close()


def test_memory_of_a_long_stream(tape: Path, writer: CassetteWriter) -> None:
    """What the writer holds does not grow with the body."""
    number = writer.request(0, "GET", "/", ())
    data = os.urandom(50_000)

    def pump(times: int) -> int:
        for at in range(times):
            writer.chunk(number, at, data)
            writer.flush()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = pump(60)
        assert pump(120) - first < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_and_index_of_many_exchanges(tape: Path, writer: CassetteWriter) -> None:
    """An ended exchange costs well under 200 bytes of memory and of index, and the close writes only the index."""
    count = 1_280
    tracemalloc.start()
    try:
        for at in range(count):
            number = writer.request(at, "POST", f"/threads/{random.randbytes(16).hex()}/runs/stream", ())
            writer.response(number, at + 1, 200, "OK", ((b"content-type", b"text/event-stream"),))
            writer.chunk(number, at + 2, b"x")
            writer.end(number, at + 3, Ending.COMPLETE)
            if at == count // 2:
                half = tracemalloc.get_traced_memory()[0]
            if at % 64 == 0:
                writer.flush()
        assert (tracemalloc.get_traced_memory()[0] - half) / (count / 2) < 300
    finally:
        tracemalloc.stop()
    writer.flush()
    before = writer.bytes_written
    writer.close()
    assert 0 < tape.stat().st_size - before < 100 * count


def test_ten_times_smaller_than_json_lines(tape: Path, writer: CassetteWriter) -> None:
    """A long `values` stream, flushed per event, is less than a tenth of one JSON line per event."""
    number = writer.request(0, "POST", "/runs/stream", ())
    words = random.Random(7)
    messages: list[str] = []
    lines = 0
    for at in range(150):
        said = " ".join(words.choice(("alpha", "beta", "gamma", "delta", "to", "of")) for _ in range(12))
        messages.append(f'{{"type":"ai","id":"run-{words.getrandbits(128):032x}","content":"{said}"}}')
        data = f'{{"messages":[{",".join(messages)}]}}'.encode()
        writer.chunk(number, at * 20_123_456, b"event: values\r\ndata: " + data + b"\r\n\r\n")
        writer.flush()
        lines += len(data) + 60
    writer.close()
    assert tape.stat().st_size * 10 < lines


def test_size_of_a_token_stream(tape: Path, writer: CassetteWriter) -> None:
    """Tokens with the metadata of the Agent Server, flushed one by one, take at most 0.044 of the wire."""
    number = writer.request(0, "POST", "/runs/stream", ())
    words = random.Random(7)
    wire = 0
    for _ in range(400):
        token = "".join(words.choices("abcdefghijklmnop ", k=words.randrange(1, 9)))
        event = (
            f'event: messages\r\ndata: [{{"content":"{token}","additional_kwargs":{{}},"response_metadata":{{}},'
            '"type":"AIMessageChunk","name":null,"id":"lc_run--01a1fbf8-891f-70a0-ada8-9c52b0917461","tool_calls":[],'
            '"invalid_tool_calls":[],"usage_metadata":null,"tool_call_chunks":[],"chunk_position":null},'
            '{"created_by":"system","assistant_id":"172e62f0-786e-5956-b169-628d949f0ed1","run_attempt":1,'
            '"langgraph_version":"1.2.22","langgraph_api_version":"0.16.7","langgraph_plan":"enterprise",'
            '"langgraph_host":"self-hosted","langgraph_api_url":"http://127.0.0.1:2177","thread_id":'
            '"01a1fbf8-8546-75b8-a1a3-3c7cfe1eacc0","graph_id":"talker","run_id":"01a1fbf8-8546-75b8-a1a3-3c7b7f7a866d",'
            '"ls_integration":"langchain_chat_model","langgraph_step":1,"langgraph_node":"talk","langgraph_triggers":'
            '["branch:to:talk"],"langgraph_path":["__pregel_pull","talk"],"langgraph_checkpoint_ns":'
            '"talk:8cbf7a18-9ff6-7f85-2ad2-38fec3fa14ae","checkpoint_ns":"talk:8cbf7a18-9ff6-7f85-2ad2-38fec3fa14ae",'
            '"ls_provider":"x","ls_model_type":"chat","lc_versions":{"langchain-core":"1.7.2"}}]\r\n\r\n'
        ).encode()
        writer.chunk(number, words.randrange(10**9), event)
        writer.flush()
        wire += len(event)
    writer.close()
    assert tape.stat().st_size < 0.044 * wire


KILLED = """
import os, sys
from graphtape.cassettes import CassetteWriter
writer = CassetteWriter.create(sys.argv[1])
writer.begin_recording(1, "http://u", "p")
numbers = [writer.request(0, "GET", "/", ()) for _ in range(5)]
at = 0
while True:
    number = numbers[at % 5]
    writer.chunk(number, at, b"%d," % at * (at % 40))
    at += 1
    if at % 3 == 0:
        writer.flush()
        os.write(1, b"%d\\n" % at)  # only now: what stands here must be in the file
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay_ms", [0, 20, 60])
def test_killed(tape: Path, delay_ms: int) -> None:
    """After kill -9 the file opens and holds every chunk that was flushed before the kill."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tape)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    first = child.stdout.readline()
    deadline = time.monotonic() + delay_ms / 1000
    lines = [first]
    while time.monotonic() < deadline:
        lines.append(child.stdout.readline())
    child.kill()
    lines += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    child.wait()
    flushed = max(int(line) for line in lines if line.endswith(b"\n"))
    with Cassette.open(tape) as cassette:
        assert not cassette.finished
        chunks = sorted(
            (chunk for n in range(1, 6) for chunk in cassette.iter_chunks(n)), key=lambda c: c.at_ns
        )
        assert len(chunks) >= flushed
        assert [chunk.data for chunk in chunks] == [b"%d," % at * (at % 40) for at in range(len(chunks))]
        assert cassette.check().unfinished == (1, 2, 3, 4, 5)


CALLS = st.lists(
    st.tuples(
        st.sampled_from(
            ["request", "body", "request_end", "response", "chunk", "end", "flush", "reopen", "recording"]
        ),
        st.integers(0, 5),
        st.integers(0, 10**12),
        st.binary(max_size=40),
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(calls=CALLS, closed=st.booleans())
def test_any_calls(tmp_path_factory: pytest.TempPathFactory, calls: list[Any], closed: bool) -> None:
    """Whatever is written, in any order, is read back, from the index and from a scan alike."""
    path = tmp_path_factory.mktemp("calls") / "a.tape"
    writer = CassetteWriter.create(path)
    writer.begin_recording(0, "u", "p")
    expected: dict[int, dict[str, Any]] = {}
    live: list[int] = []
    for what, pick, at_ns, data in calls:
        if what == "request":
            number = writer.request(at_ns, "GET", "/" + data.hex(), ((b"h", data),))
            expected[number] = {
                "body": b"",
                "chunks": [],
                "ending": Ending.UNFINISHED,
                "whole": False,
                "response": None,
            }
            live.append(number)
        elif what == "flush":
            writer.flush()
        elif what in {"reopen", "recording"}:
            if what == "reopen":
                writer.close()
                writer = CassetteWriter.append_to(path)
            writer.begin_recording(1, "u", "p")
            live = []
        elif live:
            number = live[pick % len(live)]
            known = expected[number]
            if what == "body":
                writer.request_body(number, at_ns, data)
                known["body"] += data
            elif what == "request_end":
                writer.request_end(number, at_ns)
                known["whole"] = True
            elif what == "response":
                writer.response(number, at_ns, 200 + pick, "R", ((b"n", data),))
                known["response"] = 200 + pick
            elif what == "chunk":
                writer.chunk(number, at_ns, data, delayed=pick == 0)
                known["chunks"].append((at_ns, data, pick == 0))
            else:
                writer.end(number, at_ns, Ending.CLIENT_LEFT, "d")
                known["ending"] = Ending.CLIENT_LEFT
                live.remove(number)
    writer.flush()
    unfinished = path.read_bytes()
    writer.close()
    if not closed:
        path.write_bytes(unfinished)
    with Cassette.open(path) as cassette:
        assert cassette.finished is closed
        cassette.check()
        assert len(cassette.exchanges) == len(expected)
        for number, known in expected.items():
            exchange = cassette.exchange(number)
            assert exchange.request_body == known["body"]
            assert exchange.request_complete == known["whole"]
            assert (exchange.response.status if exchange.response else None) == known["response"]
            assert [tuple(chunk) for chunk in exchange.chunks] == known["chunks"]
            assert exchange.ending == known["ending"]
            summary = cassette.exchanges[number - 1]
            assert (summary.status, summary.ending, summary.chunks) == (
                known["response"],
                known["ending"],
                len(known["chunks"]),
            )


def test_a_status_that_is_none(tape: Path) -> None:
    """A reader would refuse it, and so does the writer."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(0, "http://u", "p")
        number = writer.request(1, "GET", "/", ())
        with pytest.raises(ValueError, match="no HTTP status 1000"):
            writer.response(number, 2, 1000, "", ())
