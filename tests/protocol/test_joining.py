"""Joins and thread streams: the server's own readings of the query, in a table."""

from __future__ import annotations

import pytest

from graphtape.protocol.joining import (
    InvalidThreadStream,
    JoinFilter,
    ThreadFilter,
    check_thread_stream_id,
    is_stored,
)

PUBLISHED = (
    "metadata",
    "values",
    "values|sub:1",
    "updates",
    "updates|sub:1|leaf:2",
    "custom",
    "messages",
    "messages|sub:1",
    "messages/metadata",
    "messages/partial",
    "error",
)
MESSAGES = [name for name in PUBLISHED if name.startswith("messages")]
START = b'{"run_id":"r","attempt":1}'
DONE = b'{"status":"run_done","run_id":"r"}'


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], list(PUBLISHED)),
        ([""], list(PUBLISHED)),
        (["[]"], list(PUBLISHED)),
        (["updates"], ["updates", "updates|sub:1|leaf:2"]),
        (["updates", "custom"], ["custom"]),
        (["updates", ""], list(PUBLISHED)),
        (['["values","error"]'], ["values", "values|sub:1", "error"]),
        (["updates,custom"], []),
        (["bogus"], []),
        (["messages"], MESSAGES),
        (["messages-tuple"], MESSAGES),
        (['["messages-tuple","metadata"]'], ["metadata", *MESSAGES]),
        (["metadata"], ["metadata"]),
        (["error"], ["error"]),
        (["values|sub:1"], ["values|sub:1"]),
        (["[broken"], []),
        (["[1]"], []),
        (['["updates",1]'], ["updates", "updates|sub:1|leaf:2"]),
    ],
)
def test_stream_mode_of_a_join(values: list[str], shown: list[str]) -> None:
    """Only the last value counts, in three spellings; it filters by name and never refuses."""
    chosen = JoinFilter.parse(values)
    assert [name for name in PUBLISHED if chosen.shows(name)] == shown


@pytest.mark.parametrize(
    ("values", "modes"),
    [
        ([], {"run_modes"}),
        ([""], {"run_modes"}),
        (["lifecycle"], {"lifecycle"}),
        (["run_modes , state_update"], {"run_modes", "state_update"}),
        (["run_modes", "lifecycle"], {"lifecycle"}),
        (["lifecycle", ""], {"run_modes"}),
    ],
)
def test_stream_modes_of_a_thread(values: list[str], modes: set[str]) -> None:
    """The last value, a name or names with commas; empty is the default."""
    assert ThreadFilter.parse(values).modes == modes


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("bogus", "bogus"),
        ("values", "values"),
        ('["lifecycle"]', '["lifecycle"]'),
        ("lifecycle,", ""),
        (" lifecycle", " lifecycle"),
    ],
)
def test_unknown_stream_modes_of_a_thread(value: str, named: str) -> None:
    """Refused with the server's text."""
    with pytest.raises(InvalidThreadStream) as refused:
        ThreadFilter.parse([value])
    assert refused.value.detail == f"Invalid stream mode: {named}"


def test_repeated_stream_modes_as_the_official_page_has_them() -> None:
    """With the page's semantics the values add up."""
    values = ["lifecycle", "state_update"]
    assert ThreadFilter.parse(values, docs_semantics=True).modes == set(values)
    with pytest.raises(InvalidThreadStream):
        ThreadFilter.parse(["bogus", "lifecycle"], docs_semantics=True)


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("run_modes", [("metadata", START), ("updates|a:1", b"1"), ("error", b"{}"), ("metadata", DONE)]),
        ("lifecycle", [("metadata", START), ("metadata", DONE)]),
        ("state_update", [("state_update", b"{}")]),
    ],
)
def test_events_of_a_thread_stream(mode: str, shown: list[tuple[str, bytes]]) -> None:
    """State updates stand alone; a run's start and end are its metadata events."""
    published = [
        ("metadata", START),
        ("updates|a:1", b"1"),
        ("error", b"{}"),
        ("metadata", DONE),
        ("state_update", b"{}"),
    ]
    chosen = ThreadFilter.parse([mode])
    assert [event for event in published if chosen.shows(*event)] == shown


@pytest.mark.parametrize("data", [None, b"{", b"[]", b'{"run_id":"r"}'])
def test_metadata_that_is_no_start_or_end(data: bytes | None) -> None:
    """It is not part of the lifecycle."""
    assert not ThreadFilter.parse(["lifecycle"]).shows("metadata", data)


@pytest.mark.parametrize("value", ["-", "0", "0-0", "1795220119715", "1795220119715-3", "1-*"])
def test_last_event_id_of_a_thread_stream(value: str) -> None:
    """What Redis takes as a stream id."""
    assert check_thread_stream_id(value) == value


@pytest.mark.parametrize("value", [None, ""])
def test_no_last_event_id(value: str | None) -> None:
    """Absent and empty are the same."""
    assert check_thread_stream_id(value) is None


@pytest.mark.parametrize("value", ["-1", "$", "+", "zzz", "1-a", "1-", " 1"])
def test_bad_last_event_id_of_a_thread_stream(value: str) -> None:
    """Refused with the server's text, also `-1`, which joins of runs take."""
    with pytest.raises(InvalidThreadStream) as refused:
        check_thread_stream_id(value)
    assert refused.value.detail == "Invalid last-event-id: must be a valid Redis stream ID"


def test_what_a_resumable_run_keeps() -> None:
    """Its modes and the metadata; no error, no feedback, no `messages/*`."""
    names = [
        "metadata",
        "values",
        "values|a:1",
        "updates",
        "messages",
        "messages|a:1",
        "messages/partial",
        "error",
        "feedback",
    ]
    assert [n for n in names if is_stored(n, frozenset({"values", "messages-tuple"}))] == [
        *("metadata", "values", "values|a:1", "messages", "messages|a:1"),
    ]
    assert [n for n in names if is_stored(n, frozenset({"messages"}))] == [
        "metadata",
        "messages",
        "messages|a:1",
    ]
