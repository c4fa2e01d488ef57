"""Masking what has been written already: a segment is written again in its own place, never longer than it was.

Knows frames and segments of a file that is open for writing, not what a credential is. One rule: after `kill -9` or a
power loss at any moment the cassette reads as before or as after, because the new bytes stand in a journal until
they stand in the file.
FORMAT.md, section "Masking after the fact".
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from graphtape.cassettes.compression import BadStream, Decompressor, compress_again
from graphtape.cassettes.framing import FRAME_HEAD_BYTES, BadFrame, FrameType, encode_frame, iter_frames
from graphtape.cassettes.index import SegmentRow
from graphtape.cassettes.limits import MAX_SEGMENT_BYTES, MAX_SEGMENT_FILE_BYTES
from graphtape.cassettes.records import BadRecord, RawRecord, RecordType, new_packer, unpack_segment

Range = tuple[int, int]

JOURNAL_SUFFIX: Final = ".masking"
_JOURNAL = struct.Struct(
    "<8sQQQQI"
)  # signature, device, inode, offset, length, crc32 of the new bytes and all before
_SIGNATURE: Final = b"TAPEMASK"
_CHUNK: Final = int(RecordType.CHUNK)
_WIDER_INTEGERS: Final = ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8))  # msgpack's unsigned integers


class CannotMask(Exception):
    """A segment that cannot be masked in its place."""


class MaskJob(NamedTuple):
    """One exchange to mask: bytes of its response body, and the segments that hold it."""

    exchange: int
    ranges: tuple[Range, ...]
    """In order, not touching."""
    segments: tuple[SegmentRow, ...]


def mask_exchange(path: str, fd: int, job: MaskJob) -> None:
    """Write the segments of an exchange again with those bytes as `*`.

    Raises:
        CannotMask: what stands in the file is not what was written there, or does not fit in its place.
        OSError: the file could not be read or written.
    """
    at = 0
    for row in job.segments:
        old = os.pread(fd, row.size, row.offset)
        raw, after = _masked_records(old, row, job, at)
        at = after
        if raw is not None:
            _replace(path, fd, row.offset, _segment_again(old, row, raw))


def _masked_records(old: bytes, row: SegmentRow, job: MaskJob, at: int) -> tuple[bytes | None, int]:
    """(the segment's records with masks, None if none falls in it; the place in the body behind it)."""
    try:
        blocks = [payload for _, type_, payload in _frames(old, row.offset) if type_ == FrameType.BLOCK]
        raw = bytes(Decompressor().decompress(b"".join(blocks), limit_bytes=MAX_SEGMENT_BYTES))
        records, _ = unpack_segment(raw)
    except (BadFrame, BadStream, BadRecord) as error:
        raise CannotMask(f"what stands at byte {row.offset} cannot be read again ({error})") from None
    pack = new_packer().pack
    changed = False
    packed: list[bytes] = []
    for record in records:
        written: RawRecord = record
        if record[2] == job.exchange and record[0] == _CHUNK:
            data: bytes = record[3]
            clean = starred(data, at, job.ranges)
            at += len(data)
            if clean is not data:
                changed = True
                written = (*record[:3], clean, *record[4:])
        packed.append(pack(written))
    again = b"".join(packed)
    if len(again) != len(raw):
        raise CannotMask(f"the records at byte {row.offset} were written by another program")
    return (again if changed else None), at


def starred(data: bytes, at: int, ranges: Sequence[Range]) -> bytes:
    """`data`, which stands at `at` of a body, with the bytes in `ranges` as `*`; `data` itself if none is in it.

    Args:
        ranges: in order, not touching.
    """
    masked: bytearray | None = None
    for start, stop in ranges[max(0, bisect_right(ranges, (at, -1)) - 1) :]:
        if start >= at + len(data):
            break
        first, last = max(start - at, 0), min(stop - at, len(data))
        if first < last:
            masked = bytearray(data) if masked is None else masked
            masked[first:last] = b"*" * (last - first)
    return data if masked is None else bytes(masked)


def _segment_again(old: bytes, row: SegmentRow, raw: bytes) -> bytes:
    """The frames of the segment in exactly as many bytes: its head, what fills the place (VOID), one block."""
    _, _, head = next(iter(_frames(old, row.offset)))
    for block in compress_again(raw):
        room = row.size - 2 * FRAME_HEAD_BYTES - len(head) - len(block)
        for filled, void_bytes in _fillings(head, room):
            frames = encode_frame(row.offset, FrameType.SEGMENT, filled)
            if void_bytes >= 0:
                frames += encode_frame(row.offset + len(frames), FrameType.VOID, bytes(void_bytes))
            frames += encode_frame(row.offset + len(frames), FrameType.BLOCK, block)
            assert len(frames) == row.size
            return frames
    raise CannotMask(f"the segment at byte {row.offset} does not fit in its place when it is masked")


def _fillings(head: bytes, room: int) -> Iterator[tuple[bytes, int]]:
    """Ways to fill `room` bytes: (payload of the segment frame, bytes of the void or -1 for none)."""
    if room == 0:
        yield head, -1
    elif room >= FRAME_HEAD_BYTES:
        yield head, room - FRAME_HEAD_BYTES
    elif room > 0 and head[:-1] == b"\x81\xa9recording":
        # Too little for a frame: the number in the head is spelt longer, or the head gets a member without a name.
        for code, size in _WIDER_INTEGERS:
            if size == room:
                yield head[:-1] + bytes([code]) + head[-1:].rjust(size, b"\0"), -1
        if room >= 3:
            yield b"\x82" + head[1:] + b"\xa0\xc4" + bytes([room - 3]) + bytes(room - 3), -1


class _Memory:
    """Frames in memory that stand at an offset of a file."""

    path = ""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._offset = data, offset
        self.size = offset + len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset - self._offset : offset - self._offset + size]


