"""Opens a cassette and reads what is asked for: a list, one exchange, or every record in order.

Knows the file and the format; not what is on the wire. One rule: what it returns was written so; everything else is
one of our errors, with the file and the offset.
FORMAT.md, section "Reading".
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import TracebackType
from typing import Final, NamedTuple, Self, overload

from graphtape.cassettes.compression import BadStream, Decompressor
from graphtape.cassettes.errors import DamagedCassette, NoSuchExchange
from graphtape.cassettes.framing import (
    HEADER_BYTES,
    BadFrame,
    FrameType,
    check_file_header,
    iter_frames,
    iter_runs,
)
from graphtape.cassettes.index import IndexBuilder, Row, SegmentRow, segments_of, summary_of
from graphtape.cassettes.indexfile import read_index, read_trailer
from graphtape.cassettes.limits import MAX_SEGMENT_BYTES
from graphtape.cassettes.model import (
    Asked,
    Chunk,
    Ending,
    Exchange,
    ExchangeSummary,
    Recording,
    Request,
    Response,
)
from graphtape.cassettes.records import (
    BadRecord,
    BodyPart,
    End,
    RawRecord,
    Record,
    RecordType,
    RequestEnd,
    are_plain_chunks,
    decode,
    decode_plain_chunks,
    unpack_segment,
)
from graphtape.cassettes.scan import FileSource, Segment, decode_segment, recording_of, scan

_SEGMENTS_HELD: Final = 4
_BLOCK: Final = int(FrameType.BLOCK)
_CHUNK: Final = int(RecordType.CHUNK)
_DIGEST_READ_BYTES: Final = 1 << 20
_HEADS_KEPT: Final = 256
_KNOWN_FRAMES: Final = frozenset(FrameType)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `Cassette.check` found in a cassette that is not damaged."""

    exchanges: int
    unfinished: tuple[int, ...]
    """Numbers of the exchanges without an end record."""
    chunks: int
    response_bytes: int
    finished: bool
    torn_at: int | None
    unknown_frames: int


class UnknownFrame(NamedTuple):
    """A frame of a type that this version does not know."""

    type: int
    payload: bytes


