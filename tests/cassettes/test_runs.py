"""The runs and threads that a cassette shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.runs import RecordedRun, Tapes, read_tapes
from graphtape.cassettes.writer import CassetteWriter

MS = 1_000_000
BODY = {"assistant_id": "agent", "input": "hi"}
EVENTS = [
    b'event: metadata\r\ndata: {"run_id":"x"}\r\nid: 10-0\r\n\r\n',
    b"event: values\r\ndata: 1\r\nid: 11-0\r\n\r\n",
    b"event: values\r\ndata: 2\r\nid: 11-0\r\n\r\n",
    b"event: values\r\ndata: 3\r\nid: 12-0\r\n\r\n",
]


def uid(number: int) -> str:
    return f"019f0000-0000-7000-8000-{number:012x}"


THREAD, RUN = f"/threads/{uid(1)}", f"/threads/{uid(1)}/runs/{uid(2)}"


class Tape:
    """Writes exchanges one after the other, ten milliseconds each unless times are given."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._path = folder / "runs.tape"
        self._stack = stack
        self._now = 0
        self._writer = CassetteWriter.create(self._path)
        self._writer.begin_recording(0, "http://127.0.0.1:2024", "graphtape")

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        reads: list[bytes] | None = None,
        json: Any = None,
        location: str = "",
        status: int = 200,
        cursor: str = "",
        ending: Ending | None = Ending.COMPLETE,
        at: int | None = None,
        took: int = 10,
    ) -> None:
        writer, start = self._writer, self._now if at is None else at
        kind = b"application/json" if reads is None else b"text/event-stream"
        headers = [(b"content-type", kind)]
        headers += [(b"content-location", location.encode())] if location else []
        asked = ((b"last-event-id", cursor.encode()),) if cursor else ()
        number = writer.request(start * MS, method, target, asked)
        writer.request_body(number, start * MS, b"" if body is None else orjson.dumps(body))
        writer.request_end(number, start * MS)
        writer.response(number, start * MS, status, "OK", tuple(headers))
        for data in [orjson.dumps(json)] if reads is None else reads:
            writer.chunk(number, (start + 1) * MS, data)
        if ending is not None:
            writer.end(number, (start + took) * MS, ending)
        self._now = max(self._now, start + took + 1)

    def stream(self, events: list[bytes], ending: Ending | None = Ending.COMPLETE, **more: Any) -> None:
        self.call("POST", f"{THREAD}/runs/stream", BODY, reads=events, location=RUN, ending=ending, **more)

    def join(self, events: list[bytes], **more: Any) -> None:
        self.call("GET", f"{RUN}/stream", reads=events, **more)

    def tapes(self) -> Tapes:
        self._writer.close()
        return read_tapes([self._stack.enter_context(Cassette.open(self._path))])

    def run(self) -> RecordedRun:
        (run,) = self.tapes().runs
        return run


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    with ExitStack() as stack:
        yield Tape(tmp_path, stack)


def raws(run: RecordedRun) -> list[bytes]:
    assert run.tape is not None
    return [entry.raw for entry in run.tape.events]


def test_ids_from_the_location(tape: Tape) -> None:
    """Thread and run are those that Content-Location names, which for a stateless stream is the run alone."""
    tape.call("POST", "/runs/stream", BODY, reads=EVENTS, location=f"/runs/{uid(2)}")
    tape.call("POST", "/runs/wait", BODY, json={}, location=f"/threads/{uid(3)}/runs/{uid(4)}")
    stream, wait = tape.tapes().runs
    assert (stream.run_id, stream.stateful, stream.answer) == (uid(2), False, "stream")
    assert (wait.thread_id, wait.run_id, wait.stateful, wait.answer) == (uid(3), uid(4), False, "wait")


BORN = "01a22221-90d6-7168-aa04-4c0{}337c34ac"
"""An id that the server made; the digit counts."""


def named(thread_id: str) -> list[bytes]:
    return [EVENTS[0], b'event: tasks\r\ndata: {"metadata":{"thread_id":"%s"}}\r\n\r\n' % thread_id.encode()]


