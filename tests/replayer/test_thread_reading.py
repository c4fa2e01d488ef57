"""The stream of a whole thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.replayer.thread_reading import ThreadReader

BODY = {"assistant_id": "agent", "input": "hi"}
RESUMABLE = {**BODY, "stream_resumable": True}


def recording(kit: Any, body: Any = None, runs: int = 2) -> Any:
    made = kit.recording()
    thread_id = made.thread(1)
    for number in range(2, 2 + runs):
        events = kit.simple_events(kit.uid(number), "a", ids=True)
        events = [(*event[:3], f"{1_795_219_836_000 + 100 * number + n}-0") for n, event in enumerate(events)]
        made.run(thread_id, kit.uid(number), body or RESUMABLE, events)
    return made


class Reader:
    """Reads a thread's stream on a clock that the test moves."""

    def __init__(self, kit: Any, session: Any, clock: FakeClock, query: str = "", cursor: str = "") -> None:
        target = f"/threads/{kit.uid(1)}/stream?{query}"
        answer = kit.ask(session, "GET", target, now_ms=clock.now_ns() / kit.MS, last_event_id=cursor)
        self.seen: list[bytes] = []
        self._chunks = ThreadReader(session, answer, clock, clock.now_ns()).chunks()
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for data in self._chunks:
            self.seen.append(data)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._chunks.aclose()

    @property
    def text(self) -> str:
        return b"".join(self.seen).decode()

    @property
    def names(self) -> list[str]:
        """Event names; the start and end of a run by number."""
        found = []
        for block in self.text.split("\r\n\r\n")[:-1]:
            lines = dict(line.split(": ", 1) for line in block.split("\r\n"))
            name = lines.get("event", "heartbeat")
            if name == "metadata":
                name = (
                    f"{'done' if 'run_done' in block else 'start'} {lines['data'].split('000000000')[1][2]}"
                )
            found.append(name)
        return found


async def move(clock: FakeClock, *steps_ms: float) -> None:
    for step in steps_ms:
        for _ in range(10):
            await asyncio.sleep(0)
        clock.advance(int(step * 1_000_000))
        for _ in range(20):
            await asyncio.sleep(0)


def post(kit: Any, session: Any, clock: FakeClock, suffix: str = "/stream", body: Any = None) -> Any:
    target = f"/threads/{kit.uid(1)}/runs{suffix}"
    return kit.ask(session, "POST", target, body or RESUMABLE, now_ms=clock.now_ns() / kit.MS)


async def test_runs_appear_as_they_are_played(kit: Any) -> None:
    """Every event of every run comes when it is played, then run_done; between runs nothing but heartbeats."""
    session, clock = kit.session(recording(kit)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock)
    await move(clock, 1)
    assert reader.seen == []
    post(kit, session, clock)
    await move(clock, 11)
    assert reader.names == ["start 2"]
    await move(clock, 10)
    assert reader.names == ["start 2", "values", "done 2"]
    post(kit, session, clock)
    await move(clock, 11, 10)
    assert reader.names[3:] == ["start 3", "values", "done 3"]
    await move(clock, 5000)
    assert reader.names[6:] == ["heartbeat"]
    await reader.stop()
    assert session.watchers == set()


async def test_ids_on_every_event(kit: Any) -> None:
    """Every event has its id here, also of a run that is not resumable, and its end too."""
    session, clock = kit.session(recording(kit, BODY)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock)
    post(kit, session, clock, body=BODY)
    await move(clock, 11, 10)
    assert reader.text.count("\r\nid: ") == 3
    await reader.stop()


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("streamed", [True, False])
async def test_ids_as_a_stream_of_the_thread_told_them(kit: Any, streamed: bool, resumable: bool) -> None:
    """A run without ids of its own has here those of the recorded stream of its thread; its own stream has none.

    The same if no stream of its own was recorded. Who asks for a resumable run gets them too.
    """
    made = kit.recording()
    thread_id = made.thread(1)
    events = kit.simple_events(kit.uid(2), "a")
    if streamed:
        made.run(thread_id, kit.uid(2), BODY, events)
    else:
        run = {"run_id": kit.uid(2), "thread_id": thread_id}
        location = ((b"content-location", f"/threads/{thread_id}/runs/{kit.uid(2)}".encode()),)
        made.json("POST", f"/threads/{thread_id}/runs", run, BODY, headers=location)
    done = (1, "metadata", {"status": "run_done", "run_id": kit.uid(2)})
    told = [kit.sse(*event[1:], f"{70 + n}-0") for n, event in enumerate([*events, done])]
    made.call("GET", f"/threads/{thread_id}/stream", reads=[(1, data) for data in told])
    session, clock = kit.session(made), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock)
    play = post(kit, session, clock, body=RESUMABLE if resumable else BODY).play
    await move(clock, 40)
    assert reader.seen == told
    assert (b"id: " in play.frame(0).raw) is resumable
    await reader.stop()


