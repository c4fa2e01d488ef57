"""Reads a cassette from its start, for what has no index: the good prefix of a recording that was cut off.

Knows frames, segments and records. One rule: a torn tail is a shorter recording, damage with good frames behind it
is an error; never a guess.
FORMAT.md, section "After a crash".
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Final

from graphtape.cassettes.compression import BadStream, Decompressor
from graphtape.cassettes.errors import DamagedCassette, NotACassette
from graphtape.cassettes.framing import (
    HEADER_BYTES,
    BadFrame,
    FrameType,
    Source,
    find_frame_after,
    iter_runs,
)
from graphtape.cassettes.index import IndexBuilder, SegmentRow
from graphtape.cassettes.limits import MAX_SEGMENT_BYTES, MAX_SEGMENT_FILE_BYTES
from graphtape.cassettes.records import BadRecord, RawRecord, unpack_all, unpack_segment
from graphtape.cassettes.remask import pending

_BLOCK: Final = int(FrameType.BLOCK)
_INDEX_TYPES: Final = frozenset((FrameType.INDEX_PART, FrameType.INDEX_HEAD, FrameType.TRAILER))


class FileSource:
    """A file opened for reading; counts what is read, so that tests can say what opening costs."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.bytes_read = 0
        try:
            self._fd = os.open(
                self.path,
                os.O_RDONLY
                | getattr(os, "O_BINARY", 0)
                | getattr(os, "O_CLOEXEC", 0)
                | getattr(os, "O_NONBLOCK", 0),
            )
        except FileNotFoundError:
            raise NotACassette(
                path, "there is no such file; `graphtape record URL -o FILE` makes one"
            ) from None
        except IsADirectoryError:
            raise NotACassette(path, "this is a directory; name a .tape file in it") from None
        except PermissionError:
            raise NotACassette(
                path, "no permission to read it; cassettes belong to the user who recorded them"
            ) from None
        except (OSError, ValueError) as error:
            raise NotACassette(path, f"it cannot be opened ({error})") from None
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            what = (
                "a directory; name a .tape file in it"
                if stat.S_ISDIR(status.st_mode)
                else "not a regular file"
            )
            raise NotACassette(path, f"this is {what}")
        self.size = status.st_size
        self._pending = pending(self.path, self._fd)

    def read_at(self, offset: int, size: int) -> bytes:
        if self._fd < 0:
            raise ValueError(f"{self.path}: this cassette has been closed")
        try:
            data = os.pread(self._fd, size, offset)
        except (OSError, ValueError) as error:
            raise NotACassette(self.path, f"it cannot be read ({error})") from None
        self.bytes_read += len(data)
        return data if self._pending is None else _over(data, offset, *self._pending)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _over(data: bytes, offset: int, new_offset: int, new: bytes) -> bytes:
    """`data`, read at `offset`, with what of `new` falls in it: a masking that was cut short counts as done."""
    first, stop = max(offset, new_offset), min(offset + len(data), new_offset + len(new))
    if first >= stop:
        return data
    return data[: first - offset] + new[first - new_offset : stop - new_offset] + data[stop - offset :]


@dataclass(slots=True)
class Segment:
    """The frames of one segment, as they are met."""

    offset: int
    end: int
    blocks: list[bytes] = field(default_factory=list)


def decode_segment(
    path: str, segment: Segment, decompressor: Decompressor, *, expect_bytes: int = 0
) -> tuple[list[RawRecord], list[int], int]:
    """The records of a segment, their times, and how many bytes they are.

    Raises:
        DamagedCassette: what the frames hold (their checksums agreed) is not what the format says.
    """
    if not segment.blocks:
        return [], [], 0
    try:
        raw = decompressor.decompress(
            b"".join(segment.blocks), limit_bytes=MAX_SEGMENT_BYTES, expect_bytes=expect_bytes
        )
        records, times = unpack_segment(raw)
    except (BadStream, BadRecord) as error:
        raise DamagedCassette(path, offset=segment.offset, reason=f"in the segment there: {error}") from None
    return records, times, len(raw)


def recording_of(path: str, offset: int, payload: bytes) -> int:
    """The number of the recording that the segment frame at `offset` names."""
    try:
        values = unpack_all(payload, limit_records=1)
    except BadRecord as error:
        raise DamagedCassette(path, offset=offset, reason=f"in a segment frame: {error}") from None
    number = values[0].get("recording") if len(values) == 1 and type(values[0]) is dict else None
    if type(number) is not int:
        raise DamagedCassette(path, offset=offset, reason="a segment frame that names no recording")
    return number


@dataclass(slots=True)
class Scan:
    """What a scan found."""

    index: IndexBuilder
    data_end: int
    """Where the next frame would be appended: behind the last valid frame that is not part of an index."""
    torn_at: int | None


def scan(source: Source, end: int | None = None) -> Scan:
    """Follow every record from the start to `end` (default: the end of the file).

    Raises:
        DamagedCassette: a bad frame with good ones behind it, or frames that hold nonsense.
    """
    stop = source.size if end is None else end
    index, decompressor = IndexBuilder(), Decompressor()
    segment: Segment | None = None
    recording = 0
    data_end = HEADER_BYTES
    torn_at: int | None = None

    def finish() -> None:
        if segment is None:
            return
        records, times, raw_bytes = decode_segment(source.path, segment, decompressor)
        index.begin_segment()
        try:
            index.add_all(records, times)
        except BadRecord as error:
            raise DamagedCassette(
                source.path, offset=segment.offset, reason=f"in the segment there: {error}"
            ) from None
        if records and recording != len(index.recordings):
            raise DamagedCassette(
                source.path, offset=segment.offset, reason=f"a segment of recording {recording}, out of order"
            )
        index.end_segment(
            SegmentRow(
                segment.offset,
                segment.end - segment.offset,
                recording,
                times[0] if times else 0,
                raw_bytes,
                len(records),
            )
        )

    try:
        for offset, type_, payloads, after in iter_runs(source, HEADER_BYTES, stop):
            if type_ == _BLOCK:
                if segment is None:
                    raise DamagedCassette(source.path, offset=offset, reason="a block outside of a segment")
                segment.blocks += payloads
                segment.end = after
                if after - segment.offset > MAX_SEGMENT_FILE_BYTES:
                    raise DamagedCassette(
                        source.path, offset=segment.offset, reason="a segment above the limits"
                    )
            elif type_ == FrameType.SEGMENT:
                finish()
                segment, recording = Segment(offset, after), recording_of(source.path, offset, payloads[0])
            elif type_ in _INDEX_TYPES:
                finish()
                segment = None
                continue
            data_end = after
    except BadFrame as bad:
        following = find_frame_after(source, bad.offset, source.size)
        if following is not None:
            raise DamagedCassette(
                source.path,
                offset=bad.offset,
                reason=f"{bad.reason}, but good data follows at byte {following}",
            ) from None
        torn_at = bad.offset
    finish()
    return Scan(index, data_end, torn_at)
