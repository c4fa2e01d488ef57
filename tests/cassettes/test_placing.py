"""Which recorded call belongs to which run and thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from graphtape.cassettes.model import Ending
from graphtape.tests.cassettes.taping import BODY, BORN, EVENTS, MS, RUN, THREAD, Tape, uid


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    with ExitStack() as stack:
        yield Tape(tmp_path, stack)


def test_ids_from_the_location(tape: Tape) -> None:
    """Thread and run are those that Content-Location names, which for a stateless stream is the run alone."""
    tape.call("POST", "/runs/stream", BODY, reads=EVENTS, location=f"/runs/{uid(2)}")
    tape.call("POST", "/runs/wait", BODY, json={}, location=f"/threads/{uid(3)}/runs/{uid(4)}")
    stream, wait = tape.tapes().runs
    assert (stream.run_id, stream.stateful, stream.answer) == (uid(2), False, "stream")
    assert (wait.thread_id, wait.run_id, wait.stateful, wait.answer) == (uid(3), uid(4), False, "wait")


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


@pytest.mark.parametrize(("on_disconnect", "done_ms"), [("cancel", 10), ("continue", 55)])
def test_left_and_cancelled_with_it(tape: Tape, on_disconnect: str, done_ms: int) -> None:
    """A run that its client cancelled by leaving was over then, not midway to the read that told so."""
    body = {**BODY, "on_disconnect": on_disconnect}
    tape.call(
        "POST", f"{THREAD}/runs/stream", body, reads=EVENTS[:1], location=RUN, ending=Ending.CLIENT_LEFT, at=0
    )
    tape.call("GET", f"{THREAD}/runs", json=[{"run_id": uid(2), "status": "interrupted"}], at=100)
    assert tape.run().done[1] == done_ms * 1_000_000


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


def test_run_whose_recorder_was_killed(tape: Tape) -> None:
    """It is as far as its last event tells."""
    tape.stream([EVENTS[0]], None)
    (thread,) = tape.tapes().threads.values()
    assert [thread.stage_at((1, at_ns)) for at_ns in (0, MS - 1, MS)] == [
        ((), (0,)),
        ((), (0,)),
        ((0,), ()),
    ]


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