class Cassette:
    """A cassette opened for reading. Not to be shared between threads."""

    def __init__(
        self, source: FileSource, index: IndexBuilder, data_end: int, torn_at: int | None, finished: bool
    ) -> None:
        self._source = source
        self._index = index
        self._data_end = data_end
        self._decompressor = Decompressor()
        self._held: OrderedDict[int, tuple[list[RawRecord], list[int]]] = OrderedDict()
        self._heads: dict[int, Response | None] = {}
        self.path: Final = source.path
        self.torn_at: Final = torn_at
        """Offset of the first byte that could not be read as recorded; None if the file ends with a whole frame."""
        self.finished: Final = finished
        """The recorder closed it, and its index is sound."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a cassette, finished or not.

        Raises:
            NotACassette, NewerFormat, DamagedCassette: each says what to do next.
        """
        source = FileSource(path)
        try:
            check_file_header(path, source.read_at(0, HEADER_BYTES))
            trailer = read_trailer(source)
            if trailer is not None:
                data_end, head_at = trailer
                try:
                    return cls(source, read_index(source, data_end, head_at), data_end, None, True)
                except (BadFrame, BadRecord):
                    pass  # the index is derived: what it said is in the data
            found = scan(source, None if trailer is None else trailer[0])
            found.index.settle()
            return cls(source, found.index, found.data_end, found.torn_at, False)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Release the file; idempotent."""
        self._held.clear()
        self._heads.clear()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """The runs of the recorder, in order; exchanges refer to them by number, from 1."""
        return tuple(self._index.recordings)

    @property
    def exchanges(self) -> Sequence[ExchangeSummary]:
        """One summary per exchange, in order; made when asked for."""
        return _Summaries(self)

    @property
    def bytes_read(self) -> int:
        """How much of the file has been read so far."""
        return self._source.bytes_read

    def exchange(self, number: int) -> Exchange:
        """One exchange, whole, in memory; see `iter_chunks` for bodies of any size."""
        return self._exchange(number)

    def _exchange(self, number: int) -> Exchange:
        request: Request | None = None
        response: Response | None = None
        end: End | None = None
        body: list[bytes] = []
        chunks: list[Chunk] = []
        complete = False
        asked: Asked | None = None
        recording = self._row(number)[0]
        for record in self._records_of(number):
            content = record.content
            if isinstance(content, Chunk):
                chunks.append(content)
            elif isinstance(content, BodyPart):
                body.append(content.data)
            elif isinstance(content, Request):
                request = content
            elif isinstance(content, Response):
                response = content
            elif isinstance(content, RequestEnd):
                complete = True
            elif isinstance(content, End):
                end = content
            elif isinstance(content, Asked):
                asked = content
        return Exchange(
            number=number,
            recording=recording,
            request=_with_late_masks(self._found(number, request), end),
            request_body=b"".join(body),
            response=response,
            chunks=tuple(chunks),
            ending=end.ending if end else Ending.UNFINISHED,
            ended_ns=end.at_ns if end else None,
            detail=end.detail if end else "",
            request_complete=complete,
            asked=asked,
        )

    def request(self, number: int) -> tuple[Request, bytes]:
        """The request of an exchange and its body."""
        request: Request | None = None
        body: list[bytes] = []
        end: End | None = None
        for record in self._records_of(number):
            content = record.content
            if isinstance(content, Request):
                request = content
            elif isinstance(content, BodyPart):
                body.append(content.data)
            elif isinstance(content, RequestEnd):
                break
        found = self._found(number, request)
        if summary_of(number, self._row(number)).redacted:
            # What was masked in a body is known to the end record, which stands in the last segment.
            *_, last = self._segments_of(number)
            for record in self._decoded(last, number):
                end = record.content if isinstance(record.content, End) else end
        return _with_late_masks(found, end), b"".join(body)

    def asked(self, number: int) -> Asked | None:
        """What the client asked, if its request was widened; None if it went out as it came."""
        for record in self._records_of(number):
            if isinstance(record.content, Asked):
                return record.content
            if isinstance(record.content, BodyPart | RequestEnd | Response):
                break
        return None

    def response(self, number: int) -> Response | None:
        """The response head of an exchange; None if there was none. The last ones are kept: a replay asks again."""
        if number not in self._heads:
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            contents = (record.content for record in self._records_of(number))
            self._heads[number] = next((one for one in contents if isinstance(one, Response)), None)
        return self._heads[number]

    def iter_chunks(self, number: int, *, since_ns: int | None = None) -> Iterator[Chunk]:
        """The reads of a response body, in order, holding one segment of the file in memory.

        Args:
            number: of the exchange.
            since_ns: only those of this time or later. What lies before is not read, but for the start of a segment;
                so a read whose time is later than that of what was recorded behind it may be missed.
        """
        new = tuple.__new__  # a named tuple's own constructor takes twice as long
        for segment in self._segments_of(number, since_ns):
            records, times = self._segment(segment)
            for record, at_ns in zip(records, times, strict=True):
                if record[2] != number or record[0] != _CHUNK:
                    continue
                if since_ns is not None and at_ns < since_ns:
                    continue
                if len(record) == 4 and type(record[3]) is bytes:
                    yield new(Chunk, (at_ns, record[3], False))
                    continue
                try:
                    content = decode(record, at_ns, recording=0).content
                except BadRecord as error:
                    raise self._damaged(segment, str(error)) from None
                assert isinstance(content, Chunk)
                yield content

    def iter_records(self) -> Iterator[Record]:
        """Every record of the file, in order, unknown ones too."""
        # Not held: whoever reads on needs no segment twice, and memory used before is in the processor's cache.
        return chain.from_iterable(self._decoded(at, hold=False) for at in range(self._index.segments.count))

    def iter_contents(self) -> Iterator[Record | UnknownFrame]:
        """Every record, and in its place every frame of a type that this version does not know; for rewriting."""
        blocks: list[tuple[int, bytes]] = []
        recording, started = 0, HEADER_BYTES
        try:
            for offset, type_, payload in iter_frames(self._source, HEADER_BYTES, self._data_end):
                if type_ == FrameType.SEGMENT:
                    yield from self._contents_of(started, recording, blocks)
                    blocks = []
                    recording, started = recording_of(self.path, offset, payload), offset
                elif type_ == FrameType.BLOCK or type_ not in _KNOWN_FRAMES:
                    blocks.append((type_, payload))
            yield from self._contents_of(started, recording, blocks)
        except BadFrame as bad:
            raise DamagedCassette(self.path, offset=bad.offset, reason=bad.reason) from None

    def _contents_of(
        self, offset: int, recording: int, frames: list[tuple[int, bytes]]
    ) -> Iterator[Record | UnknownFrame]:
        blocks = [payload for type_, payload in frames if type_ == FrameType.BLOCK]
        try:
            raws = iter(self._decompressor.decompress_blocks(blocks, limit_bytes=MAX_SEGMENT_BYTES))
            before_ns = 0
            for type_, payload in frames:
                if type_ != FrameType.BLOCK:
                    yield UnknownFrame(type_, payload)
                    continue
                records, times = unpack_segment(next(raws), start_ns=before_ns)
                for record, at_ns in zip(records, times, strict=True):
                    yield decode(record, at_ns, recording=recording)
                    before_ns = at_ns
        except (BadStream, BadRecord) as error:
            raise DamagedCassette(self.path, offset=offset, reason=f"in the segment there: {error}") from None

    def digest(self) -> str:
        """`sha256:<hex>` over the file from its header to the end of its data; the index does not count."""
        state, at = hashlib.sha256(), 0
        while at < self._data_end:
            data = self._source.read_at(at, min(_DIGEST_READ_BYTES, self._data_end - at))
            if not data:
                raise DamagedCassette(
                    self.path, offset=at, reason="the file became shorter while it was read"
                )
            state.update(data)
            at += len(data)
        return f"sha256:{state.hexdigest()}"

    def check(self) -> CheckReport:
        """Read every frame and every record, and compare with the index.

        Raises:
            DamagedCassette: where the file is not what the format says.
        """
        found = scan(self._source, self._data_end)
        if found.torn_at is not None:
            raise DamagedCassette(
                self.path, offset=found.torn_at, reason="data that cannot be read before the index"
            )
        found.index.settle()
        trailer = read_trailer(self._source)
        try:
            unknown = 0
            end = self._source.size if trailer else self._data_end
            for _, type_, _ in iter_frames(self._source, HEADER_BYTES, end):
                unknown += type_ not in _KNOWN_FRAMES
            if trailer:
                _compare(read_index(self._source, *trailer), found.index)
        except BadRecord as error:
            raise DamagedCassette(
                self.path, offset=self._data_end, reason=f"{error}; the data before it is whole"
            ) from None
        except BadFrame as bad:
            raise DamagedCassette(
                self.path,
                offset=bad.offset,
                reason=f"{bad.reason}; the data before byte {self._data_end} is whole",
            ) from None
        unfinished, chunks, response_bytes = [], 0, 0
        for at in range(found.index.exchanges.count):
            summary = summary_of(at + 1, found.index.exchanges.get(at))
            chunks += summary.chunks
            response_bytes += summary.response_bytes
            if summary.ending is Ending.UNFINISHED:
                unfinished.append(at + 1)
        return CheckReport(
            exchanges=found.index.exchanges.count,
            unfinished=tuple(unfinished),
            chunks=chunks,
            response_bytes=response_bytes,
            finished=self.finished,
            torn_at=self.torn_at,
            unknown_frames=unknown,
        )

    def _row(self, number: int) -> Row:
        if not isinstance(number, int) or not 1 <= number <= self._index.exchanges.count:
            raise NoSuchExchange(self.path, number=number, count=self._index.exchanges.count)
        try:
            return self._index.exchanges.get(number - 1)
        except (BadRecord, BadFrame):
            self._rescan()
            return self._index.exchanges.get(number - 1)

    def _rescan(self) -> None:
        """Replace an index of which a part turned out to be bad: what it said is in the data."""
        found = scan(self._source, self._data_end)
        found.index.settle()
        if found.index.exchanges.count != self._index.exchanges.count:
            raise DamagedCassette(
                self.path, offset=self._data_end, reason="the index does not list what the file holds"
            )
        self._index = found.index
        self._held.clear()

    def _segments_of(self, number: int, since_ns: int | None = None) -> Iterator[int]:
        """The segments of an exchange; those from the last on that begins before `since_ns`."""
        row = self._row(number)
        try:
            runs = segments_of(row)
        except BadRecord as error:
            raise DamagedCassette(self.path, offset=self._data_end, reason=f"in the index: {error}") from None
        if since_ns is not None and runs:
            del runs[: max(0, bisect_left(runs, since_ns, key=lambda run: self._begins_ns(run[0])) - 1)]
            runs[0] = runs[0][max(0, bisect_left(runs[0], since_ns, key=self._begins_ns) - 1) :]
        for run in runs:
            yield from run

    def _begins_ns(self, segment: int) -> int:
        return self._segment_row(segment).first_ns

    def _segment(self, at: int, *, hold: bool = True) -> tuple[list[RawRecord], list[int]]:
        held = self._held.get(at)
        if held is not None:
            self._held.move_to_end(at)
            return held
        row = self._segment_row(at)
        segment: Segment | None = None
        try:
            for offset, type_, payloads, _ in iter_runs(self._source, row.offset, row.offset + row.size):
                if type_ == _BLOCK and segment is not None:
                    segment.blocks += payloads
                elif type_ == FrameType.SEGMENT and segment is None:
                    segment = Segment(row.offset, row.offset)
                    if recording_of(self.path, offset, payloads[0]) != row.recording:
                        raise BadFrame(row.offset, "the segment is of another recording than the index says")
                elif segment is None or type_ == FrameType.SEGMENT:
                    raise BadFrame(offset, "no segment stands where the index says")
        except BadFrame as bad:
            raise DamagedCassette(self.path, offset=bad.offset, reason=bad.reason) from None
        if segment is None:
            raise DamagedCassette(
                self.path, offset=row.offset, reason="no segment stands where the index says"
            )
        records, times, raw_bytes = decode_segment(
            self.path, segment, self._decompressor, expect_bytes=row.raw_bytes
        )
        if raw_bytes != row.raw_bytes or len(records) != row.records:
            raise DamagedCassette(
                self.path,
                offset=row.offset,
                reason="the segment there is not the one that the index describes",
            )
        if hold:
            while len(self._held) >= _SEGMENTS_HELD:
                self._held.popitem(last=False)
            self._held[at] = (records, times)
        return records, times

    def _segment_row(self, at: int) -> SegmentRow:
        if not 0 <= at < self._index.segments.count:
            raise DamagedCassette(
                self.path,
                offset=self._data_end,
                reason=f"the index names a segment {at} that it does not list",
            )
        try:
            row = SegmentRow(*self._index.segments.get(at)[:6])
            before = SegmentRow(*self._index.segments.get(at - 1)[:6]) if at else None
            if before is not None and before.offset + before.size > row.offset:
                # Else a small file could make a reader decompress one segment a million times.
                raise BadRecord("two segments of the index overlap")
        except (BadRecord, BadFrame):
            self._rescan()
            return self._segment_row(at)
        if row.offset < HEADER_BYTES or row.offset + row.size > self._data_end:
            raise DamagedCassette(
                self.path, offset=self._data_end, reason="the index names a segment outside of the data"
            )
        return row

    def _decoded(self, segment: int, number: int | None = None, *, hold: bool = True) -> Iterator[Record]:
        """The records of a segment, or those of them that belong to exchange `number`."""
        records, times = self._segment(segment, hold=hold)
        if number is None and are_plain_chunks(records):
            return decode_plain_chunks(records, times)
        return self._decoded_one_by_one(segment, records, times, number)

    def _decoded_one_by_one(
        self, segment: int, records: list[RawRecord], times: list[int], number: int | None
    ) -> Iterator[Record]:
        recording = self._segment_row(segment).recording
        new = tuple.__new__
        try:
            for record, at_ns in zip(records, times, strict=True):
                exchange = record[2]
                if number is not None and exchange != number:
                    continue
                if record[0] == _CHUNK and len(record) == 4 and type(record[3]) is bytes:
                    # By far the most records: `decode` takes five times as long.
                    yield new(Record, (exchange, at_ns, new(Chunk, (at_ns, record[3], False)), ()))
                else:
                    yield decode(record, at_ns, recording=recording)
        except BadRecord as error:
            raise self._damaged(segment, str(error)) from None

    def _records_of(self, number: int) -> Iterator[Record]:
        for segment in self._segments_of(number):
            yield from self._decoded(segment, number)

    def _damaged(self, segment: int, reason: str) -> DamagedCassette:
        return DamagedCassette(
            self.path, offset=self._segment_row(segment).offset, reason=f"in the segment there: {reason}"
        )

    def _found(self, number: int, request: Request | None) -> Request:
        if request is None:
            raise DamagedCassette(
                self.path, offset=self._data_end, reason=f"the index places exchange {number} where it is not"
            )
        return request


def _with_late_masks(request: Request, end: End | None) -> Request:
    """The request with what its end record says was masked in bodies and responses."""
    if end is None or not end.redacted:
        return request
    return replace(request, redacted=tuple(dict.fromkeys((*request.redacted, *end.redacted))))


def _compare(stored: IndexBuilder, found: IndexBuilder) -> None:
    """Accept a stored index that says what a scan found; raises `BadRecord` or `BadFrame`."""
    if stored.recordings != found.recordings:
        raise BadRecord("the index does not list the recordings of the file")
    for name, ours, theirs in (
        ("exchange", stored.exchanges, found.exchanges),
        ("segment", stored.segments, found.segments),
    ):
        if ours.count != theirs.count:
            raise BadRecord(f"the index lists {ours.count} {name}s, the file holds {theirs.count}")
        for at in range(theirs.count):
            row = theirs.get(at)
            if ours.get(at)[: len(row)] != row:
                raise BadRecord(f"the index is wrong about {name} {at + 1}")


class _Summaries(Sequence[ExchangeSummary]):
    """The exchanges of a cassette as a sequence that holds nothing."""

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette

    def __len__(self) -> int:
        return self._cassette._index.exchanges.count

    @overload
    def __getitem__(self, at: int) -> ExchangeSummary: ...
    @overload
    def __getitem__(self, at: slice) -> list[ExchangeSummary]: ...
    def __getitem__(self, at: int | slice) -> ExchangeSummary | list[ExchangeSummary]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        index = range(len(self))[at]
        return summary_of(index + 1, self._cassette._row(index + 1))
