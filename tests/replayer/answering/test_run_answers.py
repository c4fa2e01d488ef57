"""Reading, following and ending runs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graphtape.replayer.answering.answers import JoinStream, Reply, RunWait

BODY = {"assistant_id": "agent", "input": "hi", "stream_resumable": True}


@pytest.fixture
def session(kit: Any) -> Any:
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY, kit.simple_events(kit.uid(2), ids=True))
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    return session


def run_path(kit: Any, thread: int = 1, run: int = 2) -> str:
    return f"/threads/{kit.uid(thread)}/runs/{kit.uid(run)}"


@pytest.mark.parametrize("suffix", ["", "/stream", "/join"])
def test_ids_that_are_no_uuids(kit: Any, session: Any, suffix: str) -> None:
    """Ids that are no UUIDs are refused in the server's words."""
    reply = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs/nope{suffix}")
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (422, "Invalid run ID: must be a UUID")
    reply = kit.ask(session, "GET", f"/threads/nope/runs/{kit.uid(2)}{suffix}")
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (422, "Invalid thread ID: must be a UUID")


@pytest.mark.parametrize(("thread", "run"), [(1, 99), (99, 2), (99, 99)])
def test_unknown_run(kit: Any, session: Any, thread: int, run: int) -> None:
    """A stream of an unknown run is 200 with an error event after half a second; the run itself is 404."""
    path = run_path(kit, thread, run)
    reply = kit.ask(session, "GET", path)
    what = "Not Found" if thread == 1 else f"Thread with ID {kit.uid(thread)} not found"
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (404, what)
    reply = kit.ask(session, "GET", f"{path}/stream")
    assert reply.plan.head.status == 200
    assert reply.plan.parts[0].due_ns == 500 * kit.MS
    assert reply.plan.body == kit.sse("error", {"error": "HTTPException", "message": "404: Run not found"})
    reply = kit.ask(session, "GET", f"{path}/join")
    assert kit.value(reply) == {"__error__": {"error": "HTTPException", "message": "404: Run not found"}}


def test_status_of_a_run(kit: Any, session: Any) -> None:
    """The run object follows the stream: pending, running, success."""
    statuses = [
        kit.value(kit.ask(session, "GET", run_path(kit), now_ms=now))["status"] for now in (0, 11, 31)
    ]
    assert statuses == ["pending", "running", "success"]


def test_run_in_upper_case(kit: Any, session: Any) -> None:
    """Ids in upper case are the same ids."""
    path = f"/threads/{kit.uid(1).upper()}/runs/{kit.uid(2).upper()}"
    assert kit.value(kit.ask(session, "GET", path))["run_id"] == kit.uid(2)


def test_join_answers(kit: Any, session: Any) -> None:
    """A join knows its run, its filter and its cursor."""
    answer = kit.ask(session, "GET", f"{run_path(kit)}/stream?stream_mode=values", last_event_id="-1")
    assert isinstance(answer, JoinStream)
    assert (answer.play.run_id, answer.last_event_id) == (kit.uid(2), "-1")
    assert answer.shows.shows("values")
    assert not answer.shows.shows("metadata")
    assert isinstance(kit.ask(session, "GET", f"{run_path(kit)}/join"), RunWait)


def test_cancel(kit: Any, session: Any) -> None:
    """Cancelling interrupts run and thread where they are; again nothing matches; an unknown run is not found."""
    path = f"{run_path(kit)}/cancel"
    assert kit.ask(session, "POST", path, now_ms=25).plan.head.status == 202
    assert kit.value(kit.ask(session, "GET", run_path(kit), now_ms=99))["status"] == "interrupted"
    assert session.threads[kit.uid(1)].status(99 * kit.MS) == "interrupted"
    assert kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}/state", now_ms=99))["values"] == {
        "text": "a"
    }
    again = kit.ask(session, "POST", path, now_ms=99)
    assert (again.plan.head.status, kit.value(again)["detail"][:27]) == (404, "No matching runs to cancel.")
    for thread, run in ((1, 99), (99, 2)):
        unknown = kit.ask(session, "POST", f"{run_path(kit, thread, run)}/cancel")
        assert (unknown.plan.head.status, kit.value(unknown)["detail"]) == (404, "No runs found to cancel.")


