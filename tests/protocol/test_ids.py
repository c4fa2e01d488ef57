"""Ids: found by their field, derived, replaced in bytes."""

from __future__ import annotations

import re
import uuid
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.protocol.ids import (
    IdMap,
    canonical_uuid,
    derive,
    format_event_id,
    harvest,
    harvest_events,
    is_made_next,
    is_uuid,
    may_hold_ids,
    parse_event_id,
    places_of_ids,
    strictly_rising,
    uuid_unix_ms,
    uuid_unix_us,
)

A, B, C, D = (f"019f0000-0000-7000-8000-00000000000{digit}" for digit in "abcd")
HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, True),
        (A.upper(), True),
        (A[:-1], False),
        (f"{A}0", False),
        (HEX, False),
        ("", False),
        (f" {A}", False),
    ],
)
def test_uuid(text: str, expected: bool) -> None:
    """A UUID is 36 characters with dashes, in either case."""
    assert is_uuid(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (A, A),
        (A.upper(), A),
        (A.replace("-", ""), A),
        (f"{{{A}}}", A),
        (f"urn:uuid:{A}", A),
        (f"01-{A.replace('-', '')[2:]}", A),
        (f" {A}", None),
        (A[:-1], None),
        ("", None),
    ],
)
def test_spellings_of_a_uuid(text: str, expected: str | None) -> None:
    """The server takes every spelling that Python takes, and knows one."""
    assert canonical_uuid(text) == expected


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("01a22221-90d6-7168-aa04-4c0fed999454", True),
        ("01a22221-90d6-7168-aa04-4c10ed999454", False),
        ("01a22221-90d6-7168-aa04-4c0eed999454", False),
        ("01a22221-90d7-7168-aa04-4c0fed999454", False),
        ("01a22221-90d6-6168-aa04-4c0fed999454", False),
        ("nonsense", False),
    ],
)
def test_ids_made_one_after_the_other(other: str, expected: bool) -> None:
    """The counter of a UUID of version 7 goes up by one within its millisecond (as seen of the server)."""
    assert is_made_next("01a22221-90d6-7168-aa04-4c0e337c34ac", other) is expected


def test_the_counter_has_two_parts() -> None:
    """The version and the variant stand in between."""
    assert is_made_next("01a22221-90d6-7168-bfff-ffff337c34ac", "01a22221-90d6-7169-8000-0000ed999454")


def test_time_inside_a_uuid() -> None:
    """Versions 6 and 7 hold their time; others do not (RFC 9562, sections 5.6 and 5.7)."""
    assert uuid_unix_ms("017f22e2-79b0-7cc3-98c4-dc0c0c07398f") == 1645557742000
    assert uuid_unix_us("1ec9414c-232a-6b00-b3c8-9e6bdeced846") == 1645557742000000
    assert uuid_unix_ms("c232ab00-9414-11ec-b3c8-9e6bdeced846") is None
    assert uuid_unix_ms("nonsense") is None


@pytest.mark.parametrize(
    "identifier", [A, str(uuid.uuid5(uuid.NAMESPACE_DNS, "x")), HEX, "chatcmpl-abcdefghijkl"]
)
def test_derived_ids(identifier: str) -> None:
    """A derived id has the shape of its origin, is the same for the same salt, and another for another."""
    assert derive(identifier, 0, 0) == identifier
    made = {derive(identifier, scope, again) for scope in range(1, 20) for again in range(3)}
    assert len(made) == 57
    assert identifier not in made
    assert {len(one) for one in made} == {len(identifier)}
    assert derive(identifier, 1, 0) == derive(identifier, 1, 0)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.uuids(version=4), st.integers(1, 1000))
def test_derived_uuids_keep_version_variant_and_order(origin: uuid.UUID, salt: int) -> None:
    """Version, variant and the first half of a UUID stay, so that time and order stay."""
    made = derive(str(origin), salt)
    assert made[:18] == str(origin)[:18]
    assert uuid.UUID(made).variant == origin.variant
    assert made != str(origin)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"run_id": A, "thread_id": B, "text": C}, {A, B}),
        ({"run_id": "not one"}, set()),
        ({"langgraph_checkpoint_ns": f"node:{A}|inner:{B}"}, {A, B}),
        ({"checkpoint_map": {f"sub:{A}": B, "": C}}, {A, B, C}),
        ({"parents": {"": A}}, {A}),
        ({"parent_ids": [A, "x"]}, {A}),
        ({"interrupts": {A: [{"id": HEX, "value": 1}]}}, {A, HEX}),
        ({"type": "ai", "id": f"lc_run--{A}-0"}, {A}),
        ({"type": "human", "id": "mine"}, set()),
        ({"type": "ai", "id": "chatcmpl-abcdefghijkl"}, {"chatcmpl-abcdefghijkl"}),
        ({"id": A, "name": "node", "triggers": []}, {A}),
        ({"id": A, "name": "a product"}, set()),
        ({"id": A, "value": 1}, set()),
        ([[{"deep": {"run_id": A}}]], {A}),
        ({"assistant_id": A}, set()),
    ],
)
def test_harvest(value: Any, found: set[str]) -> None:
    """Ids are found by their field, never by their looks alone: a UUID of the app's own data is not among them."""
    assert harvest(value) == found


def test_harvest_of_events() -> None:
    """Event names hold ids, and the keys of `messages/metadata`; data that is no JSON holds none."""
    events = [(f"values|sub:{A}", b"{"), ("messages/metadata", b'{"lc_run--%s":{}}' % B.encode())]
    assert harvest_events(events) == {A, B}


