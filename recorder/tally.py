"""What a person wants to know while a recording runs: counts, and the last event's name.

Pure. Knows bytes of responses, nothing of sockets or files. One rule: it may cost almost nothing per read, so it
counts blocks between blank lines instead of parsing them; the cassette's views parse.
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


class EventCounter:
    """Counts the SSE events of one response body, however it is cut.

    Args:
        readable: False for a body that came compressed: it is recorded as it is, and its events are not counted.
    """

    def __init__(self, *, readable: bool = True) -> None:
        self._readable = readable
        self.events = 0
        self.last_name = ""
        self._open = b""

    def feed(self, data: bytes) -> int:
        """Take the next read; return how many events it completed."""
        if not self._readable:
            return 0
        if (
            not self._open
            and data.find(b"\r\n\r\n") == len(data) - 4
            and data.startswith(b"event: ")
            and data.count(b"\r\ndata: ") == 1
        ):  # one whole event, as nearly every read of a live stream is
            self.events += 1
            self.last_name = data[7 : data.index(b"\r\n")].decode("utf-8", "replace")
            return 1
        text = self._open + data if self._open else data
        if (usual := self._feed_usual(text)) is not None:
            return usual
        *blocks, rest = _BLANK_LINE.split(text)
        before = self.events
        for block in blocks:
            if _HAS_DATA.search(block):
                self.events += 1
                name = _EVENT_NAME.search(block)
                self.last_name = name[1].decode("utf-8", "replace") if name else "message"
        if len(rest) > _HEAD_BYTES + _TAIL_BYTES:
            rest = rest[:_HEAD_BYTES] + rest[-_TAIL_BYTES:]
        self._open = rest
        return self.events - before

    def _feed_usual(self, text: bytes) -> int | None:
        """The fast lane: blocks of `event: ...` and `data: ...` lines that end in CRLF, as the server writes them.

        Counting with `bytes.count` took the counter from half of a busy recorder's processor time to a twentieth. None
        if anything stands in `text` that is not of this form: comments, other line ends, events without data. (A block
        with two data lines beside one with none, in one read, pass for two events: it is a count for people.)
        """
        end = text.rfind(b"\r\n\r\n")
        if end < 0 or not text.startswith(b"event: "):
            return None
        blocks = text.count(b"\r\n\r\n", 0, end) + 1
        if (
            text.count(b"\r\n\r\nevent: ", 0, end) != blocks - 1
            or text.count(b"\r\ndata: ", 0, end) != blocks
        ):
            return None
        rest = text[end + 4 :]
        # The slow lane keeps only head and tail of a block that is still open; what it kept is in `text` already.
        if len(rest) > _HEAD_BYTES + _TAIL_BYTES:
            return None
        last = text.rfind(b"\r\n\r\nevent: ", 0, end)
        start = last + 11 if last >= 0 else 7
        self.events += blocks
        self.last_name = text[start : text.index(b"\r\n", start)].decode("utf-8", "replace")
        self._open = rest
        return blocks


@dataclass(slots=True)
class Tally:
    """Counts of one recording, kept up to date by `Capture`."""

    exchanges: int = 0
    open_exchanges: int = 0
    open_streams: int = 0
    events: int = 0
    response_bytes: int = 0
    last_event: str = ""
    endings: dict[Ending, int] = field(default_factory=dict)

    @property
    def unfinished(self) -> int:
        """Exchanges that did not end with the upstream's own end."""
        return sum(count for ending, count in self.endings.items() if ending is not Ending.COMPLETE)
