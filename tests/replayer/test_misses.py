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
