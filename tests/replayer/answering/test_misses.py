"""The 404 that says what is nearest; its words are in tests/golden_output/miss."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def session(kit: Any) -> Any:
    recording = kit.recording()
    for number in range(1, 6):
        recording.json(
            "POST", "/assistants/search", [], {"limit": number, "deep": {"list": [1, {"x": number}]}}
        )
    recording.run(None, kit.uid(1), {"assistant_id": "agent"})
    return kit.session(recording)


def test_nearest_three(kit: Any, session: Any) -> None:
    """The three nearest are told, best first, with the fields that differ."""
    body = {"limit": 4, "deep": {"list": [1, {"x": 9}]}}
    told = kit.value(kit.ask(session, "POST", "/assistants/search", body))["graphtape"]
    assert [near["exchange"] for near in told["nearest"]] == [4, 1, 2]
    assert told["nearest"][0]["differences"] == [{"field": "body deep.list[1].x", "recorded": 4, "asked": 9}]


def test_detail_is_a_string(kit: Any, session: Any) -> None:
    """`detail` is a string, so that SDKs show it; it is also what the log says."""
    reply = kit.ask(session, "POST", "/assistants/search", {})
    assert isinstance(kit.value(reply)["detail"], str)
    assert reply.note == kit.value(reply)["detail"]


def test_huge_values_are_cut(kit: Any, session: Any) -> None:
    """A value of any size does not flood the answer."""
    reply = kit.ask(session, "POST", "/assistants/search", {"limit": "x" * 100_000, "deep": ["y" * 100_000]})
    assert len(reply.plan.body) < 10_000


@pytest.mark.parametrize(
    ("path", "assistant", "words"),
    [
        ("/runs/stream", "agnt", "Did you mean 'agent'?"),
        ("/runs/stream", "xyz", "Recorded assistants: agent."),
        ("/threads/{}/runs/stream", "agent", "recorded only without a thread"),
    ],
)
def test_no_run_like_it(kit: Any, session: Any, path: str, assistant: str, words: str) -> None:
    """Where no run is near, the answer says why."""
    body = {"assistant_id": assistant, "if_not_exists": "create"}
    assert words in kit.value(kit.ask(session, "POST", path.format(kit.uid(1)), body))["detail"]


def test_empty_cassette(kit: Any) -> None:
    """A cassette without runs says so."""
    reply = kit.ask(kit.session(kit.recording()), "POST", "/runs/stream", {"assistant_id": "a"})
    assert "holds no run of any assistant" in kit.value(reply)["detail"]


def test_other_path(kit: Any, session: Any) -> None:
    """A path that nothing recorded has is answered with the recorded one that is most like it."""
    told = kit.value(kit.ask(session, "GET", "/assistants/searhc"))
    assert told["graphtape"]["nearest"][0]["request"] == "POST /assistants/search"
    fields = [one["field"] for one in told["graphtape"]["nearest"][0]["differences"]]
    assert fields[:2] == ["method", "path"]
    assert kit.value(kit.ask(session, "GET", "/zzz"))["graphtape"]["nearest"] == []


def test_never_reached(kit: Any) -> None:
    """A request that was recorded without an answer is named as such."""
    recording = kit.recording()
    number = recording.call("GET", "/down", status=None, ending=kit.UNREACHED)
    told = kit.value(kit.ask(kit.session(recording), "GET", "/down"))
    assert f"Exchange {number} of" in told["detail"]
    assert "its upstream was never reached" in told["detail"]


def test_refused_run_is_no_recording_of_its_assistant(kit: Any) -> None:
    """An assistant that was only ever refused is unknown: the known ones are listed."""
    recording = kit.recording()
    thread = recording.thread(1)
    recording.run(thread, kit.uid(2), {"assistant_id": "agent"})
    path = f"/threads/{thread}/runs/wait"
    recording.json("POST", path, {"detail": "no"}, {"assistant_id": "nope"}, status=422)
    told = kit.value(kit.ask(kit.session(recording), "POST", "/runs/stream", {"assistant_id": "nope"}))
    assert "Recorded assistants: agent" in told["detail"]


def test_runs_elsewhere_are_near(kit: Any, session: Any) -> None:
    """A run that was recorded without a thread is the nearest to a request with one."""
    body = {"assistant_id": "agent", "if_not_exists": "create"}
    told = kit.value(kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/wait", body))["graphtape"]
    assert [near["request"] for near in told["nearest"]] == ["POST /runs/stream"]


def test_null_is_json(kit: Any, session: Any) -> None:
    """A body of `null` is refused as the wrong type, not as no JSON."""
    told = kit.value(kit.ask(session, "POST", "/runs/stream", b"null"))
    assert "null is not of type" in told["detail"].lower() or "None is not of type" in told["detail"]
