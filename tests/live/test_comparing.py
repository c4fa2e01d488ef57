"""The comparer of the differential tests notices what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from graphtape.cassettes.showing.mapping import IdMapping
from graphtape.tests.live.conformance.comparing import Verdict, judge
from graphtape.tests.live.conformance.wire import Answer

A, B = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001", "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0002"


def stream(run: str = A, *, first_ms: int = 1_700_000_000_000, last: bytes = b'{"n":2}') -> Answer:
    """A short stream of a run."""
    frames = [
        b'event: metadata\r\ndata: {"run_id":"%s"}\r\nid: %d-0\r\n\r\n' % (run.encode(), first_ms),
        b'event: values\r\ndata: {"n":1,"run":"%s"}\r\nid: %d-0\r\n\r\n' % (run.encode(), first_ms + 1),
        b"event: values\r\ndata: %s\r\nid: %d-0\r\n\r\n" % (last, first_ms + 2),
    ]
    headers = [
        ("date", "now"),
        ("location", f"/runs/{run}/stream"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("connection", "keep-alive"),
    ]
    return Answer("HTTP/1.1", 200, "OK", headers, frames, whole=True)


def without_last(answer: Answer) -> None:
    answer.chunks.pop()


def swapped_headers(answer: Answer) -> None:
    answer.headers[0], answer.headers[1] = answer.headers[1], answer.headers[0]


def another_status(answer: Answer) -> None:
    answer.status = 201


def another_run_in_the_data(answer: Answer) -> None:
    answer.chunks[1] = answer.chunks[1].replace(A.encode(), B.encode())


def an_id_less(answer: Answer) -> None:
    answer.chunks[2] = answer.chunks[2].partition(b"id:")[0] + b"\r\n"


def ids_that_fall(answer: Answer) -> None:
    answer.chunks[2] = answer.chunks[2].replace(b"id: 17", b"id: 16")


def a_heartbeat(answer: Answer) -> None:
    answer.chunks.insert(1, b": heartbeat\r\n\r\n")


def a_broken_end(answer: Answer) -> None:
    answer.whole = False


def another_value(answer: Answer) -> None:
    answer.chunks[2] = answer.chunks[2].replace(b'"n":2', b'"n":3')


@pytest.mark.parametrize(
    "damage",
    [
        without_last,
        swapped_headers,
        another_status,
        another_run_in_the_data,
        an_id_less,
        ids_that_fall,
        a_heartbeat,
        a_broken_end,
        another_value,
    ],
)
def test_damaged_stream(damage: Callable[[Answer], None]) -> None:
    """A difference that a client could see is wrong."""
    answer = stream()
    damage(answer)
    assert judge(IdMapping(), stream(), answer).verdict is Verdict.WRONG


def test_same_stream_under_other_ids() -> None:
    """Another run at another time is equal if its ids stand for those of the first throughout."""
    later = stream(B, first_ms=1_800_000_000_000)
    assert judge(IdMapping(), stream(), later).verdict is Verdict.EQUAL


def test_two_events_in_one_chunk() -> None:
    """How events were cut into HTTP chunks counts where it is asked for."""
    answer = stream()
    answer.chunks[1:] = [answer.chunks[1] + answer.chunks[2]]
    assert judge(IdMapping(), stream(), answer).verdict is Verdict.EQUAL
    assert judge(IdMapping(), stream(), answer, exact=True).verdict is Verdict.WRONG


def test_headers_of_the_connection() -> None:
    """They count where both were asked without the recorder in between."""
    answer = stream()
    answer.headers.pop()
    assert judge(IdMapping(), stream(), answer).verdict is Verdict.EQUAL
    assert judge(IdMapping(), stream(), answer, exact=True).verdict is Verdict.WRONG


@pytest.mark.parametrize(("status", "verdict"), [(200, Verdict.REFUSED), (404, Verdict.WRONG)])
def test_refusal(status: int, verdict: Verdict) -> None:
    """A refusal is one only where the server answers."""
    server = Answer("HTTP/1.1", status, "", [], [b"{}"], whole=True)
    mock = Answer("HTTP/1.1", 422, "", [], [b'{"detail":"not recorded"}'], whole=True)
    assert judge(IdMapping(), server, mock).verdict is verdict


def test_derived() -> None:
    """What the mock marks as derived is counted as such."""
    answer = stream()
    answer.headers.append(("graphtape-derived", "values"))
    assert judge(IdMapping(), stream(), answer).verdict is Verdict.DERIVED


@pytest.mark.parametrize(
    ("allowed", "verdict"),
    [("HEAD, GET", Verdict.EQUAL), ("GET, HEAD", Verdict.EQUAL), ("GET", Verdict.WRONG)],
)
def test_allowed_methods(allowed: str, verdict: Verdict) -> None:
    """The methods of a 405 are a set: their order is chance on the server, a missing one is a difference."""
    theirs = Answer("HTTP/1.1", 405, "", [("allow", "GET, HEAD")], [b"{}"], whole=True)
    ours = Answer("HTTP/1.1", 405, "", [("allow", allowed)], [b"{}"], whole=True)
    assert judge(IdMapping(), theirs, ours).verdict is verdict


@pytest.mark.parametrize(
    ("names", "verdict"),
    [("a thread_id run_id b", Verdict.EQUAL), ("run_id a thread_id b", Verdict.WRONG)],
)
def test_order_of_members(names: str, verdict: Verdict) -> None:
    """The order of an object's members counts, but for two that the server takes from a set."""
    answers = [
        Answer("HTTP/1.1", 200, "OK", [], [json.dumps(dict.fromkeys(each.split())).encode()], whole=True)
        for each in ("a run_id thread_id b", names)
    ]
    assert judge(IdMapping(), *answers).verdict is verdict
