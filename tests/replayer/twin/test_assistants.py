"""Which assistant a run is of."""

from __future__ import annotations

from typing import Any

from graphtape.replayer.twin.assistants import assistant_of, recorded_run_objects

BODY = {"assistant_id": "agent"}


def play_of(kit: Any, recording: Any) -> Any:
    session = kit.session(recording)
    mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
    return kit.ask(session, "POST", f"/threads/{mine}/runs/stream", BODY).play


def test_assistant_of_a_recorded_object(kit: Any) -> None:
    """Where no event names it, a recorded run object does; its ids are this session's."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    metadata = {"graph_id": "agent", "assistant_id": kit.uid(77), "more": 1}
    recording.json("GET", f"/threads/{kit.uid(1)}/runs", [{"run_id": kit.uid(2), "metadata": metadata}])
    play = play_of(kit, recording)
    expected = {"graph_id": "agent", "assistant_id": kit.uid(77)}
    assert assistant_of(play, lambda name: f"default {name}") == expected
    (found,) = recorded_run_objects(play)
    assert found["run_id"] == play.run_id


def test_assistant_of_the_request(kit: Any) -> None:
    """Where nothing names it, it is the default one of the graph that was asked for."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    found = assistant_of(play_of(kit, recording), lambda name: f"default {name}")
    assert found == {"graph_id": "agent", "assistant_id": "default agent"}


def test_assistant_of_a_run_that_made_its_thread(kit: Any) -> None:
    """The metadata of such a run name no graph; its configuration does."""
    recording = kit.recording()
    ids = {"graph_id": "agent", "assistant_id": kit.uid(77)}
    run = {
        "run_id": kit.uid(2),
        "metadata": {"created_by": "system", "assistant_id": kit.uid(77)},
        "kwargs": {"config": {"configurable": {"run_id": kit.uid(2), **ids}}},
    }
    recording.run(recording.thread(1), kit.uid(2), BODY)
    recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", run)
    assert assistant_of(play_of(kit, recording), lambda name: f"default {name}") == ids
