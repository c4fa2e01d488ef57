"""Stream modes, and the switches of a stream."""

from __future__ import annotations

import itertools

import pytest

from graphtape.protocol.errors import InvalidStreamMode
from graphtape.protocol.modes import (
    STREAM_MODES,
    StreamOptions,
    parse_stream_modes,
    split_event_name,
    stream_options,
)

VALUES_ONLY = frozenset({"values"})

ACCEPTED: list[tuple[object, set[str]]] = [
    ([], {"values"}),
    ("updates", {"updates"}),
    (["updates"], {"updates"}),
    (["updates", "updates"], {"updates"}),
    (["custom", "updates"], {"updates", "custom"}),
    ("messages", {"messages"}),
    ("messages-tuple", {"messages-tuple"}),
    (["messages", "messages-tuple"], {"messages-tuple"}),
    (["messages-tuple", "values", "messages"], {"messages-tuple", "values"}),
]

REFUSED: list[object] = [
    None,
    "",
    "bogus",
    "tools",
    "lifecycle",
    "metadata",
    "Values",
    "values,updates",
    5,
    5.0,
    1e-5,
    1e-7,
    1e20,
    2**64,
    -(2**63) - 1,
    True,
    False,
    {},
    {"b": 1, "a": [None, "x"]},
    {"values": True},
    [None],
    [5],
    ["bogus"],
    ["values", "bogus"],
    ["values", None],
    ["values", ["updates"]],
    'é"\\/\n\u2028\x7f\x01',
]


def test_a_missing_stream_mode_is_values() -> None:
    """Without the key, the mode is `values`."""
    assert parse_stream_modes() == VALUES_ONLY
    assert stream_options({}) == StreamOptions(VALUES_ONLY, subgraphs=False, resumable=False)


@pytest.mark.parametrize(
    ("value", "modes"), ACCEPTED, ids=lambda one: repr(sorted(one) if isinstance(one, set) else one)
)
def test_accepted_values(value: object, modes: set[str]) -> None:
    """One mode or a list; order and repetition mean nothing; messages-tuple displaces messages."""
    assert parse_stream_modes(value) == modes
    assert stream_options({"stream_mode": value}).modes == modes


@pytest.mark.parametrize("mode", sorted(STREAM_MODES))
def test_each_of_the_nine_modes(mode: str) -> None:
    """Each is accepted alone and in a list."""
    assert parse_stream_modes(mode) == parse_stream_modes([mode]) == {mode}
    assert len(STREAM_MODES) == 9


@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_refused_values(value: object) -> None:
    """Null, unknown names and other types are refused, alone and in a list; the error keeps the value."""
    with pytest.raises(InvalidStreamMode) as caught:
        parse_stream_modes(value)
    assert caught.value.value == value
    with pytest.raises(InvalidStreamMode):
        stream_options({"stream_mode": value})


def test_every_list_of_modes_is_the_set_of_its_members() -> None:
    """All pairs, in both orders."""
    for pair in itertools.permutations(STREAM_MODES, 2):
        expected = set(pair) - ({"messages"} if "messages-tuple" in pair else set())
        assert parse_stream_modes(list(pair)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("updates", ("updates", ())),
        ("updates|a:1|b:2", ("updates", ("a:1", "b:2"))),
        ("messages/partial", ("messages/partial", ())),
        ("custom|sub graph é:38d4", ("custom", ("sub graph é:38d4",))),
        ("", ("", ())),
        ("values|", ("values", ("",))),
    ],
)
def test_event_names_are_split(name: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """What stands before the first bar is the mode, each part behind it one level of the namespace."""
    assert split_event_name(name) == expected


def test_the_switches() -> None:
    """Only true is true; what is no boolean the server refuses, and here it asks for nothing."""
    assert stream_options({"stream_subgraphs": True, "stream_resumable": True}) == StreamOptions(
        VALUES_ONLY, subgraphs=True, resumable=True
    )
    wrongs: tuple[object, ...] = (None, 1, "true", [])
    for wrong in wrongs:
        options = stream_options({"stream_subgraphs": wrong, "stream_resumable": wrong})
        assert (options.subgraphs, options.resumable) == (False, False)


def test_a_deeply_nested_value_is_shown_in_bounded_depth() -> None:
    """A hostile value is an error, not a crash."""
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(InvalidStreamMode, match=r"\[\.\.\.\].* is not a stream mode"):
        parse_stream_modes(value)
