"""Tests of `graphtape.cassettes.scan`: the good prefix, and telling a torn tail from damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphtape.cassettes import CassetteWriter, DamagedCassette
from graphtape.cassettes.framing import HEADER_BYTES, encode_frame, iter_frames
from graphtape.cassettes.scan import FileSource, scan

RecordExchange = Callable[..., int]


@pytest.fixture
def unfinished(tape: Path, record_exchange: RecordExchange) -> Path:
    """What is in the file when the recorder is killed after one exchange of twenty chunks."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "u", "p")
        record_exchange(writer, *(b"chunk %d" % at for at in range(20)))
        data = tape.read_bytes()
    tape.write_bytes(data)
    return tape


def scanned(path: Path) -> tuple[int, int | None]:
    source = FileSource(path)
    try:
        found = scan(source)
        found.index.settle()
        return sum(
            found.index.exchanges.get(at)[11] for at in range(found.index.exchanges.count)
        ), found.torn_at
    finally:
        source.close()


def test_whole(unfinished: Path) -> None:
    """A file that ends with a whole frame is not torn."""
    assert scanned(unfinished) == (20, None)


def test_torn_at(unfinished: Path) -> None:
    """A cut frame is dropped, whatever is left of it; the offset is where it starts."""
    data = unfinished.read_bytes()
    source = FileSource(unfinished)
    last = [offset for offset, _, _ in iter_frames(source, HEADER_BYTES, source.size)][-2]
    source.close()
    for end in range(last + 1, last + 12):
        unfinished.write_bytes(data[:end])
        assert scanned(unfinished) == (19, last)


def test_zeros_behind(unfinished: Path) -> None:
    """A file that a power loss left longer than what reached the disk is torn there, not damaged."""
    size = unfinished.stat().st_size
    with unfinished.open("ab") as file:
        file.write(bytes(5000))
    assert scanned(unfinished) == (20, size)


def test_damage_in_the_middle(unfinished: Path) -> None:
    """With good frames behind it, a bad one is damage, also if its length is what changed."""
    data = unfinished.read_bytes()
    source = FileSource(unfinished)
    offset = [offset for offset, _, _ in iter_frames(source, HEADER_BYTES, source.size)][5]
    source.close()
    for at in (0, 4, 6, 7, 8, 9):
        changed = bytearray(data)
        changed[offset + at] ^= 0x40
        unfinished.write_bytes(changed)
        with pytest.raises(DamagedCassette, match=f"damaged at byte {offset}: .* good data follows"):
            scanned(unfinished)


def test_cassette_inside_a_torn_chunk(tape: Path, unfinished: Path) -> None:
    """Frames of another cassette in the torn data do not make it damage."""
    inner = unfinished.read_bytes()
    with CassetteWriter.create(tape.with_name("outer.tape")) as writer:
        size = writer.bytes_written
        outer = Path(writer.path)
        torn = outer.read_bytes() + encode_frame(size, 2, bytes(100) + inner + bytes(100))[:-50]
    outer.write_bytes(torn)
    assert scanned(outer) == (0, size)


def test_what_is_read_is_counted(unfinished: Path) -> None:
    """A source knows how much was read from it, and refuses after close."""
    source = FileSource(unfinished)
    assert source.read_at(0, 5) == unfinished.read_bytes()[:5]
    assert source.bytes_read == 5
    source.close()
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.read_at(0, 1)
