"""Waiting, and a run's events as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.replayer.following import Heartbeats, drive, drive_framed, until_over
from graphtape.replayer.framed import BLOCK_BYTES, Blocks, chunk
from graphtape.replayer.plan import HEARTBEAT
from graphtape.replayer.viewed import Comment

BODY = {"assistant_id": "agent", "input": "hi"}


def playing(kit: Any, speed: Any = 1, suffix: str = "/stream") -> Any:
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    session = kit.session(recording, speed=speed)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs{suffix}", BODY)
    return session.runs[kit.uid(2)]


async def test_driven_run_has_happened(kit: Any) -> None:
    """At max an event has happened when it is given out; a cancelled run ends there."""
    play = playing(kit, "max")
    written = []
    async for _ in drive(play, FakeClock()):
        written.append(play.written)
        if len(written) == 2:
            play.cancel(0)
    assert written == [1, 2]


LARGE: list[Any] = [
    (1, "metadata", {}, "1-0"),
    *((1, "values", {"text": "x" * (BLOCK_BYTES // 2)}, "1-0"),) * 5,
]


@pytest.mark.parametrize(
    ("body", "blocks"),
    [({}, [3, 5, 6]), ({"stream_resumable": True}, [3, 5, 6]), ({"input": {"id": 1}}, [3, 5, 6])],
)
async def test_framed_run(kit: Any, body: Any, blocks: list[int]) -> None:
    """Many events go out at once, each as its own chunk; they have happened when they are given out."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), {**BODY, **body}, LARGE)
    session = kit.session(recording, speed="max")
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {**BODY, **body})
    play = session.runs[kit.uid(2)]
    given, written = [], []
    async for data in drive_framed(play, FakeClock(), Blocks()):
        given.append(bytes(data))
        written.append(play.written)
    assert written == blocks
    assert b"".join(given) == b"".join(chunk(frame.raw) for frame in play.frames())
    assert play.status(0) == "success"


@pytest.mark.parametrize(
    "body",
    [{}, {"stream_resumable": True}, {"input": {"messages": [{"id": "brought-along", "type": "human"}]}}],
)
async def test_framed_run_under_other_ids(kit: Any, body: Any) -> None:
    """In a second conversation and in a second turn the chunks hold what single frames do."""
    asked = {"assistant_id": "agent", "input": {"messages": [{"id": "one", "type": "human"}]}, **body}
    recording = kit.recording()
    thread_id = recording.thread(1)
    values = {"messages": [{"id": kit.uid(7), "type": "human"}]}
    events = [(1, "metadata", {"run_id": kit.uid(2)}, "5-0"), (1, "values", values, "6-0")]
    recording.run(thread_id, kit.uid(2), asked, events)
    session = kit.session(recording, speed="max")
    for _ in range(2):
        kit.ask(session, "POST", "/threads", {})
    for thread_id in list(session.threads) * 2:
        play = kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", asked).play
        given = [bytes(data) async for data in drive_framed(play, FakeClock(), session.blocks)]
        assert b"".join(given) == b"".join(chunk(frame.raw) for frame in play.frames())


async def test_framed_run_that_is_cancelled(kit: Any) -> None:
    """It ends behind the block in which that happened."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY, LARGE)
    session = kit.session(recording, speed="max")
    play = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY).play
    async for _ in drive_framed(play, FakeClock(), Blocks()):
        play.cancel(0)
    assert (play.written, play.status(0)) == (3, "interrupted")


async def test_nobody_waits_for_ever(kit: Any) -> None:
    """At max, waiting for a run that nobody writes out ends it."""
    play = playing(kit, "max", "")
    await asyncio.wait_for(until_over(play, FakeClock()), 1)
    assert play.status(0) == "success"


def test_planned_heartbeats() -> None:
    """Planned heartbeats stand every 5 s after the start of the response, before whatever comes later."""
    beats = Heartbeats.planned(1)
    found = []
    while (beat := beats.before(16_000_000_000, 0)) is not None:
        found.append(beat)
        beats.advance()
    assert found == [(5_000_000_001, HEARTBEAT), (10_000_000_001, HEARTBEAT), (15_000_000_001, HEARTBEAT)]


def test_recorded_heartbeats() -> None:
    """A recorded heartbeat keeps its place between events, also of those with its own time."""
    beats = Heartbeats.of_recording([Comment(7, b": a", 2)], 100)
    assert beats.before(107, 1) is None
    assert beats.before(107, 2) == (107, b": a")
    beats.advance()
    assert beats.before(999, 9) is None
