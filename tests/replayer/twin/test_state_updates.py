"""What streams of a thread say of an update of its state."""

from __future__ import annotations

from typing import Any

import pytest

UPDATE = {"values": {"n": 1}}


def updated(kit: Any, *, watched: bool = False, read: bool = False, event_id: str = "2000000000000-0") -> Any:
    """A thread with a run and an update of its state; told by a stream of the thread, or read after it."""
    made = kit.recording()
    thread_id = made.thread(1)
    made.run(thread_id, kit.uid(2), {"assistant_id": "agent"}, kit.simple_events(kit.uid(2), ids=True))
    made.json("POST", f"/threads/{thread_id}/state", {"checkpoint_id": kit.uid(5)}, UPDATE)
    state = {"values": {"n": 1}, "checkpoint_id": kit.uid(5)}
    if watched:
        told = kit.sse("state_update", {"state": state, "thread_id": thread_id}, event_id)
        target = f"/threads/{thread_id}/stream?stream_modes=state_update"
        made.call("GET", target, headers=kit.STREAM_TAIL, reads=[(1, told)])
    if read:
        made.json("GET", f"/threads/{thread_id}/state", {**state, "read": True})
    return kit.session(made)


def told(kit: Any, session: Any, times: int = 1) -> tuple[tuple[int, int], bytes, Any] | None:
    """What is told when a thread of this session has come so far; of the last of several threads."""
    for _ in range(times):
        thread_id = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", {"assistant_id": "agent"})
        kit.ask(session, "POST", f"/threads/{thread_id}/state", UPDATE, now_ms=99)
    found: tuple[tuple[int, int], bytes, Any] | None = session.threads[thread_id].plays[-1].told
    return found


def test_as_a_stream_of_the_thread_had_it(kit: Any) -> None:
    """The recorded event, under its own id."""
    found = told(kit, updated(kit, watched=True, read=True))
    state = {"values": {"n": 1}, "checkpoint_id": kit.uid(5)}
    data = {"state": state, "thread_id": kit.uid(1)}
    event = kit.sse("state_update", data, "2000000000000-0")
    assert found == ((2_000_000_000_000, 0), event, state)


@pytest.mark.parametrize("watched", [False, True])
def test_id_above_the_runs_before(kit: Any, watched: bool) -> None:
    """An id is made where none was recorded, or where it would lie below what the thread has shown."""
    found = told(kit, updated(kit, watched=watched, read=not watched, event_id="1-0"))
    assert found is not None
    assert found[0] == (1_795_219_836_021, 0)
    assert b"\r\nid: 1795219836021-0\r\n\r\n" in found[1]
    assert (b'"read":true' in found[1]) is not watched


def test_second_conversation(kit: Any) -> None:
    """It tells of its own thread and checkpoint."""
    session = updated(kit, watched=True)
    found = told(kit, session, times=2)
    assert found is not None
    assert kit.uid(1).encode() not in found[1]
    assert kit.uid(5).encode() not in found[1]
    assert list(session.threads)[1].encode() in found[1]


def test_state_that_nothing_shows(kit: Any) -> None:
    """Nothing is told, and the update is answered all the same."""
    assert told(kit, updated(kit)) is None
