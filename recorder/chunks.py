"""The data of HTTP chunks, taken out of reads before the parser sees them.

A parser at the start of a chunk is in the same state at the start of the next one: whole chunks can be lifted out
between. Knows nothing of connections. One rule: what is not plainly a size, data and a line end is left to the parser,
with all that follows it, so that what is valid is decided in one place.

aiohttp's parser calls three Python functions for each chunk and four more to read it back. At fifty events per second
all of them are cold in the processor's caches: lifting the one chunk of a read took a quarter off a proxy's work.
"""

from __future__ import annotations

import re
from typing import Final

_size_at = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n").match
"""Without zeros in front: `0` is the last chunk, and the parser's business."""

_size_begins_at = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7}\r?)?\Z").match
_LINE_END: Final = b"\r\n"
_LEAST_BYTES: Final = 5
"""No chunk with data is shorter than that and one."""
_NO_CHUNK: Final = b"?"
"""Where a chunk does not end where its size said: the parser, which has not seen that chunk, refuses this."""


class ChunkData:
    """Takes the data out of one body; the parser stands at the start of a chunk.

    Attributes:
        rest: None as long as the parser has nothing to do; then what it must see, before all that follows.
    """

    __slots__ = ("_held", "_left", "rest")

    def __init__(self) -> None:
        self._held = b""  # of a size that was cut by the end of a read
        self._left = 0  # bytes of the chunk under way, its line end included
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """The chunk data in the next read; nothing more is fed once there is a `rest`."""
        if not self._left and not self._held and (whole := len(data)) > _LEAST_BYTES:
            # One whole chunk, as nearly every read of a live stream is: then its length says how it begins.
            size = whole - 4 - ((whole - 5).bit_length() + 3) // 4
            head = b"%x\r\n" % size
            start = len(head)
            if start + size + 2 == whole and data.startswith(head) and data.endswith(_LINE_END):
                return data[start:-2]
        return self._feed_any(data)

    def _feed_any(self, data: bytes) -> bytes:
        parts = []
        at = 0
        if self._left:
            at = self._left
            parts.append(self._begin(data[:at], at))
        elif self._held:
            data, self._held = self._held + data, b""
        while not self._left and self.rest is None:
            if (size := _size_at(data, at)) is None:
                if _size_begins_at(data, at) is None:
                    self.rest = data[at:]
                self._held = data[at:]
                break
            start = size.end()
            stop = start + int(size[1], 16)
            at = stop + 2
            if data[stop:at] == _LINE_END:
                parts.append(data[start:stop])
            else:
                parts.append(self._begin(data[start:at], at - start))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _begin(self, piece: bytes, left: int) -> bytes:
        """The data in what has come of a chunk of which `left` bytes were missing."""
        data = piece[: max(0, left - 2)]
        end = piece[len(data) :]
        if end != _LINE_END[-left:][: len(end)]:
            self.rest = _NO_CHUNK
        self._left = left - len(piece)
        return data