@pytest.mark.parametrize("named", [True, False])
def test_cancel_several(kit: Any, session: Any, named: bool) -> None:
    """Runs of a thread by name, or all that go on, wherever; what is over is left alone."""
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY, now_ms=100)
    runs = list(session.runs)
    body = {"thread_id": kit.uid(1), "run_ids": [*runs, kit.uid(99)]} if named else {"status": "all"}
    assert kit.ask(session, "POST", "/runs/cancel", body, now_ms=115).plan.head.status == 204
    base = f"/threads/{kit.uid(1)}"
    rows = kit.value(kit.ask(session, "GET", f"{base}/runs", now_ms=199))
    assert [row["status"] for row in rows] == ["interrupted", "success"]
    told = kit.value(kit.ask(session, "GET", base, now_ms=199))["error"]
    assert told == {"error": "UserInterrupt", "message": "interrupt requested via POST /runs/cancel"}


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({}, 422, "{} is not valid under any of the schemas listed in the 'oneOf' keyword"),
        (
            {"status": "all", "thread_id": "x"},
            422,
            "When providing a 'status', 'thread_id' and 'run_ids' must",
        ),
        ({"thread_id": "x", "run_ids": []}, 422, "Invalid thread ID: must be a UUID"),
        ({"thread_id": "{1}", "run_ids": ["x"]}, 422, "Invalid run ID: must be a UUID"),
        ({"thread_id": "{1}", "run_ids": []}, 404, "No runs found to cancel."),
        ({"thread_id": "{99}", "run_ids": ["{2}"]}, 404, "No runs found to cancel."),
        ({"thread_id": "{1}", "run_ids": ["{2}"]}, 404, "No matching runs to cancel."),
        ({"status": "pending"}, 404, "No runs found to cancel."),
    ],
)
def test_cancel_several_refused(kit: Any, session: Any, body: Any, status: int, detail: str) -> None:
    """In the server's words, in its order; the only run is over."""
    text = orjson.dumps(body).decode()
    for number in (1, 2, 99):
        text = text.replace(f"{{{number}}}", kit.uid(number))
    reply = kit.ask(session, "POST", "/runs/cancel", text.encode(), now_ms=99)
    assert reply.plan.head.status == status
    assert kit.value(reply)["detail"].startswith(detail)


def test_rollback(kit: Any, session: Any) -> None:
    """A rolled back run is gone, its thread idle; what it published can still be had by its cursor."""
    kit.ask(session, "POST", f"{run_path(kit)}/cancel?action=rollback&wait=1", now_ms=25)
    assert kit.ask(session, "GET", run_path(kit), now_ms=99).plan.head.status == 404
    assert session.threads[kit.uid(1)].status(99 * kit.MS) == "idle"
    path = f"{run_path(kit)}/stream"
    assert isinstance(kit.ask(session, "GET", path, now_ms=99), Reply)
    stored = kit.ask(session, "GET", path, now_ms=99, last_event_id="-1").play.stored(99 * kit.MS)
    assert [frame.name for frame in stored] == ["metadata", "values"]


def test_gone_before_its_turn(kit: Any, session: Any) -> None:
    """Of a run that was rolled back before it began nothing can be had, not even its end."""
    kit.ask(session, "POST", f"{run_path(kit)}/cancel?action=rollback", now_ms=1)
    for cursor in ("", "-1"):
        reply = kit.ask(session, "GET", f"{run_path(kit)}/stream", last_event_id=cursor, now_ms=2)
        assert b"404: Run not found" in reply.plan.body


def test_join_of_one_that_never_began(kit: Any, session: Any) -> None:
    """It gets what its thread has, which is nothing before its first run has ended."""
    kit.ask(session, "POST", f"{run_path(kit)}/cancel", now_ms=1)
    assert kit.value(kit.ask(session, "GET", f"{run_path(kit)}/join", now_ms=2)) == {}


