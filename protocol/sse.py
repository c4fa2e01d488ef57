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
from typing import NamedTuple

from graphtape.protocol.errors import EventTooLarge

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""The default limit on one block, its blank line included."""

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A
_CR = 0x0D
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = frozenset({b"event", b"data", b"id", b"retry"})
# int() refuses more than 4300 digits, with a foreign error.
_MAX_RETRY_DIGITS = 4000


class Block(NamedTuple):
    """What stands between two blank lines: an event, comments, both, or neither.

    A named tuple and no frozen dataclass: one is made per event, and costs 0.2 us instead of 1.7.
    """

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
        return bool(self.comments) and self[2:6] == (None, None, None, None)


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
        if not self._tail and not self._swallow_lf and data.endswith((b"\r\n\r\n", b"\n\n")):
            # By far the most usual feed: one or more whole events.
            blocks = _read_even_blocks(data, self._base, self._max_event_bytes)
            if blocks:
                self._commit(blocks)
                return blocks
        buffer: bytes | bytearray = data
        if self._tail:
            self._tail += data
            buffer = self._tail
        size = len(buffer)
        blocks = []
        start = 0
        scanned = self._scanned
        try_whole = True
        # The next occurrence of each way in which a blank line follows a line; -2: to be looked up. Each pattern
        # runs over the buffer once, so a rare one costs nothing per block.
        lf_lf = lf_cr = cr_cr = -2
        while start < size:
            # Whole blocks with the same line end throughout are taken at once; only where nothing was scanned
            # before, so that an event fed in pieces is not scanned again, and once per feed.
            if try_whole and start >= scanned and not self._swallow_lf:
                try_whole = False
                whole_end = buffer.rfind(b"\r\n\r\n", start) + 4
                if whole_end == 3:
                    whole_end = buffer.rfind(b"\n\n", start) + 2
                if whole_end >= start + 2:
                    whole = bytes(buffer[start:whole_end])
                    read = _read_even_blocks(whole, self._base + start, self._max_event_bytes)
                    if read:
                        blocks += read
                        start = scanned = whole_end
                        continue
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
                if lf_lf != -1 and (found == -1 or lf_lf < found):
                    found = lf_lf
                if cr_cr != -1 and (found == -1 or cr_cr < found):
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
            block = _read_block(
                buffer[content:lines_end], self._base + start, self._base + end, terminated=True
            )
            blocks.append(block)
            self._swallow_lf = swallow_lf
            start = scanned = end
        if start:
            self._tail = bytearray(buffer[start:]) if start < size else bytearray()
        elif buffer is data:
            self._tail = bytearray(data)
        if blocks:
            self._commit(blocks)
        self._scanned = max(scanned - start, 0)
        if len(self._tail) > self._max_event_bytes:
            self._error = EventTooLarge(offset=self._base, limit_bytes=self._max_event_bytes)
            self._tail = bytearray()
            if not blocks:
                raise self._error
        return blocks

    def _commit(self, blocks: list[Block]) -> None:
        last = blocks[-1]
        self._base = last.end
        if last.id is not None:
            self._last_event_id = last.id
            return
        for block in reversed(blocks):
            if block.id is not None:
                self._last_event_id = block.id
                return

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
        block = _read_block(lines, start, self._base, terminated=terminated)
        if terminated and block.id is not None:
            self._last_event_id = block.id
        return block


def _read_even_blocks(stream: bytes, offset: int, max_event_bytes: int) -> list[Block]:
    """The blocks of bytes that end with CRLF CRLF or LF LF, if all their line ends are of one length.

    Otherwise, and whenever there is something to decide, none: the slow lane reads them.

    Args:
        offset: where in the stream the bytes start.
    """
    if offset == 0 and stream.startswith(_BOM):
        return []
    # bytes.splitlines, unlike str.splitlines, knows LF, CRLF and CR and nothing else.
    blocks = _read_blocks(stream.splitlines(), offset, line_end_bytes=2 if stream.endswith(b"\r\n") else 1)
    # A line end of the other length anywhere, and the sum of the lengths is another.
    if blocks[-1].end != offset + len(stream):
        return []
    if len(stream) > max_event_bytes and any(block.end - block.start > max_event_bytes for block in blocks):
        return []
    return blocks


# What Block(...) does, without its handling of keywords and defaults.
_new_block = tuple.__new__


def _read_blocks(lines: list[bytes], offset: int, *, line_end_bytes: int) -> list[Block]:
    """The blocks of lines, each ended by an empty line (WHATWG 9.2.6, "Interpreting an event stream").

    Args:
        offset: where in the stream the first line starts.
        line_end_bytes: what the ranges count for each line end.
    """
    blocks: list[Block] = []
    name: str | None = None
    data: bytes | None = None
    event_id: str | None = None
    retry: int | None = None
    comments: tuple[bytes, ...] = ()
    more_data: list[bytes] | None = None
    end = offset
    for line in lines:
        end += len(line) + line_end_bytes
        if not line:
            if more_data is not None:
                data = b"\n".join(more_data)
                more_data = None
            blocks.append(_new_block(Block, (offset, end, name, data, event_id, retry, comments, True)))
            name = data = event_id = retry = None
            comments = ()
            offset = end
            continue
        field, colon, value = line.partition(b": ")
        if field not in _FIELDS:
            # Not written in the usual way: no space behind the colon, or no field at all.
            field, colon, value = line.partition(b":")
            value = value.removeprefix(b" ")
        if field == b"data":
            if data is None:
                data = value
            elif more_data is None:
                more_data = [data, value]
            else:
                more_data.append(value)
        elif field == b"event":
            name = str(value, "utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                event_id = str(value, "utf-8", "replace")
        elif field == b"retry":
            if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                retry = int(value)
        elif colon and not field:
            comments += (value,)
    return blocks


def _read_block(lines: bytes, start: int, end: int, *, terminated: bool) -> Block:
    """The one block of lines with any line ends, none of them empty."""
    fields = _read_blocks([*lines.splitlines(), b""], start, line_end_bytes=0)[0]
    return Block(start, end, *fields[2:7], terminated)


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
