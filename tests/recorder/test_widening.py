"""Requests made wider, and the memory of what was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.sse import Decoder
from graphtape.recorder.widening import (
    LARGEST_BODY_BYTES,
    REMEMBERED_BYTES,
    REMEMBERED_RUNS,
    WideRequest,
    WideRuns,
    event_place,
    widened,
)

ALL = ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"]


def widened_json(**members: Any) -> tuple[WideRequest, dict[str, Any]]:
    found = widened(json.dumps({"assistant_id": "a", **members}).encode())
    assert found is not None
    return found, json.loads(found.body)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, ALL),
        ({"stream_mode": []}, ALL),
        ({"stream_mode": "updates"}, ALL),
        ({"stream_mode": "messages-tuple"}, ALL),
        ({"stream_mode": ["messages", "messages-tuple"]}, ALL),
        ({"stream_mode": ["events", "values"]}, [*ALL, "events"]),
        ({"stream_mode": "messages"}, [*(mode for mode in ALL if mode != "messages-tuple"), "messages"]),
    ],
)
def test_everything_that_can_be_had_together(asked: dict[str, Any], sent: list[str]) -> None:
    """All modes but `messages`, which takes the place of messages-tuple for who asks for it; events only if asked."""
    found, body = widened_json(**asked)
    assert body == {
        "assistant_id": "a",
        "stream_mode": sent,
        "stream_subgraphs": True,
        "stream_resumable": True,
    }
    assert found.wide == StreamOptions(frozenset(sent), subgraphs=True, resumable=True)
    assert not found.asked.subgraphs
    assert not found.asked.resumable


def test_events_for_everyone() -> None:
    """On request, `events` is asked for too."""
    found = widened(b'{"assistant_id":"a"}', events=True)
    assert found is not None
    assert "events" in found.wide.modes


def test_all_else_stays_byte_for_byte() -> None:
    """Order, spacing and spelling of what is not changed."""
    found = widened(
        '{ "input": {"é": 1.50 ,"x":"\\u00e9"},"stream_mode" :"values", "assistant_id":"a" }'.encode()
    )
    assert found is not None
    assert found.body.decode() == (
        '{ "input": {"é": 1.50 ,"x":"\\u00e9"},"stream_mode" :'
        '["values","updates","messages-tuple","custom","debug","tasks","checkpoints"], "assistant_id":"a",'
        '"stream_subgraphs":true,"stream_resumable":true }'
    )
    assert found.own == {"stream_mode": b'"values"', "stream_subgraphs": None, "stream_resumable": None}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, '["values"]'),
        ({"stream_mode": []}, '["values"]'),
        ({"stream_mode": "debug"}, '["debug"]'),
        ({"stream_mode": ["tasks", "tasks"]}, '["tasks","tasks"]'),
        ({"stream_mode": ["messages", "messages-tuple"]}, '["messages","messages-tuple"]'),
    ],
)
def test_what_a_run_object_would_show(given: dict[str, Any], shown: str) -> None:
    """The server shows a list, as it came, and the default for none."""
    assert widened_json(**given)[0].shown_modes == shown


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"{}",
        b'{"assistant_id":1}',
        b'{"assistant_id":"a","stream_mode":null}',
        b'{"assistant_id":"a","stream_mode":"tools"}',
        b'{"assistant_id":"a","stream_mode":["values",1]}',
        b'{"assistant_id":"a","stream_subgraphs":"yes"}',
        b'{"assistant_id":"a","stream_resumable":1}',
        b'{"assistant_id":"a","x":"\xff"}',
        b'\xef\xbb\xbf{"assistant_id":"a"}',
        b'{"assistant_id":"a","x":"' + b"x" * LARGEST_BODY_BYTES + b'"}',
        json.dumps(
            {"assistant_id": "a", "stream_mode": ALL, "stream_subgraphs": True, "stream_resumable": True}
        ).encode(),
    ],
    ids=range(15),
)
def test_what_passes_unwidened(body: bytes) -> None:
    """What the server refuses, what is too large, and what asks for everything itself."""
    assert widened(body) is None


def runs() -> WideRuns:
    return WideRuns(lambda: 1_700_000_000_000_000_000)


def test_a_run_is_known_by_its_content_location() -> None:
    """The id stands in the answer's header, with and without a thread."""
    known, (request, _) = runs(), widened_json()
    for thread, location in (
        ("t", b"/threads/t/runs/r1"),
        (None, b"/runs/r2"),
        ("t", b"http://h/x/threads/t/runs/r3"),
    ):
        known.starts(thread, request)
        known.started(thread, request, location)
    assert [run.run_id for run in known.of_thread("t")] == ["r1", "r3"]
    found = known.get("r2")
    assert found is not None
    assert found.thread_id is None
    assert known.get("other") is None