def test_run_that_was_cancelled_in_the_recording(kit: Any) -> None:
    """A run that ended because it was cancelled is interrupted in the end, and can be cancelled late."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY)
    recording.call("POST", f"{run_path(kit)}/cancel", status=202, start_ms=20)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    assert kit.value(kit.ask(session, "GET", run_path(kit), now_ms=99))["status"] == "interrupted"
    assert kit.ask(session, "POST", f"{run_path(kit)}/cancel", now_ms=99).plan.head.status == 202
    assert kit.ask(session, "POST", f"{run_path(kit)}/cancel", now_ms=99).plan.head.status == 404


def test_list_of_runs(kit: Any, session: Any) -> None:
    """Runs are listed newest first, by status, ten at most."""
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY, now_ms=100)
    path = f"/threads/{kit.uid(1)}/runs"
    rows = kit.value(kit.ask(session, "GET", path, now_ms=100))
    assert [row["status"] for row in rows] == ["pending", "success"]
    assert kit.value(kit.ask(session, "GET", f"{path}?limit=1&offset=1", now_ms=100)) == rows[1:]
    assert kit.value(kit.ask(session, "GET", f"{path}?status=success", now_ms=100)) == rows[1:]
    # A slice, as the server makes it.
    assert kit.value(kit.ask(session, "GET", f"{path}?limit=-1", now_ms=100)) == rows[:1]
    selected = kit.value(kit.ask(session, "GET", f"{path}?select=status&select=run_id", now_ms=100))
    assert [row.keys() for row in selected] == [{"run_id", "status"}] * 2


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("limit=x", 400, "invalid literal for int() with base 10: 'x'"),
        ("offset=1.5", 400, "invalid literal for int() with base 10: '1.5'"),
        ("select=status&select=bogus", 422, "Invalid select columns: ['bogus']. Expected: {'run_id', "),
    ],
)
def test_list_that_is_refused(kit: Any, session: Any, query: str, status: int, detail: str) -> None:
    """What is no number, and what no run has, in the server's words."""
    reply = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs?{query}")
    assert reply.plan.head.status == status
    assert kit.value(reply)["detail"].startswith(detail)


def test_deleted_run(kit: Any, session: Any) -> None:
    """A deleted run is gone from its thread."""
    assert kit.ask(session, "DELETE", run_path(kit), now_ms=99).plan.head.status == 204
    assert kit.ask(session, "GET", run_path(kit), now_ms=99).plan.head.status == 404
    assert kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs", now_ms=99)) == []


def test_stream_that_was_not_recorded(kit: Any) -> None:
    """The stream of a run of which only the answer was recorded is a 422 that says how to record it."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    location = ((b"content-location", f"/threads/{thread_id}/runs/{kit.uid(2)}".encode()),)
    recording.json("POST", f"/threads/{thread_id}/runs/wait", {"n": 1}, BODY, headers=location)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/wait", BODY)
    reply = kit.ask(session, "GET", f"{run_path(kit)}/stream")
    assert reply.plan.head.status == 422
    assert "POST .../runs/stream" in kit.value(reply)["detail"]


def test_deep_link_to_a_run(kit: Any) -> None:
    """A run that only the recording knows can be read and joined to its end."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY, kit.simple_events(kit.uid(2), ids=True))
    for speed in (1, "max"):
        session = kit.session(recording, speed=speed) if speed == 1 else kit.session(_again(kit), speed=speed)
        assert kit.value(kit.ask(session, "GET", run_path(kit), now_ms=7))["status"] == "success"
        join = kit.ask(session, "GET", f"{run_path(kit)}/stream", now_ms=7, last_event_id="-1")
        assert len(join.play.stored(7 * kit.MS)) == 3


def _again(kit: Any) -> Any:
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY, kit.simple_events(kit.uid(2), ids=True))
    return recording


