"""Tests of `graphtape.cassettes.remask`: masking what has been written, in its place."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest

from graphtape.cassettes import Cassette, CassetteWriter, Ending, remask
from graphtape.cassettes.compression import compress_again
from graphtape.cassettes.errors import CassetteWriteFailed
from graphtape.cassettes.framing import FrameType, encode_frame
from graphtape.cassettes.index import SegmentRow
from graphtape.cassettes.remask import JOURNAL_SUFFIX, CannotMask, _fillings, _segment_again
from graphtape.cassettes.writer import CassetteWriter as Writer

RecordExchange = Callable[..., int]
SECRET = b"hunter2"


def tokens(text: bytes) -> list[bytes]:
    return [b'data: {"c":"' + text[at : at + 1] + b'"}\n\n' for at in range(len(text))]


def places(chunks: list[bytes]) -> list[tuple[int, int]]:
    starts = [sum(map(len, chunks[:at])) for at in range(len(chunks))]
    return [(start + 12, start + 13) for start in starts]


def body(path: Path, number: int) -> bytes:
    with Cassette.open(path) as cassette:
        return cassette.exchange(number).body


def test_tokens(tape: Path, writer: CassetteWriter, record_exchange: RecordExchange) -> None:
    """The masked bytes are stars, everything else of the file says what it said, and offsets stay."""
    chunks = tokens(SECRET)
    first = record_exchange(writer, b"before")
    number = record_exchange(writer, *chunks)
    after = record_exchange(writer, b"behind")
    size = os.path.getsize(tape)
    writer.mask(number, places(chunks))
    assert b"".join(chunks) == body(tape, number), "before the sync"
    writer.sync()
    assert os.path.getsize(tape) == size
    expected = b"".join(tokens(b"*" * 7))
    assert body(tape, number) == expected
    last = record_exchange(writer, b"later")
    writer.close()
    with Cassette.open(tape) as cassette:
        assert cassette.check().finished
        assert [cassette.exchange(at).body for at in (first, number, after, last)] == [
            b"before",
            expected,
            b"behind",
            b"later",
        ]
        assert [chunk.at_ns for chunk in cassette.exchange(number).chunks] == [
            (2 + at) * 1_000_000 for at in range(7)
        ]
    assert not (tape.parent / (tape.name + JOURNAL_SUFFIX)).exists()
    assert tape.stat().st_mode & 0o777 == 0o600


def test_close_masks(tape: Path, writer: CassetteWriter, record_exchange: RecordExchange) -> None:
    """A cassette does not count as finished before it is masked."""
    chunks = tokens(SECRET)
    number = record_exchange(writer, *chunks)
    writer.mask(number, places(chunks))
    writer.close()
    assert body(tape, number) == b"".join(tokens(b"*" * 7))


def test_many_segments(tape: Path, writer: CassetteWriter, record_exchange: RecordExchange) -> None:
    """Bytes in any segment of an exchange are found, also where other exchanges stand between."""
    noise = random.Random(1).randbytes(400_000)
    number = writer.request(0, "GET", "/", ())
    writer.response(number, 0, 200, "OK", ())
    for at in range(8):
        writer.chunk(number, at, noise)
        record_exchange(writer, b"other", at_ns=at)
    writer.end(number, 9, Ending.COMPLETE)
    ranges = [(at * 400_000 - 3, at * 400_000 + 3) for at in range(1, 8)]
    writer.mask(number, ranges)
    writer.sync()
    expected = bytearray(noise * 8)
    for start, stop in ranges:
        expected[start:stop] = b"*" * 6
    assert body(tape, number) == expected
    writer.close()
    with Cassette.open(tape) as cassette:
        assert cassette.check().finished
        assert len(cassette.exchanges) == 9


def test_several_masks_of_one_segment(
    tape: Path, writer: CassetteWriter, record_exchange: RecordExchange
) -> None:
    """Each exchange is masked on its own, one after the other, in the same segment; a second time is no harm."""
    numbers = [record_exchange(writer, b"abcdef") for _ in range(4)]
    for at, number in enumerate(numbers):
        writer.mask(number, [(at, at + 2)])
    writer.mask(numbers[0], [(4, 6)])
    writer.mask(numbers[0], [])
    writer.close()
    assert [body(tape, number) for number in numbers] == [b"**cd**", b"a**def", b"ab**ef", b"abc**f"]


def test_refused(tape: Path, writer: CassetteWriter, record_exchange: RecordExchange) -> None:
    """An exchange that goes on, or is none, is not masked."""
    number = writer.request(0, "GET", "/", ())
    for wrong in (0, number, number + 1):
        with pytest.raises(ValueError, match="has not ended"):
            writer.mask(wrong, [(0, 1)])


class Died(BaseException):
    """In place of a kill."""


@pytest.mark.parametrize("written", [None, 0, 1, 20, 100, 10_000])
def test_killed_while_masking(
    tape: Path,
    writer: CassetteWriter,
    record_exchange: RecordExchange,
    monkeypatch: pytest.MonkeyPatch,
    written: int | None,
) -> None:
    """Killed at any moment of it, the cassette reads as before or as after; the next writer finishes the work."""
    chunks = tokens(SECRET)
    number = record_exchange(writer, *chunks)
    record_exchange(writer, b"behind")
    writer.mask(number, places(chunks))
    original = remask._write_at

    def write(fd: int, data: bytes, offset: int) -> None:
        if offset == 0:  # the journal
            if written is None:
                original(fd, data[:50], offset)
                raise Died
            original(fd, data, offset)
            return
        original(fd, data[:written], offset)
        raise Died

    monkeypatch.setattr(remask, "_write_at", write)
    with pytest.raises(Died):
        writer.sync()
    monkeypatch.undo()
    whole, masked = b"".join(chunks), b"".join(tokens(b"*" * 7))
    with Cassette.open(tape) as cassette:
        assert cassette.exchange(number).body == (whole if written is None else masked)
        assert cassette.exchange(number + 1).body == b"behind"
        assert cassette.check().unfinished == ()
    writer._masks.clear()
    os.close(writer._fd)
    writer._fd = os.open(os.devnull, os.O_WRONLY)  # it is dead
    with Writer.append_to(tape) as again:
        assert not (tape.parent / (tape.name + JOURNAL_SUFFIX)).exists()
        assert again.exchange_count == 2
    assert body(tape, number) == (whole if written is None else masked)


def test_journal_of_another_file(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """A journal that is not this file's, or not whole, is not looked at, and a new cassette removes it."""
    number = writer.request(0, "GET", "/", ())
    writer.end(number, 1, Ending.COMPLETE)
    writer.close()
    journal = tmp_path / (tape.name + JOURNAL_SUFFIX)
    status = os.stat(tape)
    good = remask._JOURNAL.pack(b"TAPEMASK", status.st_dev, status.st_ino, 16, 3, 0)[:-4]
    whole = good + crc32(b"xyz", crc32(good)).to_bytes(4, "little") + b"xyz"
    other = remask._JOURNAL.pack(b"TAPEMASK", status.st_dev, status.st_ino + 1, 16, 3, 0) + b"xyz"
    for content in (b"", other, whole[:-1], whole + b"x", whole[:9] + b"\0" + whole[10:]):
        journal.write_bytes(content)
        with Cassette.open(tape) as cassette:
            cassette.check()
    journal.write_bytes(whole)
    with CassetteWriter.create(tape, overwrite=True):
        assert not journal.exists()


