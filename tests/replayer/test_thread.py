"""A thread as clients of one session know it."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending


def conversation(kit: Any, **more: Any) -> Any:
    """A session whose cassette holds one thread with the runs `one` and `two`, 31 ms each."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    for number, text in ((2, "one"), (3, "two")):
        recording.run(thread_id, kit.uid(number), {"assistant_id": "a", "input": text})
    return kit.session(recording, **more)


def start(kit: Any, session: Any, text: str, now_ms: float, **more: Any) -> Any:
    body = {"assistant_id": "a", "input": text, **more}
    return kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body, now_ms=now_ms)


def test_status(kit: Any) -> None:
    """A thread is idle, busy while a run plays, and idle again."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    (thread,) = session.threads.values()
    assert thread.status(0) == "idle"
    start(kit, session, "one", 0)
    assert [thread.status(now * kit.MS) for now in (1, 30, 31)] == ["busy", "busy", "idle"]


@pytest.mark.parametrize(
    "payload", [{"__interrupt__": [{"id": "1" * 32, "value": "ok?"}]}, {"__interrupt__": []}]
)
def test_interrupted(kit: Any, payload: Any) -> None:
    """A run that hits an interrupt is a success; its thread is interrupted, also by an empty one."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "a", "stream_mode": "updates"}
    recording.run(thread_id, kit.uid(2), body, [(1, "metadata", {}), (1, "updates", payload)])
    session = kit.session(recording)
    play = kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body).play
    assert play.status(kit.MS * 9) == "success"
    assert session.threads[thread_id].status(kit.MS * 9) == "interrupted"


def test_stage(kit: Any) -> None:
    """The stage counts finished runs and knows whether one is in flight."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    (thread,) = session.threads.values()
    assert thread.stage(0)[1:] == (0, False, True)
    start(kit, session, "one", 0)
    assert thread.stage(10 * kit.MS)[1:] == (0, True, True)
    assert thread.stage(31 * kit.MS)[1:] == (1, False, True)


def test_stage_of_a_run_whose_end_was_not_recorded(kit: Any) -> None:
    """Where nothing more of it will come, what was read after its recorded reader had left is true."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), {"assistant_id": "a", "input": "one"}, ending=Ending.CLIENT_LEFT)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    start(kit, session, "one", 0)
    (thread,) = session.threads.values()
    assert thread.stage(30 * kit.MS)[1:] == (0, True, True)
    assert thread.stage(31 * kit.MS)[1:] == (1, False, True)


def test_stage_of_another_order(kit: Any) -> None:
    """A thread that has played other runs than the recorded one had, or one twice, is at no recorded stage."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    (thread,) = session.threads.values()
    start(kit, session, "two", 0)
    assert thread.stage(99 * kit.MS)[1:] == (2, False, False)
    start(kit, session, "one", 100)
    start(kit, session, "one", 200)
    assert not thread.stage(300 * kit.MS).exact


def test_rolled_back_run_is_gone(kit: Any) -> None:
    """A rolled back run is none of the thread's runs, and the next one plays in its place."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    (thread,) = session.threads.values()
    first = start(kit, session, "one", 0).play
    start(kit, session, "one", 5, multitask_strategy="rollback")
    assert first.rolled_back
    assert len(thread.runs) == 1
    assert thread.next_step == 1


def test_cancelled_before_its_turn(kit: Any) -> None:
    """A run that has not begun changes nothing of its thread but that it is idle; one rolled back not even that."""
    for action, status in (("interrupt", "idle"), ("rollback", "busy")):
        recording = kit.recording()
        thread_id = recording.thread(1)
        failing = [(1, "metadata", {}), (1, "error", {"error": "ValueError", "message": "boom"})]
        recording.run(thread_id, kit.uid(2), {"assistant_id": "a"}, failing)
        recording.run(thread_id, kit.uid(3), {"assistant_id": "a", "input": 2})
        session = kit.session(recording)
        kit.ask(session, "POST", "/threads", {})
        runs = f"/threads/{thread_id}/runs"
        kit.ask(session, "POST", f"{runs}/stream", {"assistant_id": "a"})
        (thread,) = session.threads.values()
        assert thread.status(99 * kit.MS) == "error"
        kit.ask(session, "POST", runs, {"assistant_id": "a", "input": 2}, now_ms=100)
        kit.ask(session, "POST", f"{runs}/{kit.uid(3)}/cancel?action={action}", now_ms=101)
        told = kit.value(kit.ask(session, "GET", f"/threads/{thread_id}", now_ms=200))
        assert (told["status"], told["error"]["error"]) == (status, "ValueError")


def test_deleted_failure(kit: Any) -> None:
    """A run that is deleted when it is over leaves its end behind."""
    recording = kit.recording()
    failing = [(1, "metadata", {}), (1, "error", {"error": "ValueError", "message": "boom"})]
    recording.run(recording.thread(1), kit.uid(2), {"assistant_id": "a"}, failing)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    run = start(kit, session, "x", 0).play.run_id
    kit.ask(session, "DELETE", f"/threads/{kit.uid(1)}/runs/{run}", now_ms=50)
    assert session.threads[kit.uid(1)].status(60 * kit.MS) == "error"
