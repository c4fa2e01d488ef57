"""Recorded answers to reads."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.mask import MASK
from graphtape.replayer.answering.recorded_answers import broken_note, moves_state, same_body, same_query

BODY = {"assistant_id": "agent", "input": "hi"}


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        ([], [], True),
        ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")], True),
        ([("a", "1")], [("a", "2")], False),
        ([("a", "1")], [("a", "1"), ("a", "1")], False),
        ([("key", MASK), ("a", "1")], [("a", "1"), ("key", "secret")], True),
        ([("q", "it is ******")], [("q", "it is secret")], True),
    ],
)
def test_queries(recorded: Any, asked: Any, same: bool) -> None:
    """Queries are equal in any order of names; a masked value is any value."""
    assert same_query(recorded, asked) is same


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        (b"", b"", True),
        (b"x", b"y", False),
        (b'{"a":1,"b":null}', b'{ "a": 1 }', True),
        (b'{"a":1}', b'{"a":true}', False),
        (b"[1,2]", b"[1]", False),
        (b'{"password":"%s"}' % MASK.encode(), b'{"password":"x"}', True),
        (b'{"q":["it is ******"]}', b'{"q": ["it is secret"]}', True),
        (b"q=******&a=1", b"q=secret&a=1", True),
        (b"q=******&a=1", b"q=secret&a=2", False),
        (b'{"a":1,"id":"x"}', b'{"a":1,"id":"y"}', True),
    ],
)
def test_bodies(recorded: bytes, asked: bytes, same: bool) -> None:
    """Bodies are equal as bytes or as JSON; null is absent, a masked value is any value, chosen fields do not count."""
    assert same_body(recorded, asked, but=frozenset({"id"})) is same


def test_nth_read(kit: Any) -> None:
    """The n-th equal read at one stage gets the n-th recorded; the last one serves all later ones."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}/state"
    for number in (1, 2):
        recording.json("GET", path, {"n": number})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    assert [kit.value(kit.ask(session, "GET", path))["n"] for _ in range(4)] == [1, 2, 2, 2]


def test_ids_in_queries_and_bodies(kit: Any) -> None:
    """Ids that a client sends back, in path, query or body, are mapped back to recorded ones."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY)
    base = f"/threads/{thread_id}"
    recording.json("POST", f"{base}/history", [{"run_id": kit.uid(2)}], {"metadata": {"run_id": kit.uid(2)}})
    recording.json("GET", f"{base}/state?run={kit.uid(2)}", {"run_id": kit.uid(2)})
    session = kit.session(recording)
    for _ in range(2):
        mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        run_id = kit.ask(session, "POST", f"/threads/{mine}/runs/stream", BODY).play.run_id
        body = {"metadata": {"run_id": run_id}}
        history = kit.ask(session, "POST", f"/threads/{mine}/history", body, now_ms=99)
        assert kit.value(history) == [{"run_id": run_id}]
        state = kit.ask(session, "GET", f"/threads/{mine}/state?run={run_id}", now_ms=99)
        assert kit.value(state) == {"run_id": run_id}


def test_ids_first_seen_in_a_read(kit: Any) -> None:
    """An id that no event shows, only a read, is another one in a second conversation, and stays that."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY)
    recording.json("GET", f"/threads/{thread_id}/state", {"checkpoint_id": kit.uid(7)})
    recording.json("GET", f"/threads/{thread_id}/state/{kit.uid(7)}", {"checkpoint_id": kit.uid(7), "at": 1})
    session = kit.session(recording)
    seen = []
    for _ in range(2):
        mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        kit.ask(session, "POST", f"/threads/{mine}/runs/stream", BODY)
        seen.append(kit.value(kit.ask(session, "GET", f"/threads/{mine}/state", now_ms=99))["checkpoint_id"])
        again = kit.ask(session, "GET", f"/threads/{mine}/state/{seen[-1]}", now_ms=99)
        assert kit.value(again) == {"checkpoint_id": seen[-1], "at": 1}
    assert seen[0] == kit.uid(7) != seen[1]


def test_note_of_what_breaks() -> None:
    """What will break off says so in the log, and why; anything else says nothing."""
    assert broken_note("") == ""
    assert "exchange 3 ended as client-left" in broken_note("exchange 3 ended as client-left")


@pytest.mark.parametrize(("name", "moves"), [("custom", False), ("messages|a:1", False), ("values", True)])
def test_events_that_move_the_state(name: str, moves: bool) -> None:
    """What a node writes while it runs changes no state; what it returns does."""
    assert moves_state(name) is moves


def test_failed_read_in_its_place(kit: Any) -> None:
    """A read that failed fails again where it did, and not for ever."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}/state"
    recording.json("GET", path, {"n": 1})
    recording.json("GET", path, {"detail": "bad gateway"}, status=502)
    before = {"before": {"checkpoint_id": "x"}}
    recording.json("POST", path.replace("state", "history"), {"detail": "broken"}, before, status=500)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    assert [kit.ask(session, "GET", path).plan.head.status for _ in range(4)] == [200, 502, 200, 200]
    broken = [kit.ask(session, "POST", path.replace("state", "history"), before) for _ in range(2)]
    assert [one.plan.head.status for one in broken] == [500, 500]