def cancelled_late(kit: Any) -> Any:
    """A run that was cancelled after its second event, and ended 30 ms later with a third; read in between."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    events = [
        (10, "metadata", {"run_id": kit.uid(2), "attempt": 1}),
        (10, "values", {"n": 1}),
        (30, "values", {"n": 2}),
    ]
    recording.run(thread_id, kit.uid(2), BODY, events, start_ms=100)
    recording.call("POST", f"{run_path(kit)}/cancel?wait=1", start_ms=125)
    recording.json("GET", f"/threads/{thread_id}/state", {"stage": "cancelled"}, start_ms=130)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY)
    return session


def test_rest_of_a_cancelled_run(kit: Any) -> None:
    """A run that was cancelled in the recording goes on after the cancel as long as it did there."""
    session = cancelled_late(kit)
    reply = kit.ask(session, "POST", f"{run_path(kit)}/cancel?wait=1", now_ms=25)
    play = session.runs[kit.uid(2)]
    rest_ns = play.cancelled_ns - 25 * kit.MS
    assert 20 * kit.MS < rest_ns < 40 * kit.MS
    assert reply.plan.end_due_ns == rest_ns
    assert not play.finished(30 * kit.MS)
    assert len(play.shown_events(play.cancelled_ns)) == 3
    assert play.status(play.cancelled_ns) == "interrupted"


@pytest.mark.parametrize("now_ms", [26, 90])
def test_read_after_a_cancel(kit: Any, now_ms: int) -> None:
    """What was read after the recorded cancel is read after the cancel here, however far the events are."""
    session = cancelled_late(kit)
    kit.ask(session, "POST", f"{run_path(kit)}/cancel", now_ms=25)
    state = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/state", now_ms=now_ms)
    assert kit.value(state) == {"stage": "cancelled"}


def test_run_that_was_there_before_the_recording(kit: Any) -> None:
    """What was recorded of it is played, the last answer for ever; nobody else's is."""
    recording = kit.recording()
    base = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"
    for status in ("running", "success"):
        recording.json("GET", base, {"run_id": kit.uid(2), "status": status})
    recording.json("GET", f"{base}/join", {"n": 1})
    session = kit.session(recording)
    statuses = [kit.value(kit.ask(session, "GET", base))["status"] for _ in range(4)]
    assert statuses == ["running", "success", "success", "success"]
    assert kit.value(kit.ask(session, "GET", f"{base}/join")) == {"n": 1}
    assert kit.ask(session, "GET", base.replace(kit.uid(2), kit.uid(3))).plan.head.status == 404


def test_background_run_that_waits(kit: Any) -> None:
    """A run that nobody streamed is pending as long as its client wanted it to wait, and is cancelled with others."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "input": "hi", "after_seconds": 5}
    made = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending"}
    recording.json("POST", f"/threads/{thread_id}/runs", made, body)
    recording.json(
        "GET", f"/threads/{thread_id}/runs/{kit.uid(2)}", {**made, "status": "success"}, start_ms=9000
    )
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread_id}/runs", body)
    path = f"/threads/{thread_id}/runs/{kit.uid(2)}"
    assert kit.value(kit.ask(session, "GET", path, now_ms=2000))["status"] == "pending"
    cancel = kit.ask(session, "POST", "/runs/cancel", {"status": "pending"}, now_ms=3000)
    assert cancel.plan.head.status == 204
    assert kit.value(kit.ask(session, "GET", path, now_ms=3001))["status"] == "interrupted"


@pytest.fixture
def without_a_thread(kit: Any) -> Any:
    """A session in which a stateless run goes on until 31 ms, and its path."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), BODY, kit.simple_events(kit.uid(2), ids=True))
    session = kit.session(recording)
    play = kit.ask(session, "POST", "/runs/stream", BODY).play
    return session, f"/threads/{play.thread_id}/runs/{play.run_id}"


def test_run_without_a_thread_while_it_goes_on(kit: Any, without_a_thread: Any) -> None:
    """It is found by the thread that was made for it; the list has it, and its object says that it is temporary."""
    session, path = without_a_thread
    run = kit.value(kit.ask(session, "GET", path, now_ms=15))
    assert (run["status"], run["kwargs"]["temporary"]) == ("running", True)
    assert kit.value(kit.ask(session, "GET", path.rpartition("/")[0], now_ms=15)) == [run]
    assert isinstance(kit.ask(session, "GET", f"{path}/stream", now_ms=15), JoinStream)
    assert isinstance(kit.ask(session, "GET", f"{path}/join", now_ms=15), RunWait)
    assert kit.ask(session, "POST", f"{path}/cancel", now_ms=15).plan.head.status == 202
    assert kit.ask(session, "GET", path, now_ms=15).plan.head.status == 404


