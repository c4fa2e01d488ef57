"""What `ls` shows: one line per exchange, a head per cassette.

Reads cassettes through their public names; no network, no terminal. Its one rule: it reads the index, and bodies only
where they are small, so that listing a large cassette is quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.model import Ending, Exchange, ExchangeSummary, Recording
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.text import (
    ELLIPSIS,
    Paint,
    columns,
    cut,
    cut_middle,
    format_bytes,
    format_clock,
    format_span,
    format_utc,
    pad,
    plural,
    short_ids,
    visible,
)
from graphtape.cassettes.streams import iter_blocks
from graphtape.protocol.errors import EventTooLarge
from graphtape.protocol.operations import resolve

COUNT_LIMIT_BYTES = 4_000_000
"""Bodies of streams above this are not read to count their events."""

COUNT_TOTAL_BYTES = 64_000_000
"""Once that much has been read for counting, the rest of the file is listed without."""

_STREAM_TYPE = "text/event-stream"

# The index keeps this much of a target, cut between characters.
_INDEXED_TARGET_BYTES = 120

_MARKS = {
    Ending.COMPLETE: ("", ""),
    Ending.UPSTREAM_BROKE: ("bad", "broke off"),
    Ending.CLIENT_LEFT: ("warn", "client left"),
    Ending.RECORDER_STOPPED: ("warn", "recorder stopped"),
    Ending.UNREACHED: ("bad", "unreached"),
    Ending.UNFINISHED: ("warn", "unfinished"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One exchange of the list."""

    summary: ExchangeSummary
    operation: str
    """The operation's name, or `http` for a route that is none of the Agent Server's."""
    events: int | None
    """Of a stream; None for other responses, and for streams too large to count or in a coding unknown here."""

    @property
    def is_stream(self) -> bool:
        return self.summary.content_type.lower().startswith(_STREAM_TYPE)

    @property
    def duration_ns(self) -> int | None:
        return None if self.summary.ended_ns is None else self.summary.ended_ns - self.summary.at_ns


@dataclass(frozen=True, slots=True)
class Listing:
    """One cassette, as `ls` shows it."""

    path: str
    size_bytes: int
    finished: bool
    torn_at: int | None
    """Byte offset of a torn tail that was left out; None without one."""
    recordings: tuple[Recording, ...]
    rows: tuple[Row, ...]


def listing(cassette: Cassette, *, path: str, size_bytes: int) -> Listing:
    """List an open cassette.

    Raises:
        DamagedCassette: a body that was to be counted cannot be trusted.
    """
    rows: list[Row] = []
    counted = 0
    for summary in cassette.exchanges:
        resolved = resolve(summary.method, summary.target.partition("?")[0])
        events = None
        if summary.content_type.lower().startswith(_STREAM_TYPE):
            wanted = summary.response_bytes
            if wanted <= COUNT_LIMIT_BYTES and counted + wanted <= COUNT_TOTAL_BYTES:
                counted += wanted
                events = _count(cassette.exchange(summary.number))
        rows.append(Row(summary, str(resolved.operation) if resolved else "http", events))
    return Listing(
        path, size_bytes, cassette.finished, cassette.torn_at, tuple(cassette.recordings), tuple(rows)
    )


def _count(exchange: Exchange) -> int | None:
    try:
        return sum(timed.block.is_event for timed in iter_blocks(exchange))
    except (UndecodableBody, EventTooLarge):
        return None


def format_listing(shown: Listing, *, width: int = 100, paint: Paint | None = None) -> Iterator[str]:
    """The lines that `ls` prints for one cassette.

    Args:
        width: cells of a line.
        paint: colours; None for none.
    """
    paint = paint or Paint()
    state = paint("good", "finished") if shown.finished else paint("warn", "unfinished")
    yield (
        f"{paint('title', visible(shown.path))}: {plural(len(shown.rows), 'exchange')}, "
        f"{format_bytes(shown.size_bytes)}, {state}"
    )
    if shown.torn_at is not None:
        yield paint(
            "warn",
            f"  the file breaks off: what follows byte {shown.torn_at} could not be read and is left out",
        )
    for recording in shown.recordings:
        yield from _recording(recording, shown, width, paint)


