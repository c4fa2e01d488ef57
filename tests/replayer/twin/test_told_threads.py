"""Thread objects that the recording shows."""

from __future__ import annotations

from typing import Any

import pytest

BODY = {"assistant_id": "agent", "input": "hi"}
WORDS: dict[str, Any] = {"graph_id": "agent", "assistant_id": "x"}


def row(kit: Any, moment: str, thread: int = 1, **metadata: Any) -> dict[str, Any]:
    """A thread object as the server has it; `moment` tells which answer it stood in."""
    return {
        "thread_id": kit.uid(thread),
        "created_at": "then",
        "updated_at": moment,
        "state_updated_at": moment,
        "metadata": metadata,
        "status": "idle",
        "config": {},
        "values": {"text": "b"},
    }


def conversation(kit: Any, *, partial: bool = False) -> Any:
    """A run, and what a search said of the thread when it was over, together with another thread."""
    made = kit.recording()
    thread_id = made.thread(1)
    made.json("POST", "/threads/search", [row(kit, "before")], {})
    events = kit.simple_events(kit.uid(2))
    events[0][2]["graph_id"], events[0][2]["assistant_id"] = "agent", "x"
    made.run(thread_id, kit.uid(2), BODY, events)
    found = row(kit, "searched", **WORDS)
    if partial:
        del found["config"]
    made.json("POST", "/threads/search", [row(kit, "other", 9), found], {"limit": 5})
    return made


def play(kit: Any, session: Any, times: int = 1) -> str:
    for _ in range(times):
        thread_id: str = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    return thread_id


def updated_at(kit: Any, session: Any, thread_id: str, now_ms: float = 99) -> Any:
    told = kit.value(kit.ask(session, "GET", f"/threads/{thread_id}", now_ms=now_ms))
    assert told["thread_id"] == thread_id
    return told["updated_at"]


def test_row_of_a_search(kit: Any) -> None:
    """What a search said of a thread is true of it whenever it is as far as then, whatever else there is."""
    session = kit.session(conversation(kit))
    thread_id = play(kit, session)
    assert updated_at(kit, session, thread_id) == "searched"
    kit.ask(session, "POST", "/threads", {})  # the search as a whole was never recorded so
    (found,) = kit.value(kit.ask(session, "POST", "/threads/search", {"ids": [thread_id]}, now_ms=99))
    assert found["updated_at"] == "searched"


def test_of_another_stage(kit: Any) -> None:
    """While a run goes on, and before it, other objects are true."""
    session = kit.session(conversation(kit))
    thread_id = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
    assert updated_at(kit, session, thread_id, now_ms=0) == "before"
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    assert updated_at(kit, session, thread_id, now_ms=5) not in ("before", "searched")


def test_second_conversation(kit: Any) -> None:
    """It is told under its own id."""
    session = kit.session(conversation(kit))
    assert updated_at(kit, session, play(kit, session, times=2), now_ms=999) == "searched"


@pytest.mark.parametrize("patch", [False, True])
def test_what_is_not_the_same(kit: Any, patch: bool) -> None:
    """Other metadata, or an object of which a part was selected, prove nothing."""
    session = kit.session(conversation(kit, partial=not patch))
    thread_id = play(kit, session)
    if patch:
        kit.ask(session, "PATCH", f"/threads/{thread_id}", {"metadata": {"mine": 1}}, now_ms=99)
    assert updated_at(kit, session, thread_id) != "searched"


def test_what_a_patch_made(kit: Any) -> None:
    """The answer to a change of metadata is what the thread is from then on."""
    made = conversation(kit)
    patched = row(kit, "patched", **WORDS, mine=1)
    made.json("PATCH", f"/threads/{kit.uid(1)}", patched, {"metadata": {"mine": 1}})
    session = kit.session(made)
    thread_id = play(kit, session)
    assert updated_at(kit, session, thread_id) == "searched"
    kit.ask(session, "PATCH", f"/threads/{thread_id}", {"metadata": {"mine": 1}}, now_ms=99)
    assert updated_at(kit, session, thread_id) == "patched"


def test_thread_that_its_run_created(kit: Any) -> None:
    """What was said of a thread that a client had created is not said of one that a run created."""
    session = kit.session(conversation(kit))
    kit.ask(session, "POST", f"/threads/{kit.uid(7)}/runs/stream", {**BODY, "if_not_exists": "create"})
    assert updated_at(kit, session, kit.uid(7)) != "searched"
