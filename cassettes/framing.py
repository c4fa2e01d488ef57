"""The outermost layer of a cassette: the file header and the checksummed frames behind it.

Knows bytes and offsets, not what a frame means. One rule: a frame is accepted only if its checksum agrees at the
very offset where it stands, so a cassette recorded inside a cassette is never mistaken for frames of its own.
FORMAT.md, sections "File header" and "Frames".
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Protocol
from zlib import crc32

from graphtape.cassettes.errors import DamagedCassette, NewerFormat, NotACassette
from graphtape.cassettes.limits import MAX_FRAME_BYTES, MAX_SEARCH_BYTES

MAGIC: Final = b"\x89TAPE\r\n\x1a"
FORMAT_VERSION: Final = 1

_HEADER = struct.Struct("<8sHHI")  # magic, version, reserved, crc32 of the three
_FRAME_HEAD = struct.Struct("<IIB")  # crc32 of what follows, payload length, type
_pack_body_head = struct.Struct("<IB").pack
HEADER_BYTES: Final = _HEADER.size
FRAME_HEAD_BYTES: Final = _FRAME_HEAD.size

_READ_BYTES = 1 << 20  # one read of a scan: large enough to be few, small enough to be nothing


class FrameType(IntEnum):
    """What the payload of a frame is."""

    SEGMENT = 1
    """Starts a segment: msgpack map."""
    BLOCK = 2
    """What one flush of the segment's zstd stream produced."""
    INDEX_PART = 3
    """Rows of the index: zstd-compressed msgpack."""
    INDEX_HEAD = 4
    """Where the parts are, and the recordings: zstd-compressed msgpack."""
    TRAILER = 5
    """Last frame of a finished cassette, of fixed size."""
    VOID = 6
    """Padding: any bytes, to be skipped."""


class Source(Protocol):
    """Bytes that can be read at any offset."""

    path: str
    size: int

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end of the file."""
        ...


Frame = tuple[int, int, bytes]
"""Offset, type and payload of a frame whose checksum agreed. A plain tuple: a cassette has one per flush."""

FrameRun = tuple[int, int, list[bytes], int]
"""Offset of the first frame, type, payloads, and the offset behind: blocks that follow each other, or one frame."""


class BadFrame(Exception):
    """No valid frame stands at `offset`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset
        self.reason = reason


def file_header(version: int = FORMAT_VERSION) -> bytes:
    """The first 16 bytes of a cassette."""
    return _HEADER.pack(MAGIC, version, 0, crc32(_HEADER.pack(MAGIC, version, 0, 0)[:-4]))


def check_file_header(path: str | os.PathLike[str], head: bytes) -> None:
    """Accept the first 16 bytes of a file.

    Raises:
        NotACassette: it is something else.
        NewerFormat: it is a cassette of a later version.
        DamagedCassette: it was a cassette header once.
    """
    again = f"; record into it with `graphtape record URL -o {os.fspath(path)} --overwrite`"
    if not head:
        raise NotACassette(path, f"the file is empty, not a cassette{again}")
    if not head.startswith(MAGIC):
        if head.startswith((b"\x89TAPE\n", b"\x89TAPE\r\r\n", b"\xc2\x89TAPE", b"\xef\xbf\xbdTAPE")):
            raise NotACassette(
                path, "the cassette was changed in transfer, as if it were text; copy it again in binary mode"
            )
        if MAGIC.startswith(head):
            raise NotACassette(
                path, f"the file ends inside the cassette header: nothing was recorded in it{again}"
            )
        raise NotACassette(
            path,
            "not a cassette: it does not start with the cassette signature; graphtape record makes cassettes",
        )
    if len(head) < HEADER_BYTES:
        raise NotACassette(
            path, f"the file ends inside the cassette header: nothing was recorded in it{again}"
        )
    _, version, _, checksum = _HEADER.unpack_from(head)
    if checksum != crc32(head[: HEADER_BYTES - 4]):
        raise DamagedCassette(path, offset=0, reason="the checksum of the file header does not agree")
    if version > FORMAT_VERSION:
        raise NewerFormat(path, found=version, known=FORMAT_VERSION)
    if version < 1:
        raise DamagedCassette(path, offset=len(MAGIC), reason=f"there is no format version {version}")


