"""Tests of `cassettes/showing/listing.py`; a whole list is in tests/golden_output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing import listing as module
from graphtape.cassettes.showing.listing import Listing, format_listing, listing, listing_json
from graphtape.cassettes.showing.text import Paint, columns
from graphtape.cassettes.writer import CassetteWriter

EVENT = b"event: a\r\ndata: 1\r\n\r\n"


def listed(tape: Path) -> Listing:
    with Cassette.open(tape) as cassette:
        return listing(cassette, path="a.tape", size_bytes=10)


def test_events_are_counted(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """A stream's events are counted; heartbeats are none."""
    record_exchange(writer, EVENT, b": heartbeat\r\n\r\n", EVENT)
    writer.close()
    assert [row.events for row in listed(tape).rows] == [2]


def test_large_streams_are_not_read(
    writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limits a stream is listed without a count."""
    for _ in range(3):
        record_exchange(writer, EVENT)
    writer.close()
    monkeypatch.setattr(module, "COUNT_TOTAL_BYTES", 2 * len(EVENT))
    assert [row.events for row in listed(tape).rows] == [1, 1, None]
    monkeypatch.setattr(module, "COUNT_LIMIT_BYTES", len(EVENT) - 1)
    shown = listed(tape)
    assert [row.events for row in shown.rows] == [None, None, None]
    assert "many" in list(format_listing(shown))[-1]


def test_compressed_beyond_reading(writer: CassetteWriter, tape: Path) -> None:
    """A coding that cannot be undone costs the count, not the list."""
    number = writer.request(0, "GET", "/x", ())
    headers = ((b"content-type", b"text/event-stream"), (b"content-encoding", b"unheard-of"))
    writer.response(number, 1, 200, "OK", headers)
    writer.chunk(number, 2, b"?")
    writer.end(number, 3, Ending.COMPLETE)
    writer.close()
    assert [row.events for row in listed(tape).rows] == [None]


def test_line_fits_the_width(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """A long target gives way; nothing else does."""
    record_exchange(writer, EVENT, target="/threads/search?" + "q=1&" * 20)
    writer.close()
    for width in (100, 140):
        assert max(columns(line) for line in format_listing(listed(tape), width=width)) <= width


def test_target_cut_by_the_index(
    writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]
) -> None:
    """A target that the index cuts is shown as cut."""
    record_exchange(writer, EVENT, target="/x?" + "q" * 200)
    writer.close()
    assert "q…" in list(format_listing(listed(tape), width=300))[-1]


def test_hostile_target(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """Control characters of a request line are shown, not obeyed."""
    record_exchange(writer, EVENT, target="/\x1b[2J")
    writer.close()
    assert not any("\x1b" in line for line in format_listing(listed(tape)))


def test_several_recordings(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """Each recording has its head, and its exchanges under it."""
    record_exchange(writer, EVENT, target="/one")
    writer.begin_recording(2_000_000_000_000_000_000, "http://second", "test")
    record_exchange(writer, EVENT, target="/two")
    writer.close()
    lines = list(format_listing(listed(tape)))
    assert lines[1].startswith("  recording 1: http://upstream")
    assert lines[4].startswith("  recording 2: http://second, started 2033-05-18")
    assert ["/one" in lines[3], "/two" in lines[6]] == [True, True]


def test_torn_file(tape: Path) -> None:
    """A torn tail is named with its offset."""
    shown = Listing(path="a.tape", size_bytes=1, finished=False, torn_at=77, recordings=(), rows=())
    assert "byte 77" in "\n".join(format_listing(shown))


def test_colours_of_endings(writer: CassetteWriter, tape: Path) -> None:
    """Colours change no character of a line."""
    number = writer.request(0, "GET", "/x", ())
    writer.response(number, 1, 502, "Bad Gateway", ())
    writer.end(number, 3, Ending.UNREACHED)
    writer.close()
    plain, painted = (list(format_listing(listed(tape), paint=Paint(enabled=on)))[-1] for on in (False, True))
    assert "\x1b[31munreached\x1b[0m" in painted
    assert "\x1b[31m502\x1b[0m" in painted
    assert painted.replace("\x1b[31m", "").replace("\x1b[0m", "") == plain


def test_json(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """One document for all files, times in nanoseconds."""
    record_exchange(writer, EVENT, target="/threads/t/runs/stream", at_ns=5)
    writer.close()
    document = orjson.loads(orjson.dumps(listing_json([listed(tape)])))
    (row,) = document["cassettes"][0]["exchanges"]
    assert row["operation"] == "stream-run"
    assert (row["at_ns"], row["response_ns"], row["duration_ns"], row["events"]) == (
        5,
        1_000_000,
        3_000_000,
        1,
    )
    assert document["cassettes"][0]["recordings"][0]["upstream"] == "http://upstream"