@pytest.mark.slow
def test_what_does_not_fit() -> None:
    """Any room that is left is filled, however small, and the frames are exactly as long as they were."""
    head = b"\x81\xa9recording\x01"
    raw = b"\x94\x06\x00\x01\xc4\x03abc" * 3
    block = next(iter(compress_again(raw)))
    least = 2 * 9 + len(head) + len(block)
    for room in [*range(40), 300]:
        row = SegmentRow(16, least + room, 1, 0, len(raw), 3)
        old = encode_frame(16, FrameType.SEGMENT, head)
        old += encode_frame(16 + len(old), FrameType.BLOCK, bytes(row.size - len(old) - 9))
        frames = _segment_again(old, row, raw)
        types = [type_ for _, type_, _ in remask._frames(frames, 16)]
        assert len(frames) == row.size
        assert types[0] == FrameType.SEGMENT
        assert types[-1] == FrameType.BLOCK
    assert list(_fillings(b"\x81\xa9recording\xcc\xff", 2)) == []
    with pytest.raises(CannotMask, match="does not fit"):
        _segment_again(old, SegmentRow(16, least - 5, 1, 0, len(raw), 3), raw)


def test_file_that_changed(tape: Path, writer: CassetteWriter, record_exchange: RecordExchange) -> None:
    """If the bytes are no longer what was written, nothing is written over them, and the error says what to do."""
    number = record_exchange(writer, *tokens(SECRET))
    writer.mask(number, [(12, 13)])
    kept = tape.read_bytes()
    tape.write_bytes(kept[:60] + b"\xff" + kept[61:])
    with pytest.raises(CassetteWriteFailed, match="graphtape redact"):
        writer.sync()
    writer._masks.clear()
    assert tape.read_bytes() == kept[:60] + b"\xff" + kept[61:]