@pytest.mark.parametrize("how", ["answer", "path", "next id", "events", "nothing", "an older thread"])
def test_thread_of_a_run_without_one(tape: Tape, how: str) -> None:
    """It is the one that its answer, a path, the count in the ids or its events show; else it gets an id of its own."""
    run_id, hidden = BORN.format("1"), BORN.format("2")
    if how == "answer":
        told = {"run_id": run_id, "thread_id": hidden}
        tape.call("POST", "/runs", BODY, json=told, location=f"/runs/{run_id}")
    else:
        late = BORN.format("8")
        hidden = late if how == "events" else hidden
        events = named(hidden) if how == "events" else EVENTS
        tape.call("POST", "/runs/stream", BODY, reads=events, location=f"/runs/{run_id}")
    if how == "path":
        tape.call("GET", f"/threads/{hidden}/runs/{run_id}/stream", reads=[])
    elif how in ("next id", "events", "an older thread"):
        read = BORN.format("9") if how == "an older thread" else hidden
        tape.call("GET", f"/threads/{read}", json={})
    tapes = tape.tapes()
    (run,) = tapes.runs
    thread = run.thread
    assert thread is not None
    assert tapes.threads[thread.thread_id] is thread
    assert (run.thread_id == hidden) is (how not in ("nothing", "an older thread"))
    assert [step.run for step in thread.steps] == [run]
    assert (thread.is_hidden, thread.temporary, thread.born_of_run, thread.is_older) == (
        True,
        True,
        True,
        False,
    )
    assert len(thread.reads) == (how in ("next id", "events"))


def test_thread_that_is_kept(tape: Tape) -> None:
    """`on_completion: keep` makes a thread like any other: further runs are steps of it."""
    run_id, hidden = BORN.format("1"), BORN.format("2")
    keep = {**BODY, "on_completion": "keep"}
    tape.call("POST", "/runs/stream", keep, reads=EVENTS, location=f"/runs/{run_id}")
    path = f"/threads/{hidden}/runs"
    tape.call("POST", f"{path}/stream", keep, reads=EVENTS, location=f"{path}/{uid(5)}")
    tapes = tape.tapes()
    first, second = tapes.runs
    assert (first.keeps_thread, second.keeps_thread) == (True, True)
    thread = tapes.threads[hidden]
    assert [step.run for step in thread.steps] == [first, second]
    assert (thread.is_hidden, thread.temporary, thread.is_older) == (True, False, False)
    assert (first.step, second.step) == (0, 1)


def test_ids_from_the_run_object(tape: Tape) -> None:
    """A run created in the background tells its ids in its answer."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2), "thread_id": uid(1)})
    run = tape.run()
    assert (run.thread_id, run.run_id, run.answer) == (uid(1), uid(2), "create")


def test_whole_stream(tape: Tape) -> None:
    """A stream that ended by itself is whole, its events at their times since the request."""
    tape.stream(EVENTS)
    run = tape.run()
    assert run.tape is not None
    assert raws(run) == EVENTS
    assert (run.tape.whole, run.tape.continued) == (True, False)
    assert {entry.at_ns for entry in run.tape.events} == {1 * MS}


@pytest.mark.parametrize("cut", range(5))
def test_continued_from_a_join(tape: Tape, cut: int) -> None:
    """A stream that broke off goes on with a join that overlaps it, also between events of one id."""
    tape.stream(EVENTS[:cut], Ending.CLIENT_LEFT)
    tape.join(EVENTS, cursor="-1")
    run = tape.run()
    assert run.tape is not None
    assert raws(run) == (EVENTS if cut else [])
    assert run.tape.whole is bool(cut)


def test_continued_from_its_cursor(tape: Tape) -> None:
    """A join that asked for what follows the last event goes on where the stream broke off."""
    tape.stream(EVENTS[:3], Ending.UPSTREAM_BROKE)
    tape.join(EVENTS[3:], cursor="11-0")
    assert raws(tape.run()) == EVENTS


@pytest.mark.parametrize("cursor", ["", "0", "zzz"])
def test_gap_is_not_bridged(tape: Tape, cursor: str) -> None:
    """A join that proves nothing of what lies between does not continue the stream."""
    tape.stream(EVENTS[:1], Ending.CLIENT_LEFT)
    tape.join(EVENTS[3:], cursor=cursor)
    run = tape.run()
    assert raws(run) == EVENTS[:1]
    assert run.tape is not None
    assert not run.tape.whole


def test_continued_twice(tape: Tape) -> None:
    """A stream may go on over several joins."""
    tape.stream(EVENTS[:1], Ending.CLIENT_LEFT)
    tape.join(EVENTS[1:3], cursor="10-0", ending=Ending.CLIENT_LEFT)
    tape.join(EVENTS[3:], cursor="11-0")
    assert raws(tape.run()) == EVENTS


@pytest.mark.parametrize(("on_disconnect", "done_ms"), [("cancel", 10), ("continue", 55)])
def test_left_and_cancelled_with_it(tape: Tape, on_disconnect: str, done_ms: int) -> None:
    """A run that its client cancelled by leaving was over then, not midway to the read that told so."""
    body = {**BODY, "on_disconnect": on_disconnect}
    tape.call(
        "POST", f"{THREAD}/runs/stream", body, reads=EVENTS[:1], location=RUN, ending=Ending.CLIENT_LEFT, at=0
    )
    tape.call("GET", f"{THREAD}/runs", json=[{"run_id": uid(2), "status": "interrupted"}], at=100)
    assert tape.run().done[1] == done_ms * 1_000_000


def test_filtered_join_is_none(tape: Tape) -> None:
    """A join that was filtered does not hold the run."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.call("GET", f"{RUN}/stream?stream_mode=values", reads=EVENTS)
    assert tape.run().tape is None