def encode_frame(offset: int, type_: int, payload: bytes) -> bytes:
    """The bytes of a frame that is to stand at `offset`."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes is above the limit of {MAX_FRAME_BYTES}")
    body = _pack_body_head(len(payload), type_) + payload
    return crc32(body, offset & 0xFFFFFFFF).to_bytes(4, "little") + body


def iter_runs(source: Source, start: int, end: int) -> Iterator[FrameRun]:
    """Every frame from `start`, where a frame must stand, to `end`, blocks that follow each other in one go.

    Raises:
        BadFrame: where the next frame is not valid; those before it have been yielded.
    """
    unpack_head, head_bytes, block = _FRAME_HEAD.unpack_from, FRAME_HEAD_BYTES, int(FrameType.BLOCK)
    base, wanted = start, _READ_BYTES
    while base < end:
        asked = min(wanted, end - base)
        buffer = source.read_at(base, asked)
        size, at, wanted = len(buffer), 0, _READ_BYTES
        last = size - head_bytes
        blocks: list[bytes] = []
        first, bad = base, ""
        while at <= last:  # once per flush of the recording: nothing here that can stand outside
            checksum, length, type_ = unpack_head(buffer, at)
            stop = at + head_bytes + length
            if stop > size:
                if length > MAX_FRAME_BYTES:
                    bad = f"a frame of {length} bytes is above the limit of {MAX_FRAME_BYTES}"
                elif base + stop > end:
                    bad = "the file ends inside a frame"
                wanted = max(_READ_BYTES, stop - at)
                break
            body = buffer[at + 4 : stop]
            if crc32(body, base + at & 0xFFFFFFFF) != checksum:
                bad = "the checksum of the frame does not agree"
                break
            if type_ == block:
                blocks.append(body[5:])
            else:
                if blocks:
                    yield first, block, blocks, base + at
                    blocks = []
                yield base + at, type_, [body[5:]], base + stop
                first = base + stop
            at = stop
        if blocks:
            yield first, block, blocks, base + at
        if not bad and at == 0 and (size < head_bytes or size < asked):
            bad = "the file ends inside a frame"
        if bad:
            raise BadFrame(base + at, bad)
        base += at


def iter_frames(source: Source, start: int, end: int) -> Iterator[Frame]:
    """As `iter_runs`, frame by frame."""
    for first, type_, payloads, _ in iter_runs(source, start, end):
        offset = first
        for payload in payloads:
            yield offset, type_, payload
            offset += FRAME_HEAD_BYTES + len(payload)


def read_frame(source: Source, offset: int, end: int) -> Frame:
    """The frame that stands at `offset`; raises `BadFrame`."""
    for frame in iter_frames(source, offset, end):
        return frame
    raise BadFrame(offset, "the file ends where a frame should stand")


# A frame head whose length has a zero high byte and whose type is one we write: about one byte in 10,000 of
# random data looks like this, and then the checksum decides.
_CANDIDATE = re.compile(rb"(?s)(?=.{7}[\x00\x01][\x01-\x06])")


def find_frame_after(source: Source, offset: int, end: int) -> int | None:
    """Where the next valid frame behind `offset` stands; None if there is none (or none was found cheaply).

    Used to tell a torn tail (nothing valid behind it) from damage in the middle of a file.
    """
    budget = MAX_SEARCH_BYTES
    position = offset + 1
    while position < end and budget > 0:
        window = source.read_at(position, min(_READ_BYTES + FRAME_HEAD_BYTES, end - position))
        budget -= len(window)
        for match in _CANDIDATE.finditer(window):
            at = match.start()
            if at >= _READ_BYTES:
                break
            checksum, length, _ = _FRAME_HEAD.unpack_from(window, at)
            stop = position + at + FRAME_HEAD_BYTES + length
            if length > MAX_FRAME_BYTES or stop > end:
                continue
            budget -= length
            if budget < 0:
                return None
            body = source.read_at(position + at + 4, 5 + length)
            if len(body) == 5 + length and crc32(body, (position + at) & 0xFFFFFFFF) == checksum:
                return position + at
        position += _READ_BYTES
    return None
