"""What the server would say, derived from the streams."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.play import END_OF_TIME_NS
from graphtape.replayer.twin import wait_answer

INTERRUPT = {"id": "a" * 32, "value": "ok?", "response_schema": None}


def checkpoint(kit: Any, number: int, values: Any, **more: Any) -> dict[str, Any]:
    """The payload of a `checkpoints` event."""
    config = {
        "configurable": {"checkpoint_ns": "", "thread_id": kit.uid(1), "checkpoint_id": kit.uid(100 + number)}
    }
    parent = (
        {"configurable": {"checkpoint_ns": "", "checkpoint_id": kit.uid(99 + number)}} if number else None
    )
    payload = {
        "config": config,
        "parent_config": parent,
        "values": values,
        "next": [],
        "tasks": [],
        "metadata": {"step": number},
    }
    return {**payload, **more}


def conversation(kit: Any, *runs: tuple[Any, list[tuple[Any, ...]]]) -> Any:
    """A session in which these runs (modes, events) have been played in one thread; each takes its own input."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    bodies = []
    for number, (modes, events) in enumerate(runs, 2):
        bodies.append({"assistant_id": "agent", "input": {"n": number}, "stream_mode": modes})
        start = [(1, "metadata", {"run_id": kit.uid(number), "attempt": 1})]
        recording.run(thread_id, kit.uid(number), bodies[-1], start + events)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    for number, body in enumerate(bodies):
        kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body, now_ms=1000 * number)
    return session


def read(kit: Any, session: Any, what: str, body: Any = None, now_ms: float = 10_000) -> Any:
    method = "POST" if body is not None else "GET"
    return kit.value(kit.ask(session, method, f"/threads/{kit.uid(1)}{what}", body, now_ms=now_ms))


def test_history_from_checkpoints(kit: Any) -> None:
    """The history is every checkpoint that was shown, newest first, one unless a limit is given."""
    events: list[Any] = [(1, "checkpoints", checkpoint(kit, n, {"n": n})) for n in range(3)]
    session = conversation(kit, ("checkpoints", events))
    history = read(kit, session, "/history", {"limit": 9})
    assert [state["values"] for state in history] == [{"n": 2}, {"n": 1}, {"n": 0}]
    assert history[0]["parent_checkpoint_id"] == history[1]["checkpoint_id"] == kit.uid(101)
    assert read(kit, session, "/history") == history[:1]
    assert (
        read(kit, session, "/history", {"limit": 9, "before": {"checkpoint_id": kit.uid(102)}}) == history[1:]
    )
    assert read(kit, session, "/state") == history[0]
    assert read(kit, session, f"/state/{kit.uid(100)}") == history[2]


def test_checkpoint_shown_again_by_a_resume(kit: Any) -> None:
    """A resumed run shows the pending checkpoint again: it is one state, as it is then."""
    task = {"id": kit.uid(50), "name": "ask", "interrupts": [INTERRUPT], "state": None}
    pending = checkpoint(kit, 0, {"n": 0}, next=["ask"], tasks=[task])
    resumed = [
        (1, "checkpoints", pending),
        (1, "tasks", {"id": kit.uid(50), "name": "ask", "result": {"n": 1}, "interrupts": []}),
        (1, "checkpoints", checkpoint(kit, 1, {"n": 1})),
    ]
    modes = ["checkpoints", "tasks"]
    session = conversation(kit, (modes, [(1, "checkpoints", pending)]), (modes, resumed))
    history = read(kit, session, "/history", {"limit": 9})
    assert [state["checkpoint_id"] for state in history] == [kit.uid(101), kit.uid(100)]
    (shown,) = history[1]["tasks"]
    assert shown["result"] == {"n": 1}
    assert shown["interrupts"] == [{"id": "a" * 32, "value": "ok?"}]


def test_input_task(kit: Any) -> None:
    """The task that takes in the input has no events; its result is the input."""
    task = {"id": kit.uid(50), "name": "__start__", "interrupts": [], "state": None}
    session = conversation(kit, ("checkpoints", [(1, "checkpoints", checkpoint(kit, 0, {}, tasks=[task]))]))
    assert read(kit, session, "/state")["tasks"][0]["result"] == {"n": 2}