def test_background_run_from_a_join(tape: Tape) -> None:
    """A background run is held by a join from its start."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.join(EVENTS)
    assert raws(tape.run()) == EVENTS


def test_late_join_does_not_hold_a_run(tape: Tape) -> None:
    """A join without the first event does not hold a run from its start."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.join(EVENTS[1:])
    assert tape.run().tape is None


def test_values_of_waits(tape: Tape) -> None:
    """What a wait or a join answered is known without events."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.call("GET", f"{RUN}/join", json={"n": 1})
    assert tape.run().values() == {"n": 1}


def test_stages(tape: Tape) -> None:
    """A thread's steps are its runs and its state updates; reads know how far it was."""
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)})
    tape.stream(EVENTS)
    tape.call("GET", f"{THREAD}/state", json={}, at=15)
    tape.call("POST", f"{THREAD}/state", {"values": {}}, json={})
    tape.call("GET", f"{THREAD}/state", json={})
    tapes = tape.tapes()
    thread = tapes.threads[uid(1)]
    assert [thread.stage_at(read.started) for read in thread.reads] == [((), (0,)), ((0, 1), ())]
    assert [step.run is None for step in thread.steps] == [False, True]
    assert thread.created is tapes.creations[0]


def test_creation_of_a_thread_that_is_there(tape: Tape) -> None:
    """A client that does not mind finds its thread: it has read it, not made it."""
    new = {"thread_id": uid(1), "created_at": "then", "updated_at": "then"}
    body = {"thread_id": uid(1), "if_exists": "do_nothing"}
    tape.call("POST", "/threads", body, json=new)
    tape.call("POST", "/threads", body, json=new)
    tape.stream(EVENTS)
    tape.call("POST", "/threads", body, json={**new, "updated_at": "later"})
    tape.call("POST", "/threads", body, json={**new, "thread_id": uid(9), "updated_at": "later"})
    tapes = tape.tapes()
    thread, older = tapes.threads[uid(1)], tapes.threads[uid(9)]
    assert [call.number for call in tapes.creations] == [thread.created.number if thread.created else None]
    assert [thread.stage_at(read.started)[0] for read in thread.reads] == [(), (0,)]
    assert (thread.is_older, older.is_older, older.created) == (False, True, None)


def test_ids_spelled_otherwise(tape: Tape) -> None:
    """What is asked by another spelling belongs to the thread; states that are looked for so are not those it has."""
    digits = uid(1).replace("-", "")
    location = f"/threads/{digits}/runs/{uid(2)}"
    tape.call("POST", f"/threads/{digits}/runs/stream", BODY, reads=EVENTS, location=location)
    tape.call("GET", f"/threads/{digits}", json={})
    tape.call("GET", f"/threads/{digits}/state", json={})
    tapes = tape.tapes()
    (thread,) = tapes.threads.values()
    assert (thread.thread_id, tapes.runs[0].thread_id) == (uid(1), uid(1))
    assert [read.path for read in thread.reads] == [f"/threads/{digits}"]