def test_run_without_a_thread_when_it_is_over(kit: Any, without_a_thread: Any) -> None:
    """Run and thread are gone; what it published can still be had by its cursor."""
    session, path = without_a_thread
    not_found = {"error": "HTTPException", "message": "404: Run not found"}
    run = kit.ask(session, "GET", path, now_ms=31)
    assert (run.plan.head.status, kit.value(run)["detail"][:15]) == (404, "Thread with ID ")
    joined = kit.ask(session, "GET", f"{path}/stream", now_ms=31)
    assert joined.plan.body == kit.sse("error", not_found)
    assert kit.value(kit.ask(session, "GET", f"{path}/join", now_ms=31)) == {"__error__": not_found}
    stored = kit.ask(session, "GET", f"{path}/stream", now_ms=31, last_event_id="-1").play.stored(31 * kit.MS)
    assert [frame.name for frame in stored] == ["metadata", "values", "values"]
    for target, body in ((f"{path}/cancel", None), ("/runs/cancel", {"status": "all"})):
        reply = kit.ask(session, "POST", target, body, now_ms=31)
        assert (reply.plan.head.status, kit.value(reply)["detail"]) == (404, "No runs found to cancel.")


def test_what_was_not_stored_is_gone_too(kit: Any) -> None:
    """Of a run that is not resumable nothing can be had when it is gone, whatever the cursor."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), {"assistant_id": "agent"})
    session = kit.session(recording)
    play = kit.ask(session, "POST", "/runs/stream", {"assistant_id": "agent"}).play
    path = f"/threads/{play.thread_id}/runs/{play.run_id}/stream"
    assert isinstance(kit.ask(session, "GET", path, now_ms=15, last_event_id="-1"), JoinStream)
    assert isinstance(kit.ask(session, "GET", path, now_ms=99, last_event_id="-1"), Reply)


@pytest.mark.parametrize("path", ["", "/state", "/history", "/runs", "/runs/{r}"])
def test_background_run_without_a_thread_at_max(kit: Any, path: str) -> None:
    """Whoever reads it completes it, and with it goes its thread; a join plays it."""
    recording = kit.recording()
    told = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "pending"}
    recording.json("POST", "/runs", told, BODY)
    base = f"/threads/{kit.uid(1)}"
    events = [kit.sse(*event[1:]) for event in kit.simple_events(kit.uid(2), ids=True)]
    reads = [(1, event) for event in events]
    recording.call("GET", f"{base}/runs/{kit.uid(2)}/stream", headers=kit.STREAM_TAIL, reads=reads)
    session = kit.session(recording, speed="max")
    kit.ask(session, "POST", "/runs", BODY)
    joined = kit.ask(session, "GET", f"{base}/runs/{kit.uid(2)}/stream")
    assert isinstance(joined, JoinStream)
    assert joined.play.unwatched
    reply = kit.ask(session, "GET", base + path.replace("{r}", kit.uid(2)))
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (
        404,
        f"Thread with ID {kit.uid(1)} not found",
    )


@pytest.mark.parametrize("what", ["stream", "join"])
def test_recorded_join_of_a_run_that_is_gone(kit: Any, what: str) -> None:
    """It has the head that was recorded when the run was over, not that of a join while it went on."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), BODY)
    path = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/{what}"
    for start_ms, day in ((5, b"one"), (99, b"other")):
        headers = [(b"date", day), *kit.STREAM_TAIL]
        recording.call("GET", path, headers=headers, reads=[(1, b"{}")], start_ms=start_ms)
    session = kit.session(recording)
    kit.ask(session, "POST", "/runs/stream", BODY)
    assert dict(kit.ask(session, "GET", path, now_ms=99).head.headers)[b"date"] == b"other"
