"""What a run object says that its events do not."""

from __future__ import annotations

from typing import Any

from graphtape.protocol.ids import is_uuid

BODY = {"assistant_id": "agent", "input": "hi"}


def run_object(kit: Any, recording: Any) -> Any:
    session = kit.session(recording)
    mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
    run_id = kit.ask(session, "POST", f"/threads/{mine}/runs/stream", BODY).play.run_id
    return kit.value(kit.ask(session, "GET", f"/threads/{mine}/runs/{run_id}", now_ms=15))


def test_assistant_from_events(kit: Any) -> None:
    """Graph and assistant are those that the events name."""
    recording = kit.recording()
    metadata = {"graph_id": "graph", "assistant_id": kit.uid(77)}
    events: list[Any] = [(1, "metadata", {}), (1, "values", {"deep": [{"metadata": metadata}]})]
    recording.run(recording.thread(1), kit.uid(2), BODY, events)
    assert run_object(kit, recording)["metadata"] == {"created_by": "system", **metadata}


def test_assistant_from_the_request(kit: Any) -> None:
    """Without any, the graph is the one that was asked for, and its assistant the server's own for that name."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    run = run_object(kit, recording)
    assert run["metadata"]["graph_id"] == "agent"
    assert run["assistant_id"] == run["metadata"]["assistant_id"] == "fe096781-5601-53d2-b2f6-0d3403f7e9ca"
    assert is_uuid(run["run_id"])


def test_recorded_object_with_the_status_of_now(kit: Any) -> None:
    """A run object that was recorded at another stage is that object, with the status of now."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), BODY)
    recorded = {"run_id": kit.uid(2), "status": "success", "own": 1}
    recording.json("GET", f"/threads/{thread_id}/runs/{kit.uid(2)}", recorded)
    assert run_object(kit, recording) == {**recorded, "status": "running"}