def test_very_deep_bodies() -> None:
    """A body nested deeper than anything sensible is no reason to fail."""
    value: Any = {"run_id": A}
    for _ in range(5000):
        value = [value]
    assert harvest(value) == set()


@pytest.mark.parametrize(
    ("data", "holds"),
    [
        (b'{"text":"x","n":12345678}', False),
        (b'{"id":"short"}', False),
        (b'{"other":"chatcmpl-abcdefghijkl"}', False),
        (f'{{"run_id":"{A}"}}'.encode(), True),
        (f'{{"run_id":"{A.upper()}"}}'.encode(), True),
        (f'{{"value":1,"id":"{HEX}"}}'.encode(), True),
        (b'{"type":"ai","id":"chatcmpl-abcdefghijkl"}', True),
        (b'event: messages/metadata\r\ndata: {"run-abcdefghijklmnop":{}}', True),
        (b'{"type":"ai","\\u0069d":"chatcmpl-abcdefghijkl"}', True),
    ],
)
def test_where_looking_for_ids_is_worth_it(data: bytes, holds: bool) -> None:
    """Bytes without the shape of an id need not be parsed."""
    assert may_hold_ids(data) is holds


_REPLACED = re.compile(
    rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![0-9a-f-])[0-9a-f]{32}(?![0-9a-f-])"
)
_PIECES = [A.encode(), HEX.encode(), b"-", b" ", b"F", b"12345678", b"abcd-", b"z", b"0" * 31, b"f" * 33]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join))
def test_places(data: bytes) -> None:
    """Ids are found by their shape exactly where a map replaces them."""
    assert sorted(places_of_ids(data)) == [found.span() for found in _REPLACED.finditer(data)]


@pytest.mark.parametrize(
    ("pairs", "in_place"),
    [
        ({A: B}, True),
        ({HEX: HEX[::-1]}, True),
        ({A: "mine"}, False),
        ({"message-1": "message-2"}, False),
        ({}, True),
    ],
)
def test_replacement_in_place(pairs: dict[str, str], in_place: bool) -> None:
    """Only ids that may stand anywhere, and for each one of the same length."""
    assert (IdMap(pairs).in_place is not None) is in_place


def test_replacement_in_bytes() -> None:
    """UUIDs and 32-digit ids are replaced wherever they stand, in data, names and paths; all else stays."""
    ids = IdMap({A: B, HEX: HEX[::-1], C: C})
    assert ids.apply(b"x|" + A.encode() + b'|"' + HEX.encode() + b'" ' + C.encode()) == (
        b"x|" + B.encode() + b'|"' + HEX[::-1].encode() + b'" ' + C.encode()
    )
    assert ids.apply_text(f"/threads/{A}/runs") == f"/threads/{B}/runs"
    untouched = b"nothing here"
    assert ids.apply(untouched) is untouched


def test_replacement_is_no_chain() -> None:
    """Each id is replaced once, also where new ids are old ids of others."""
    assert IdMap({A: B, B: A}).apply_text(f"{A} {B}") == f"{B} {A}"


def test_part_of_a_longer_number() -> None:
    """Thirty-two digits inside a longer number are no id."""
    assert IdMap({HEX: HEX[::-1]}).apply_text(f"f{HEX} {HEX}0") == f"f{HEX} {HEX}0"


def test_other_ids() -> None:
    """Ids of other shapes are replaced as whole JSON strings only, very short ones only in an `id` field."""
    ids = IdMap({"message-1": "mine", "m1": "mine"})
    data = b'{"id":"message-1","text":"message-1 is here","also":"message-1"} {"id":"m1","x":"m1"}'
    expected = b'{"id":"mine","text":"message-1 is here","also":"mine"} {"id":"mine","x":"m1"}'
    assert ids.apply(data) == expected


@pytest.mark.slow
@settings(max_examples=40)
@given(st.dictionaries(st.uuids(), st.uuids(), max_size=5), st.binary(max_size=50))
def test_there_and_back(pairs: dict[uuid.UUID, uuid.UUID], noise: bytes) -> None:
    """A map whose new ids are no old ids is undone by its inverse."""
    texts = {str(old): str(new) for old, new in pairs.items()}
    if len(set(texts.values())) < len(texts) or set(texts) & set(texts.values()):
        return
    ids = IdMap(texts)
    data = noise + b" " + b" ".join(old.encode() for old in texts)
    assert ids.inverse().apply(ids.apply(data)) == data


def test_merged() -> None:
    """Of two maps the later pairs win."""
    assert IdMap({A: B}).merged({A: C, D: B}).pairs == {A: C, D: B}
    assert not IdMap({A: A})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("5-0", (5, 0)),
        ("5", (5, 0)),
        ("5-12", (5, 12)),
        ("-1", None),
        ("-", None),
        ("", None),
        ("5-", None),
        ("٥-0", None),
    ],
)
def test_event_ids(text: str, parsed: Any) -> None:
    """An event id is milliseconds and a sequence number, in ASCII digits."""
    assert parse_event_id(text) == parsed


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3))))
def test_strictly_rising(event_ids: list[tuple[int, int]]) -> None:
    """Made unique, ids rise strictly, none falls below its own, and those that rose already stay."""
    rising = strictly_rising(event_ids)
    assert all(before < after for before, after in pairwise(rising))
    assert all(new >= old for old, new in zip(event_ids, rising, strict=True))
    if event_ids == sorted(set(event_ids)):
        assert rising == event_ids
    assert [parse_event_id(format_event_id(one)) for one in rising] == rising
