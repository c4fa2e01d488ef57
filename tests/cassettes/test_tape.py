"""The events of a run, as streams showed them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.tests.cassettes.taping import BODY, EVENTS, MS, RUN, THREAD, Tape, raws, uid


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    with ExitStack() as stack:
        yield Tape(tmp_path, stack)


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


def test_stream_of_another_run_proves_nothing(tape: Tape) -> None:
    """Other events, an end that was not seen, or a run that began in between are no continuation."""
    tape.call("POST", f"{THREAD}/runs", BODY, json={"run_id": uid(2), "thread_id": uid(1)})
    mixed = [*whole_of(uid(2))[:2], *whole_of(uid(3)), whole_of(uid(2))[-1]]
    tape.call("GET", f"{THREAD}/stream", reads=mixed, at=0, took=50)
    tape.call("GET", f"{THREAD}/stream", reads=whole_of(uid(3)), at=0, took=50)
    assert tape.run().tape is None
