"""Named values that no single read of a response holds: cut by reads, or spread over the events of a stream.

Works on the bytes of one response body as they pass, before anything is masked in them; knows no file. One rule: what
it remembers is bounded by the values that have begun and not ended, never by the body.

Tokens of a model come a few characters at a time, each in an event of its own, and some modes repeat the whole text
with each token. So texts are joined: by the id of the message and the field in it, and also by event name and field
alone (ids may be missing, or new with each event). Where the joined text holds a value, the bytes of its characters
are given back as ranges of the body; masking them keeps every length.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from graphtape.cassettes.redaction.jsontext import JsonString, Range, iter_strings
from graphtape.cassettes.redaction.values import ValueMasker
from graphtape.protocol.errors import GraphtapeError
from graphtape.protocol.sse import Block, Decoder

LONGEST_EVENT_BYTES: Final = 1 << 20
"""Events above this are no pieces of a text: not looked into (values in them are found by reads all the same)."""

MOST_OPEN_TEXTS: Final = 4096
"""Texts that end with the beginning of a value; of more, the oldest is given up."""

LONGEST_TEXT: Final = 1 << 20
"""Characters of one such text; a longer one is given up."""

MOST_PIECES: Final = 4096
"""Pieces of one such text; of more, the oldest is given up."""

_DATA_LINE = re.compile(rb"(?:\A|[\r\n])data: ?([^\r\n]*)")


class EventData(NamedTuple):
    """The data of an event and where it stands in the body."""

    data: bytes
    lines: tuple[Range, ...]
    """Of each line of data: its first byte in `data`, and in the body."""

    def in_body(self, wanted: Range) -> list[Range]:
        """Where bytes of `data` stand in the body."""
        starts = [line[0] for line in self.lines]
        found = []
        at, stop = wanted
        while at < stop:
            line = bisect_right(starts, at) - 1
            end = min(stop, starts[line + 1] - 1 if line + 1 < len(starts) else stop)
            if end <= at:  # the newline that joins two lines
                at += 1
                continue
            shift = self.lines[line][1] - self.lines[line][0]
            found.append((at + shift, end + shift))
            at = end
        return found


def event_data(raw: bytes, start: int) -> EventData:
    """The data of the event whose bytes are `raw` and stand at `start` of the body."""
    parts, lines, at = [], [], 0
    for match in _DATA_LINE.finditer(raw):
        lines.append((at, start + match.start(1)))
        parts.append(match[1])
        at += len(match[1]) + 1
    return EventData(b"\n".join(parts), tuple(lines))


class EventReader:
    """Cuts a body that comes in reads into events with their bytes and places."""

    def __init__(self) -> None:
        self._decoder: Decoder | None = Decoder()
        self._held = b""
        self._pieces: list[bytes] = []
        self._base = 0

    @property
    def gave_up(self) -> bool:
        """True behind an event that was too large."""
        return self._decoder is None

    def feed(self, data: bytes) -> Iterator[tuple[Block, bytes]]:
        """The blocks that end in this read, each with its bytes; nothing more once an event was too large."""
        if self._decoder is None:
            return
        self._pieces.append(data)
        try:
            blocks = self._decoder.feed(data)
        except GraphtapeError:
            self._decoder, self._pieces, self._held = None, [], b""
            return
        if not blocks:
            return
        held = b"".join(self._pieces)
        base = self._base
        self._base = blocks[-1].end
        rest = held[self._base - base :]
        self._pieces = [rest] if rest else []
        for block in blocks:
            yield block, held[block.start - base : block.end - base]

    def finish(self) -> Iterator[tuple[Block, bytes]]:
        """The block that did not end, if there is one."""
        tail = self._decoder.finish() if self._decoder is not None else None
        if tail is not None:
            yield tail, b"".join(self._pieces)


class _Piece(NamedTuple):
    start: int
    """Position of its first character in the joined text."""
    stop: int
    string: JsonString
    event: EventData


class _Text:
    """A text that ends with the beginning of a value."""

    __slots__ = ("pieces", "text")

    def __init__(self, text: str, pieces: list[_Piece]) -> None:
        self.text = text
        self.pieces = pieces


class SplitFinder:
    """Finds the values in one response body that no single read of it holds.

    Args:
        values: what to find.
        is_stream: the body is an event stream that is not compressed.
    """

    def __init__(self, values: ValueMasker, *, is_stream: bool) -> None:
        self.found: dict[str, None] = {}
        """Labels of what was found."""
        self._values = values
        self._longest = values.longest_bytes
        texts = {form.decode("utf-8", "surrogateescape"): label for form, label in values.forms.items()}
        self._texts = texts
        self._longest_text = max(map(len, texts), default=0)
        self._text_pattern = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))
        self._firsts = re.compile("[" + "".join(map(re.escape, sorted({text[0] for text in texts}))) + "]")
        self._ranges: list[Range] = []
        self._tail = b""
        self._at = 0
        self._events = EventReader() if is_stream else None
        self._open: OrderedDict[tuple[str, ...], _Text] = OrderedDict()

    def feed(self, data: bytes) -> None:
        """One read, as it came."""
        if self._tail:
            seam = len(self._tail)
            joined = self._tail + data[: self._longest]
            first = self._at - seam
            for one in self._values.find(joined):
                if one.start < seam < one.stop:
                    self._note(one.label, [(first + one.start, first + one.stop)])
        self._at += len(data)
        kept = data if len(data) >= self._longest else self._tail + data
        self._tail = kept[-(self._longest - 1) :]
        if self._events is not None:
            for block, raw in self._events.feed(data):
                self._event(block, raw)

    def finish(self) -> tuple[Range, ...]:
        """The bytes of the body to mask, in order, none twice."""
        if self._events is not None:
            for block, raw in self._events.finish():
                self._event(block, raw)
        self._open.clear()
        self._tail = b""
        return merged(self._ranges)

    def _note(self, label: str, ranges: Iterable[Range]) -> None:
        self.found[label] = None
        self._ranges.extend(ranges)
        if len(self._ranges) > 1 << 14:
            self._ranges = list(merged(self._ranges))

    def _event(self, block: Block, raw: bytes) -> None:
        if block.data is None or len(raw) > LONGEST_EVENT_BYTES:
            return
        event = event_data(raw, block.start)
        name = block.name or ""
        strings = list(iter_strings(event.data))
        for string in strings:
            text = string.text
            if not text or (not self._open and not self._begins(text)):
                continue
            message = string.message()
            keys = [("event", name, string.stream_path())]
            if message is not None:
                keys.append(("message", *message))
            for key in keys:
                self._join(key, text, string, event)

    def _join(self, key: tuple[str, ...], text: str, string: JsonString, event: EventData) -> None:
        # Each event brings the next piece, or the whole text so far: both are tried, since "s" may be either.
        for whole in (False, True):
            mode = ("whole" if whole else "piece", *key)
            before = self._open.pop(mode, None)
            if before is None or (whole and not text.startswith(before.text)):
                if self._begins(text):
                    self._keep(mode, text, [_Piece(0, len(text), string, event)])
                continue
            seam = len(before.text)
            joined = text if whole else before.text + text
            piece = _Piece(0 if whole else seam, len(joined), string, event)
            for match in self._text_pattern.finditer(joined, max(0, seam - self._longest_text + 1)):
                if match.start() < seam < match.end():
                    # A text that comes whole has the value whole: whoever looks at its read sees it.
                    self._mask_text(match, before.pieces if whole else [*before.pieces, piece])
            if self._begins(joined) and len(joined) <= LONGEST_TEXT:
                self._keep(mode, joined, [*before.pieces, piece])

    def _mask_text(self, match: re.Match[str], pieces: Sequence[_Piece]) -> None:
        for piece in pieces:
            first, stop = max(match.start(), piece.start), min(match.end(), piece.stop)
            if first < stop:
                ranges = piece.string.ranges(first - piece.start, stop - piece.start)
                self._note(
                    self._texts[match[0]], (place for one in ranges for place in piece.event.in_body(one))
                )

    def _keep(self, key: tuple[str, ...], text: str, pieces: list[_Piece]) -> None:
        self._open[key] = _Text(text, pieces[-MOST_PIECES:])
        if len(self._open) > MOST_OPEN_TEXTS:
            self._open.popitem(last=False)

    def _begins(self, text: str) -> bool:
        """Whether a value may have begun at the end of this text."""
        tail = text[-(self._longest_text - 1) :]
        return any(
            value.startswith(tail[match.start() :])
            for match in self._firsts.finditer(tail)
            for value in self._texts
        )


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same bytes as ranges in order that do not touch."""
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return tuple(joined)
