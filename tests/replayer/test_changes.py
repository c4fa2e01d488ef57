"""Assistants, crons and the store, read between their changes."""

from __future__ import annotations

from typing import Any

import pytest

ITEM = "/store/items?namespace=a&key=k"
BODY = {"assistant_id": "agent", "input": "hi"}


def put(value: int) -> dict[str, Any]:
    return {"namespace": ["a"], "key": "k", "value": {"v": value}}


@pytest.fixture
def store(kit: Any) -> Any:
    """Nothing, 1, 2, and what a run made of it."""
    recording = kit.recording()
    recording.json("GET", ITEM, {"v": 0})
    for value in (1, 2):
        recording.call("PUT", "/store/items", put(value), status=204)
        recording.json("GET", ITEM, {"v": value})
    recording.run(recording.thread(1), kit.uid(2), BODY)
    recording.json("GET", ITEM, {"v": 3})
    return recording


def read(kit: Any, session: Any) -> int:
    value: int = kit.value(kit.ask(session, "GET", ITEM))["v"]
    return value


def test_read_twice_between_changes(kit: Any, store: Any) -> None:
    """However often it is read, it changes when it was changed, and stays."""
    session = kit.session(store)
    seen = [read(kit, session) for _ in range(3)]
    for value in (1, 2):
        kit.ask(session, "PUT", "/store/items", put(value))
        seen += [read(kit, session) for _ in range(3)]
    thread_id = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    assert [*seen, *(read(kit, session) for _ in range(3))] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_second_client_changes_it_again(kit: Any, store: Any) -> None:
    """It is what the last change made of it, whoever that was by."""
    session = kit.session(store)
    for value in (1, 2):
        kit.ask(session, "PUT", "/store/items", put(value))
    assert read(kit, session) == 2
    kit.ask(session, "PUT", "/store/items", put(1))
    assert [read(kit, session) for _ in range(2)] == [1, 1]


def test_nobody_read_it_then(kit: Any) -> None:
    """The next recorded read knows of the change; after all of them it is the last."""
    recording = kit.recording()
    assistant = f"/assistants/{kit.uid(9)}"
    recording.json("GET", assistant, {"n": 0})
    for number in (1, 2):
        recording.json("PATCH", assistant, {"n": number}, {"name": str(number)})
    recording.json("GET", assistant, {"n": 2})
    recording.json("PATCH", assistant, {"n": 3}, {"name": "3"})
    session = kit.session(recording)
    seen = []
    for number in (1, 2, 3):
        kit.ask(session, "PATCH", assistant, {"name": str(number)})
        seen.append(kit.value(kit.ask(session, "GET", assistant))["n"])
    assert seen == [2, 2, 2]


def test_what_changed_nothing(kit: Any) -> None:
    """A change that was refused is none; what fails between two changes does so once."""
    recording = kit.recording()
    recording.json("POST", "/assistants/count", 1, {})
    recording.json("POST", "/assistants", {"detail": "no"}, {"graph_id": "x"}, status=404)
    recording.json("POST", "/assistants/count", {"detail": "down"}, {}, status=503)
    session = kit.session(recording)
    statuses = [kit.ask(session, "POST", "/assistants/count", {}).plan.head.status for _ in range(4)]
    assert statuses == [200, 503, 200, 200]


def test_nobody_read_it_when_it_was_deleted(kit: Any) -> None:
    """Then it is as it was in the beginning, and not as it was before that."""
    recording = kit.recording()
    for count in (0, 1):
        recording.json("POST", "/assistants/count", count, {})
        if not count:
            recording.json("POST", "/assistants", {"n": 1}, {"graph_id": "x"})
    recording.call("DELETE", f"/assistants/{kit.uid(9)}", status=204)
    session = kit.session(recording)
    for _ in range(2):
        assert kit.value(kit.ask(session, "POST", "/assistants/count", {})) == 0
        kit.ask(session, "POST", "/assistants", {"graph_id": "x"})
        assert kit.value(kit.ask(session, "POST", "/assistants/count", {})) == 1
        kit.ask(session, "DELETE", f"/assistants/{kit.uid(9)}")
