"""Tests of `graphtape.cassettes.records`: the msgpack form of each record, and what is refused."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes import Chunk, Ending, Recording, Request, Response
from graphtape.cassettes.limits import MAX_ARRAY_ITEMS, MAX_RECORD_BYTES, MAX_SEGMENT_RECORDS, MAX_TIME_NS
from graphtape.cassettes.model import Asked
from graphtape.cassettes.records import (
    BadRecord,
    BodyPart,
    End,
    Record,
    RequestEnd,
    Unknown,
    are_plain_chunks,
    decode,
    decode_plain_chunks,
    encode,
    new_packer,
    unpack_all,
    unpack_segment,
)

HEADERS = ((b"A", b"1"), (b"a", b"\xff"))

RECORDS = [
    Record(0, 0, Recording(1, 123, "http://u", "p")),
    Record(0, 0, Recording(1, 123, "http://u", "p", {"host": "h"})),
    Record(1, 5, Request(5, "GET", "/p?q", HEADERS)),
    Record(1, 5, Request(5, "GET", "/caf\udce9", HEADERS, "1.0", ("header a",), {"new": [1]}), ("more",)),
    Record(1, 5, BodyPart(5, b"body")),
    Record(1, 5, BodyPart(5, b""), (1, 2)),
    Record(1, 5, RequestEnd(5)),
    Record(1, 5, RequestEnd(5), ({"k": 1},)),
    Record(1, 5, Response(5, 200, "OK", HEADERS)),
    Record(1, 5, Response(5, 999, "", (), {"trailers": b""})),
    Record(1, 5, Chunk(5, b"data")),
    Record(1, 5, Chunk(5, b"data", True)),
    Record(1, 5, Chunk(5, b"data", True), (64, "x")),
    Record(1, 5, Chunk(5, b"data"), (0, "x")),
    Record(1, 5, Chunk(5, b""), (2,)),
    Record(1, 5, End(5, Ending.COMPLETE)),
    Record(1, 5, End(5, Ending.UPSTREAM_BROKE, "why", {"later": None})),
    Record(1, 5, Asked(5)),
    Record(
        1, 5, Asked(5, {"stream_mode": b'"values"', "new": None}, HEADERS, "/p?q", {"later": 1}), ("more",)
    ),
    Record(7, 5, Unknown(5, 99, ("any", b"thing", 1.5, None))),
]


def pack(*values: object) -> bytes:
    return b"".join(new_packer().pack(value) for value in values)


def freeze(value: Any) -> Any:
    """As msgpack gives it back: arrays are tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        return {key: freeze(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record.content).__name__)
def test_round_trip(record: Record) -> None:
    """Every record comes back as it was, with what is unknown in it."""
    type_, items = encode(record)
    raws, times = unpack_segment(pack((type_, record.at_ns, record.exchange, *items)))
    back = decode(raws[0], times[0], recording=1)
    assert encode(back) == (type_, freeze(items))
    assert (back.exchange, back.at_ns, type(back.content)) == (
        record.exchange,
        record.at_ns,
        type(record.content),
    )


def test_ending_of_a_later_version() -> None:
    """An ending that this version does not know reads as unfinished, and is kept."""
    record = decode((7, 0, 1, {"ending": "struck-by-lightning"}), 0, recording=1)
    assert isinstance(record.content, End)
    assert record.content.ending is Ending.UNFINISHED
    assert encode(record)[1] == ({"ending": "struck-by-lightning"},)


def test_times_are_sums() -> None:
    """The time of a record is the sum of the differences up to it."""
    _, times = unpack_segment(pack((6, 100, 1, b""), (6, 5, 1, b""), (99, -50, 0), (6, 0, 1, b"")))
    assert times == [100, 105, 55, 55]


BAD_SEGMENTS: dict[str, bytes] = {
    "cut": pack((6, 0, 1, b"data"))[:-1],
    "not msgpack": b"\xc1",
    "not an array": pack(7),
    "a byte string": pack(b"\x06\x00\x01"),
    "empty array": pack(()),
    "two items": pack((6, 0)),
    "time is text": pack((6, "0", 1)),
    "time is a float": pack((6, 0.5, 1), (6, 0, 1)),
    "type is a float": pack((6.0, 0, 1)),
    "exchange is null": pack((6, 0, None)),
    "exchange is a float": pack((6, 0, 1.0)),
    "time below zero": pack((6, 5, 1), (6, -6, 1), (6, 100, 1)),
    "time too late": pack((6, MAX_TIME_NS, 1), (6, 1, 1)),
    "deep": b"\x91" * 100_000 + b"\x00",
    "huge array": b"\xdd\xff\xff\xff\xff",
    "array above the limit": b"\xdc" + (MAX_ARRAY_ITEMS + 1).to_bytes(2, "big") + bytes(MAX_ARRAY_ITEMS + 1),
    "huge map": b"\xdf\xff\xff\xff\xff",
    "long bytes": b"\xc6" + (MAX_RECORD_BYTES + 1).to_bytes(4, "big") + bytes(MAX_RECORD_BYTES + 1),
    "key that cannot be hashed": pack((6, 0, 1)) + b"\x81\x90\x00",
    "bad timestamp": b"\xd6\xff" + b"\xff" * 2,
    "many": b"\x93\x06\x00\x01" * (MAX_SEGMENT_RECORDS + 1),
}


