"""Tests of `graphtape.cassettes.indexfile`: parts, head and trailer as they stand in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphtape.cassettes import CassetteWriter, Ending
from graphtape.cassettes.framing import HEADER_BYTES, BadFrame
from graphtape.cassettes.indexfile import TRAILER_BYTES, encode_index, read_index, read_trailer
from graphtape.cassettes.records import BadRecord
from graphtape.cassettes.scan import FileSource, scan


@pytest.fixture
def finished(tape: Path) -> Path:
    """A finished cassette with 300 exchanges."""
    with CassetteWriter.create(tape) as writer:
        writer.begin_recording(1, "u", "p")
        for at in range(300):
            writer.end(writer.request(at, "GET", f"/{at}", ()), at, Ending.COMPLETE)
    return tape


def test_read_back(finished: Path) -> None:
    """The index that was written is what a scan finds, and is written again to the same bytes."""
    source = FileSource(finished)
    trailer = read_trailer(source)
    assert trailer is not None
    index = read_index(source, *trailer)
    found = scan(source, trailer[0]).index
    assert index.recordings == found.recordings
    for stored, scanned in ((index.exchanges, found.exchanges), (index.segments, found.segments)):
        assert stored.count == scanned.count
        assert [stored.get(at) for at in range(stored.count)] == [
            scanned.get(at) for at in range(scanned.count)
        ]
    assert b"".join(encode_index(found, trailer[0])) == finished.read_bytes()[trailer[0] :]
    source.close()


def test_no_trailer(tape: Path, finished: Path) -> None:
    """A file that is too short, cut, or changed at its end has no trailer."""
    data = finished.read_bytes()
    assert TRAILER_BYTES == 33
    for content in (data[:HEADER_BYTES], data[: HEADER_BYTES + 5], data[:-1], data + b"x", data[:-1] + b"x"):
        tape.write_bytes(content)
        source = FileSource(tape)
        assert read_trailer(source) is None
        source.close()


def test_head_elsewhere(finished: Path) -> None:
    """A trailer that points elsewhere is found out."""
    source = FileSource(finished)
    trailer = read_trailer(source)
    assert trailer is not None
    for head_at in (HEADER_BYTES, trailer[0], trailer[1] + 1):
        with pytest.raises((BadFrame, BadRecord)):
            read_index(source, trailer[0], head_at)
    source.close()
