"""The index of a cassette: what is needed to list and find exchanges without reading them.

Knows records and rows, not files: the reader and the writer both feed an `IndexBuilder`, so a rebuilt index is the
written one. One rule: memory stays small at any size; rows that will not change are kept packed and compressed.
FORMAT.md, section "Index".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from graphtape.cassettes.compression import BadStream, Decompressor, compress_whole
from graphtape.cassettes.limits import (
    CONTENT_TYPE_IN_INDEX_BYTES,
    INDEX_GROUP_ROWS,
    MAX_EXCHANGES,
    MAX_INDEX_BYTES,
    MAX_RECORDINGS,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENT_FILE_BYTES,
    MAX_SEGMENT_RECORDS,
    MAX_SEGMENTS,
    MAX_TIME_NS,
    TARGET_IN_INDEX_BYTES,
)
from graphtape.cassettes.model import Chunk, Ending, ExchangeSummary, Headers, Recording, Request, Response
from graphtape.cassettes.records import (
    BadRecord,
    BodyPart,
    Content,
    End,
    RawRecord,
    RecordType,
    Unknown,
    are_plain_chunks,
    chunk_flags,
    decode,
    new_packer,
    unpack_all,
)

# As plain ints: looking a member up in an enum class takes as long as the rest of following a chunk.
_CHUNK: Final = int(RecordType.CHUNK)
_RECORDING: Final = int(RecordType.RECORDING)
_BODIES: Final = frozenset((_CHUNK, int(RecordType.REQUEST_BODY)))

Row = tuple[Any, ...]


class LimitReached(BadRecord):
    """More recordings, exchanges or segments than a cassette may have."""


_ENDINGS: Final = {ending.value: ending for ending in Ending}


class SegmentRow(NamedTuple):
    """Where a segment stands and what it holds."""

    offset: int
    size: int
    """Bytes in the file, from the segment frame to the end of its last block."""
    recording: int
    first_ns: int
    """Time of the first record."""
    raw_bytes: int
    records: int


class ExchangeEntry:
    """One exchange while it is being recorded or scanned."""

    __slots__ = (
        "at_ns",
        "chunks",
        "content_type",
        "ended_ns",
        "ending",
        "last_segment",
        "method",
        "recording",
        "redacted",
        "request_bytes",
        "response_bytes",
        "response_ns",
        "segments",
        "status",
        "target",
    )

    def __init__(self, recording: int, at_ns: int, method: str, target: str, redacted: bool) -> None:
        self.recording = recording
        self.method = method
        self.target = target
        self.status: int | None = None
        self.content_type = ""
        self.ending = Ending.UNFINISHED
        self.at_ns = at_ns
        self.response_ns: int | None = None
        self.ended_ns: int | None = None
        self.request_bytes = 0
        self.response_bytes = 0
        self.chunks = 0
        self.redacted = redacted
        self.segments: list[int] = []
        """Runs of segments that hold it: first, last, first, last ..."""
        self.last_segment = -1

    def touch(self, segment: int) -> None:
        """A record of this exchange stands in `segment`."""
        if self.segments and self.segments[-1] == segment - 1:
            self.segments[-1] = segment
        elif self.last_segment != segment:
            self.segments += (segment, segment)
        self.last_segment = segment

    def row(self) -> Row:
        # Runs are written as gap, length, gap, length ...: small numbers that compress away.
        steps: list[int] = []
        before = 0
        for at in range(0, len(self.segments), 2):
            first, last = self.segments[at], self.segments[at + 1]
            steps += (first - before, last - first)
            before = last
        return (
            self.recording,
            self.method,
            self.target,
            self.status,
            self.content_type,
            self.ending.value,
            self.at_ns,
            self.response_ns,
            self.ended_ns,
            self.request_bytes,
            self.response_bytes,
            self.chunks,
            self.redacted,
            _pack_varints(steps),
        )


def _pack_varints(values: Sequence[int]) -> bytes:
    packed = bytearray()
    for value in values:
        left = value
        while left > 0x7F:
            packed.append(left & 0x7F | 0x80)
            left >>= 7
        packed.append(left)
    return bytes(packed)


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 35:
            raise BadRecord("a number in the index is too long")
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    if shift or len(values) % 2:
        raise BadRecord("the segments of an exchange are cut short")
    return values


def segments_of(row: Row) -> list[range]:
    """The segments that hold an exchange, as runs in order."""
    steps, runs, before = _varints(row[13]), [], 0
    for at in range(0, len(steps), 2):
        first = before + steps[at]
        if at and first <= before:
            raise BadRecord("the segments of an exchange are not in order")
        before = first + steps[at + 1]
        runs.append(range(first, before + 1))
    return runs


def summary_of(number: int, row: Row) -> ExchangeSummary:
    """What the row of an exchange says."""
    return ExchangeSummary(
        number=number,
        recording=row[0],
        method=row[1],
        target=row[2],
        status=row[3],
        content_type=row[4],
        ending=_ENDINGS.get(row[5], Ending.UNFINISHED),
        at_ns=row[6],
        response_ns=row[7],
        ended_ns=row[8],
        request_bytes=row[9],
        response_bytes=row[10],
        chunks=row[11],
        redacted=row[12],
    )


_INT, _STR, _BYTES, _BOOL, _NONE = int, str, bytes, bool, type(None)
_EXCHANGE_SHAPE: Final[tuple[tuple[type, ...], ...]] = (
    (_INT,),
    (_STR,),
    (_STR,),
    (_INT, _NONE),
    (_STR,),
    (_STR,),
    (_INT,),
    (_INT, _NONE),
    (_INT, _NONE),
    (_INT,),
    (_INT,),
    (_INT,),
    (_BOOL,),
    (_BYTES,),
)
_SEGMENT_SHAPE: Final[tuple[tuple[type, ...], ...]] = ((_INT,),) * len(SegmentRow._fields)


def _check_row(row: Any, shape: tuple[tuple[type, ...], ...]) -> None:
    if type(row) is not tuple or len(row) < len(shape):
        raise BadRecord("a row of the index is too short")
    for value, kinds in zip(row, shape, strict=False):
        if type(value) not in kinds:
            raise BadRecord("a value in the index has the wrong type")
        if type(value) is int and not 0 <= value <= MAX_TIME_NS:
            raise BadRecord("a number in the index is out of range")


def check_exchange_row(row: Any) -> None:
    """Accept the row of an exchange, or raise `BadRecord`."""
    _check_row(row, _EXCHANGE_SHAPE)


def check_segment_row(row: Any) -> None:
    """Accept the row of a segment, or raise `BadRecord`."""
    _check_row(row, _SEGMENT_SHAPE)
    _, size, _, _, raw_bytes, records = row[:6]
    if size > MAX_SEGMENT_FILE_BYTES or raw_bytes > MAX_SEGMENT_BYTES or records > MAX_SEGMENT_RECORDS:
        raise BadRecord("a segment in the index is above the limits")


def pack_rows(rows: Sequence[Row]) -> bytes:
    """The payload of an index part."""
    return compress_whole(new_packer().pack([list(row) for row in rows]))


def unpack_rows(payload: bytes, *, count: int, check: Callable[[Any], None]) -> list[Row]:
    """The rows of an index part.

    Raises:
        BadRecord: not what the format says, or not `count` rows.
    """
    try:
        values = unpack_all(Decompressor().decompress(payload, limit_bytes=MAX_INDEX_BYTES), limit_records=1)
    except BadStream as error:
        raise BadRecord(str(error)) from None
    if len(values) != 1 or type(values[0]) is not tuple or len(values[0]) != count:
        raise BadRecord(f"an index part that does not hold its {count} rows")
    rows: list[Row] = list(values[0])
    for row in rows:
        check(row)
    return rows


Part = bytes | list[Row] | int


class Table:
    """Rows in groups of `INDEX_GROUP_ROWS`.

    A group is a list while its rows may change; sealed, the payload of an index part; or, in a finished cassette
    that was opened, the offset of that part, to be loaded when it is asked for.

    Args:
        check: accepts a row that was read from a file.
        offsets: of the parts, in a finished cassette.
        count: how many rows those hold.
        load: gives the payload of the part at an offset.
    """

    def __init__(
        self,
        check: Callable[[Any], None],
        *,
        offsets: Sequence[int] = (),
        count: int = 0,
        load: Callable[[int], bytes] | None = None,
    ) -> None:
        self._check = check
        self._parts: list[Part] = list(offsets)
        self._load = load
        self.count = count
        self._last: tuple[int, list[Row]] | None = None

    def put(self, at: int, row: Row) -> None:
        """Append a row, or replace one in a group that is not sealed."""
        group, place = divmod(at, INDEX_GROUP_ROWS)
        if group == len(self._parts):
            self._parts.append([])
        rows = self._parts[group]
        assert isinstance(rows, list)
        if place == len(rows):
            rows.append(row)
            self.count += 1
        else:
            rows[place] = row

    def seal(self, group: int) -> None:
        """Nothing of this full group will change any more."""
        rows = self._parts[group]
        if isinstance(rows, list) and len(rows) == INDEX_GROUP_ROWS:
            self._parts[group] = pack_rows(rows)

    def get(self, at: int) -> Row:
        """Row `at`, from 0; raises `BadRecord`."""
        group, place = divmod(at, INDEX_GROUP_ROWS)
        return self.group(group)[place]

    def group(self, group: int) -> list[Row]:
        """The rows of a group; raises `BadRecord`."""
        part = self._parts[group]
        if isinstance(part, list):
            return part
        if self._last is None or self._last[0] != group:
            count = min(INDEX_GROUP_ROWS, self.count - group * INDEX_GROUP_ROWS)
            self._last = (group, unpack_rows(self._payload(part), count=count, check=self._check))
        return self._last[1]

    def _payload(self, part: bytes | int) -> bytes:
        if isinstance(part, bytes):
            return part
        assert self._load is not None
        return self._load(part)

    def take_over(self) -> None:
        """Hold everything in memory and make the last group changeable, to continue a finished cassette.

        Raises:
            BadRecord: a part is not what the format says.
        """
        for group in range(len(self._parts)):
            rows = self.group(group)
            part = self._parts[group]
            if not isinstance(part, list):
                self._parts[group] = rows if len(rows) < INDEX_GROUP_ROWS else self._payload(part)

    def payloads(self) -> list[bytes]:
        """Every group as the payload of an index part."""
        return [pack_rows(part) if isinstance(part, list) else self._payload(part) for part in self._parts]


def cut_text(text: str, limit_bytes: int) -> str:
    """At most `limit_bytes` of UTF-8, never half a character."""
    cut = text[:limit_bytes]
    while not cut.isascii() and len(cut.encode("utf-8", "surrogateescape")) > limit_bytes:
        cut = cut[:-1]
    return cut


def content_type_of(headers: Headers) -> str:
    """The content type of a response, as the index keeps it."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return value[:CONTENT_TYPE_IN_INDEX_BYTES].decode("latin-1")
    return ""