@pytest.mark.parametrize("raw", BAD_SEGMENTS.values(), ids=BAD_SEGMENTS)
def test_bad_segment(raw: bytes) -> None:
    """What is no sequence of records within the limits is our error."""
    with pytest.raises(BadRecord):
        unpack_segment(raw)


BAD_RECORDS: list[tuple[Any, ...]] = [
    (1, 0, 0),
    (1, 0, 0, {}),
    (1, 0, 0, {"started_unix_ns": "now"}),
    (1, 0, 0, {"started_unix_ns": 1, "upstream": 1}),
    (2, 0, 1, {"method": "GET"}),
    (2, 0, 1, {"method": "GET", "target": b"/"}),
    (2, 0, 1, {"method": "GET", "target": "/", "headers": {}}),
    (2, 0, 1, {"method": "GET", "target": "/", "headers": ((b"a",),)}),
    (2, 0, 1, {"method": "GET", "target": "/", "headers": ((b"a", "b"),)}),
    (2, 0, 1, {"method": "GET", "target": "/", "http": 2}),
    (2, 0, 1, {"method": "GET", "target": "/", "redacted": (1,)}),
    (2, 0, 1, {b"method": "GET"}),
    (2, 0, 1, ()),
    (3, 0, 1),
    (3, 0, 1, "text"),
    (5, 0, 1, {"status": True}),
    (5, 0, 1, {"status": 1000}),
    (5, 0, 1, {"status": -1}),
    (5, 0, 1, {"status": 200, "reason": None}),
    (6, 0, 1),
    (6, 0, 1, "text"),
    (6, 0, 1, b"", "flag"),
    (7, 0, 1),
    (7, 0, 1, {"ending": 1}),
    (7, 0, 1, {"ending": "complete", "detail": 1}),
    (8, 0, 1),
    (8, 0, 1, {"body": b"{}"}),
    (8, 0, 1, {"body": {b"stream_mode": b"1"}}),
    (8, 0, 1, {"body": {"stream_mode": "values"}}),
    (8, 0, 1, {"headers": {}}),
    (8, 0, 1, {"target": b"/"}),
]


@pytest.mark.parametrize("record", BAD_RECORDS, ids=repr)
def test_bad_record(record: tuple[Any, ...]) -> None:
    """A known type that does not hold what it must is our error."""
    with pytest.raises(BadRecord):
        decode(record, 0, recording=1)


def test_one_value_more_than_asked() -> None:
    """The caller's count is a limit."""
    assert unpack_all(b"\x01\x02", limit_records=2) == [1, 2]
    with pytest.raises(BadRecord, match="more than 1"):
        unpack_all(b"\x01\x02", limit_records=1)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(raw: bytes) -> None:
    """Any bytes are records, or our error."""
    try:
        records, times = unpack_segment(raw)
        for record, at_ns in zip(records, times, strict=True):
            decode(record, at_ns, recording=1)
    except BadRecord:
        pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(0, 9)), st.lists(VALUES, max_size=3))
def test_arbitrary_records(head: tuple[int, int, int], items: list[Any]) -> None:
    """Any record is read or our error; read, it packs to what it was."""
    raws, times = unpack_segment(pack((*head, *items)))
    try:
        record = decode(raws[0], times[0], recording=1)
    except BadRecord:
        return
    type_, again = encode(record)
    assert type_ == head[0]
    assert decode((type_, head[1], head[2], *freeze(again)), times[0], recording=1) == record


def test_extension_types() -> None:
    """msgpack's own extension types inside an unknown record are kept."""
    value = msgpack.ExtType(5, b"ext")
    (raw,), _ = unpack_segment(pack((99, 0, 0, value)))
    assert encode(decode(raw, 0, recording=1)) == (99, (value,))


@pytest.mark.parametrize(
    "other",
    [(6, 0, 1, b"x", 0), (6, 0, 1, "x"), (6, 0, 1), (3, 0, 1, b"x"), (99, 0, 1, b"x")],
    ids=["flags", "no bytes", "short", "request body", "unknown"],
)
def test_plain_chunks(other: tuple[Any, ...]) -> None:
    """Chunks without flags are decoded at once as one by one; anything else among them is seen."""
    records, times = unpack_segment(pack((6, 5, 1, b"one"), (6, 2, 3, b"")))
    assert are_plain_chunks(records)
    one_by_one = [decode(record, at_ns, recording=1) for record, at_ns in zip(records, times, strict=True)]
    assert list(decode_plain_chunks(records, times)) == one_by_one
    assert type(one_by_one[0].content) is Chunk
    assert not are_plain_chunks([*records, other])
