"""What a person wants to know while a recording runs: counts, and the last event's name.

Pure. Knows bytes of responses, nothing of sockets or files. One rule: it may cost almost nothing per read, so it
gathers small reads, and counts blocks between blank lines instead of parsing them; the cassette's views parse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from graphtape.cassettes.model import Ending

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_EVENT_NAME = re.compile(rb"(?:\A|[\r\n])event: ?([^\r\n]*)")
_HAS_DATA = re.compile(rb"(?:\A|[\r\n])data(?:[:\r\n]|\Z)")

# Of a block that is not complete yet, its head (where the name is) and its last bytes (half a blank line) are enough.
_HEAD_BYTES = 1024
_TAIL_BYTES = 4

_GATHERED_BYTES = 8192
_GATHERED_READS = 16
"""So many are counted together: one by one they cost as much as finding them in the file's writer does."""


class EventCounter:
    """Counts the SSE events of one response body, however it is cut.

    Args:
        readable: False for a body that came compressed: it is recorded as it is, and its events are not counted.
    """

    def __init__(self, *, readable: bool = True) -> None:
        self._readable = readable
        self._events = 0
        self._last_name = ""
        self._open = b""
        self._gathered: list[bytes] = []

    @property
    def events(self) -> int:
        """How many events the reads so far have completed."""
        self._count()
        return self._events

    @property
    def last_name(self) -> str:
        """The name of the last of them; empty without one."""
        self._count()
        return self._last_name

    def feed(self, data: bytes) -> None:
        """Take the next read."""
        if self._readable:
            self._gathered.append(data)
            if len(data) > _GATHERED_BYTES // _GATHERED_READS or len(self._gathered) >= _GATHERED_READS:
                self._count()

    def _count(self) -> None:
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._count_in(data)

    def _count_in(self, data: bytes) -> None:
        text = self._open + data if self._open else data
        if self._count_usual(text):
            return
        *blocks, rest = _BLANK_LINE.split(text)
        for block in blocks:
            if _HAS_DATA.search(block):
                self._events += 1
                name = _EVENT_NAME.search(block)
                self._last_name = name[1].decode("utf-8", "replace") if name else "message"
        if len(rest) > _HEAD_BYTES + _TAIL_BYTES:
            rest = rest[:_HEAD_BYTES] + rest[-_TAIL_BYTES:]
        self._open = rest

    def _count_usual(self, text: bytes) -> bool:
        """The fast lane: blocks of `event: ...` and `data: ...` lines that end in CRLF, as the server writes them.

        Counting with `bytes.count` took the counter from half of a busy recorder's processor time to a twentieth. False
        if anything stands in `text` that is not of this form: comments, other line ends, events without data. (A block
        with two data lines beside one with none, in one read, pass for two events: it is a count for people.)
        """
        end = text.rfind(b"\r\n\r\n")
        if end < 0 or not text.startswith(b"event: "):
            return False
        blocks = text.count(b"\r\n\r\n", 0, end) + 1
        if (
            text.count(b"\r\n\r\nevent: ", 0, end) != blocks - 1
            or text.count(b"\r\ndata: ", 0, end) != blocks
        ):
            return False
        rest = text[end + 4 :]
        # The slow lane keeps only head and tail of a block that is still open; what it kept is in `text` already.
        if len(rest) > _HEAD_BYTES + _TAIL_BYTES:
            return False
        last = text.rfind(b"\r\n\r\nevent: ", 0, end)
        start = last + 11 if last >= 0 else 7
        self._events += blocks
        self._last_name = text[start : text.index(b"\r\n", start)].decode("utf-8", "replace")
        self._open = rest
        return True


@dataclass(slots=True)
class Tally:
    """Counts of one recording, kept up to date by `Capture`.

    Attributes:
        counters: of the streams that are open.
        ended_events: of those that are not.
        last: the counter that was fed last.
    """

    exchanges: int = 0
    open_exchanges: int = 0
    response_bytes: int = 0
    counters: set[EventCounter] = field(default_factory=set)
    ended_events: int = 0
    last: EventCounter | None = None
    endings: dict[Ending, int] = field(default_factory=dict)

    @property
    def open_streams(self) -> int:
        return len(self.counters)

    @property
    def events(self) -> int:
        """SSE events of all streams so far."""
        return self.ended_events + sum(counter.events for counter in self.counters)

    @property
    def last_event(self) -> str:
        """The name of the last event; empty without one."""
        return "" if self.last is None else self.last.last_name

    def end_stream(self, counter: EventCounter) -> None:
        """Nothing will be fed to this counter any more."""
        self.counters.remove(counter)
        self.ended_events += counter.events

    @property
    def unfinished(self) -> int:
        """Exchanges that did not end with the upstream's own end."""
        return sum(count for ending, count in self.endings.items() if ending is not Ending.COMPLETE)
