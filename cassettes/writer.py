"""Writes a cassette: records in, compressed blocks appended to a file, the index at the end.

Knows the file and the format; takes no decision about traffic. One rule: after `flush` returns, everything appended
before is in the file, and whatever happens next the file is a good prefix.
FORMAT.md, sections "Writing" and "After a crash".
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from graphtape.cassettes.compression import SegmentCompressor
from graphtape.cassettes.errors import CassetteError, CassetteExists, CassetteWriteFailed, NotACassette
from graphtape.cassettes.framing import (
    HEADER_BYTES,
    BadFrame,
    FrameType,
    check_file_header,
    encode_frame,
    file_header,
)
from graphtape.cassettes.index import ExchangeEntry, IndexBuilder, LimitReached, SegmentRow, segments_of
from graphtape.cassettes.indexfile import encode_index, read_index, read_trailer
from graphtape.cassettes.limits import (
    BLOCK_CUT_BYTES,
    CHUNK_CUT_BYTES,
    HEAD_CUT_BYTES,
    HEADERS_CUT,
    MAX_RECORD_BYTES,
    MAX_STATUS,
    MAX_TIME_NS,
    SEGMENT_CUT_BYTES,
    SEGMENT_CUT_RECORDS,
    SMALL_CHUNK_BYTES,
)
from graphtape.cassettes.model import Ending, Headers, Recording, Request, Response
from graphtape.cassettes.records import (
    DELAYED,
    BadRecord,
    End,
    RawRecord,
    Record,
    RecordType,
    RequestEnd,
    encode,
    new_packer,
)
from graphtape.cassettes.remask import CannotMask, MaskJob, complete, discard, mask_exchange
from graphtape.cassettes.scan import FileSource, scan

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock: two writers are not refused there
    fcntl = None  # type: ignore[assignment]

_REQUEST_BODY: Final = int(RecordType.REQUEST_BODY)
_CHUNK: Final = int(RecordType.CHUNK)
_BLOCK: Final = int(FrameType.BLOCK)  # as plain ints: enum members are looked up in Python
_HEADS: Final = frozenset(
    map(int, (RecordType.RECORDING, RecordType.REQUEST, RecordType.RESPONSE, RecordType.END))
)
# The most records that are appended between two looks at how much waits, and how far in time they may move: the usual
# chunk needs no other check. A larger step in time is no small int to Python, and compares slower.
_UNSEEN_RECORDS: Final = BLOCK_CUT_BYTES // SMALL_CHUNK_BYTES
_STEP_NS: Final = (1 << 30) - 1
_LATE_NS: Final = MAX_TIME_NS - _UNSEEN_RECORDS * _STEP_NS
_FILE_MODE: Final = 0o600


class CassetteWriter:
    """Appends to one cassette; made by `create` or `append_to`. All but `sync` belong to one thread.

    Times are nanoseconds since the start of the recording begun last; they need not ascend.
    """

    def __init__(self, path: str, fd: int, index: IndexBuilder, offset: int) -> None:
        self.path: Final = path
        self._fd = fd
        self._fd_lock = (
            threading.Lock()
        )  # `sync` runs in another thread; the file must not be closed under it
        self._index = index
        self._open_exchanges = index.open
        # Open exchanges that are known to be in the segment under way: with them nothing is left to look up.
        self._at_hand: dict[int, ExchangeEntry] = {}
        self._compressor = SegmentCompressor()
        self._pack = new_packer().pack
        self._waiting = new_packer(autoreset=False)  # holds the packed records that are not compressed yet
        self._keep = self._waiting.pack
        self._file_end = offset  # everything before is written and good
        self._frames: list[bytes] = []  # complete frames that are not written yet
        self._next_offset = offset  # where the next frame will stand
        self._last_ns = 0
        self._segment_at = -1  # offset of the segment under way, -1 without one
        self._segment_due = True  # the next record starts a segment
        self._segment_end = -1  # behind its last block
        self._segment_recording = 0
        self._segment_first_ns = 0
        self._segment_bytes = 0
        self._segment_records = 0
        self._look_at = 0  # small ones up to this many records of the segment cannot exceed any limit
        self._masks: deque[MaskJob] = deque()  # ended exchanges of which more is to be masked
        self._failed: CassetteWriteFailed | None = None
        self._name_synced = False  # that the folder, too, has the file after a power loss
        self._closed = False
        self._over = False  # closed or failed

    @classmethod
    def create(cls, path: str | os.PathLike[str], overwrite: bool = False) -> Self:
        """A new cassette, readable by its owner only.

        Raises:
            CassetteExists: the file is there and `overwrite` is not set.
            CassetteError: it cannot be made, or another writer is at it.
        """
        name = os.fspath(path)
        fd = _open(name, os.O_CREAT | (0 if overwrite else os.O_EXCL))
        try:
            # Only now, with the lock held, is the old content given up.
            discard(name)
            os.ftruncate(fd, 0)
            os.fchmod(fd, _FILE_MODE)
            _write_all(fd, file_header())
        except OSError as error:
            os.close(fd)
            raise CassetteWriteFailed(
                name, f"it cannot be written ({error.strerror}); choose another file"
            ) from None
        return cls(name, fd, IndexBuilder(), HEADER_BYTES)

    @classmethod
    def append_to(cls, path: str | os.PathLike[str], *, trust_index: bool = True) -> Self:
        """Continue a cassette, finished or not; one that does not exist is created.

        A torn tail is cut off. The index of a finished cassette is taken into memory and cut off: a crash before
        the next `close` leaves an unfinished cassette with all its records.

        Args:
            path: the cassette.
            trust_index: take the index of a finished cassette for what it says; else scan the records.

        Raises:
            NotACassette, NewerFormat, DamagedCassette: it cannot be continued.
            CassetteError: another writer is at it.
        """
        name = os.fspath(path)
        if not os.path.lexists(name):
            return cls.create(name)
        fd = _open(name, 0)
        source: FileSource | None = None
        try:
            complete(name, fd)
            source = FileSource(name)
            head = source.read_at(0, HEADER_BYTES)
            if len(head) < HEADER_BYTES and file_header().startswith(head):
                # Created, and then the power went: there is nothing to lose.
                os.ftruncate(fd, 0)
                _write_all(fd, file_header())
                index, offset = IndexBuilder(), HEADER_BYTES
            else:
                check_file_header(name, head)
                index, offset = _index_to_continue(source, trust_index=trust_index)
                os.ftruncate(fd, offset)
                os.lseek(fd, offset, os.SEEK_SET)
        except OSError as error:
            os.close(fd)
            raise CassetteWriteFailed(name, f"it cannot be continued ({error.strerror})") from None
        except BaseException:
            os.close(fd)
            raise
        finally:
            if source is not None:
                source.close()
        return cls(name, fd, index, offset)

    @property
    def bytes_written(self) -> int:
        """Bytes of the file, what is not flushed not counted."""
        return self._file_end

    @property
    def exchange_count(self) -> int:
        """How many exchanges the file has so far, earlier recordings included."""
        return self._index.exchanges.count

    def begin_recording(self, started_unix_ns: int, upstream: str, program: str) -> int:
        """A new zero of time; returns the number of the recording, from 1. Exchanges still open stay unfinished."""
        recording = Recording(len(self._index.recordings) + 1, started_unix_ns, upstream, program)
        self.add(Record(0, 0, recording))
        return recording.number

    def request(  # noqa: PLR0917 - a request line and its headers, in their order on the wire
        self,
        at_ns: int,
        method: str,
        target: str,
        headers: Headers,
        http_version: str = "1.1",
        redacted: Sequence[str] = (),
    ) -> int:
        """A new exchange; returns its number."""
        request = Request(at_ns, method, target, _fields(headers), http_version, tuple(redacted))
        number = self._index.exchanges.count + 1
        self.add(Record(number, at_ns, request))
        return number

    def request_body(self, number: int, at_ns: int, data: bytes) -> None:
        """One read of the request body."""
        entry = self._open_exchanges.get(number) or self._refuse(number)
        for part in _parts(data):
            self._append_part(entry, _REQUEST_BODY, number, at_ns, part)
            entry.request_bytes += len(part)

    def request_end(self, number: int, at_ns: int) -> None:
        """The request body is whole."""
        self.add(Record(number, at_ns, RequestEnd(at_ns)))

    def response(self, number: int, at_ns: int, status: int, reason: str, headers: Headers) -> None:
        """The response head."""
        if not 0 <= status <= MAX_STATUS:
            raise ValueError(f"there is no HTTP status {status}")
        self.add(Record(number, at_ns, Response(at_ns, status, reason, _fields(headers))))

    def chunk(self, number: int, at_ns: int, data: bytes, delayed: bool = False) -> None:
        """One read of the response body."""
        # Called once per event, and therefore in one piece for the usual one: small, soon after the record before it.
        dt_ns = at_ns - self._last_ns
        size = len(data)
        records = self._segment_records
        if size <= SMALL_CHUNK_BYTES and records < self._look_at and 0 <= dt_ns <= _STEP_NS and not delayed:
            try:
                entry = self._at_hand[number]
            except KeyError:
                pass
            else:
                self._keep((_CHUNK, dt_ns, number, data))
                self._last_ns = at_ns
                self._segment_records = records + 1
                entry.chunks += 1
                entry.response_bytes += size
                return
        entry = self._open_exchanges.get(number) or self._refuse(number)
        for part in _parts(data):
            self._append_part(entry, _CHUNK, number, at_ns, part, *((DELAYED,) if delayed else ()))
            entry.chunks += 1
            entry.response_bytes += len(part)

    def end(self, number: int, at_ns: int, ending: Ending, detail: str = "") -> None:
        """How the exchange ended; nothing follows for it."""
        self.add(Record(number, at_ns, End(at_ns, ending, detail)))

    def mask(self, number: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Mask bytes of the response body of an exchange that has ended: they become `*` where they stand.

        Done by the next `sync`, or by `close`, before the cassette counts as finished.

        Args:
            ranges: bytes of the body, each from the first to before the second; in order, not touching.

        Raises:
            ValueError: the exchange has not ended, or is not in this cassette.
            CassetteWriteFailed: what waits could not be written.
        """
        self._refuse_if_over()
        if not 1 <= number <= self.exchange_count or number in self._open_exchanges:
            raise ValueError(f"exchange {number} has not ended in this cassette")
        if not ranges:
            return
        held = [at for run in segments_of(self._index.exchanges.get(number - 1)) for at in run]
        if self._segment_at >= 0 and held[-1] == self._index.segment:
            self._end_segment()  # nothing is added to a segment that is written again
        self.flush()
        rows = tuple(SegmentRow(*self._index.segments.get(at)[:6]) for at in held)
        self._masks.append(MaskJob(number, tuple(ranges), rows))

    def _mask_waiting(self) -> None:
        """Mask what waits, with the lock held; raises `CassetteWriteFailed`."""
        while self._masks:
            try:
                mask_exchange(self.path, self._fd, self._masks[0])
            except (CannotMask, OSError) as error:
                number = self._masks[0].exchange
                reason = (error.strerror or error) if isinstance(error, OSError) else error
                raise CassetteWriteFailed(
                    self.path,
                    f"exchange {number} could not be masked ({reason}); it still holds parts of a named value: "
                    "clean it with `graphtape redact`",
                ) from None
            self._masks.popleft()

    def add(self, record: Record) -> None:
        """Append any record, as a reader gave it; the methods above are this with a name.

        Raises:
            ValueError: it does not fit what came before, or a head is larger than any HTTP server allows.
        """
        self._refuse_if_over()
        if not 0 <= record.at_ns <= MAX_TIME_NS:
            raise _out_of_range(record.at_ns)
        type_, items = encode(record)
        self._at_hand.pop(record.exchange, None)  # the record may end it
        try:
            if isinstance(record.content, Recording):
                self._index.add_recording(record.content)
                self._segment_due = True
            if self._segment_due:
                self._start_segment(record.at_ns)
            raw = (type_, record.at_ns - self._last_ns, record.exchange, *items)
            packed = self._pack(raw)
            if len(packed) > MAX_RECORD_BYTES or (type_ in _HEADS and len(packed) > HEAD_CUT_BYTES):
                raise ValueError(f"a record of {len(packed)} bytes is above the limit")
            if not isinstance(record.content, Recording):
                self._index.follow(record.exchange, record.at_ns, record.content)
        except LimitReached as error:
            raise CassetteWriteFailed(self.path, f"the cassette is full ({error}); start a new one") from None
        except BadRecord as error:
            raise ValueError(str(error)) from None
        except OverflowError as error:
            raise ValueError(f"a number does not fit in 64 bits ({error})") from None
        self._append(raw, record.at_ns, len(packed))

    def add_frame(self, type_: int, payload: bytes) -> None:
        """Append a frame of a type that this version does not know, to keep it in a rewrite."""
        self._refuse_if_over()
        self._compress_waiting()
        self._append_frame(type_, payload)

    def _append_part(
        self, entry: ExchangeEntry, type_: int, number: int, at_ns: int, data: bytes, *flags: int
    ) -> None:
        if not 0 <= at_ns <= MAX_TIME_NS:
            raise _out_of_range(at_ns)
        if self._segment_due:
            self._start_segment(at_ns)
        if entry.last_segment != self._index.segment:
            entry.touch(self._index.segment)
        self._at_hand[number] = entry
        self._append((type_, at_ns - self._last_ns, number, data, *flags), at_ns, len(data))

    def _append(self, raw: RawRecord, at_ns: int, size: int) -> None:
        """Append a record that is known to be packable: a packer that fails forgets all that it holds."""
        dt_ns = at_ns - self._last_ns
        self._keep(raw)
        self._last_ns = at_ns
        self._segment_records += 1
        if size > SMALL_CHUNK_BYTES or self._segment_records >= self._look_at or not 0 <= dt_ns <= _STEP_NS:
            self._look()

    def _look(self) -> None:
        """Compress what waits if that is much, and say how many records may follow unseen."""
        with self._waiting.getbuffer() as raw:
            waiting_bytes = len(raw)
        full = self._segment_records >= SEGMENT_CUT_RECORDS
        if full or waiting_bytes >= min(BLOCK_CUT_BYTES, SEGMENT_CUT_BYTES - self._segment_bytes):
            self._compress_waiting()
        if full:
            self._finish_segment()
        unseen = _UNSEEN_RECORDS if self._last_ns <= _LATE_NS else 0
        self._look_at = min(self._segment_records + unseen, SEGMENT_CUT_RECORDS - 1)

    def _finish_segment(self) -> None:
        self._segment_due = True
        self._at_hand.clear()

    def _start_segment(self, first_ns: int) -> None:
        self._end_segment()
        self._index.begin_segment()
        self._compressor.restart()
        self._segment_at = self._next_offset
        self._append_frame(FrameType.SEGMENT, self._pack({"recording": len(self._index.recordings)}))
        self._segment_end = self._next_offset
        self._segment_recording = len(self._index.recordings)
        self._segment_first_ns = first_ns
        self._segment_bytes = self._segment_records = 0
        self._look_at = 0
        self._last_ns = 0
        self._segment_due = False

    def _end_segment(self) -> None:
        if self._segment_at < 0:
            return
        self._compress_waiting()
        self._index.end_segment(
            SegmentRow(
                self._segment_at,
                self._segment_end - self._segment_at,
                self._segment_recording,
                self._segment_first_ns,
                self._segment_bytes,
                self._segment_records,
            )
        )
        self._segment_at = -1
        self._segment_due = True
        self._at_hand.clear()

    def _compress_waiting(self) -> None:
        raw = self._waiting.bytes()
        if not raw:
            return
        self._waiting.reset()
        frame = encode_frame(self._next_offset, _BLOCK, self._compressor.compress(raw))
        self._frames.append(frame)
        self._segment_end = self._next_offset = self._next_offset + len(frame)
        self._segment_bytes += len(raw)
        if self._segment_bytes >= SEGMENT_CUT_BYTES:
            self._finish_segment()

    def _append_frame(self, type_: int, payload: bytes) -> None:
        frame = encode_frame(self._next_offset, type_, payload)
        self._next_offset += len(frame)
        self._frames.append(frame)

    def flush(self) -> None:
        """Write everything appended so far, in one write; nothing to write is no work.

        Raises:
            CassetteWriteFailed: the file was cut back to the last good frame, and the writer refuses more.
        """
        if self._over:
            self._refuse_if_over()
        self._compress_waiting()
        frames = self._frames
        if not frames:
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        size = len(data)
        try:
            written = os.write(self._fd, data)
            if written < size:
                _write_all(self._fd, data[written:])
        except OSError as error:
            # What was written of it is no frame: a reader would call it a torn tail. Better gone.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._file_end)
            self._failed = CassetteWriteFailed(
                self.path,
                f"a write failed ({error.strerror or error}); the {self._file_end} bytes before it are whole. "
                "Make room, then continue with --append",
            )
            self._refuse_bodies()
            if error.errno == errno.EBADF:
                self._fd = -1  # closed under us: the number may be another file's by now
            raise self._failed from None
        self._file_end += size
        frames.clear()

    def sync(self) -> None:
        """Mask what waits for it, then ask the disk to keep what has been flushed.

        May be called from another thread; closed is no work.

        Raises:
            CassetteWriteFailed: the disk refused.
        """
        with self._fd_lock:
            if self._fd < 0:
                return
            self._mask_waiting()
            try:
                if not self._name_synced:
                    self._name_synced = True
                    _sync_folder(self.path)
                _datasync(self._fd)
            except OSError as error:
                raise CassetteWriteFailed(self.path, f"the disk did not take it ({error.strerror})") from None

    def close(self, *, synced: bool = False) -> None:
        """Write the index and close the file; idempotent. Exchanges still open are listed as unfinished.

        Args:
            synced: wait until the disk has all of it; else that is the system's business.

        Raises:
            CassetteWriteFailed: the index could not be written, the data before it is whole; or the disk refused.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._failed is None:
                self._end_segment()
                with self._fd_lock:
                    self._mask_waiting()
                for frame in encode_index(self._index, self._next_offset):
                    self._frames.append(frame)
                self.flush()
            if synced:
                self.sync()
        finally:
            self._refuse_bodies()
            self._close_file()

    def _close_file(self) -> None:
        with self._fd_lock:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            try:
                os.close(fd)
            except OSError as error:
                if self._failed is None:
                    reason = f"closing it failed ({error.strerror or error}); check it with `graphtape ls`"
                    raise CassetteWriteFailed(self.path, reason) from None

    def abandon(self) -> None:
        """Close without an index and remove the file: for output that is worth nothing unless it is whole."""
        if self._fd >= 0:
            self._closed = True
            self._refuse_bodies()
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            with self._fd_lock:
                fd, self._fd = self._fd, -1
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"cassette {self.path} was not closed", ResourceWarning, stacklevel=2, source=self)
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def _refuse_bodies(self) -> None:
        """So that the methods for bodies refuse without a check of their own."""
        self._over = True
        self._open_exchanges = {}
        self._at_hand.clear()

    def _refuse_if_over(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closed:
            raise ValueError("the cassette writer is closed")

    def _refuse(self, number: int) -> ExchangeEntry:
        self._refuse_if_over()
        raise ValueError(f"exchange {number} is not open in this cassette")


def _index_to_continue(source: FileSource, *, trust_index: bool) -> tuple[IndexBuilder, int]:
    """The index of a cassette, in memory, and where its data ends."""
    trailer = read_trailer(source)
    if trailer is not None and trust_index:
        with contextlib.suppress(BadFrame, BadRecord):  # the index is derived: a scan finds the same
            index = read_index(source, *trailer)
            index.exchanges.take_over()
            index.segments.take_over()
            return index, trailer[0]
    found = scan(source, None if trailer is None else trailer[0])
    return found.index, found.data_end


def _out_of_range(at_ns: int) -> ValueError:
    return ValueError(f"a time of {at_ns} ns since the start of the recording is out of range")


def _parts(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_CUT_BYTES] for at in range(0, len(data), CHUNK_CUT_BYTES)] or [data]


def _fields(headers: Headers) -> Headers:
    if len(headers) > HEADERS_CUT:
        raise ValueError(f"{len(headers)} header fields are above the limit of {HEADERS_CUT}")
    return tuple(headers)


def _open(path: str, flags: int) -> int:
    """Open for writing and take the lock."""
    flags |= os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags, _FILE_MODE)
    except FileExistsError:
        raise CassetteExists(path) from None
    except IsADirectoryError:
        raise NotACassette(path, "this is a directory; name a .tape file in it") from None
    except FileNotFoundError:
        raise CassetteError(path, "its directory does not exist; make it first") from None
    except PermissionError:
        raise CassetteError(path, "no permission to write it; choose another file") from None
    except (OSError, ValueError) as error:
        raise CassetteError(path, f"it cannot be written ({error})") from None
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise CassetteError(
                path, "another graphtape is writing it; stop that one or choose another file"
            ) from None
    return fd


def _sync_folder(path: str) -> None:
    """Ask the disk to keep the entry of a new file, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


_datasync = getattr(os, "fdatasync", os.fsync)  # macOS and Windows have no fdatasync