def test_following_what_does_not_exist(tape: Tape) -> None:
    """A join of an unknown run, and the stream of an unknown thread, are 200; there is no thread for that."""
    tape.join([b"event: error\r\ndata: {}\r\n\r\n"])
    tape.call("GET", f"{RUN}/join", json={"__error__": {}})
    tape.call("GET", f"{THREAD}/stream", reads=[], ending=Ending.CLIENT_LEFT)
    assert tape.tapes().threads == {}


def test_refused_run_is_no_step(tape: Tape) -> None:
    """A run that the server refused started nothing."""
    tape.call("POST", f"{THREAD}/runs/stream", BODY, json={"detail": "no"}, status=422)
    tapes = tape.tapes()
    assert tapes.runs[0].refused
    assert tapes.threads == {}


def test_cancelled_run(tape: Tape) -> None:
    """A run that a client cancelled ended for that reason."""
    tape.stream(EVENTS)
    tape.call("POST", f"{RUN}/cancel", status=202, at=5)
    assert tape.run().cancelled


def background(tape: Tape, **more: Any) -> None:
    """A run that is started in the background at 0 and left by a reader, who ends it so, at 20."""
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)}, at=0, took=1)
    tape.call(
        "POST", f"{THREAD}/runs", BODY | more, json={"run_id": uid(2), "thread_id": uid(1)}, at=1, took=1
    )
    tape.call(
        "GET", f"{RUN}/stream?cancel_on_disconnect=1", reads=[], ending=Ending.CLIENT_LEFT, at=10, took=10
    )


def told(tape: Tape, status: str, *begun: str) -> None:
    config = {"metadata": dict.fromkeys(begun, 1)}
    run = {"run_id": uid(2), "status": status, "kwargs": {"config": config}}
    tape.call("GET", f"{THREAD}/runs", json=[run], at=30)


def test_run_that_never_began(tape: Tape) -> None:
    """It was left before its turn, as its object tells: it has done nothing, and its stream is empty."""
    background(tape)
    told(tape, "interrupted", "created_by")
    run = tape.run()
    assert (run.cancelled, run.never_began, run.ended_by, run.done) == (
        True,
        True,
        (1, 20 * MS),
        (1, 20 * MS),
    )
    assert run.tape is not None
    assert (run.tape.whole, run.tape.blocks, run.tape.end_ns) == (True, (), 19 * MS)


def test_run_that_waits_longer(tape: Tape) -> None:
    """What is cancelled before its own delay is over never began; nothing else has to tell."""
    background(tape, after_seconds=1)
    assert tape.run().never_began


def test_run_cancelled_in_line(tape: Tape) -> None:
    """What is cancelled while another run of its thread goes on never began."""
    tape.stream(EVENTS, took=500, at=0)
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(3)}, at=10)
    tape.call("POST", f"{THREAD}/runs/{uid(3)}/cancel", at=20, status=202)
    assert [run.never_began for run in tape.tapes().runs] == [False, True]


@pytest.mark.parametrize("begun", [["run_attempt"], None])
def test_run_that_may_have_begun(tape: Tape, begun: list[str] | None) -> None:
    """Its object tells that it has, or nothing does: what it did is not known."""
    background(tape)
    if begun:
        told(tape, "interrupted", *begun)
    assert not tape.run().never_began
    assert tape.run().tape is None


def test_run_cancelled_with_others(tape: Tape) -> None:
    """`POST /runs/cancel` names the runs that it cancels; what it was refused cancelled nothing."""
    tape.stream(EVENTS, took=50, at=0)
    tape.call("POST", "/runs/cancel", {"thread_id": uid(1), "run_ids": [uid(2)]}, status=404, at=10)
    tape.call("POST", "/runs/cancel", {"thread_id": uid(1), "run_ids": [uid(2), 5]}, status=204, at=20)
    run = tape.run()
    assert run.cancelled
    assert run.cancel is not None
    assert run.cancel.started == (1, 20 * MS)


