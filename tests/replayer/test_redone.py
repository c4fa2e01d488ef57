"""Conversations that broke off with their recorder and were recorded again."""

from __future__ import annotations

import time
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.replayer.redone import redone

WHOLE = Ending.COMPLETE
BEGUN = (("hi", WHOLE), ("more", None))


@pytest.fixture
def found(kit: Any) -> Any:
    """The numbers of the conversations that were recorded again; each is its runs, a run its text and ending."""

    def find(*conversations: Any) -> list[int]:
        recording = kit.recording()
        for number, runs in enumerate(conversations, 1):
            thread_id = recording.thread(number)
            for step, (text, ending) in enumerate(runs):
                if text is None:
                    recording.json("POST", f"/threads/{thread_id}/state", {})
                else:
                    run_id, body = kit.uid(10_000 * number + step), {"assistant_id": "agent", "input": text}
                    recording.run(thread_id, run_id, body, ending=ending)
        threads = list(kit.tapes(recording).threads.values())
        again = redone(threads, lambda one, other: one.body == other.body)
        return sorted(threads.index(thread) + 1 for thread in again)

    return find


@pytest.mark.parametrize("ending", [None, Ending.RECORDER_STOPPED])
@pytest.mark.parametrize("more", [(), (("else", WHOLE),), (("else", None),)])
def test_recorded_again(ending: Any, more: Any, found: Any) -> None:
    """Another has the same runs, whole to beyond where it broke, whichever was recorded first."""
    begun, again = (("hi", WHOLE), ("more", ending)), (("hi", WHOLE), ("more", WHOLE), *more)
    assert found(begun, again) == [1]
    assert found(again, begun) == [2]
    assert found(begun[1:], again[1:]) == [1]


@pytest.mark.parametrize(
    "other",
    [
        (("hi", WHOLE),),
        (("hi", WHOLE), ("else", WHOLE)),
        (("hi", WHOLE), ("more", None)),
        (("hi", WHOLE), (None, WHOLE), ("more", WHOLE)),
        (("more", WHOLE), ("hi", WHOLE)),
    ],
)
def test_another_conversation(other: Any, found: Any) -> None:
    """It is not recorded again where another ends earlier, goes another way, or breaks there too."""
    assert found(BEGUN, other) == []


@pytest.mark.parametrize("ending", [WHOLE, Ending.CLIENT_LEFT, Ending.UPSTREAM_BROKE])
def test_what_did_not_break(ending: Any, found: Any) -> None:
    """What happened is no accident of the recording, however often it was recorded."""
    assert found((("hi", ending),), (("hi", WHOLE),)) == []


def test_state_updates(found: Any) -> None:
    """They are steps of a conversation like its runs."""
    begun, again = ((None, WHOLE), ("hi", None)), ((None, WHOLE), ("hi", WHOLE))
    assert found(begun, again) == [1]


def test_many_cost_little(found: Any) -> None:
    """A hostile cassette may hold nothing else: each is compared with those near it."""
    begun = time.process_time()
    assert found(*[BEGUN] * 300) == []
    assert time.process_time() - begun < 5
