"""Readers of runs at speed 1 and N."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.replayer.following import Heartbeats
from graphtape.replayer.framed import Blocks, chunk
from graphtape.replayer.pacing import send_paced
from graphtape.replayer.plan import HEARTBEAT

BODY = {"assistant_id": "agent", "input": "hi"}


class Client:
    """Takes what is sent, and notes when."""

    def __init__(self, clock: FakeClock, *, takes: int = 1000) -> None:
        self.clock = clock
        self.takes = takes
        self.got: list[tuple[int, bytes]] = []
        self.reads = asyncio.Event()

    def send(self, frame: bytes) -> bool:
        self.got.append((self.clock.now_ns(), frame))
        return len(self.got) < self.takes

    def send_chunk(self, data: bytes) -> bool:
        return self.send(b"framed " + data)

    async def drained(self) -> None:
        await self.reads.wait()
        self.takes = 1000


def playing(kit: Any, speed: Any = 1, events: Any = None) -> Any:
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY, events)
    session = kit.session(recording, speed=speed)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    return session.runs[kit.uid(2)]


def following(play: Any, client: Client, *, position: int = 0, shows: Any = None) -> Any:
    return asyncio.ensure_future(
        send_paced(play, position, client.clock, Heartbeats.planned(0), client, shows=shows)
    )


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_events_when_they_are_due(kit: Any) -> None:
    """Each event comes when it is due on the clock, and the end after the last."""
    play, clock = playing(kit), FakeClock()
    client = Client(clock)
    await following(play, client)
    assert client.got == [
        (ms * kit.MS, frame.raw) for ms, frame in zip((11, 21, 31), play.frames(), strict=True)
    ]
    assert clock.now_ns() == play.end_ns
    assert play.watchers == set()


async def test_framed_events(kit: Any) -> None:
    """Where the client takes HTTP chunks, the very events come as such, and a heartbeat is one of its own."""
    play, clock = playing(kit, events=[(0, "values", 1), (6000, "values", 2)]), FakeClock()
    client = Client(clock)
    await send_paced(play, 0, clock, Heartbeats.planned(0), client, blocks=Blocks())
    first, second = (b"framed " + chunk(frame.raw) for frame in play.frames())
    assert [data for _, data in client.got] == [first, HEARTBEAT, second]


async def test_from_the_middle_and_by_name(kit: Any) -> None:
    """A reader has its own place, and may want some of the events only."""
    play = playing(kit)
    client = Client(FakeClock())
    await following(play, client, position=2)
    assert [frame for _, frame in client.got] == [play.frame(2).raw]
    client = Client(FakeClock())
    await following(play, client, shows=lambda name: name == "metadata")
    assert [frame for _, frame in client.got] == [play.frame(0).raw]


async def test_heartbeats_between(kit: Any) -> None:
    """Heartbeats stand at their own times between the events, and before the end."""
    play = playing(kit, events=[(11_000, "metadata", {}), (1, "values", {})])
    client = Client(FakeClock())
    await following(play, client)
    beats = [at_ns // kit.MS for at_ns, frame in client.got if frame == HEARTBEAT]
    assert beats == [5000, 10000]
    assert len(client.got) == 4


async def test_run_moved_while_it_is_waited_for(kit: Any) -> None:
    """A run that is moved forward meanwhile goes out at its new times."""
    play, clock = playing(kit), FakeClock(autojump=False)
    play.reschedule(10_000 * kit.MS)
    client = Client(clock)
    task = following(play, client)
    await settled()
    play.reschedule(-100 * kit.MS)
    await asyncio.wait_for(task, 1)
    assert len(client.got) == 3


async def test_cancelled_run(kit: Any) -> None:
    """A run that is cancelled ends where it is, at once."""
    play, clock = playing(kit), FakeClock(autojump=False)
    client = Client(clock)
    task = following(play, client)
    await settled()
    clock.advance(12 * kit.MS)
    play.cancel(clock.now_ns())
    await asyncio.wait_for(task, 1)
    assert len(client.got) == 1


async def test_client_that_does_not_keep_up(kit: Any) -> None:
    """Nothing is sent until it has caught up; then what was due meanwhile comes at once."""
    play, clock = playing(kit), FakeClock(autojump=False)
    client = Client(clock, takes=1)
    task = following(play, client)
    await settled()
    for _ in range(4):
        clock.advance(10 * kit.MS)
        await settled()
    play.reschedule(play.started_ns)
    assert len(client.got) == 1
    client.reads.set()
    await asyncio.wait_for(task, 1)
    assert [at_ns // kit.MS for at_ns, _ in client.got] == [20, 40, 40]


@pytest.mark.parametrize("after", [0, 1])
async def test_client_that_left(kit: Any, after: int) -> None:
    """What sending raises reaches whoever waits for the end; nothing is left waiting."""
    play, clock = playing(kit), FakeClock()
    client = Client(clock)

    def send(_: bytes) -> bool:
        raise ConnectionResetError

    client.send = send  # type: ignore[method-assign, assignment]
    task = asyncio.ensure_future(send_paced(play, after, clock, Heartbeats.planned(0), client))
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(task, 1)
    assert play.watchers == set()


async def test_reader_that_is_cancelled(kit: Any) -> None:
    """Nothing is sent for a task that is gone."""
    play, clock = playing(kit), FakeClock(autojump=False)
    client = Client(clock)
    task = following(play, client)
    await settled()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    clock.advance(1000 * kit.MS)
    await settled()
    assert (client.got, play.watchers) == ([], set())


async def test_many_events_at_once(kit: Any) -> None:
    """A run of which all is due leaves the loop its turns."""
    play, clock = (
        playing(kit, events=[(0, "values", {"n": n}) for n in range(300)]),
        FakeClock(autojump=False),
    )
    client = Client(clock)
    clock.advance(10 * kit.MS)
    task = following(play, client)
    await asyncio.sleep(0)
    assert 0 < len(client.got) < 300
    await asyncio.wait_for(task, 1)
    assert [frame for _, frame in client.got] == [frame.raw for frame in play.frames()]
