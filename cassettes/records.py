"""The records inside a segment: what each type holds, and its msgpack form.

Knows nothing of files, frames or compression. One rule: what this version does not know (types, map keys, items
behind the known ones, flag bits) is carried along, so that a rewrite keeps it.
FORMAT.md, section "Records", has one table per type; `_CODECS` below is the same in code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate, islice, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

from graphtape.cassettes.limits import (
    MAX_ARRAY_ITEMS,
    MAX_MAP_KEYS,
    MAX_RECORD_BYTES,
    MAX_SEGMENT_BYTES,
    MAX_SEGMENT_RECORDS,
    MAX_STATUS,
    MAX_TIME_NS,
)
from graphtape.cassettes.model import Asked, Chunk, Ending, Headers, Recording, Request, Response

RawRecord = tuple[Any, ...]
"""A record as msgpack gives it: `(type, dt_ns, exchange, ...)`."""

DELAYED: Final = 1
"""Flag of a chunk: the recorder read it late."""


class RecordType(IntEnum):
    """The first item of a record."""

    RECORDING = 1
    REQUEST = 2
    REQUEST_BODY = 3
    REQUEST_END = 4
    RESPONSE = 5
    CHUNK = 6
    END = 7
    ASKED = 8
    """The client's own request beside a widened one."""
    MASK = 9
    """Reserved: what was masked after it had been written."""


_CHUNK: Final = int(RecordType.CHUNK)


