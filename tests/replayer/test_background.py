"""Runs in the background that no stream shows: what is said of them agrees with what was recorded, and with itself."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.replayer.answering.answers import JoinStream, Silence

BODY = {"assistant_id": "agent", "input": "hi"}


def made(kit: Any) -> Any:
    """A recording in which a run is started at 10."""
    recording = kit.recording()
    runs = f"/threads/{recording.thread(1)}/runs"
    run = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "pending"}
    recording.json("POST", runs, run, BODY, start_ms=10)
    return recording


def thread_row(kit: Any, status: str, **more: Any) -> dict[str, Any]:
    moments = dict.fromkeys(("created_at", "updated_at", "state_updated_at"), "then")
    return {
        "thread_id": kit.uid(1),
        "metadata": {"graph_id": "agent"},
        "config": {},
        **moments,
        "status": status,
        **more,
    }


def started(kit: Any, recording: Any, **more: Any) -> Any:
    """A session that has started the run at 0."""
    session = kit.session(recording, **more)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs", BODY)
    return session


def said(kit: Any, session: Any, now_ms: float) -> tuple[str, str, str]:
    """The status of the run in its object and in the list, and that of its thread."""
    run = kit.read(session, f"/runs/{kit.uid(2)}", now_ms=now_ms)["status"]
    (row,) = kit.read(session, "/runs", now_ms=now_ms)
    asked = {"select": ["status"]}
    (thread,) = kit.value(kit.ask(session, "POST", "/threads/search", asked, now_ms=now_ms))
    return run, row["status"], thread["status"]


@pytest.mark.parametrize(
    ("status", "thread"), [("success", "idle"), ("error", "error"), ("interrupted", "interrupted")]
)
def test_polled(kit: Any, status: str, thread: str) -> None:
    """It waits, runs and ends as it was seen to, and all that is read at one moment agrees."""
    recording = made(kit)
    path = f"/threads/{kit.uid(1)}"
    run = {"run_id": kit.uid(2), "thread_id": kit.uid(1)}
    for at, told in ((20, "pending"), (30, "running"), (50, status)):
        recording.json("GET", f"{path}/runs/{kit.uid(2)}", {**run, "status": told}, start_ms=at)
    recording.json("GET", path, thread_row(kit, thread), start_ms=60)
    session = started(kit, recording)
    seen = [said(kit, session, now_ms) for now_ms in range(60)]
    for each in (0, 1):
        assert [one[each] for one in seen] == ["pending"] * 10 + ["running"] * 20 + [status] * 30
    assert [one[2] for one in seen] == ["busy"] * 30 + [thread] * 30


def test_nothing_tells_of_its_end(kit: Any) -> None:
    """It is said to have ended well when it had been answered; what it did is unknown, and refused."""
    session = started(kit, made(kit))
    assert said(kit, session, 0) == ("running", "running", "busy")
    assert said(kit, session, 2) == ("success", "success", "idle")
    path = f"/threads/{kit.uid(1)}"
    for target in (path, f"{path}/state", f"{path}/history", f"{path}/runs/{kit.uid(2)}/join"):
        assert kit.ask(session, "GET", target, now_ms=9).plan.head.status == 422


def test_it_is_told_to_wait(kit: Any) -> None:
    """`after_seconds` counts, where nothing else is known."""
    recording = kit.recording()
    runs = f"/threads/{recording.thread(1)}/runs"
    body = {**BODY, "after_seconds": 1}
    recording.json("POST", runs, {"run_id": kit.uid(2)}, body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", runs, body)
    assert [said(kit, session, now_ms)[0] for now_ms in (0, 999, 1001)] == ["pending", "pending", "success"]


def test_at_max(kit: Any) -> None:
    """It is over as soon as somebody asks, as it was told."""
    recording = made(kit)
    recording.json("GET", f"/threads/{kit.uid(1)}", thread_row(kit, "error"), start_ms=60)
    session = started(kit, recording, speed="max")
    assert said(kit, session, 0) == ("error", "error", "error")


def test_error_that_is_not_known(kit: Any) -> None:
    """That it failed is told without the error, which nothing shows; nobody can be told what it answered."""
    recording = made(kit)
    run = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "error"}
    recording.json("GET", f"/threads/{kit.uid(1)}/runs", [run], start_ms=50)
    session = started(kit, recording)
    path = f"/threads/{kit.uid(1)}"
    patched = kit.value(kit.ask(session, "PATCH", path, {"metadata": {"a": 1}}, now_ms=90))
    assert patched["status"] == "error"
    assert "error" not in patched
    assert kit.ask(session, "GET", f"{path}/runs/{kit.uid(2)}/join", now_ms=90).plan.head.status == 422


INTERRUPT = {"id": "a" * 32, "value": "ok?"}


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"status": "idle", "values": {"n": 1}}, {"n": 1}),
        ({"status": "idle", "values": None}, {}),
        ({"status": "error", "error": {"error": "E"}, "values": {}}, {"__error__": {"error": "E"}}),
        (
            {"status": "interrupted", "values": {"n": 1}, "interrupts": {"task": [INTERRUPT]}},
            {"__interrupt__": [INTERRUPT]},
        ),
        ({"status": "interrupted", "values": {"n": 1}, "interrupts": {}}, {"n": 1}),
    ],
)
def test_join_of_a_thread_that_was_read(kit: Any, row: dict[str, Any], answer: Any) -> None:
    """A late join gets what the thread has, which a recorded read has shown."""
    recording = made(kit)
    recording.json("GET", f"/threads/{kit.uid(1)}", thread_row(kit, **row), start_ms=60)
    session = started(kit, recording)
    reply = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/join", now_ms=90)
    assert kit.value(reply) == answer


def left_in_silence(kit: Any, query: str = "?cancel_on_disconnect=1") -> Any:
    """A recording whose reader came at 20 and left at 2000 without having got a byte."""
    recording = made(kit)
    recording.call(
        "GET",
        f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/stream{query}",
        headers=kit.STREAM_TAIL,
        start_ms=20,
        end_ms=1979,
        ending=Ending.CLIENT_LEFT,
    )
    return recording


def test_join_that_was_left_in_silence(kit: Any) -> None:
    """Another gets as much, for as long; of one who asks for something else nothing is known."""
    session = started(kit, left_in_silence(kit))
    path = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/stream"
    join = kit.ask(session, "GET", f"{path}?cancel_on_disconnect=1", now_ms=10)
    assert isinstance(join, JoinStream)
    assert (join.silence, join.cancel_on_disconnect) == (Silence(1990 * kit.MS, whole=False), True)
    for query, headers in (("", {}), ("?cancel_on_disconnect=1", {"last_event_id": "-1"})):
        assert kit.ask(session, "GET", path + query, now_ms=10, **headers).plan.head.status == 422
    assert said(kit, session, 1000) == ("running", "running", "busy")


def test_run_whose_reader_does_not_come(kit: Any) -> None:
    """It ends when the recorded reader left it, as that told the server to."""
    session = started(kit, left_in_silence(kit))
    assert said(kit, session, 1999) == ("interrupted", "interrupted", "interrupted")


def test_join_of_what_is_over(kit: Any) -> None:
    """It gets nothing from a run that kept nothing, whatever happened there."""
    session = started(kit, made(kit))
    path = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/stream"
    for headers in ({}, {"last_event_id": "-1"}):
        join = kit.ask(session, "GET", path, now_ms=90, **headers)
        assert isinstance(join, JoinStream)
        assert join.silence is None
