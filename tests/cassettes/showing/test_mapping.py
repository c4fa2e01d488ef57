"""Tests of `cassettes/showing/mapping.py`."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.showing.mapping import ABSENT, EventClock, IdMapping, mask, mask_value

A, B, C, D = (f"{digit * 8}-1111-7222-8333-{digit * 12}" for digit in "abcd")
HEX_A, HEX_B = "a" * 31 + "1", "b" * 31 + "2"


def paths(left: Any, right: Any, mapping: IdMapping | None = None) -> list[str]:
    return [found.path for found in (mapping or IdMapping()).values(left, right)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (A, B),
        (f"lc_run--{A}-0", f"lc_run--{B}-0"),
        (f"node:{A}|leaf:{C}", f"node:{B}|leaf:{D}"),
        (A.upper(), B),
        (HEX_A, HEX_B),
        ("2026-11-21T00:10:36.123456+00:00", "2027-01-01T01:02:03Z"),
        ("2026-11-21 00:10", "2027-01-01"),
        ("http://127.0.0.1:2024/x", "http://localhost:9/x"),
        ("event 1795220119715-0 sent", "event 1795220119999-3 sent"),
        ({"a": [A, {"b": A}]}, {"a": [B, {"b": B}]}),
        ({f"n:{A}": 1}, {f"n:{B}": 1}),
        ({"__request_start_time_ms__": 1}, {"__request_start_time_ms__": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
)
def test_values_that_differ_in_ids_and_times(left: Any, right: Any) -> None:
    """Ids in values, names and keys may be renamed, times and local addresses may be any."""
    assert paths(left, right) == []
    assert mask_value(left) == mask_value(right)


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        ("Hello", "World", "$"),
        (f"x{A}y", f"x{B}z", "$"),
        (A, HEX_A, "$"),
        (A, "2026-11-21", "$"),
        (A, f"{B} {C}", "$"),
        (1, 1.0, "$"),
        (1, True, "$"),
        (None, 0, "$"),
        ("", None, "$"),
        ({"a": {"b c": [1, 2]}}, {"a": {"b c": [1, 3]}}, "$.a['b c'][1]"),
        ([1], [1, 2], "$[1]"),
        ({"a": 1}, {}, "$.a"),
        ({}, {"a": 1}, "$.a"),
        ({f"n:{A}": 1}, {f"n:{B}": 2}, f"$['n:{A}']"),
    ],
)
def test_values_that_differ(left: Any, right: Any, path: str) -> None:
    """Everything else counts, and its place is told."""
    assert paths(left, right) == [path]


def test_one_id_that_stands_for_two() -> None:
    """An id keeps its counterpart everywhere, and the note says what it was."""
    mapping = IdMapping()
    assert paths({"x": A}, {"x": B}, mapping) == []
    (found,) = mapping.values({"y": A}, {"y": C})
    assert found.path == "$.y"
    assert found.note == f"{A} on the left was {B} on the right before, and is {C} here"


def test_two_ids_that_become_one() -> None:
    """The renaming holds in both directions: masking would not see this."""
    mapping = IdMapping()
    assert paths([A, C], [B, B], mapping) == ["$[1]"]


def test_the_same_id_on_both_sides_is_bound_too() -> None:
    """An installation's assistant id is the same everywhere, and not free for another."""
    assert paths([A, A], [A, B]) == ["$[1]"]


def test_keys_with_ids_follow_the_renaming() -> None:
    """Among several keys of one form the renaming decides, not the order."""
    mapping = IdMapping()
    assert paths([A, C], [B, D], mapping) == []
    assert paths({f"n:{A}": 1, f"n:{C}": 2}, {f"n:{D}": 2, f"n:{B}": 1}, mapping) == []


def test_absent_fields() -> None:
    """A field that one side lacks is absent there, which is not null."""
    (found,) = IdMapping().values({"a": None}, {})
    assert (found.left, found.right) == (None, ABSENT)


def test_mask_names_the_kinds() -> None:
    """A mask says what stood there."""
    assert mask(f"{A} {HEX_A} 2026-11-21T00:00:00Z 1795220119715-0") == "<uuid> <id> <time> <event id>"
    assert mask("f" * 64) == "f" * 64


class TestEventClock:
    """Event ids are times: equal ones may part, but order and reuse must hold."""

    def test_ids_that_share_a_millisecond_on_one_side(self) -> None:
        """Two events of one millisecond may lie in two on the other side."""
        clock = EventClock()
        rows = [("1000000000001-0", "2000000000001-0"), ("1000000000001-0", "2000000000002-0")]
        assert [clock.same(one, two, 1) for one, two in rows] == [None, None]

    def test_ids_out_of_order(self) -> None:
        """Within a response they rise on both sides."""
        clock = EventClock()
        assert clock.same("1000000000001-0", "2000000000005-0", 1) is None
        assert clock.same("1000000000002-0", "2000000000004-0", 1)

    def test_an_id_seen_before(self) -> None:
        """A join repeats the ids of the stream: the same event must be meant."""
        clock = EventClock()
        assert clock.same("1000000000001-0", "2000000000001-0", 1) is None
        assert clock.same("1000000000002-0", "2000000000002-0", 1) is None
        assert clock.same("1000000000002-0", "2000000000002-0", 2) is None
        assert clock.same("1000000000001-0", "2000000000002-0", 3)

    @pytest.mark.parametrize(("left", "right", "same"), [("-1", "-1", True), ("-1", "0", False), (None, None, True),
                                                         (None, "1000000000001-0", False)])  # fmt: skip
    def test_ids_of_other_forms(self, left: str | None, right: str | None, same: bool) -> None:
        """Ids that are no times are compared as they are."""
        assert (EventClock().same(left, right, 1) is None) is same