def _frames(data: bytes, offset: int) -> Iterator[tuple[int, int, bytes]]:
    return iter_frames(_Memory(data, offset), offset, offset + len(data))


def _replace(path: str, fd: int, offset: int, data: bytes) -> None:
    """Write in place, through the journal; both are on the disk when it returns."""
    journal = path + JOURNAL_SUFFIX
    status = os.fstat(fd)
    head = _JOURNAL.pack(_SIGNATURE, status.st_dev, status.st_ino, offset, len(data), 0)[:-4]
    content = head + crc32(data, crc32(head)).to_bytes(4, "little") + data
    with contextlib.suppress(FileNotFoundError):
        os.unlink(journal)
    journal_fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        _write_at(journal_fd, content, 0)
        os.fsync(journal_fd)
    finally:
        os.close(journal_fd)
    _write_at(fd, data, offset)
    os.fsync(fd)
    os.unlink(journal)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def pending(path: str, fd: int) -> tuple[int, bytes] | None:
    """What a journal says is to stand in this very file: (offset, bytes); None without one that is whole."""
    try:
        journal_fd = os.open(path + JOURNAL_SUFFIX, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    try:
        content = os.read(journal_fd, _JOURNAL.size + MAX_SEGMENT_FILE_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(journal_fd)
    if len(content) < _JOURNAL.size:
        return None
    signature, device, inode, offset, length, checksum = _JOURNAL.unpack_from(content)
    data, status = content[_JOURNAL.size :], os.fstat(fd)
    if signature != _SIGNATURE or (device, inode) != (status.st_dev, status.st_ino):
        return None
    if length != len(data) or offset + length > status.st_size:
        return None
    return (offset, data) if crc32(data, crc32(content[: _JOURNAL.size - 4])) == checksum else None


def complete(path: str, fd: int) -> None:
    """Do what a journal says and remove it; for whoever is about to write the file.

    Raises:
        OSError: it could not be done.
    """
    found = pending(path, fd)
    if found is not None:
        _write_at(fd, found[1], found[0])
        os.fsync(fd)
    discard(path)


def discard(path: str) -> None:
    """Remove the journal of a file that was given up."""
    with contextlib.suppress(OSError):
        os.unlink(path + JOURNAL_SUFFIX)
