"""A recorded run through a request's view."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.viewed import viewed

RESUMABLE = StreamOptions(resumable=True)


def only_run(kit: Any, recording: Any) -> Any:
    (run,) = kit.tapes(recording).runs
    return run


def test_narrowed_to_one_mode(kit: Any) -> None:
    """One mode of a recorded list keeps its events with their times and their place among the recorded ones."""
    recording = kit.recording()
    events = [
        (5, "metadata", {}),
        (5, "updates", {"n": 1}),
        (5, "values", {"n": 2}),
        (5, "updates", {"n": 3}),
    ]
    recording.run(None, kit.uid(1), {"assistant_id": "a", "stream_mode": ["updates", "values"]}, events)
    seen = viewed(only_run(kit, recording), StreamOptions(frozenset({"updates"})), "stream", unique_ids=False)
    assert [(frame.name, frame.at_ns // kit.MS, frame.source) for frame in seen.frames] == [
        ("metadata", 6, 0),
        ("updates", 11, 1),
        ("updates", 21, 3),
    ]


def test_mode_that_was_not_recorded(kit: Any) -> None:
    """A mode that was not recorded is refused, with the modes that were."""
    recording = kit.recording()
    recording.run(None, kit.uid(1), {"assistant_id": "a"})
    with pytest.raises(ViewRefused) as refused:
        viewed(only_run(kit, recording), StreamOptions(frozenset({"custom"})), "stream", unique_ids=False)
    assert refused.value.recorded_modes == ("values",)


def test_no_subgraph_in_the_recording(kit: Any) -> None:
    """Tokens of a recording with subgraphs are also those without, if no event has a namespace."""
    recording = kit.recording()
    body = {"assistant_id": "a", "stream_mode": ["messages-tuple", "values"], "stream_subgraphs": True}
    events: list[Any] = [(1, "metadata", {}), (1, "messages", [{"id": "1"}, {}]), (1, "values", {})]
    recording.run(None, kit.uid(1), body, events)
    asked = StreamOptions(frozenset({"messages-tuple"}))
    seen = viewed(only_run(kit, recording), asked, "stream", unique_ids=False)
    assert [frame.name for frame in seen.frames] == ["metadata", "messages"]
    assert seen.derived == ""


def test_ids_where_none_were_recorded(kit: Any) -> None:
    """Ids that the recording lacks are made from arrival times, and marked."""
    recording = kit.recording()
    recording.run(None, kit.uid(1), {"assistant_id": "a"}, start_ms=100)
    seen = viewed(only_run(kit, recording), RESUMABLE, "stream", unique_ids=False)
    assert [frame.event_id for frame in seen.frames] == [
        (1_795_219_836_111, 0),
        (1_795_219_836_121, 0),
        (1_795_219_836_131, 0),
    ]
    assert seen.derived == "event ids"


def test_recorded_ids_are_kept(kit: Any) -> None:
    """Recorded ids stand as they are, also equal ones, and nothing is marked."""
    recording = kit.recording()
    events: list[Any] = [(1, "metadata", {}, "5-0"), (1, "values", {}, "5-0"), (1, "values", {}, "6-0")]
    recording.run(None, kit.uid(1), {"assistant_id": "a", "stream_resumable": True}, events)
    seen = viewed(only_run(kit, recording), RESUMABLE, "stream", unique_ids=False)
    assert [frame.verbatim for frame in seen.frames] == ["5-0", "5-0", "6-0"]
    assert seen.derived == ""


def test_unique_ids(kit: Any) -> None:
    """Made unique, equal ids get the next sequence number; those that are unique stay."""
    recording = kit.recording()
    events: list[Any] = [(1, "metadata", {}, "5-0"), (1, "values", {}, "5-0"), (1, "values", {}, "6-0")]
    recording.run(None, kit.uid(1), {"assistant_id": "a", "stream_resumable": True}, events)
    seen = viewed(only_run(kit, recording), RESUMABLE, "stream", unique_ids=True)
    assert [frame.event_id for frame in seen.frames] == [(5, 0), (5, 1), (6, 0)]
    assert [frame.verbatim for frame in seen.frames] == ["5-0", None, "6-0"]


def test_only_the_answer_was_recorded(kit: Any) -> None:
    """A run of which only `wait` was recorded can be waited for, and is refused as a stream."""
    recording = kit.recording()
    recording.json("POST", "/runs/wait", {"n": 1}, {"assistant_id": "a"}, end_ms=50)
    run = only_run(kit, recording)
    assert viewed(run, StreamOptions(), "wait", unique_ids=False).silent
    with pytest.raises(ViewRefused, match="exchange 1 only asked to wait"):
        viewed(run, StreamOptions(), "stream", unique_ids=False)


def test_comments(kit: Any) -> None:
    """Recorded heartbeats know when they came, and between which events."""
    recording = kit.recording()
    events: list[Any] = [(1, "metadata", {}), (5000, kit.HEARTBEAT), (1, "values", {})]
    recording.run(None, kit.uid(1), {"assistant_id": "a"}, events)
    seen = viewed(only_run(kit, recording), StreamOptions(), "stream", unique_ids=False)
    assert [(one.at_ns // kit.MS, one.events_before) for one in seen.comments()] == [(5002, 1)]


def test_recording_that_broke_off(kit: Any) -> None:
    """A stream that did not end by itself is shown to its last whole event, and is not whole."""
    recording = kit.recording()
    events: list[Any] = [(1, "metadata", {}), (1, "values", {"n": 1}), (1, b"event: values\r\ndata: {")]
    recording.run(None, kit.uid(1), {"assistant_id": "a"}, events, ending=Ending.UPSTREAM_BROKE)
    seen = viewed(only_run(kit, recording), StreamOptions(), "stream", unique_ids=False)
    assert [frame.name for frame in seen.frames] == ["metadata", "values"]
    assert not seen.tape.whole
    assert "upstream-broke" in seen.tape.detail


MODES = ["values", "debug", "checkpoints"]


def with_checkpoints(kit: Any, completion: str) -> Any:
    recording = kit.recording()
    events = [
        (1, "metadata", {"run_id": kit.uid(2)}),
        (1, "checkpoints", kit.checkpoint(0, {})),
        (1, "debug", {"type": "checkpoint", "payload": {}}),
        (1, "debug|sub:1", {"type": "checkpoint", "payload": {}}),
        (1, "values", {}),
        (1, "checkpoints|sub:1", kit.checkpoint(0, {})),
        (1, "debug", {"type": "task", "payload": {"type": "checkpoint"}}),
    ]
    body = {"assistant_id": "a", "stream_mode": MODES, "stream_subgraphs": True, "on_completion": completion}
    recording.run(None, kit.uid(2), body, events)
    return only_run(kit, recording)


def test_checkpoints_of_a_thread_that_does_not_stay(kit: Any) -> None:
    """The server has none there: they are left out, in each mode that shows them, and nothing else is."""
    run = with_checkpoints(kit, "keep")
    asked = StreamOptions(frozenset(MODES), subgraphs=True)
    kept, gone = (
        viewed(run, asked, "stream", unique_ids=False, keeps_thread=keeps) for keeps in (True, False)
    )
    assert len(kept.frames) == 7
    assert [frame.name for frame in gone.frames] == ["metadata", "values", "debug"]
    assert [frame.source for frame in gone.frames] == [0, 4, 6]


@pytest.mark.parametrize(
    ("modes", "answer", "refused"),
    [
        ({"checkpoints"}, "stream", True),
        ({"values", "debug"}, "create", True),
        ({"values"}, "stream", False),
        (set(MODES), "wait", False),
    ],
)
def test_checkpoints_that_were_not_there(kit: Any, modes: set[str], answer: str, refused: bool) -> None:
    """A run whose thread did not stay cannot show what one has whose thread does."""
    run = with_checkpoints(kit, "delete")
    asked = StreamOptions(frozenset(modes), subgraphs=True)
    viewed(run, asked, answer, unique_ids=False, keeps_thread=False)
    if refused:
        with pytest.raises(ViewRefused, match="on_completion"):
            viewed(run, asked, answer, unique_ids=False)
    else:
        viewed(run, asked, answer, unique_ids=False)
