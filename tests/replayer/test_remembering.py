"""What a session forgets, so that hours of load do not fill the memory."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.remembering import Counts, Recent, Settling, Views
from graphtape.replayer.temporary import TemporaryThreads
from graphtape.replayer.viewed import Viewed

BODY = {"assistant_id": "agent", "input": "hi"}


def test_counts_of_what_came_last() -> None:
    """Each key by itself; the one that came longest ago begins anew, and no more are held."""
    counts = Counts(2)
    assert [counts.before(("a",)), counts.before(("a",)), counts.before(("b",))] == [0, 1, 0]
    assert counts.before(("a",)) == 2
    assert counts.before(("c",)) == 0
    assert counts.before(("a",)) == 3
    assert counts.before(("b",)) == 0


def test_names_that_were_used_longest_ago_go_first() -> None:
    """A use counts, a name that is there no more takes no room."""
    recent = Recent(2)
    assert [recent.use(name) for name in ("a", "b", "a", "c")] == [[], [], [], ["b"]]
    recent.forget("a")
    assert [recent.use(name) for name in ("d", "c", "e")] == [[], [], ["d"]]


def test_threads_used_longest_ago_are_as_if_deleted(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their runs; also the recorded one, which is no deep link again. A read is a use."""
    monkeypatch.setattr(Recent.__init__, "__defaults__", (2,))
    recording = kit.recording()
    recorded = recording.thread(1)
    recording.run(recorded, kit.uid(2), BODY)
    session = kit.session(recording)
    made, runs = [], []
    for at in range(4):
        made.append(kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"])
        runs.append(kit.ask(session, "POST", f"/threads/{made[-1]}/runs/stream", BODY, now_ms=at).play.run_id)
        kit.ask(session, "GET", f"/threads/{made[1] if at else made[0]}", now_ms=at)
    status = [kit.ask(session, "GET", f"/threads/{thread}", now_ms=99).head.status for thread in made]
    assert made[0] == recorded
    assert status == [404, 200, 404, 200]
    assert list(session.runs) == [runs[1], runs[3]]
    assert session.deleted == {recorded}


def test_stateless_runs_begun_longest_ago_are_forgotten(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be joined no more; ids stay different."""
    monkeypatch.setattr(TemporaryThreads.__init__, "__defaults__", (2,))
    recording = kit.recording()
    recording.run(None, kit.uid(2), BODY)
    session = kit.session(recording)
    runs = [kit.ask(session, "POST", "/runs/stream", BODY).play.run_id for _ in range(5)]
    assert list(session.runs) == runs[3:]
    assert len(set(runs)) == 5


def test_plays_that_are_over_give_back_what_can_be_made_again(kit: Any) -> None:
    """Frames and tables of ids; not before, and they read as before."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    session = kit.session(recording)

    def begin(now_ms: float) -> Any:
        thread = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        return kit.ask(session, "POST", f"/threads/{thread}/runs/stream", BODY, now_ms=now_ms).play

    begin(0)
    play = begin(0)
    before = [frame.raw for frame in play.frames()]
    begin(1)
    assert play._frames
    begin(10_000)
    begin(10_000)
    assert not play._frames
    assert play.ids._tables is None
    assert [frame.raw for frame in play.frames()] == before


def test_what_goes_on_is_looked_at_again() -> None:
    """Each new play costs two looks, and every play that is over is found."""
    settling, settled = Settling(), []
    for number in range(9):
        play: Any = SimpleNamespace(
            exhausted=lambda now, number=number: now >= number % 3 * 10,
            settle=lambda number=number: settled.append(number),
        )
        settling.add(play, number)
    assert sorted(settled) == [0, 3, 6]
    for _ in range(9):
        settling.add(SimpleNamespace(exhausted=lambda _: True, settle=lambda: None), 99)  # type: ignore[arg-type]
    assert sorted(settled) == list(range(9))


def test_views_are_kept_while_there_is_room(kit: Any) -> None:
    """The one that was used longest ago is made again."""
    recording = kit.recording()
    thread = recording.thread(1)
    for number in (2, 3, 4):
        recording.run(thread, kit.uid(number), BODY)
    one, two, three = kit.tapes(recording).runs
    options = one.options or StreamOptions()
    shown = Views(unique_ids=False).of(one, options, "stream", keeps_thread=True)
    assert isinstance(shown, Viewed)
    size = len(shown.frames) + 1
    views = Views(unique_ids=False, most_frames=2 * size)
    first, second = (views.of(run, options, "stream", keeps_thread=True) for run in (one, two))
    assert views.of(one, options, "stream", keeps_thread=True) is first
    views.of(three, options, "stream", keeps_thread=True)
    assert views.of(one, options, "stream", keeps_thread=True) is first
    assert views.of(two, options, "stream", keeps_thread=True) is not second


def test_hours_of_new_threads_do_not_fill_the_memory(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as many threads are there as are remembered, each new one takes the room of an old one."""
    for kind in (Recent, TemporaryThreads):
        monkeypatch.setattr(kind.__init__, "__defaults__", (20,))
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    session = kit.session(recording, speed="max")

    def load(threads: int) -> None:
        for _ in range(threads):
            thread = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
            play = kit.ask(session, "POST", f"/threads/{thread}/runs/stream", BODY).play
            play.complete()
            kit.ask(session, "POST", "/runs/stream", BODY)
            for what in ("", "/state", "/history", "/runs"):
                kit.ask(session, "GET", f"/threads/{thread}{what}")

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    load(60)
    before = objects()
    load(200)
    assert objects() - before < 200


def test_threads_of_stateless_runs_push_out_no_others(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that go with their runs are counted for themselves, and forgotten with them; kept ones are threads."""
    for kind in (Recent, TemporaryThreads):
        monkeypatch.setattr(kind.__init__, "__defaults__", (2,))
    recording = kit.recording()
    recording.run(None, kit.uid(2), BODY)
    session = kit.session(recording)
    kept = [
        kit.ask(session, "POST", "/runs/stream", {**BODY, "on_completion": "keep"}).play.thread_id
        for _ in range(3)
    ]
    plays = [kit.ask(session, "POST", "/runs/stream", BODY).play for _ in range(5)]
    assert list(session.threads) == kept[1:]
    there = [play for play in plays if session.known(play.thread_id) is not None]
    assert there == plays[3:]
    kit.ask(session, "DELETE", f"/threads/{plays[4].thread_id}")
    assert session.known(plays[4].thread_id) is None
    assert list(session.runs)[2:] == [plays[3].run_id]
