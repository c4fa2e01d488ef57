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