def test_interrupted_thread(kit: Any) -> None:
    """An interrupted thread names its interrupts by task, without the schema that only streams have."""
    task = {"id": kit.uid(50), "name": "ask", "interrupts": [], "state": None}
    events = [
        (1, "checkpoints", checkpoint(kit, 0, {"n": 0}, tasks=[task])),
        (1, "values", {"n": 0, "__interrupt__": [INTERRUPT]}),
    ]
    session = conversation(kit, (["values", "checkpoints"], events))
    thread = read(kit, session, "")
    assert (thread["status"], thread["values"]) == ("interrupted", {"n": 0})
    assert thread["interrupts"] == {kit.uid(50): [{"id": "a" * 32, "value": "ok?"}]}


def test_failed_thread(kit: Any) -> None:
    """After a failed run thread and run are in error, with the values that stood before."""
    error = {"error": "ValueError", "message": "boom"}
    session = conversation(kit, ("values", [(1, "values", {"n": 1}), (1, "error", error)]))
    thread = read(kit, session, "")
    assert (thread["status"], thread["error"], thread["values"]) == ("error", error, {"n": 1})
    assert read(kit, session, f"/runs/{kit.uid(2)}")["status"] == "error"


def test_values_of_a_run_that_shows_none(kit: Any) -> None:
    """A run that could have changed the values without showing it leaves them unknown; one that only began does not."""
    session = conversation(kit, ("values", [(1, "values", {"n": 1})]), ("custom", [(1, "custom", 1)]))
    assert read(kit, session, "/state", now_ms=1001)["values"] == {"n": 1}
    reply = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/state", now_ms=10_000)
    assert reply.plan.head.status == 422


def test_run_object(kit: Any) -> None:
    """A run object says what was asked, with the config that its first checkpoint shows."""
    session = conversation(kit, ("checkpoints", [(1, "checkpoints", checkpoint(kit, 0, {}))]))
    run = read(kit, session, f"/runs/{kit.uid(2)}")
    assert run["kwargs"]["input"] == {"n": 2}
    assert run["kwargs"]["stream_mode"] == ["checkpoints"]
    assert run["kwargs"]["config"]["configurable"] == {
        "thread_id": kit.uid(1),
        "__pregel_node_finished": None,
    }
    assert run["updated_at"].startswith("2026-11-21T00:10:36.0")


@pytest.mark.parametrize(
    ("modes", "events", "answer", "late"),
    [
        ("values", [("values", {"n": 1}), ("values", {"n": 2})], {"n": 2}, {"n": 2}),
        (
            "values",
            [("values", {"n": 1}), ("values", {"n": 1, "__interrupt__": [INTERRUPT]})],
            {"n": 1, "__interrupt__": [INTERRUPT]},
            {"__interrupt__": [{"id": "a" * 32, "value": "ok?"}]},
        ),
        (
            "updates",
            [("updates", {"__interrupt__": [INTERRUPT]})],
            {"__interrupt__": [INTERRUPT]},
            {"__interrupt__": [{"id": "a" * 32, "value": "ok?"}]},
        ),
        (
            ["updates", "values"],
            [("updates", {"__interrupt__": [INTERRUPT]}), ("values", {"n": 1, "__interrupt__": [INTERRUPT]})],
            {"__interrupt__": [INTERRUPT, INTERRUPT]},
            {"__interrupt__": [{"id": "a" * 32, "value": "ok?"}]},
        ),
        (
            "values",
            [("values", {"n": 1}), ("error", {"error": "E"})],
            {"__error__": {"error": "E"}},
            {"__error__": {"error": "E"}},
        ),
        ("custom", [("custom", 1)], None, None),
    ],
)
def test_wait_answer(kit: Any, modes: Any, events: Any, answer: Any, late: Any) -> None:
    """What `wait` answers in the end: the last values, what interrupted, or the error; a late join asks the thread."""
    session = conversation(kit, (modes, [(1, *event) for event in events]))
    play = session.runs[kit.uid(2)]
    assert wait_answer(play, END_OF_TIME_NS) == answer
    assert wait_answer(play, END_OF_TIME_NS, late=True) == late
