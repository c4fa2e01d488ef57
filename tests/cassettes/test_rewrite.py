"""Tests of `graphtape.cassettes.rewrite`: copies that keep what they do not know, and indexes made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphtape.cassettes import (
    Cassette,
    CassetteError,
    CassetteExists,
    CassetteWriter,
    Chunk,
    DamagedCassette,
)
from graphtape.cassettes.records import Record, Unknown
from graphtape.cassettes.rewrite import rebuild_index, rewrite

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["minimal", "full", "torn"])
def test_copy(name: str, tape: Path) -> None:
    """A copy says all that the original says, unknown records, keys, flags and frames included, in their places."""
    count = rewrite(GOLDEN / f"{name}.tape", tape)
    with Cassette.open(GOLDEN / f"{name}.tape") as source, Cassette.open(tape) as copy:
        assert list(copy.iter_contents()) == list(source.iter_contents())
        assert list(copy.exchanges) == list(source.exchanges)
        assert copy.recordings == source.recordings
        assert count == len(source.exchanges)
        assert copy.check().finished
        assert copy.check().unknown_frames == source.check().unknown_frames


def test_transform(tape: Path) -> None:
    """A transform sees each record; what it gives is written, with what is unknown in it."""

    def shout(record: Record) -> list[Record]:
        if isinstance(record.content, Unknown):
            return []
        if isinstance(record.content, Chunk):
            return [record._replace(content=record.content._replace(data=record.content.data.upper()))]
        return [record]

    rewrite(GOLDEN / "full.tape", tape, shout)
    with Cassette.open(tape) as copy:
        records = [record for record in copy.iter_records() if record.exchange == 8]
        chunks = [record for record in records if isinstance(record.content, Chunk)]
        assert [chunk.content.data for chunk in chunks if isinstance(chunk.content, Chunk)] == [
            b"KNOWN",
            b"FLAGS AND MORE",
        ]
        assert chunks[1].rest == (64, "seen by", 2)
        assert not any(isinstance(record.content, Unknown) for record in copy.iter_records())


def test_transform_that_fails(tape: Path) -> None:
    """Half a copy is no copy: the target is removed."""

    def fail(record: Record) -> list[Record]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        rewrite(GOLDEN / "full.tape", tape, fail)
    assert not tape.exists()


def test_records_that_contradict_each_other(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """A cassette whose checksums agree and whose records do not is damaged; what a transform made is its own fault."""
    number = writer.request(0, "GET", "/", ())
    writer._index.open[number + 1] = writer._index.open[number]  # as a hostile file would
    writer.chunk(number + 1, 0, b"x")
    del writer._index.open[number + 1]
    writer.close()
    with pytest.raises(CassetteError, match="contradict each other"):
        rewrite(tape, tmp_path / "copy.tape")
    with pytest.raises(ValueError, match="should begin"):
        rewrite(
            GOLDEN / "minimal.tape",
            tmp_path / "copy.tape",
            lambda record: [record, record._replace(exchange=9)],
        )
    assert not (tmp_path / "copy.tape").exists()


def test_targets(tape: Path) -> None:
    """An existing target is kept unless told; the source itself is never the target."""
    rewrite(GOLDEN / "minimal.tape", tape)
    with pytest.raises(CassetteExists):
        rewrite(GOLDEN / "full.tape", tape)
    with pytest.raises(CassetteError, match="onto itself"):
        rewrite(tape, tape, overwrite=True)
    assert rewrite(GOLDEN / "full.tape", tape, overwrite=True) == 8


def test_damaged_source(tape: Path, tmp_path: Path) -> None:
    """Of a damaged cassette there is no copy."""
    data = bytearray((GOLDEN / "full.tape").read_bytes())
    data[100] ^= 1
    damaged = tmp_path / "damaged.tape"
    damaged.write_bytes(data)
    with pytest.raises(DamagedCassette):
        rewrite(damaged, tape)
    assert not tape.exists()


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_rebuilt_index(name: str, tape: Path) -> None:
    """An index made anew is byte for byte the one the writer made, also when it was missing or changed."""
    data = (GOLDEN / f"{name}.tape").read_bytes()
    for content in (data, data[:-1], data[:-40], data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]):
        tape.write_bytes(content)
        rebuild_index(tape)
        with Cassette.open(tape) as again, Cassette.open(GOLDEN / f"{name}.tape") as original:
            assert again.finished
            assert again.digest() == original.digest()
            assert list(again.exchanges) == list(original.exchanges)
    with CassetteWriter.append_to(tape):
        pass
    kept = tape.read_bytes()
    rebuild_index(tape)
    assert tape.read_bytes() == kept


def test_rebuilt_index_of_a_torn_cassette(tape: Path) -> None:
    """The torn tail goes, the rest is then finished."""
    tape.write_bytes((GOLDEN / "torn.tape").read_bytes())
    assert rebuild_index(tape) == 1
    with Cassette.open(tape) as cassette:
        assert cassette.finished
        assert cassette.check().unfinished == (1,)