def test_displaced_run(tape: Tape) -> None:
    """A run that another displaced while it ran ended for that reason; the other did not."""
    tape.stream(EVENTS)
    body = {**BODY, "multitask_strategy": "interrupt"}
    location = f"{THREAD}/runs/{uid(3)}"
    tape.call("POST", f"{THREAD}/runs/stream", body, reads=EVENTS, location=location, at=5)
    tape.call("POST", f"{THREAD}/runs/stream", body, reads=EVENTS, location=f"{THREAD}/runs/{uid(4)}", at=50)
    assert [run.cancelled for run in tape.tapes().runs] == [True, False, False]


@pytest.mark.parametrize(("status", "cancelled"), [("interrupted", True), ("success", False), (None, True)])
def test_displaced_background_run(tape: Tape, status: str | None, cancelled: bool) -> None:
    """It was over when another took its place, whenever it was read; cancelled, unless it had ended by itself."""
    tape.call("POST", f"{THREAD}/runs", BODY | {"after_seconds": 1}, json={"run_id": uid(2)}, at=0)
    body = {**BODY, "multitask_strategy": "interrupt"}
    tape.call("POST", f"{THREAD}/runs", body, json={"run_id": uid(3)}, at=40)
    if status:
        tape.call("GET", RUN, json={"status": status}, at=1500)
    run, _ = tape.tapes().runs
    assert (run.done, run.cancelled, run.never_began) == ((1, 40 * MS), cancelled, cancelled)
    assert run.told_over == (((1, 40 * MS), status) if status else None)


def test_end_of_a_background_run(tape: Tape) -> None:
    """A background run is over when a join of it ended, or between a read of it going on and one of it over."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.call("GET", RUN, json={"status": "running"})
    tape.call("GET", RUN, json={"status": "success"}, at=50)
    assert tape.run().done == (1, 30 * MS + MS // 2)


def test_what_was_never_answered(tape: Tape) -> None:
    """An exchange whose upstream was never reached is a call, and no run."""
    tape.call("POST", "/runs/stream", BODY, json={}, status=502, ending=Ending.UNREACHED)
    tapes = tape.tapes()
    assert (len(tapes.calls), tapes.runs) == (1, [])


def test_long_target(tape: Tape) -> None:
    """A target longer than the index keeps is read whole."""
    tape.call("GET", f"/store/items?key={'k' * 500}", json={})
    (call,) = tape.tapes().calls
    assert call.query == (("key", "k" * 500),)


@pytest.mark.parametrize(
    ("target", "path"), [("//[x", "//[x"), ("//evil/x?a=1", "//evil/x"), ("/caf\udce9", "/caf\udce9")]
)
def test_target_that_is_no_url(tape: Tape, target: str, path: str) -> None:
    """A target is cut at its question mark and nowhere else, whatever it holds."""
    tape.call("GET", target)
    assert [call.path for call in tape.tapes().calls] == [path]


def test_end_on_a_thread_stream(tape: Tape) -> None:
    """A recorded thread stream shows the id of a run's end."""
    done = b'event: metadata\r\ndata: {"status":"run_done","run_id":"r"}\r\nid: 15-0\r\n\r\n'
    tape.call("GET", f"{THREAD}/stream", reads=[EVENTS[0], done])
    assert tape.tapes().done_ids == {"r": (15, 0)}


