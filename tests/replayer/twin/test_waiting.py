"""What a client that waits for a run gets in the end."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.play import END_OF_TIME_NS
from graphtape.replayer.twin.waiting import wait_answer

INTERRUPT = {"id": "a" * 32, "value": "ok?", "response_schema": None}


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
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": modes}
    start = [(1, "metadata", {"run_id": kit.uid(2), "attempt": 1})]
    recording.run(thread_id, kit.uid(2), body, start + [(1, *event) for event in events])
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    play = kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body).play
    assert wait_answer(play, END_OF_TIME_NS) == answer
    join = kit.ask(session, "GET", f"/threads/{thread_id}/runs/{kit.uid(2)}/join", now_ms=99)
    assert join.plan.head.status == (422 if late is None else 200)
    assert late is None or kit.value(join) == late


OTHER = {"id": "b" * 32, "value": "two?", "response_schema": None}


@pytest.mark.parametrize(
    ("recorded", "told", "asked", "answer"),
    [
        (["updates", "values"], [INTERRUPT, INTERRUPT], ["values"], None),
        (["updates", "values"], [INTERRUPT, INTERRUPT], ["updates"], [INTERRUPT]),
        (["updates", "values"], [INTERRUPT, OTHER] * 2, ["values"], [INTERRUPT, OTHER]),
        (["updates"], [INTERRUPT], ["updates", "values"], [INTERRUPT, INTERRUPT]),
        (["updates"], [INTERRUPT], ["updates", "custom"], [INTERRUPT]),
    ],
)
def test_joined_with_other_modes(kit: Any, recorded: Any, told: Any, asked: Any, answer: Any) -> None:
    """A recorded `join` of interrupts is made that of the modes asked for; where they would show values, it is none."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": recorded}
    made = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending"}
    recording.json("POST", f"/threads/{thread_id}/runs", made, body)
    recording.json(
        "GET", f"/threads/{thread_id}/runs/{kit.uid(2)}/join", {"__interrupt__": told}, head_ms=100
    )
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread_id}/runs", {**body, "stream_mode": asked})
    play = session.runs[kit.uid(2)]
    assert wait_answer(play, END_OF_TIME_NS) == (None if answer is None else {"__interrupt__": answer})
    join = kit.ask(session, "GET", f"/threads/{thread_id}/runs/{kit.uid(2)}/join", now_ms=1)
    assert join.head.status == (422 if answer is None else 200)


@pytest.mark.parametrize("what", ["", "/state", "/state?subgraphs=false"])
def test_joined_with_other_modes_and_read(kit: Any, what: str) -> None:
    """The values that such a join hides are those that the thread had when it was read next, under the ids of here."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": ["values"]}
    made = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending"}
    wide = {**body, "stream_mode": ["updates", "values"]}
    recording.json(
        "POST", f"/threads/{thread_id}/runs", made, wide, widened_from={"stream_mode": b'["values"]'}
    )
    join = f"/threads/{thread_id}/runs/{kit.uid(2)}/join"
    recording.json("GET", join, {"__interrupt__": [INTERRUPT, INTERRUPT]}, head_ms=100)
    values = {"messages": [{"type": "ai", "id": kit.uid(5), "content": "x"}]}
    recording.json("GET", f"/threads/{thread_id}{what}", {"status": "interrupted", "values": values})
    session = kit.session(recording)
    found = []
    for _ in range(2):
        mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        run_id = kit.value(kit.ask(session, "POST", f"/threads/{mine}/runs", body))["run_id"]
        found.append(wait_answer(session.runs[run_id], END_OF_TIME_NS))
    assert found[0] == {**values, "__interrupt__": [INTERRUPT]}
    assert found[1]["messages"][0]["content"] == "x"
