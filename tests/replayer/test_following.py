"""Waiting, and a run's events as they come."""

from __future__ import annotations

import asyncio
from typing import Any

from graphtape.cassettes.clock import FakeClock
from graphtape.replayer.following import Heartbeats, Listener, drive, events_of, until_over
from graphtape.replayer.plan import HEARTBEAT
from graphtape.replayer.viewed import Comment

BODY = {"assistant_id": "agent", "input": "hi"}


def playing(kit: Any, speed: Any = 1, suffix: str = "/stream") -> Any:
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    session = kit.session(recording, speed=speed)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs{suffix}", BODY)
    return session.runs[kit.uid(2)]


async def test_events_when_they_are_due(kit: Any) -> None:
    """Each event comes when it is due on the clock, and the end after the last."""
    play, clock = playing(kit), FakeClock()
    events = events_of(play, 0, clock, Listener(play.watchers), Heartbeats.planned(0))
    seen = [(clock.now_ns() // kit.MS, getattr(sent, "name", "heartbeat")) async for sent in events]
    assert seen == [(11, "metadata"), (21, "values"), (31, "values")]
    assert clock.now_ns() == play.end_ns


async def test_run_moved_while_it_is_waited_for(kit: Any) -> None:
    """A run that is moved forward meanwhile goes out at its new times."""
    play, clock = playing(kit), FakeClock(autojump=False)
    play.reschedule(10_000 * kit.MS)
    seen: list[Any] = []

    async def follow() -> None:
        with Listener(play.watchers) as listener:
            seen.extend([one async for one in events_of(play, 0, clock, listener, Heartbeats.planned(0))])

    task = asyncio.ensure_future(follow())
    await asyncio.sleep(0.001)
    play.reschedule(-100 * kit.MS)
    await asyncio.wait_for(task, 1)
    assert [one.name for one in seen] == ["metadata", "values", "values"]
    assert play.watchers == set()


async def test_driven_run_has_happened(kit: Any) -> None:
    """At max an event has happened when it is given out; a cancelled run ends there."""
    play = playing(kit, "max")
    written = []
    async for _ in drive(play, FakeClock()):
        written.append(play.written)
        if len(written) == 2:
            play.cancel(0)
    assert written == [1, 2]


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