def whole_of(run_id: str, first_id: int = 10) -> list[bytes]:
    """A run as a stream of its thread shows it: from its `metadata` to its `run_done`."""
    payloads = [
        ("metadata", {"run_id": run_id, "attempt": 1}),
        ("values", 1),
        ("values", 2),
        ("metadata", {"status": "run_done", "run_id": run_id}),
    ]
    return [
        f"event: {name}\r\ndata: ".encode()
        + orjson.dumps(data)
        + f"\r\nid: {first_id + n}-0\r\n\r\n".encode()
        for n, (name, data) in enumerate(payloads)
    ]


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("modes", ["", "?stream_modes=lifecycle", "?stream_modes=run_modes,state_update"])
def test_background_run_from_a_stream_of_its_thread(tape: Tape, modes: str, resumable: bool) -> None:
    """What nobody streamed is played from the stream of its thread, with id lines if it is resumable."""
    body = {**BODY, "stream_resumable": resumable}
    tape.call("POST", f"{THREAD}/runs", body, json={"run_id": uid(2), "thread_id": uid(1)})
    shown = whole_of(uid(2))
    tape.call("GET", f"{THREAD}/stream{modes}", reads=shown, at=0, took=50, ending=Ending.CLIENT_LEFT)
    run = tape.run()
    assert run.done == (1, 1 * MS)
    if "lifecycle" in modes:
        assert run.tape is None
        return
    assert run.tape is not None
    assert [entry.block.id for entry in run.tape.events] == ["10-0", "11-0", "12-0"]
    assert all((b"\r\nid: " in raw) is resumable for raw in raws(run))
    assert run.tape.whole


def test_stream_that_broke_off_from_a_stream_of_its_thread(tape: Tape) -> None:
    """A client that left has seen the first events of what the stream of the thread shows whole."""
    shown = whole_of(uid(2))
    tape.stream([shown[0].replace(b"id: 10-0\r\n", b"")], Ending.CLIENT_LEFT)
    tape.call("GET", f"{THREAD}/stream", reads=shown, at=0, took=50)
    run = tape.run()
    assert run.tape is not None
    assert [entry.block.data for entry in run.tape.events][1:] == [b"1", b"2"]
    assert (run.tape.whole, run.tape.continued) == (True, True)


def test_ids_that_a_stream_of_the_thread_told(tape: Tape) -> None:
    """A stream without ids has those of the stream of its thread that shows most of it, if both agree."""
    shown = whole_of(uid(2))
    without = [event.split(b"id: ")[0] + b"\r\n" for event in shown[:3]]
    tape.stream(without)
    tape.call("GET", f"{THREAD}/stream", reads=shown[:2], at=0, took=50)
    tape.call("GET", f"{THREAD}/stream", reads=shown, at=0, took=50)
    tape.call("GET", f"{THREAD}/stream", reads=[shown[0], *whole_of(uid(2), 20)[2:]], at=0, took=50)
    assert tape.run().told_ids == ("10-0", "11-0", "12-0")


def test_run_whose_recorder_was_killed(tape: Tape) -> None:
    """It is as far as its last event tells."""
    tape.stream([EVENTS[0]], None)
    (thread,) = tape.tapes().threads.values()
    assert [thread.stage_at((1, at_ns)) for at_ns in (0, MS - 1, MS)] == [
        ((), (0,)),
        ((), (0,)),
        ((0,), ()),
    ]