async def test_attached_inside_a_run(kit: Any) -> None:
    """Who comes inside a run gets its events from now on, without the start, and its end."""
    session, clock = kit.session(recording(kit)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    post(kit, session, clock)
    await move(clock, 15)
    reader = Reader(kit, session, clock)
    await move(clock, 10)
    assert reader.names == ["values", "done 2"]
    await reader.stop()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["start 2", "values", "done 2"]),
        ("stream_mode=lifecycle", ["start 2", "values", "done 2"]),
        ("stream_modes=lifecycle", ["start 2", "done 2"]),
        ("stream_modes=lifecycle,run_modes", ["start 2", "values", "done 2"]),
        ("stream_modes=state_update", []),
    ],
)
async def test_modes(kit: Any, query: str, names: list[str]) -> None:
    """`stream_modes` chooses what is shown; `stream_mode` is ignored."""
    session, clock = kit.session(recording(kit)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock, query)
    post(kit, session, clock)
    await move(clock, 11, 10)
    assert reader.names == names
    await reader.stop()


async def test_documented_semantics(kit: Any) -> None:
    """By the docs `state_update` comes after each run, with the state that the stream has shown."""
    session = kit.session(recording(kit), docs_semantics=True)
    clock = FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock, "stream_modes=lifecycle&stream_modes=state_update")
    post(kit, session, clock)
    await move(clock, 11, 10)
    assert reader.names == ["start 2", "done 2", "state_update"]
    assert '"values":{"text":"a"}' in reader.text
    await reader.stop()


@pytest.mark.parametrize(
    ("cursor", "count"), [("", 0), ("-", 6), ("0", 6), ("1795219836201-0", 4), ("1795219836200", 5), ("9", 6)]
)
async def test_replay(kit: Any, cursor: str, count: int) -> None:
    """Last-Event-ID replays what resumable runs have shown behind it, with their ends."""
    session, clock = kit.session(recording(kit)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    for _ in range(2):
        post(kit, session, clock)
        await move(clock, 40)
    reader = Reader(kit, session, clock, cursor=cursor)
    await move(clock, 1)
    assert len(reader.names) == count
    await reader.stop()


async def test_nothing_is_stored_of_other_runs(kit: Any) -> None:
    """Of a run that is not resumable nothing is replayed, not even its end."""
    session, clock = kit.session(recording(kit, BODY)), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    post(kit, session, clock, body=BODY)
    await move(clock, 40)
    reader = Reader(kit, session, clock, cursor="-")
    await move(clock, 1)
    assert reader.names == []
    await reader.stop()


async def test_every_cut(kit: Any) -> None:
    """With unique ids what came before any cut and the resumed rest are the whole."""
    session = kit.session(recording(kit), ids="unique")
    clock = FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    live = Reader(kit, session, clock)
    for _ in range(2):
        post(kit, session, clock)
        await move(clock, 11, 10, 20)
    for cut in range(1, len(live.seen) + 1):
        cursor = live.seen[cut - 1].rpartition(b"id: ")[2].strip().decode()
        rest = Reader(kit, session, clock, cursor=cursor)
        await move(clock, 0.01)
        assert rest.seen == live.seen[cut:]
        await rest.stop()
    assert len(live.seen) == 6
    await live.stop()


async def test_created_run_at_max(kit: Any) -> None:
    """At max a run created in the background is played when the thread's stream is there to see it."""
    session, clock = kit.session(recording(kit), speed="max"), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    reader = Reader(kit, session, clock)
    await move(clock, 1)
    post(kit, session, clock, suffix="")
    await move(clock, 1, 1)
    assert reader.names == ["start 2", "values", "done 2"]
    await reader.stop()


async def test_thread_that_nobody_knows(kit: Any) -> None:
    """The stream of an unknown thread stays open, with heartbeats."""
    session, clock = kit.session(kit.recording()), FakeClock(autojump=False)
    reader = Reader(kit, session, clock)
    await move(clock, 5000, 5000)
    assert reader.names == ["heartbeat", "heartbeat"]
    await reader.stop()


async def test_deep_link_is_past(kit: Any) -> None:
    """The runs of a thread that only the recording knows are over: they are replayed on demand, never live."""
    session, clock = kit.session(recording(kit)), FakeClock(autojump=False)
    reader = Reader(kit, session, clock)
    await move(clock, 1)
    kit.ask(session, "GET", f"/threads/{kit.uid(1)}/history?limit=9", now_ms=2)
    await move(clock, 100)
    assert reader.names == []
    await reader.stop()
    reader = Reader(kit, session, clock, cursor="-")
    await move(clock, 1)
    assert len(reader.names) == 6
    await reader.stop()


async def test_update_of_the_state(kit: Any) -> None:
    """It is told when it is made, in its place among the runs, to who asked for it and was there."""
    made = recording(kit, runs=1)
    state = {"values": {}, "checkpoint_id": kit.uid(9)}
    made.json("POST", f"/threads/{kit.uid(1)}/state", {"checkpoint_id": kit.uid(9)}, {"values": {}})
    made.json("GET", f"/threads/{kit.uid(1)}/state", state)
    session, clock = kit.session(made), FakeClock(autojump=False)
    kit.ask(session, "POST", "/threads", {})
    modes = ("run_modes,state_update", "state_update", "run_modes", "lifecycle")
    readers = [Reader(kit, session, clock, f"stream_modes={mode}") for mode in modes]
    post(kit, session, clock)
    await move(clock, 11, 10)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/state", {"values": {}}, now_ms=21)
    await move(clock, 1)
    readers.append(Reader(kit, session, clock, "stream_modes=state_update", "-"))
    await move(clock, 5000)
    seen = [[name for name in reader.names if name != "heartbeat"] for reader in readers]
    run = ["start 2", "values", "done 2"]
    assert seen == [[*run, "state_update"], ["state_update"], run, [run[0], run[2]], []]
    for reader in readers:
        await reader.stop()