def _recording(recording: Recording, shown: Listing, width: int, paint: Paint) -> Iterator[str]:
    rows = [row for row in shown.rows if row.summary.recording == recording.number]
    counted = f"recording {recording.number}: " if len(shown.recordings) > 1 else ""
    yield paint(
        "faint", f"  {counted}{visible(recording.upstream)}, started {format_utc(recording.started_unix_ns)}"
    )
    if not rows:
        return
    cells = [_cells(row) for row in rows]
    widths = [max(columns(cell[index]) for cell in [_TITLES, *cells]) for index in range(len(_TITLES))]
    taken = sum(widths) - widths[_TARGET] + 2 * (len(widths) - 1)
    widths[_TARGET] = max(min(widths[_TARGET], width - taken), 24)
    yield paint("faint", _line(_TITLES, widths))
    for row, cell in zip(rows, cells, strict=True):
        yield _painted(row, cell, widths, paint)


_TITLES = ("#", "time", "method", "target", "status", "what", "events", "bytes", "took", "")
_TARGET = 3
_STATUS = 4
_RIGHT = frozenset({0, 1, 6, 7, 8})


def _cells(row: Row) -> tuple[str, ...]:
    summary = row.summary
    cut_off = ELLIPSIS if len(summary.target.encode("utf-8", "replace")) >= _INDEXED_TARGET_BYTES - 3 else ""
    events = "-" if not row.is_stream else "many" if row.events is None else f"{row.events:,}"
    return (
        str(summary.number),
        format_clock(summary.at_ns),
        visible(summary.method),
        visible(short_ids(summary.target)) + cut_off,
        "-" if summary.status is None else str(summary.status),
        row.operation,
        events,
        format_bytes(summary.response_bytes),
        "-" if row.duration_ns is None else format_span(row.duration_ns),
        " ".join(filter(None, (_MARKS[summary.ending][1], "redacted" if summary.redacted else ""))),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    shown = [
        pad(_cut_target(cell, width) if index == _TARGET else cell, width, right=index in _RIGHT)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(shown).rstrip()


def _cut_target(target: str, width: int) -> str:
    """The query gives way first: the path says what was asked."""
    if columns(target.partition("?")[0]) + 2 <= width:
        return cut(target, width)
    return cut_middle(target, width)


def _painted(row: Row, cells: tuple[str, ...], widths: Sequence[int], paint: Paint) -> str:
    line = _line(cells, widths)
    if not paint.enabled:
        return line
    role, mark = _MARKS[row.summary.ending]
    if mark:
        head, _, tail = line.rpartition(mark)
        line = head + paint(role, mark) + tail
    if (row.summary.status or 0) >= 400:
        start = sum(widths[:_STATUS]) + 2 * _STATUS
        line = line[:start] + paint("bad", line[start : start + 3]) + line[start + 3 :]
    return line


def listing_json(listings: Sequence[Listing]) -> dict[str, Any]:
    """The document that `ls --json` prints."""
    return {"cassettes": [_listing_json(shown) for shown in listings]}


def _listing_json(shown: Listing) -> dict[str, Any]:
    return {
        "file": shown.path,
        "bytes": shown.size_bytes,
        "finished": shown.finished,
        "torn_at": shown.torn_at,
        "recordings": [
            {
                "number": recording.number,
                "started_unix_ns": recording.started_unix_ns,
                "upstream": recording.upstream,
                "program": recording.program,
            }
            for recording in shown.recordings
        ],
        "exchanges": [_row_json(row) for row in shown.rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    summary = row.summary
    return {
        "number": summary.number,
        "recording": summary.recording,
        "at_ns": summary.at_ns,
        "method": summary.method,
        "target": summary.target,
        "operation": row.operation,
        "status": summary.status,
        "content_type": summary.content_type,
        "ending": summary.ending.value,
        "response_ns": None if summary.response_ns is None else summary.response_ns - summary.at_ns,
        "duration_ns": row.duration_ns,
        "request_bytes": summary.request_bytes,
        "response_bytes": summary.response_bytes,
        "reads": summary.chunks,
        "events": row.events,
        "redacted": summary.redacted,
    }
