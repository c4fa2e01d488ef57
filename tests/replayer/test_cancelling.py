"""Why a run was cancelled."""

from __future__ import annotations

from typing import Any

from graphtape.cassettes.model import Ending
from graphtape.replayer.cancelling import DISCONNECTED, recorded_cancellation, requested, superseded

BODY = {"assistant_id": "agent"}


def test_words() -> None:
    """The reasons are the server's, which names no run in the one of its route."""
    assert requested(rollback=True).error == {
        "error": "UserRollback",
        "message": "rollback requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
    }
    assert superseded("r", rollback=False).reason == "superseded by run r (multitask_strategy=interrupt)"


def test_recorded_reasons(kit: Any) -> None:
    """A recording shows who cancelled: a request, a run in its place, a reader that left; or nobody."""
    recording = kit.recording()
    for number in range(1, 5):
        recording.thread(number)
    recording.run(kit.uid(1), kit.uid(11), BODY)
    recording.call("POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(11)}/cancel?action=rollback", status=202)
    recording.run(kit.uid(2), kit.uid(12), BODY, start_ms=500)
    recording.run(kit.uid(2), kit.uid(13), {**BODY, "multitask_strategy": "interrupt"}, start_ms=510)
    recording.run(kit.uid(3), kit.uid(14), {**BODY, "on_disconnect": "cancel"}, ending=Ending.CLIENT_LEFT)
    recording.run(kit.uid(4), kit.uid(15), BODY)
    found = [recorded_cancellation(run) for run in kit.tapes(recording).runs]
    displaced = superseded(kit.uid(13), rollback=False)
    assert found == [requested(rollback=True), displaced, None, DISCONNECTED, None]


def test_reader_that_cancelled_by_leaving(kit: Any) -> None:
    """A run is interrupted if a reader left it that had asked for that; not if it left after the end."""
    for start_ms, status in ((10, "interrupted"), (500, "success")):
        recording = kit.recording()
        recording.thread(1)
        recording.run(kit.uid(1), kit.uid(11), BODY, start_ms=2)
        path = f"/threads/{kit.uid(1)}/runs/{kit.uid(11)}/stream?cancel_on_disconnect=true"
        recording.call("GET", path, ending=Ending.CLIENT_LEFT, start_ms=start_ms)
        session = kit.session(recording)
        kit.ask(session, "POST", "/threads", {})
        play = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY).play
        assert play.status(999 * kit.MS) == status