class BadRecord(Exception):
    """Bytes or values that are not what the format says."""


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One read of a request body."""

    at_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """The request body is whole."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class End:
    """How the exchange ended."""

    at_ns: int
    ending: Ending
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def redacted(self) -> tuple[str, ...]:
        """What was masked behind the request's head, in the words of `Request.redacted`; nonsense reads as nothing."""
        found = self.extra.get("redacted")
        return (
            tuple(item for item in found if isinstance(item, str)) if isinstance(found, list | tuple) else ()
        )


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record of a type that this version does not know; kept on rewrite."""

    at_ns: int
    type: int
    fields: tuple[Any, ...]


Content = Recording | Request | BodyPart | RequestEnd | Response | Chunk | End | Asked | Unknown


class Record(NamedTuple):
    """One record with its meaning.

    `exchange` is 0 for what belongs to no exchange. `rest` are items behind the known ones; for a chunk it starts
    with the flags this version does not know.
    """

    exchange: int
    at_ns: int
    content: Content
    rest: tuple[Any, ...] = ()


def new_packer(*, autoreset: bool = True) -> msgpack.Packer:
    """A packer of records; without `autoreset` it keeps what it packed, until it is reset or fails."""
    return msgpack.Packer(unicode_errors="surrogateescape", autoreset=autoreset)


def unpack_all(raw: bytes | memoryview, *, limit_records: int = MAX_SEGMENT_RECORDS) -> list[Any]:
    """Every msgpack value of `raw`, which holds whole ones only.

    Raises:
        BadRecord: not msgpack, too large, too deep, too many, or cut short.
    """
    unpacker = msgpack.Unpacker(
        None,
        use_list=False,
        strict_map_key=True,
        unicode_errors="surrogateescape",
        max_buffer_size=MAX_SEGMENT_BYTES,
        max_str_len=MAX_RECORD_BYTES,
        max_bin_len=MAX_RECORD_BYTES,
        max_array_len=MAX_ARRAY_ITEMS,
        max_map_len=MAX_MAP_KEYS,
        max_ext_len=MAX_RECORD_BYTES,
    )
    try:
        unpacker.feed(raw)
        values = list(islice(unpacker, limit_records + 1))
        if len(values) > limit_records:
            raise BadRecord(f"more than {limit_records} records in one segment")
        if unpacker.tell() != len(raw):
            raise BadRecord("the last record is cut short")
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise BadRecord(f"not a msgpack record ({error})") from None
    return values


_type_of, _dt_of, _exchange_of, _data_of = itemgetter(0), itemgetter(1), itemgetter(2), itemgetter(3)


def unpack_segment(raw: bytes | memoryview, *, start_ns: int = 0) -> tuple[list[RawRecord], list[int]]:
    """The records of a decompressed segment and the time of each.

    Every record is a tuple that starts with three integers; nothing more is promised.

    Args:
        raw: whole records.
        start_ns: time of the record before them in the segment; 0 at its start.

    Raises:
        BadRecord: not records, or times out of range.
    """
    records = unpack_all(raw)
    if not records:
        return records, []
    # Checked by columns, in C: a loop over the records would take as long as unpacking them. A sum is an int only
    # if every item is one.
    try:
        shaped = set(map(type, records)) == {tuple} and all(
            type(sum(map(item, records))) is int for item in (_type_of, _dt_of, _exchange_of)
        )
    except (IndexError, TypeError):
        shaped = False
    if not shaped:
        raise BadRecord("a record that does not start with type, time and exchange")
    times = list(accumulate(map(_dt_of, records), initial=start_ns))
    del times[0]
    if min(times) < 0 or max(times) > MAX_TIME_NS:
        raise BadRecord("a time that is out of range")
    return records, times


def are_plain_chunks(records: Sequence[RawRecord]) -> bool:
    """Whether all are chunk records without flags: so are most segments, and they are read by columns, in C."""
    return (
        set(map(_type_of, records)) == {_CHUNK}
        and set(map(len, records)) == {4}
        and set(map(type, map(_data_of, records))) == {bytes}
    )


def decode_plain_chunks(records: Sequence[RawRecord], times: Sequence[int]) -> Iterator[Record]:
    """As `decode` of each, for what `are_plain_chunks`: a seventh of the time, because no Python runs per record."""
    new = tuple.__new__  # a named tuple's own constructor is Python
    chunks = map(new, repeat(Chunk), zip(times, map(_data_of, records), repeat(False), strict=False))
    return map(new, repeat(Record), zip(map(_exchange_of, records), times, chunks, repeat(()), strict=False))


def _expect(value: object, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise BadRecord(f"{what} is not of type {kind.__name__}")
    return value


def _head(record: RawRecord, what: str) -> dict[str, Any]:
    if len(record) < 4:
        raise BadRecord(f"a {what} record without its map")
    head: dict[str, Any] = dict(_expect(record[3], dict, f"the map of a {what} record"))
    for key in head:
        _expect(key, str, f"a key of a {what} record")
    return head


def _headers(value: object, what: str) -> Headers:
    pairs = _expect(value, tuple, f"the headers of a {what}")
    for pair in pairs:
        if (
            type(pair) is not tuple
            or len(pair) != 2
            or type(pair[0]) is not bytes
            or type(pair[1]) is not bytes
        ):
            raise BadRecord(f"the headers of a {what} are not pairs of bytes")
    headers: Headers = pairs
    return headers


def _data(record: RawRecord, what: str) -> bytes:
    if len(record) < 4 or type(record[3]) is not bytes:
        raise BadRecord(f"a {what} record without its bytes")
    data: bytes = record[3]
    return data


def _texts(value: object, what: str) -> tuple[str, ...]:
    items = _expect(value, tuple, what)
    for item in items:
        _expect(item, str, f"an item of {what}")
    texts: tuple[str, ...] = items
    return texts


def _decode_recording(record: RawRecord, at_ns: int, number: int) -> Recording:
    head = _head(record, "recording")
    return Recording(
        number=number,
        started_unix_ns=_expect(head.pop("started_unix_ns", None), int, "started_unix_ns of a recording"),
        upstream=_expect(head.pop("upstream", ""), str, "upstream of a recording"),
        program=_expect(head.pop("program", ""), str, "program of a recording"),
        extra=head,
    )


def _encode_recording(content: Recording) -> tuple[Any, ...]:
    return (
        {
            "started_unix_ns": content.started_unix_ns,
            "upstream": content.upstream,
            "program": content.program,
            **content.extra,
        },
    )


def _decode_request(record: RawRecord, at_ns: int, number: int) -> Request:
    head = _head(record, "request")
    return Request(
        at_ns=at_ns,
        method=_expect(head.pop("method", None), str, "method of a request"),
        target=_expect(head.pop("target", None), str, "target of a request"),
        headers=_headers(head.pop("headers", ()), "request"),
        http_version=_expect(head.pop("http", "1.1"), str, "http of a request"),
        redacted=_texts(head.pop("redacted", ()), "redacted of a request"),
        extra=head,
    )


def _encode_request(content: Request) -> tuple[Any, ...]:
    head: dict[str, Any] = {"method": content.method, "target": content.target, "headers": content.headers}
    if content.http_version != "1.1":
        head["http"] = content.http_version
    if content.redacted:
        head["redacted"] = content.redacted
    head.update(content.extra)
    return (head,)


def _decode_response(record: RawRecord, at_ns: int, number: int) -> Response:
    head = _head(record, "response")
    status = _expect(head.pop("status", None), int, "status of a response")
    if not 0 <= status <= MAX_STATUS:
        raise BadRecord(f"there is no HTTP status {status}")
    return Response(
        at_ns=at_ns,
        status=status,
        reason=_expect(head.pop("reason", ""), str, "reason of a response"),
        headers=_headers(head.pop("headers", ()), "response"),
        extra=head,
    )


def _encode_response(content: Response) -> tuple[Any, ...]:
    head = {"status": content.status, "reason": content.reason, "headers": content.headers, **content.extra}
    return (head,)


def _decode_body_part(record: RawRecord, at_ns: int, number: int) -> BodyPart:
    return BodyPart(at_ns, _data(record, "request-body"))


def _encode_body_part(content: BodyPart) -> tuple[Any, ...]:
    return (content.data,)


def _decode_request_end(record: RawRecord, at_ns: int, number: int) -> RequestEnd:
    return RequestEnd(at_ns)


def _encode_request_end(content: RequestEnd) -> tuple[Any, ...]:
    return ()


def chunk_flags(record: RawRecord) -> int:
    """The flags of a chunk record; raises `BadRecord`."""
    if len(record) < 5:
        return 0
    flags: int = _expect(record[4], int, "flags of a chunk")
    return flags


def _decode_chunk(record: RawRecord, at_ns: int, number: int) -> Chunk:
    return Chunk(at_ns, _data(record, "chunk"), delayed=bool(chunk_flags(record) & DELAYED))


def _encode_chunk(content: Chunk) -> tuple[Any, ...]:
    return (content.data, DELAYED) if content.delayed else (content.data,)


def _decode_end(record: RawRecord, at_ns: int, number: int) -> End:
    head = _head(record, "end")
    ending = _expect(head.pop("ending", None), str, "ending of an end record")
    try:
        known = Ending(ending)
    except ValueError:
        # A later version may name endings that this one does not know: say so instead of refusing the file.
        known = Ending.UNFINISHED
        head["ending"] = ending
    return End(at_ns, known, _expect(head.pop("detail", ""), str, "detail of an end record"), head)


def _encode_end(content: End) -> tuple[Any, ...]:
    head: dict[str, Any] = {"ending": content.ending.value}
    if content.detail:
        head["detail"] = content.detail
    head.update(content.extra)
    return (head,)


def _decode_asked(record: RawRecord, at_ns: int, number: int) -> Asked:
    head = _head(record, "asked")
    body = dict(_expect(head.pop("body", {}), dict, "body of an asked record"))
    for name, value in body.items():
        _expect(name, str, "a name in the body of an asked record")
        if value is not None:
            _expect(value, bytes, "a value in the body of an asked record")
    target = head.pop("target", None)
    return Asked(
        at_ns=at_ns,
        body=body,
        headers=_headers(head.pop("headers", ()), "asked record"),
        target=None if target is None else _expect(target, str, "target of an asked record"),
        extra=head,
    )


def _encode_asked(content: Asked) -> tuple[Any, ...]:
    head: dict[str, Any] = {}
    if content.body:
        head["body"] = dict(content.body)
    if content.headers:
        head["headers"] = content.headers
    if content.target is not None:
        head["target"] = content.target
    return ({**head, **content.extra},)


class _Codec(NamedTuple):
    content: type
    known_items: int
    decode: Callable[[RawRecord, int, int], Content]
    encode: Callable[[Any], tuple[Any, ...]]


_CODECS: Final[Mapping[int, _Codec]] = {
    RecordType.RECORDING: _Codec(Recording, 4, _decode_recording, _encode_recording),
    RecordType.REQUEST: _Codec(Request, 4, _decode_request, _encode_request),
    RecordType.REQUEST_BODY: _Codec(BodyPart, 4, _decode_body_part, _encode_body_part),
    RecordType.REQUEST_END: _Codec(RequestEnd, 3, _decode_request_end, _encode_request_end),
    RecordType.RESPONSE: _Codec(Response, 4, _decode_response, _encode_response),
    RecordType.CHUNK: _Codec(Chunk, 5, _decode_chunk, _encode_chunk),
    RecordType.END: _Codec(End, 4, _decode_end, _encode_end),
    RecordType.ASKED: _Codec(Asked, 4, _decode_asked, _encode_asked),
}
_TYPE_OF: Final[Mapping[type, int]] = {codec.content: int(type_) for type_, codec in _CODECS.items()}


def decode(record: RawRecord, at_ns: int, *, recording: int) -> Record:
    """Give a raw record its meaning.

    Args:
        record: as `unpack_segment` returned it.
        at_ns: its time, from the same place.
        recording: the number of the recording it belongs to.

    Raises:
        BadRecord: a known type that does not hold what it must.
    """
    type_, exchange = record[0], record[2]
    codec = _CODECS.get(type_)
    if codec is None:
        return Record(exchange, at_ns, Unknown(at_ns, type_, record[3:]))
    rest = record[codec.known_items :]
    if type_ == _CHUNK:
        unknown_flags = chunk_flags(record) & ~DELAYED
        if unknown_flags or rest:
            rest = (unknown_flags, *rest)
    return Record(exchange, at_ns, codec.decode(record, at_ns, recording), rest)


def encode(record: Record) -> tuple[int, tuple[Any, ...]]:
    """The type of a record and its items behind the exchange number."""
    content = record.content
    if isinstance(content, Unknown):
        return content.type, content.fields
    type_ = _TYPE_OF[type(content)]
    items = _CODECS[type_].encode(content)
    if type_ == _CHUNK and record.rest:
        assert isinstance(content, Chunk)
        return type_, (content.data, record.rest[0] | (DELAYED if content.delayed else 0), *record.rest[1:])
    return type_, items + record.rest
