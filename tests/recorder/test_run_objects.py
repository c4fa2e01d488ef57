"""Run objects and joined results of widened runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphtape.recorder.run_objects import JoinedResult, narrowed_runs
from graphtape.recorder.widening import WideRun, WideRuns, widened

WIDE = '"stream_mode":["values","updates"],"x":1,"subgraphs":true,"resumable":true'
OWN = '"stream_mode":["custom"],"x":1,"subgraphs":true,"resumable":false'


def known() -> tuple[WideRuns, WideRun]:
    return known_run(stream_mode="custom", stream_subgraphs=True)


def known_run(**asked: Any) -> tuple[WideRuns, WideRun]:
    request = widened(json.dumps({"assistant_id": "a", **asked}).encode())
    assert request is not None
    runs = WideRuns(lambda: 0)
    run = runs.started("t", request, b"/threads/t/runs/r")
    assert run is not None
    return runs, run


def run_object(run_id: str, kwargs: str, status: str = "running") -> str:
    return f'{{"run_id":"{run_id}", "status":"{status}","kwargs":{{"input":{{"resumable":1}},{kwargs}}},"n":1.50}}'


def test_a_run_object() -> None:
    """`kwargs` shows what the client asked; every other byte stays."""
    runs, run = known()
    assert narrowed_runs(run_object("r", WIDE).encode(), runs).decode() == run_object("r", OWN)
    assert not run.is_done


def test_a_list() -> None:
    """Each run is looked at; one that was not widened stays."""
    runs, _ = known()
    found = narrowed_runs(f"[{run_object('r', WIDE)}, {run_object('other', WIDE)}]".encode(), runs)
    assert found.decode() == f"[{run_object('r', OWN)}, {run_object('other', WIDE)}]"
    assert narrowed_runs(b"[]", runs) == b"[]"


def test_a_run_whose_request_named_no_thread() -> None:
    """Until an answer names its thread it may be of any; what is listed of that thread is narrowed too."""
    request = widened(b'{"assistant_id":"a"}')
    assert request is not None
    runs = WideRuns(lambda: 0)
    runs.started(None, request, b"/runs/r")
    assert runs.may_be_of_thread("t")
    narrowed_runs(b'{"run_id":"r","thread_id":"t","status":"pending","kwargs":{}}', runs)
    assert [run.run_id for run in runs.of_thread("t")] == ["r"]
    assert (runs.may_be_of_thread("t"), runs.may_be_of_thread("other")) == (True, False)


@pytest.mark.parametrize("status", ["success", "error", "interrupted"])
def test_a_run_that_has_ended(status: str) -> None:
    """Its status is a witness."""
    runs, run = known()
    narrowed_runs(run_object("r", WIDE, status).encode(), runs)
    assert run.is_done


def test_only_kwargs_selected() -> None:
    """Then the id stands in the configuration."""
    runs, _ = known()
    text = '[{"kwargs":{"config":{"configurable":{"run_id":"r"}},%s}}]'
    assert narrowed_runs((text % WIDE).encode(), runs).decode() == text % OWN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"1",
        b"[1]",
        b"\xff",
        b"null",
        b'{"run_id":"r"}',
        b'{"run_id":"r","kwargs":1}',
        b'{"kwargs":{}}',
    ],
)
def test_what_looks_otherwise(body: bytes) -> None:
    """Passes as it came."""
    assert narrowed_runs(body, known()[0]) == body


A = {"value": "a?", "id": "a", "response_schema": None}
B = {"value": "b?", "id": "b", "response_schema": None}
VALUES = {"n": 1, "__interrupt__": [A]}
STREAM = b'event: values\ndata: {"n":0}\n\nevent: values\ndata: %b\n\n' % json.dumps(VALUES).encode()


def joined(body: Any, modes: list[str], reply: bytes | None = STREAM) -> tuple[Any, bool]:
    """What the client gets, and whether the values were asked for."""
    result = JoinedResult(known_run(stream_mode=modes)[1], "/values")
    assert result.feed(b"\n") == [b"\n"]
    data = json.dumps(body).encode()
    assert result.feed(data[:3]) == []
    assert result.feed(data[3:]) == []
    pieces = result.finish()
    if result.question is not None:
        assert result.question == "/values"
        pieces += result.answer(reply)
    (piece,) = pieces
    return json.loads(piece), result.question is not None


@pytest.mark.parametrize(
    ("modes", "one", "two", "asks"),
    [
        (["values"], VALUES, {"__interrupt__": [A, B]}, True),
        (["updates"], {"__interrupt__": [A]}, {"__interrupt__": [A, B]}, False),
        (
            ["custom"],
            {"__interrupt__": [{"id": "a", "value": "a?"}]},
            {"__interrupt__": [{"id": "a", "value": "a?"}, {"id": "b", "value": "b?"}]},
            False,
        ),
        (["values", "updates"], {"__interrupt__": [A, A]}, {"__interrupt__": [A, A, B, B]}, False),
    ],
)
def test_a_run_that_stopped_at_an_interrupt(modes: list[str], one: Any, two: Any, asks: bool) -> None:
    """The answer of a run with both modes shows each interrupt twice; what the client's modes give is told from it."""
    assert joined({"__interrupt__": [A, A]}, modes) == (one, asks)
    assert joined({"__interrupt__": [A, A, B, B]}, modes) == (two, False)


@pytest.mark.parametrize("reply", [None, b"", b"event: error\ndata: {}\n\n"])
def test_values_that_cannot_be_had(reply: bytes | None) -> None:
    """Then the interrupts alone must do."""
    assert joined({"__interrupt__": [A, A]}, ["values"], reply) == ({"__interrupt__": [A]}, True)


@pytest.mark.parametrize(
    "body",
    [{"n": 1}, {"__interrupt__": [A]}, {"__interrupt__": [A, B]}, {"__interrupt__": 1}, {"__interrupt__": []},
     {"__interrupt__": [1, 1]}, {"__error__": {}}, {"n": 1, "__interrupt__": [A, A]}, [], None],
)  # fmt: skip
def test_other_results(body: Any) -> None:
    """Pass as they came."""
    assert joined(body, ["values"]) == (body, False)


def test_a_result_that_never_came() -> None:
    """An answer that breaks off has nothing more."""
    result = JoinedResult(known()[1], "/values")
    assert result.finish() == []
