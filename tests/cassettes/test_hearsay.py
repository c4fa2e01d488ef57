"""What others tell of a run that no stream shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.runs import RecordedRun
from graphtape.cassettes.writer import CassetteWriter

MS = 1_000_000
T, RUN, OTHER = (f"019f0000-0000-7000-8000-{number:012x}" for number in (1, 2, 3))
RUNS = f"/threads/{T}/runs"
Told = tuple[Any, ...]


def thread(at: int, status: str) -> Told:
    """The thread is read."""
    moments = dict.fromkeys(("created_at", "updated_at", "state_updated_at"), "then")
    return (
        at,
        "GET",
        f"/threads/{T}",
        {"thread_id": T, "metadata": {}, "config": {}, **moments, "status": status},
    )


def run(at: int, status: str) -> Told:
    """The run is read."""
    return at, "GET", f"{RUNS}/{RUN}", {"status": status}


def runs(at: int, status: str) -> Told:
    """It is read among others."""
    return at, "GET", RUNS, [{"run_id": OTHER, "status": "error"}, {"run_id": RUN, "status": status}]


def state(at: int, *tasks: dict[str, Any], run_id: str = RUN, following: tuple[str, ...] = ("a",)) -> Told:
    """The state is read."""
    told = {"next": following, "tasks": tasks, "metadata": {"run_id": run_id}}
    return at, "GET", f"/threads/{T}/state", told


def join(at: int, took: int, ending: Ending = Ending.COMPLETE, path: str = "stream") -> Told:
    """A reader joins it."""
    return at, "GET", f"{RUNS}/{RUN}/{path}", {}, took, ending


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Callable[..., RecordedRun]]:
    """The run of a thread that was started in the background at 0, answered at 10, and told of later."""
    with ExitStack() as stack:

        def record(*told: Told, first: tuple[Told, ...] = (), **body: Any) -> RecordedRun:
            writer = CassetteWriter.create(tmp_path / "a.tape")
            writer.begin_recording(0, "http://127.0.0.1:2024", "graphtape")
            created = {"run_id": RUN, "thread_id": T, "status": "pending"}
            for at, method, target, answer, *more in [*first, (0, "POST", RUNS, created), *told]:
                took, ending = more or (10, Ending.COMPLETE)
                number = writer.request(at * MS, method, target, ())
                asked = {"assistant_id": "agent", "input": target, **body} if method == "POST" else None
                writer.request_body(number, at * MS, orjson.dumps(asked) if asked else b"")
                writer.request_end(number, at * MS)
                writer.response(number, at * MS, 200, "OK", ((b"content-type", b"application/json"),))
                writer.chunk(number, at * MS, orjson.dumps(answer))
                writer.end(number, (at + took) * MS, ending)
            writer.close()
            tapes = read_tapes([stack.enter_context(Cassette.open(tmp_path / "a.tape"))])
            return next(run for run in tapes.runs if run.run_id == RUN)

        yield record


def second(at: int) -> Told:
    """Another run is started in the thread."""
    return at, "POST", RUNS, {"run_id": OTHER, "thread_id": T, "status": "pending"}


@pytest.mark.parametrize(
    ("told", "done_ms", "status", "left"),
    [
        ([run(50, "success")], 30, "success", ""),
        ([runs(50, "success")], 30, "success", ""),
        ([run(20, "pending"), run(30, "running"), runs(50, "error"), run(60, "error")], 40, "error", ""),
        ([thread(50, "idle")], 30, "success", "idle"),
        ([thread(50, "interrupted")], 30, "success", "interrupted"),
        ([thread(30, "busy"), thread(50, "error")], 40, "error", "error"),
        ([thread(50, "idle"), run(70, "success")], 30, "success", "idle"),
        ([state(50, following=())], 30, "success", "idle"),
        ([state(50, {"error": "ValueError('boom')"})], 30, "error", "error"),
        ([state(50, {"interrupts": [{"id": "1"}]}, {"result": {}})], 30, "success", "interrupted"),
        ([join(20, 10)], 30, "", ""),
        ([join(20, 10, path="join"), thread(50, "interrupted")], 30, "success", "interrupted"),
        ([second(60), thread(50, "idle")], 30, "success", "idle"),
    ],
)
def test_told_end(
    recorded: Callable[..., RecordedRun], told: list[Told], done_ms: int, status: str, left: str
) -> None:
    """A run ended when it was told, or in the middle of when it was told to go on and to be over."""
    found = recorded(*told)
    assert (found.done, found.told_over) == ((1, done_ms * MS), ((1, done_ms * MS), status))
    assert found.left_thread == left


@pytest.mark.parametrize(
    ("told", "done_ns"),
    [
        ([], 10 * MS),
        ([run(50, "running")], 50 * MS + 1),
        ([thread(50, "busy")], 50 * MS + 1),
        ([join(20, 1000, Ending.CLIENT_LEFT)], 1020 * MS + 1),
        ([join(20, 100, Ending.CLIENT_LEFT)], 10 * MS),  # as one that is over is joined
        ([thread(5, "idle")], 10 * MS),  # before its answer
        ([state(50)], 10 * MS),
        ([state(50, {"interrupts": [{"id": "1"}]}, {"name": "goes on"})], 10 * MS),
        ([state(50, {"error": "CancelledError()"})], 10 * MS),
        ([state(50, run_id=OTHER, following=())], 10 * MS),
        ([second(40), thread(60, "idle")], 10 * MS),  # of the other
    ],
)
def test_end_that_nothing_tells(recorded: Callable[..., RecordedRun], told: list[Told], done_ns: int) -> None:
    """It is when its answer, or what was last told to go on, ended."""
    found = recorded(*told)
    assert (found.done, found.told_over, found.left_thread) == ((1, done_ns), None, "")


def test_thread_beside_a_cancelled_run(recorded: Callable[..., RecordedRun]) -> None:
    """The server calls a thread idle when a run in its line is cancelled: that tells nothing of another."""
    cancel = (45, "POST", f"{RUNS}/{OTHER}/cancel", None)
    assert recorded(cancel, thread(60, "idle"), first=(second(0),)).told_over is None


def test_thread_after_an_earlier_run(recorded: Callable[..., RecordedRun]) -> None:
    """What is said of the thread then is said of its last run."""
    over = (20, "GET", f"{RUNS}/{OTHER}", {"status": "success"})
    assert recorded(over, thread(60, "idle"), first=(second(0),)).left_thread == "idle"


def test_how_long_it_waits(recorded: Callable[..., RecordedRun]) -> None:
    """As it was read, or as its own request says."""
    assert recorded(run(20, "pending"), run(30, "running")).pending_until == (1, 20 * MS)


def test_how_long_it_is_to_wait(recorded: Callable[..., RecordedRun]) -> None:
    """Nothing else tells that it has begun, or ended."""
    found = recorded(after_seconds=1)
    assert (found.pending_until, found.done) == ((1, 1000 * MS), (1, 1000 * MS + 1))


@pytest.mark.parametrize(("query", "done_ms"), [("?subgraphs=false", 30), ("?other=1", 10)])
def test_state_as_the_sdk_reads_it(recorded: Callable[..., RecordedRun], query: str, done_ms: int) -> None:
    """The Python SDK always says whether it wants subgraphs, and means the same state."""
    at, method, target, told = state(50, {"interrupts": [1]})
    assert recorded((at, method, target + query, told)).done == (1, done_ms * MS)
