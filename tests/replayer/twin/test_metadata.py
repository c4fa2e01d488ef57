"""Metadata of threads and runs."""

from __future__ import annotations

from typing import Any

import pytest

TOLD = {
    "created_by": "system",
    "kind": "recorded",
    "graph_id": "agent",
    "assistant_id": "a",
    "run_attempt": 1,
}


def states(kit: Any, asked: Any) -> Any:
    """The thread, its run and its state, of a client that gives its thread these metadata."""
    recording = kit.recording()
    recording.thread(1, {"metadata": {"kind": "recorded"}})
    body = {"assistant_id": "agent", "stream_mode": ["checkpoints", "tasks"]}
    events = [
        (1, "metadata", {}),
        (1, "checkpoints", kit.checkpoint(0, {})),
        (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": TOLD}),
    ]
    recording.run(kit.uid(1), kit.uid(2), body, events)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {"metadata": asked})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    return [kit.read(session, what)["metadata"] for what in ("", f"/runs/{kit.uid(2)}", "/state")]


def test_metadata_as_recorded(kit: Any) -> None:
    """What a client gave its thread is in its runs and states."""
    thread, run, state = states(kit, {"kind": "recorded"})
    assert list(thread.items()) == [("kind", "recorded"), ("graph_id", "agent"), ("assistant_id", "a")]
    assert list(run) == ["created_by", "kind", "graph_id", "assistant_id"]
    assert state["kind"] == "recorded"


def test_metadata_of_another_client(kit: Any) -> None:
    """Another client's metadata stand in the place of the recorded ones, in no place beside them."""
    thread, run, state = states(kit, {"who": "me"})
    assert list(thread) == ["who", "graph_id", "assistant_id"]
    assert list(run) == ["created_by", "who", "graph_id", "assistant_id"]
    assert state["who"] == "me"
    assert "kind" not in state


def test_metadata_that_came_later(kit: Any) -> None:
    """Metadata merged into a thread show in the thread and its next run, not in the runs before."""
    session = kit.conversation(("values", [(1, "values", {})]))
    kit.ask(session, "PATCH", f"/threads/{kit.uid(1)}", {"metadata": {"more": 1}}, now_ms=500)
    assert list(kit.read(session, "")["metadata"]) == ["graph_id", "assistant_id", "more"]
    assert "more" not in kit.read(session, f"/runs/{kit.uid(2)}")["metadata"]


def test_configuration_of_a_thread(kit: Any) -> None:
    """A thread keeps the configuration of its runs, but nothing of `configurable`."""
    recording = kit.recording()
    recording.thread(1)
    body = {"assistant_id": "agent", "config": {"tags": ["x"], "configurable": {"secret": 1}}}
    recording.run(kit.uid(1), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    assert kit.read(session, "")["config"] == {"tags": ["x"], "configurable": {}}


@pytest.mark.parametrize(
    ("given", "patched", "is_recorded"),
    [
        ({"kind": "recorded"}, None, True),
        ({"kind": "mine"}, None, False),
        ({"kind": "recorded"}, {"more": 1}, False),
    ],
)
def test_recorded_reads_of_another_client(kit: Any, given: Any, patched: Any, is_recorded: bool) -> None:
    """Recorded reads of a thread are played for a client that said the same of it; for another they are derived."""
    recording = kit.recording()
    recording.thread(1, {"metadata": {"kind": "recorded"}})
    path = f"/threads/{kit.uid(1)}"
    body = {"assistant_id": "agent"}
    recording.run(kit.uid(1), kit.uid(2), body)
    recording.json("GET", path, {"was": "recorded"})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {"metadata": given})
    kit.ask(session, "POST", f"{path}/runs/stream", body)
    if patched is not None:
        kit.ask(session, "PATCH", path, {"metadata": patched}, now_ms=98)
    thread = kit.read(session, "", now_ms=99)
    assert ("was" in thread) is is_recorded
    if not is_recorded:
        assert thread["metadata"].items() >= {**given, **(patched or {})}.items()


def test_first_run_of_a_thread_it_created(kit: Any) -> None:
    """A run that creates its thread has none of the thread's metadata; the assistant's id comes last."""
    recording = kit.recording()
    told = {"created_by": "system", "m": 1, "assistant_id": "a", "run_attempt": 1}
    body = {
        "assistant_id": "agent",
        "stream_mode": ["checkpoints", "tasks"],
        "if_not_exists": "create",
        "metadata": {"m": 1},
        "config": {"configurable": {"mine": 5}},
    }
    events = [
        (1, "metadata", {}),
        (1, "checkpoints", kit.checkpoint(0, {})),
        (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": told}),
    ]
    recording.run(kit.uid(1), kit.uid(2), body, events)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    run = kit.read(session, f"/runs/{kit.uid(2)}")
    assert list(run["metadata"]) == ["created_by", "m", "assistant_id"]
    assert run["kwargs"]["context"] == {"mine": 5}
    assert list(kit.read(session, "")["metadata"])[-1] == "m"


@pytest.mark.parametrize("stateful", [True, False])
def test_what_the_first_run_gave_its_thread(kit: Any, stateful: bool) -> None:
    """In later runs it comes from the thread, in the thread's place."""
    recording = kit.recording()
    run = {"created_by": "system", "graph_id": "agent", "assistant_id": "a"}
    given = {"metadata": {"kind": "recorded"}}
    more = {"if_not_exists": "create"} if stateful else {"on_completion": "keep"}
    bodies: list[dict[str, Any]] = [
        {"assistant_id": "agent", "input": n, "stream_mode": "tasks"} for n in (1, 2)
    ]
    bodies[0] |= {**given, **more}
    path = f"/threads/{kit.uid(1)}/runs/stream"
    for number, body in enumerate(bodies, 2):
        events = [
            (1, "metadata", {"run_id": kit.uid(number)}),
            (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": {**run, "kind": "recorded"}}),
        ]
        where = kit.uid(1) if stateful or number == 3 else None
        recording.run(where, kit.uid(number), body, events)
    recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/join", {})
    session = kit.session(recording)
    kit.ask(
        session, "POST", path if stateful else "/runs/stream", {**bodies[0], "metadata": {"kind": "mine"}}
    )
    kit.ask(session, "POST", path, bodies[1], now_ms=99)
    metadata = kit.read(session, f"/runs/{kit.uid(3)}")["metadata"]
    assert list(metadata.items()) == [*run.items(), ("kind", "mine")]