class IndexBuilder:
    """Follows the records of a cassette in order and knows its index at any moment."""

    def __init__(
        self,
        recordings: Sequence[Recording] = (),
        exchanges: Table | None = None,
        segments: Table | None = None,
    ) -> None:
        self.recordings: list[Recording] = list(recordings)
        self.exchanges = exchanges or Table(check_exchange_row)
        self.segments = segments or Table(check_segment_row)
        self.open: dict[int, ExchangeEntry] = {}
        """Exchanges without an end record."""
        self.segment = self.segments.count - 1
        """Number of the segment under way, from 0."""
        # How many exchanges of a group that is not sealed will not change any more.
        self._settled_in_group: dict[int, int] = {}
        if exchanges is not None and (settled := exchanges.count % INDEX_GROUP_ROWS):
            self._settled_in_group[exchanges.count // INDEX_GROUP_ROWS] = settled

    def begin_segment(self) -> None:
        self.segment += 1
        if self.segment >= MAX_SEGMENTS:
            raise LimitReached(f"more than {MAX_SEGMENTS} segments")

    def end_segment(self, row: SegmentRow) -> None:
        self.segments.put(self.segment, tuple(row))
        if self.segments.count % INDEX_GROUP_ROWS == 0:
            self.segments.seal(self.segments.count // INDEX_GROUP_ROWS - 1)

    def add_recording(self, recording: Recording) -> None:
        if len(self.recordings) >= MAX_RECORDINGS:
            raise LimitReached(f"more than {MAX_RECORDINGS} recordings")
        # Nothing of an earlier recording goes on in a later one.
        for number in list(self.open):
            self._close(number)
        self.recordings.append(recording)

    def add_exchange(
        self, at_ns: int, method: str, target: str, *, redacted: bool
    ) -> tuple[int, ExchangeEntry]:
        """The next exchange: its number and its entry."""
        if self.exchanges.count >= MAX_EXCHANGES:
            raise LimitReached(f"more than {MAX_EXCHANGES} exchanges")
        entry = ExchangeEntry(
            len(self.recordings), at_ns, method, cut_text(target, TARGET_IN_INDEX_BYTES), redacted
        )
        entry.touch(self.segment)
        number = self.exchanges.count + 1
        self.open[number] = entry
        self.exchanges.put(number - 1, ())  # its place; filled when it ends, or by `settle`
        return number, entry

    def end_exchange(self, number: int, ending: Ending, at_ns: int) -> None:
        entry = self.open[number]
        entry.ending, entry.ended_ns = ending, at_ns
        self._close(number)

    def _close(self, number: int) -> None:
        self.exchanges.put(number - 1, self.open.pop(number).row())
        group = (number - 1) // INDEX_GROUP_ROWS
        settled = self._settled_in_group[group] = self._settled_in_group.get(group, 0) + 1
        if settled == INDEX_GROUP_ROWS:
            del self._settled_in_group[group]
            self.exchanges.seal(group)

    def settle(self) -> None:
        """Write down the exchanges that have not ended, as they are now."""
        for number, entry in self.open.items():
            self.exchanges.put(number - 1, entry.row())

    def add_all(self, records: Sequence[RawRecord], times: Sequence[int]) -> None:
        """Follow the records of a segment in a scan; raises as `add`."""
        if not are_plain_chunks(records):
            for record, at_ns in zip(records, times, strict=True):
                self.add(record, at_ns)
            return
        # Most segments are nothing but chunks: each exchange is looked up once, not once per event.
        chunks = Counter(map(itemgetter(2), records))
        sizes = dict.fromkeys(chunks, 0)
        for _, _, number, data in records:
            sizes[number] += len(data)
        for number, count in chunks.items():
            entry = self._entry(number)
            entry.chunks += count
            entry.response_bytes += sizes[number]
            entry.touch(self.segment)

    def add(self, record: RawRecord, at_ns: int) -> None:
        """Follow one record of a scan.

        Raises:
            BadRecord: it does not hold what it must, or does not fit what came before.
        """
        type_, number = record[0], record[2]
        if type_ in _BODIES:
            entry = self.open.get(number) or self._entry(number)
            if len(record) < 4 or type(record[3]) is not bytes:
                raise BadRecord("a body record without its bytes")
            if type_ == _CHUNK:
                entry.chunks += 1
                entry.response_bytes += len(record[3])
                if len(record) > 4:
                    chunk_flags(record)
            else:
                entry.request_bytes += len(record[3])
            if entry.last_segment != self.segment:
                entry.touch(self.segment)
            return
        content = decode(record, at_ns, recording=len(self.recordings) + (type_ == _RECORDING)).content
        if isinstance(content, Recording):
            self.add_recording(content)
        else:
            self.follow(number, at_ns, content)

    def follow(self, number: int, at_ns: int, content: Content) -> None:
        """Follow one record of exchange `number`, of any kind but `Recording`, whose content is known to be good.

        Raises:
            BadRecord: it does not fit what came before.
        """
        if isinstance(content, Request):
            if number != self.exchanges.count + 1:
                raise BadRecord(f"exchange {number} where exchange {self.exchanges.count + 1} should begin")
            if not self.recordings:
                raise BadRecord("an exchange before any recording")
            self.add_exchange(at_ns, content.method, content.target, redacted=bool(content.redacted))
            return
        if isinstance(content, Unknown):
            # It must be found with its exchange, if that is one.
            if number in self.open:
                self.open[number].touch(self.segment)
            return
        entry = self._entry(number)
        if entry.last_segment != self.segment:
            entry.touch(self.segment)
        if isinstance(content, Response):
            entry.response_ns, entry.status = at_ns, content.status
            entry.content_type = content_type_of(content.headers)
        elif isinstance(content, Chunk):
            entry.chunks += 1
            entry.response_bytes += len(content.data)
        elif isinstance(content, BodyPart):
            entry.request_bytes += len(content.data)
        elif isinstance(content, End):
            entry.redacted = entry.redacted or bool(content.redacted)
            self.end_exchange(number, content.ending, at_ns)

    def _entry(self, number: int) -> ExchangeEntry:
        entry = self.open.get(number)
        if entry is None:
            raise BadRecord(f"a record of exchange {number}, which is not open")
        return entry
