"""Tests of `graphtape.cassettes.index`: rows, groups, and following records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes import Ending
from graphtape.cassettes.index import (
    ExchangeEntry,
    IndexBuilder,
    LimitReached,
    SegmentRow,
    Table,
    check_exchange_row,
    check_segment_row,
    content_type_of,
    cut_text,
    pack_rows,
    segments_of,
    summary_of,
    unpack_rows,
)
from graphtape.cassettes.limits import INDEX_GROUP_ROWS
from graphtape.cassettes.records import BadRecord


def anything(_: Any) -> None:
    """Accepts any row."""


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 100_000), max_size=30))
def test_runs_of_segments(segments: list[int]) -> None:
    """The segments an exchange touched come back from its row, in order, each once."""
    entry = ExchangeEntry(1, 0, "GET", "/", False)
    for segment in sorted(segments):
        entry.touch(segment)
    assert [segment for run in segments_of(entry.row()) for segment in run] == sorted(set(segments))


def test_long_exchange_among_many_segments() -> None:
    """A run of segments costs a few bytes however long it is."""
    entry = ExchangeEntry(1, 0, "GET", "/", False)
    for segment in range(100_000):
        entry.touch(segment)
    assert len(entry.row()[13]) < 8


def test_summary_of_a_row() -> None:
    """A row is a summary with a number; an ending of later versions reads as unfinished."""
    entry = ExchangeEntry(2, 5, "PUT", "/x", True)
    row = list(entry.row())
    summary = summary_of(9, tuple(row))
    assert (summary.number, summary.recording, summary.method, summary.redacted) == (9, 2, "PUT", True)
    assert summary.ending is Ending.UNFINISHED
    row[5] = "vanished"
    assert summary_of(9, tuple(row)).ending is Ending.UNFINISHED


def test_table_in_all_its_states() -> None:
    """A row is found in an open group, in a sealed one, and in one that is loaded."""
    table = Table(anything)
    count = 2 * INDEX_GROUP_ROWS + 3
    for at in range(count):
        table.put(at, (at,))
    table.put(1, ("changed",))
    table.seal(0)
    assert [table.get(at) for at in (0, 1, 255, 256, count - 1)] == [
        (0,),
        ("changed",),
        (255,),
        (256,),
        (count - 1,),
    ]
    payloads = dict(enumerate(table.payloads()))
    loaded = Table(anything, offsets=list(payloads), count=count, load=payloads.__getitem__)
    assert [loaded.get(at) for at in range(count)] == [table.get(at) for at in range(count)]
    loaded.take_over()
    loaded.put(count, ("more",))
    assert loaded.get(count) == ("more",)
    assert loaded.payloads()[0] == payloads[0]


def test_part_of_an_open_group_is_not_sealed() -> None:
    """Only full groups become final."""
    table = Table(anything)
    table.put(0, (1,))
    table.seal(0)
    table.put(0, (2,))
    assert table.get(0) == (2,)


def test_rows_of_a_part() -> None:
    """A part gives exactly the rows it is said to hold."""
    payload = pack_rows([(1,), (2,)])
    assert unpack_rows(payload, count=2, check=anything) == [(1,), (2,)]
    for bad in (b"", b"garbage", pack_rows([(1,)])):
        with pytest.raises(BadRecord):
            unpack_rows(bad, count=2, check=anything)


def test_rows_that_are_refused() -> None:
    """A row has its types, its ranges, and may be longer than we know."""
    good = ExchangeEntry(1, 0, "GET", "/", False).row()
    check_exchange_row((*good, "later"))
    check_segment_row((*SegmentRow(16, 20, 1, 0, 5, 1), "later"))
    for bad in (
        good[:5],
        (*good[:6], -1, *good[7:]),
        (*good[:6], 1 << 63, *good[7:]),
        (*good[:6], True, *good[7:]),
        5,
    ):
        with pytest.raises(BadRecord):
            check_exchange_row(bad)
    with pytest.raises(BadRecord):
        check_segment_row(SegmentRow(16, 1 << 30, 1, 0, 5, 1))


def test_cut_text() -> None:
    """A cut is at most so many bytes, never half a character."""
    assert cut_text("short", 120) == "short"
    assert cut_text("/" * 200, 120) == "/" * 120
    assert cut_text("ä" * 200, 121) == "ä" * 60
    assert cut_text("\udcff" * 31, 120) == "\udcff" * 31


def test_content_type() -> None:
    """Found whatever its case; empty without one."""
    assert content_type_of(((b"A", b"b"), (b"CONTENT-type", b"text/html"))) == "text/html"
    assert content_type_of(()) == ""


def builder() -> IndexBuilder:
    index = IndexBuilder()
    index.begin_segment()
    index.add((1, 0, 0, {"started_unix_ns": 1}), 0)
    return index


def test_a_new_recording_leaves_exchanges_unfinished() -> None:
    """Nothing of an earlier recording goes on in a later one."""
    index = builder()
    index.add((2, 0, 1, {"method": "GET", "target": "/"}), 0)
    index.add((1, 0, 0, {"started_unix_ns": 2}), 0)
    assert not index.open
    assert summary_of(1, index.exchanges.get(0)).ending is Ending.UNFINISHED
    with pytest.raises(BadRecord, match="not open"):
        index.add((6, 0, 1, b""), 0)


def test_unknown_record_of_an_exchange_is_found_with_it() -> None:
    """The segment of an unknown record counts as one of its exchange."""
    index = builder()
    index.add((2, 0, 1, {"method": "GET", "target": "/"}), 0)
    index.begin_segment()
    index.add((99, 0, 1), 0)
    index.settle()
    assert [list(run) for run in segments_of(index.exchanges.get(0))] == [[0, 1]]


def test_limits_of_a_cassette(monkeypatch: pytest.MonkeyPatch) -> None:
    """More recordings, exchanges or segments than allowed is an error of its own."""
    monkeypatch.setattr("graphtape.cassettes.index.MAX_EXCHANGES", 1)
    monkeypatch.setattr("graphtape.cassettes.index.MAX_SEGMENTS", 1)
    monkeypatch.setattr("graphtape.cassettes.index.MAX_RECORDINGS", 1)
    index = builder()
    index.add((2, 0, 1, {"method": "GET", "target": "/"}), 0)
    with pytest.raises(LimitReached):
        index.add((2, 0, 2, {"method": "GET", "target": "/"}), 0)
    with pytest.raises(LimitReached):
        index.add((1, 0, 0, {"started_unix_ns": 1}), 0)
    with pytest.raises(LimitReached):
        index.begin_segment()


def test_segment_of_chunks() -> None:
    """Chunks of several exchanges, followed as a whole segment, count as one by one."""
    records = [(6, 1, at % 3 + 1, b"x" * at) for at in range(20)]
    rows = []
    for at_once in (True, False):
        index = builder()
        for number in (1, 2, 3):
            index.add((2, 0, number, {"method": "GET", "target": "/"}), 0)
        index.begin_segment()
        if at_once:
            index.add_all(records, list(range(20)))
        else:
            for at_ns, record in enumerate(records):
                index.add(record, at_ns)
        index.settle()
        rows.append(index.exchanges.group(0))
    assert rows[0] == rows[1]
    assert [row[11] for row in rows[0]] == [7, 7, 6]


def test_segment_of_chunks_of_nothing() -> None:
    """A segment of chunks of an exchange that is not open is refused as one such chunk is."""
    with pytest.raises(BadRecord, match="exchange 1, which is not open"):
        builder().add_all([(6, 0, 1, b"")], [0])