def test_stream_of_another_run_proves_nothing(tape: Tape) -> None:
    """Other events, an end that was not seen, or a run that began in between are no continuation."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2), "thread_id": uid(1)})
    mixed = [*whole_of(uid(2))[:2], *whole_of(uid(3)), whole_of(uid(2))[-1]]
    tape.call("GET", f"{THREAD}/stream", reads=mixed, at=0, took=50)
    tape.call("GET", f"{THREAD}/stream", reads=whole_of(uid(3)), at=0, took=50)
    assert tape.run().tape is None


def test_updates_of_the_state(tape: Tape) -> None:
    """By the checkpoint that they made: what streams of the thread told of them."""
    told = {"state": {"values": {}, "checkpoint_id": uid(5)}, "thread_id": uid(1)}
    event = b"event: state_update\r\ndata: " + orjson.dumps(told) + b"\r\nid: 10-0\r\n\r\n"
    odd = b"event: state_update\r\ndata: [1\r\n\r\n"
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)})
    tape.call("GET", f"{THREAD}/stream?stream_modes=state_update", reads=[odd, event])
    (found,) = tape.tapes().threads[uid(1)].state_updates.items()
    assert (found[0], found[1].id) == (uid(5), "10-0")


def test_creation_with_states(tape: Tape) -> None:
    """A thread that begins with states is made by its creation, though these have changed it at once."""
    made = {"thread_id": uid(1), "created_at": "1", "updated_at": "2", "values": {"n": 1}}
    tape.call("POST", "/threads", {"supersteps": [{"updates": []}]}, json=made)
    tapes = tape.tapes()
    assert tapes.threads[uid(1)].created is tapes.creations[0]


def test_creation_that_is_told_in_a_sentence(tape: Tape) -> None:
    """The server names a thread whose states it could not make in a sentence only."""
    told = {"detail": f"Thread {uid(1)} was created, but there were problems updating the state."}
    tape.call("POST", "/threads", {"supersteps": [{"updates": []}]}, status=201, json=told)
    assert tape.tapes().threads[uid(1)].created is not None


def test_reads_that_failed(tape: Tape) -> None:
    """What was not answered with what was asked for is kept apart; that a thread was not there is no failure."""
    tape.call("GET", THREAD, status=503)
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)})
    for status in (503, 500, 404, 200):
        tape.call("GET", THREAD, status=status, json={})
    tape.call("DELETE", THREAD, status=429)
    tape.call("DELETE", THREAD, status=409)
    tapes = tape.tapes()
    thread = tapes.threads[uid(1)]
    assert [read.summary.status for read in thread.failed_reads] == [503, 500]
    assert [read.summary.status for read in thread.reads] == [200]
    assert [call.summary.status for call in tapes.calls if call.order in tapes.outages] == [
        503,
        503,
        500,
        429,
    ]


def test_threads_of_stateless_runs(tape: Tape) -> None:
    """A thread that nobody looked at has gone with its run; one that was kept was born of it."""
    for number, more in ((1, {}), (3, {"on_completion": "keep"})):
        made = {"run_id": uid(number + 1), "thread_id": uid(number)}
        tape.call("POST", "/runs", {**BODY, **more}, json=made, location=f"/runs/{uid(number + 1)}")
        tape.call("GET", f"/threads/{uid(number)}/runs/{uid(number + 1)}/join", json=1)
    tapes = tape.tapes()
    assert [run.thread_id for run in tapes.runs] == [uid(1), uid(3)]
    passing, kept = tapes.threads[uid(1)], tapes.threads[uid(3)]
    assert (passing.temporary, kept.temporary) == (True, False)
    assert (kept.born_of_run, kept.is_older) == (True, False)


def test_end_told_by_other_reads(tape: Tape) -> None:
    """The list of runs and the thread tell of it too; a join that ended before knows better."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2)})
    tape.call("GET", THREAD, json={"status": "busy"}, at=20)
    tape.call("GET", f"{THREAD}/runs", json=[{"run_id": uid(9), "status": "success"}], at=30)
    tape.call("GET", THREAD, json={"status": "error"}, at=40)
    tape.call("GET", f"{THREAD}/runs", json=[{"run_id": uid(2), "status": "error"}], at=50)
    assert (tape.run().done, tape.run().told_over) == ((1, 30 * MS), ((1, 30 * MS), "error"))


@pytest.mark.parametrize(("status", "cancelled"), [("pending", True), ("all", True), ("running", False)])
def test_run_cancelled_by_its_status(tape: Tape, status: str, cancelled: bool) -> None:
    """All that wait for their time are cancelled together; one that had begun is not among them."""
    tape.call("POST", f"{THREAD}/runs", {**BODY, "after_seconds": 30}, json={"run_id": uid(2)})
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(3)})
    tape.call("POST", "/runs/cancel", {"status": status}, status=204)
    runs = tape.tapes().runs
    assert [(run.cancelled, run.never_began) for run in runs] == [(cancelled, cancelled), (False, False)]


def test_deleted_threads(tape: Tape) -> None:
    """By a request of their own, or pruned; one that was made once more is there again."""
    for number in (1, 2, 3):
        tape.call("POST", "/threads", {}, json={"thread_id": uid(number)})
    tape.call("DELETE", THREAD, status=204)
    tape.call("POST", "/threads/prune", {"thread_ids": [uid(2)]}, json={"pruned_count": 1})
    keep = {"thread_ids": [uid(3)], "strategy": "keep_latest"}
    tape.call("POST", "/threads/prune", keep, json={"pruned_count": 0})
    tape.call("POST", "/threads", {"thread_id": uid(1)}, json={"thread_id": uid(1)})
    threads = tape.tapes().threads
    assert [threads[uid(n)].deleted is not None for n in (1, 2, 3)] == [False, True, False]
