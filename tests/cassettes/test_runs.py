"""The runs and threads that a cassette shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.tests.cassettes.taping import BODY, EVENTS, MS, RUN, THREAD, Tape, told, uid


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    with ExitStack() as stack:
        yield Tape(tmp_path, stack)


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


def background(tape: Tape, **more: Any) -> None:
    """A run that is started in the background at 0 and left by a reader, who ends it so, at 20."""
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)}, at=0, took=1)
    tape.call(
        "POST", f"{THREAD}/runs", BODY | more, json={"run_id": uid(2), "thread_id": uid(1)}, at=1, took=1
    )
    tape.call(
        "GET", f"{RUN}/stream?cancel_on_disconnect=1", reads=[], ending=Ending.CLIENT_LEFT, at=10, took=10
    )


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


def test_end_on_a_thread_stream(tape: Tape) -> None:
    """A recorded thread stream shows the id of a run's end."""
    done = b'event: metadata\r\ndata: {"status":"run_done","run_id":"r"}\r\nid: 15-0\r\n\r\n'
    tape.call("GET", f"{THREAD}/stream", reads=[EVENTS[0], done])
    assert tape.tapes().done_ids == {"r": (15, 0)}


def test_updates_of_the_state(tape: Tape) -> None:
    """By the checkpoint that they made: what streams of the thread told of them."""
    told = {"state": {"values": {}, "checkpoint_id": uid(5)}, "thread_id": uid(1)}
    event = b"event: state_update\r\ndata: " + orjson.dumps(told) + b"\r\nid: 10-0\r\n\r\n"
    odd = b"event: state_update\r\ndata: [1\r\n\r\n"
    tape.call("POST", "/threads", {}, json={"thread_id": uid(1)})
    tape.call("GET", f"{THREAD}/stream?stream_modes=state_update", reads=[odd, event])
    (found,) = tape.tapes().threads[uid(1)].state_updates.items()
    assert (found[0], found[1].id) == (uid(5), "10-0")


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
