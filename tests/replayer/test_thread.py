"""A thread as clients of one session know it."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.replayer.twin.objects import touched


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
    assert thread.stage(0)[1:] == ((), (), True)
    start(kit, session, "one", 0)
    assert thread.stage(10 * kit.MS)[1:] == ((), (0,), True)
    assert thread.stage(31 * kit.MS)[1:] == ((0,), (), True)


def test_stage_of_a_run_whose_end_was_not_recorded(kit: Any) -> None:
    """Where nothing more of it will come, what was read after its recorded reader had left is true."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), {"assistant_id": "a", "input": "one"}, ending=Ending.CLIENT_LEFT)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    start(kit, session, "one", 0)
    (thread,) = session.threads.values()
    assert thread.stage(30 * kit.MS)[1:] == ((), (0,), True)
    assert thread.stage(31 * kit.MS)[1:] == ((0,), (), True)


def test_stage_of_another_order(kit: Any) -> None:
    """A thread that has played other runs than the recorded one had, or one twice, is at no recorded stage."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    (thread,) = session.threads.values()
    start(kit, session, "two", 0)
    assert thread.stage(99 * kit.MS)[1:] == ((1,), (), False)
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


def in_line(kit: Any, **more: Any) -> tuple[Any, Any, Any]:
    """(a session, its thread, the second run): a run of 31 ms that fails, and one that waits for it."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    failing = [(1, "metadata", {}), (30, "error", {"error": "ValueError", "message": "boom"})]
    recording.run(thread_id, kit.uid(2), {"assistant_id": "a", "input": "one"}, failing)
    recording.run(thread_id, kit.uid(3), {"assistant_id": "a", "input": "two"})
    session = kit.session(recording, **more)
    kit.ask(session, "POST", "/threads", {})
    start(kit, session, "one", 0)
    second = start(kit, session, "two", 2).play
    return session, session.threads[kit.uid(1)], second


@pytest.mark.parametrize(
    ("action", "readers", "status", "remains"),
    [
        ("interrupt", 0, "idle", True),
        ("interrupt", 1, "idle", True),
        ("rollback", 0, "busy", False),
        ("rollback", 1, "idle", True),
    ],
)
def test_cancelled_in_line(kit: Any, action: str, readers: int, status: str, remains: bool) -> None:
    """The server calls the thread idle until the other run ends; one that somebody waits for is not rolled back."""
    session, thread, second = in_line(kit)
    second.readers = readers
    assert thread.status(4 * kit.MS) == "busy"
    path = f"/threads/{kit.uid(1)}/runs"
    kit.ask(session, "POST", f"{path}/{kit.uid(3)}/cancel?action={action}", now_ms=5)
    assert (thread.status(6 * kit.MS), thread.status(60 * kit.MS)) == (status, "error")
    assert thread.is_busy(6 * kit.MS)
    told = {row["run_id"]: row["status"] for row in kit.value(kit.ask(session, "GET", path, now_ms=6))}
    assert told == {kit.uid(2): "running", **({kit.uid(3): "interrupted"} if remains else {})}


def test_cancelled_in_line_at_max(kit: Any) -> None:
    """There the other run is over when it has been written, whenever that is."""
    session, thread, _ = in_line(kit, speed="max")
    first = thread.runs[0]
    first.advance(1)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(3)}/cancel", now_ms=5)
    assert thread.status(6 * kit.MS) == "idle"
    first.complete()
    assert thread.status(6 * kit.MS) == "error"


@pytest.mark.parametrize(("action", "updated_ms"), [("interrupt", 5), ("rollback", 0)])
def test_when_a_cancel_in_line_changed_the_thread(kit: Any, action: str, updated_ms: int) -> None:
    """Being called idle is a change of the thread, and none of its state."""
    session, thread, _ = in_line(kit)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(3)}/cancel?action={action}", now_ms=5)
    times = touched(thread, 6 * kit.MS)
    assert (times["updated_at"][0], times["state_updated_at"][0]) == (updated_ms * kit.MS, 0)


def test_run_after_one_was_cancelled_in_line(kit: Any) -> None:
    """What begins then makes the thread busy again, as of an idle one."""
    session, thread, _ = in_line(kit)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(3)}/cancel", now_ms=5)
    third = start(kit, session, "two", 7).play
    assert not third.found_busy
    assert thread.status(8 * kit.MS) == "busy"


def test_deleted_in_line(kit: Any) -> None:
    """A run that is deleted before its turn goes without a word."""
    session, thread, _ = in_line(kit)
    kit.ask(session, "DELETE", f"/threads/{kit.uid(1)}/runs/{kit.uid(3)}", now_ms=5)
    assert [thread.status(now * kit.MS) for now in (6, 60)] == ["busy", "error"]


@pytest.mark.parametrize(("strategy", "status"), [("interrupt", "idle"), ("rollback", "busy")])
def test_in_place_of_one_that_waits(kit: Any, strategy: str, status: str) -> None:
    """The server puts the new run into its line, and then cancels the other: its thread is idle while it goes on."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    start(kit, session, "one", 0)
    start(kit, session, "two", 1, multitask_strategy=strategy)
    (thread,) = session.threads.values()
    assert [thread.status(now * kit.MS) for now in (1, 15)] == [status, status]
    assert thread.status(99 * kit.MS) == "idle"


def test_in_place_of_two(kit: Any) -> None:
    """Of one that had begun the end comes later, and finds the new run."""
    session, thread, _ = in_line(kit)
    start(kit, session, "two", 7, multitask_strategy="interrupt")
    assert thread.status(8 * kit.MS) == "busy"


def test_recorded_reads_while_runs_are_in_line(kit: Any) -> None:
    """Which of them is over tells one stage from another."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    events: list[tuple[Any, ...]] = [(1, "metadata", {}), (500, "values", {})]
    recording.run(thread_id, kit.uid(2), {"assistant_id": "a", "input": "one"}, events, start_ms=10)
    runs = f"/threads/{thread_id}/runs"
    recording.json("POST", runs, {"run_id": kit.uid(3)}, {"assistant_id": "a", "input": "two"}, start_ms=20)
    recording.json("GET", f"/threads/{thread_id}", {"read": "in line"}, start_ms=42)
    recording.json("POST", f"{runs}/{kit.uid(3)}/cancel", None, start_ms=44)
    recording.json("GET", f"/threads/{thread_id}", {"read": "cancelled"}, start_ms=46)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    start(kit, session, "one", 10)
    kit.ask(session, "POST", runs, {"assistant_id": "a", "input": "two"}, now_ms=20)
    seen = [kit.value(kit.ask(session, "GET", f"/threads/{thread_id}", now_ms=42))["read"]]
    kit.ask(session, "POST", f"{runs}/{kit.uid(3)}/cancel", now_ms=44)
    seen.append(kit.value(kit.ask(session, "GET", f"/threads/{thread_id}", now_ms=46))["read"])
    assert seen == ["in line", "cancelled"]


def test_order_of_runs(kit: Any) -> None:
    """A run that is to wait is as new as its turn."""
    session = conversation(kit)
    kit.ask(session, "POST", "/threads", {})
    later = start(kit, session, "one", 0, after_seconds=30).play
    soon = start(kit, session, "two", 1).play
    assert session.threads[kit.uid(1)].newest_runs == [later, soon]


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