@pytest.mark.parametrize("location", [None, b"", b"/threads/t", b"/threads/t/runs/"])
def test_an_answer_without_a_run(location: bytes | None) -> None:
    """A request that was refused leaves nothing behind."""
    known, (request, _) = runs(), widened_json()
    known.starts("t", request)
    assert known.started("t", request, location) is None
    assert known.seen("r", "t") is None


def test_a_thread_stream_is_faster_than_the_answer() -> None:
    """The id that a thread's stream shows belongs to the request that is on its way for that thread."""
    known, (request, _) = runs(), widened_json(stream_mode="custom")
    known.starts("t", request)
    assert known.seen("r", "other") is None
    seen = known.seen("r", "t")
    assert seen is not None
    assert seen.shown_modes == '["custom"]'
    assert known.started("t", request, b"/threads/t/runs/r") is seen


def test_memory_is_bounded() -> None:
    """The run that was not used for longest is forgotten first."""
    known, (request, _) = runs(), widened_json()
    for number in range(REMEMBERED_RUNS):
        known.started("t", request, f"/threads/t/runs/{number}".encode())
    assert known.get("0") is not None
    known.started("t", request, b"/threads/t/runs/new")
    assert known.get("0") is not None
    assert known.get("1") is None


def test_the_upstreams_clock() -> None:
    """Ids and dates tell how far it is ahead; ids are the better witness, and the least delayed the best."""
    known = runs()
    assert known.id_at(known.now_ms()) == "1700000000000"
    known.saw_date(b"Tue, 14 Nov 2023 22:13:21 GMT")
    assert known.id_at(known.now_ms()) == "1700000000000"
    known.saw_date(b"nonsense")
    known.saw_date(b"Tue, 14 Nov 2023 22:14:20 GMT")
    assert known.id_at(known.now_ms()) == "1700000060000"
    known.saw_id("1700000070005-0")
    known.saw_id("1700000070001-0")
    known.saw_id("12-0")
    assert known.id_at(known.now_ms()) == "1700000070005"
    known.saw_date(b"Tue, 14 Nov 2023 22:20:00 GMT")
    assert known.id_at(known.now_ms()) == "1700000070005"
    assert "1700000070004-9" < known.id_at(known.now_ms()) < "1700000070005-0"


def test_what_the_upstream_does_not_store() -> None:
    """Which message is of which level is remembered, once, for a run whose narrowing depends on it, within bounds."""

    def block(number: int, size: int = 1) -> tuple[Any, bytes]:
        raw = b"event: messages/metadata\ndata: %b\nid: %d-0\n\n" % (b"x" * size, number)
        return Decoder().feed(raw)[0], raw

    known = runs()
    for name, remembers in (("messages", True), ("messages-tuple", True), ("values", False)):
        run = known.started(None, widened_json(stream_mode=name)[0], b"/runs/" + name.encode())
        assert run is not None
        assert run.remembers is remembers
        for number in (1, 2, 2, 1):
            run.saw(*block(number))
        run.saw(*block(3, REMEMBERED_BYTES))
        assert len(run.unstored) == (2 if remembers else 0)
    wide = known.started(None, widened_json(stream_mode="messages", stream_subgraphs=True)[0], b"/runs/sub")
    assert wide is not None
    assert not wide.remembers


def test_places_of_ids() -> None:
    """By milliseconds, then by sequence, as numbers."""
    assert event_place("9-0") < event_place("10-9") < event_place("10-10")
    assert event_place("zzz") == event_place("") == (-1, 0)
    assert event_place("5-*") == (5, 0)
