"""Server-sent events, bytes in and bytes out (WHATWG HTML, section 9.2, "Server-sent events").

Knows nothing of sockets, clocks or what an event means. One rule: the byte ranges of all blocks partition the
stream, and they depend on the bytes alone, never on how the bytes were cut into feeds.

Where a block ends: behind its blank line. Lines end with LF, CRLF or CR. Behind a CR one cannot know whether an LF
follows, and waiting for the next byte would hold back the last event of a stream that uses CR alone; so what decides
is the line end before the blank line:

    ... CRLF CRLF, ... LF LF, ... LF CRLF     the block ends behind the last LF
    ... CRLF CR x, ... LF CR x                the block ends behind the CR, known when `x` (or the end) is seen:
                                              only a stream that changes its line ends waits here
    ... CR CR                                 the block ends behind the second CR, at once; an LF that follows is
                                              the rest of that line end: it is the first byte of the next block's
                                              range and means nothing

A blank line with no line before it is an empty block. A byte order mark at the start of the stream is in the range
of the first block and in none of its fields; anywhere else it is ordinary data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphtape.protocol.errors import EventTooLarge

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""The default limit on one block, its blank line included."""

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A
_CR = 0x0D
_LINE_END = re.compile(rb"\r\n|\n|\r")
# int() refuses more than 4300 digits, with a foreign error.
_MAX_RETRY_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two blank lines: an event, comments, both, or neither."""

    start: int
    """Offset of the first byte in the stream."""
    end: int
    """Offset behind the last byte, the blank line included."""
    name: str | None = None
    """The last `event` line, bad UTF-8 replaced by U+FFFD; None without one."""
    data: bytes | None = None
    """The `data` lines joined with LF, as they came; None without one."""
    id: str | None = None
    """The last `id` line; None without one. An id with NUL is ignored, an empty one is kept."""
    retry: int | None = None
    """Milliseconds; only ASCII digits count."""
    comments: tuple[bytes, ...] = ()
    """Text behind each leading colon, less one space."""
    terminated: bool = True
    """False only for what stands behind the last blank line when the stream ends."""

    @property
    def is_event(self) -> bool:
        """Whether WHATWG dispatches it: data, even empty data, and a blank line."""
        return self.data is not None and self.terminated

    @property
    def is_comment(self) -> bool:
        """Comments and no known field, as a heartbeat."""
        return bool(self.comments) and self.data is self.name is self.id is self.retry is None


class Decoder:
    """Cuts a stream into blocks, however it is fed.

    Linear in the bytes fed: nothing is scanned twice but a few bytes at the edge of a feed.

    Args:
        max_event_bytes: limit on one block, its blank line included; also the limit on what is buffered.
    """

    __slots__ = (
        "_base",
        "_error",
        "_finished",
        "_last_event_id",
        "_max_event_bytes",
        "_scanned",
        "_swallow_lf",
        "_tail",
    )

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._base = 0  # offset in the stream of the first byte of _tail
        self._tail = bytearray()  # bytes of the block that is not complete
        self._scanned = 0  # index into _tail: no blank line starts before it
        self._swallow_lf = False  # the last blank line ended with a CR that may be half of a CRLF
        self._last_event_id = ""
        self._error: EventTooLarge | None = None
        self._finished = False

    @property
    def last_event_id(self) -> str:
        """WHATWG's last event ID: set by each terminated block with an id, persists, reset by an empty id."""
        return self._last_event_id

    @property
    def offset(self) -> int:
        """Where in the stream the block starts that is not complete: the end of all blocks returned so far."""
        return self._base

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that these bytes complete, in order.

        Raises:
            EventTooLarge: a block is above the limit. The blocks before it are returned first: the error then comes
                with the next call, and with every call after it.
        """
        if self._finished:
            raise ValueError("feed after finish: a decoder reads one stream")
        if self._error is not None:
            raise self._error
        buffer: bytes | bytearray = data
        if self._tail:
            self._tail += data
            buffer = self._tail
        size = len(buffer)
        blocks: list[Block] = []
        start = 0
        scanned = self._scanned
        # The next occurrence of each way in which a blank line follows a line; -2: to be looked up. Each pattern
        # runs over the buffer once, so a rare one costs nothing per block.
        lf_lf = lf_cr = cr_cr = -2
        while start < size:
            content = start
            if self._swallow_lf:
                content += buffer[start] == _LF
            elif start == self._base == 0 and buffer.startswith(_BOM):
                content = 3
            if content == size:
                break
            first = buffer[content]
            if first in (_LF, _CR):
                # A blank line with no line before it.
                lines_end = content
                if first == _LF:
                    end = content + 1
                    swallow_lf = False
                elif self._swallow_lf:
                    end = content + 1
                    swallow_lf = True
                elif content + 1 < size:
                    swallow_lf = buffer[content + 1] != _LF
                    end = content + 1 + (not swallow_lf)
                else:
                    break
            else:
                scanned = max(scanned, content)
                if -1 != lf_lf < scanned:
                    lf_lf = buffer.find(b"\n\n", scanned)
                if -1 != lf_cr < scanned:
                    lf_cr = buffer.find(b"\n\r", scanned)
                if -1 != cr_cr < scanned:
                    cr_cr = buffer.find(b"\r\r", scanned)
                found = lf_cr
                if -1 != lf_lf and (found == -1 or lf_lf < found):
                    found = lf_lf
                if -1 != cr_cr and (found == -1 or cr_cr < found):
                    found = cr_cr
                if found == -1:
                    scanned = max(size - 1, content)
                    break
                lines_end = found
                if found == lf_cr:
                    if found + 2 == size:
                        scanned = found
                        break
                    swallow_lf = buffer[found + 2] != _LF
                    end = found + 2 + (not swallow_lf)
                else:
                    swallow_lf = found == cr_cr
                    end = found + 2
            if end - start > self._max_event_bytes:
                break
            if buffer is self._tail:
                buffer = bytes(buffer)
            assert isinstance(buffer, bytes)
            block = _parse(buffer[content:lines_end], self._base + start, self._base + end, terminated=True)
            if block.id is not None:
                self._last_event_id = block.id
            blocks.append(block)
            self._swallow_lf = swallow_lf
            start = scanned = end
        if start:
            self._tail = bytearray(buffer[start:]) if start < size else bytearray()
        elif buffer is data:
            self._tail = bytearray(data)
        self._base += start
        self._scanned = max(scanned - start, 0)
        if len(self._tail) > self._max_event_bytes:
            self._error = EventTooLarge(offset=self._base, limit_bytes=self._max_event_bytes)
            self._tail = bytearray()
            if not blocks:
                raise self._error
        return blocks

    def finish(self) -> Block | None:
        """End of the stream: what is left, or None.

        WHATWG discards an unterminated block; here its fields are readable, a last line without line end included,
        but `terminated` and `is_event` are False. A blank line that ended with CR and waited for an LF is complete now.
        """
        if self._error is not None:
            raise self._error
        self._finished = True
        tail = bytes(self._tail)
        if not tail:
            return None
        self._tail = bytearray()
        start, self._base = self._base, self._base + len(tail)
        content = 0
        if self._swallow_lf:
            content = int(tail[0] == _LF)
        elif start == 0 and tail.startswith(_BOM):
            content = 3
        lines = tail[content:]
        terminated = lines == b"\r" or lines.endswith(b"\n\r")
        block = _parse(lines, start, self._base, terminated=terminated)
        if terminated and block.id is not None:
            self._last_event_id = block.id
        return block


def _parse(lines: bytes, start: int, end: int, *, terminated: bool) -> Block:
    """The fields of a block, from its lines (WHATWG 9.2.6, "Interpreting an event stream")."""
    split = lines.split(b"\r\n")
    if lines.count(b"\r") + lines.count(b"\n") != 2 * (len(split) - 1):
        split = _LINE_END.split(lines)
    name: str | None = None
    data: bytes | None = None
    more_data: list[bytes] | None = None
    event_id: str | None = None
    retry: int | None = None
    comments: tuple[bytes, ...] = ()
    for line in split:
        colon = line.find(b":")
        if colon == -1:
            field, value = line, b""
        else:
            field = line[:colon]
            value = line[colon + 2 :] if line[colon + 1 : colon + 2] == b" " else line[colon + 1 :]
        if field == b"data":
            if data is None:
                data = value
            elif more_data is None:
                more_data = [data, value]
            else:
                more_data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                event_id = value.decode("utf-8", "replace")
        elif field == b"retry":
            if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                retry = int(value)
        elif colon == 0:
            comments += (value,)
    if more_data is not None:
        data = b"\n".join(more_data)
    return Block(start, end, name, data, event_id, retry, comments, terminated)


def encode(name: str | None, data: bytes | None, id: str | None = None) -> bytes:  # noqa: A002
    """One event as the Agent Server writes it: CRLF, in the order event, data, id (docs/agent-server.md, section 1.2).

    Args:
        name: CR and LF are removed, as the server does; None writes no `event` line.
        data: one `data` line per line; None writes none. Decoding gives it back with each line end as LF.
        id: None writes no `id` line.

    Raises:
        ValueError: the id holds CR, LF or NUL, which no reader would give back.
    """
    parts: list[bytes] = []
    if name is not None:
        parts += (b"event: ", _one_line(name), b"\r\n")
    if data is not None:
        for line in _LINE_END.split(data):
            parts += (b"data: ", line, b"\r\n")
    if id is not None:
        if not _ID_FORBIDDEN.isdisjoint(id):
            raise ValueError(f"an event id cannot hold CR, LF or NUL: {id!r}")
        parts += (b"id: ", id.encode("utf-8", "replace"), b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def encode_comment(text: bytes) -> bytes:
    """A comment block, e.g. `encode_comment(b"heartbeat")`; one comment line per line of `text`."""
    return b"".join(b": " + line + b"\r\n" for line in _LINE_END.split(text)) + b"\r\n"


_ID_FORBIDDEN = frozenset("\r\n\0")


def _one_line(name: str) -> bytes:
    return name.replace("\r", "").replace("\n", "").encode("utf-8", "replace")
