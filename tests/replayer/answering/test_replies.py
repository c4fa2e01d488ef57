"""Heads and bodies of answers."""

from __future__ import annotations

import gzip
from typing import Any

from graphtape.cassettes.model import Ending
from graphtape.protocol.ids import IdMap
from graphtape.replayer.answering.replies import (
    Asked,
    json_plan,
    recorded_plan,
    run_locations,
    stream_head,
    wait_head,
)
from graphtape.replayer.plan import PlanEnd


def asked(query: Any = (), body: bytes = b"") -> Asked:
    return Asked("GET", "/", query, {}, body)


def test_queries() -> None:
    """Of a repeated parameter the last counts; a flag is what the server takes for true."""
    request = asked((("a", "1"), ("a", "yes"), ("n", "5"), ("m", "x")))
    assert request.all_of("a") == ["1", "yes"]
    assert (request.flag("a"), request.flag("n"), request.flag("zz")) == (True, False, False)


def test_body_as_json() -> None:
    """A body is JSON whatever its content-type says; what is none is None."""
    assert asked(body=b'{"a":1}').json == {"a": 1}
    assert asked(body=b"{").json is None


def test_recorded_reads_are_parts(kit: Any) -> None:
    """A plain body keeps its reads and their times."""
    recording = kit.recording()
    recording.call("GET", "/file", reads=((5, b"ab"), (7, b"c")), end_ms=3)
    (call,) = kit.tapes(recording).calls
    plan = recorded_plan(call)
    assert [(part.due_ns // kit.MS, part.data) for part in plan.parts] == [(6, b"ab"), (13, b"c")]
    assert (plan.head_due_ns // kit.MS, plan.end_due_ns // kit.MS, plan.end) == (1, 16, PlanEnd.CLOSE)


def test_recorded_events_are_parts(kit: Any) -> None:
    """A body of events is one part per event, whatever the reads were, with the time of the read that ended it."""
    recording = kit.recording()
    events = kit.sse("a", 1) + kit.sse("b", 2)
    recording.call("GET", "/events", headers=kit.STREAM_TAIL, reads=((5, events[:10]), (5, events[10:])))
    (call,) = kit.tapes(recording).calls
    assert [(part.due_ns // kit.MS, part.data) for part in recorded_plan(call).parts] == [
        (11, kit.sse("a", 1)),
        (11, kit.sse("b", 2)),
    ]


def test_id_split_over_two_reads(kit: Any) -> None:
    """An id that lies across two reads is replaced too, and the length is right."""
    recording = kit.recording()
    body = b'{"id":"%s"}' % kit.uid(1).encode()
    length = (b"content-length", str(len(body)).encode())
    recording.call("GET", "/x", headers=(length,), reads=((1, body[:20]), (1, body[20:])))
    (call,) = kit.tapes(recording).calls
    plan = recorded_plan(call, IdMap({kit.uid(1): "ab" * 16}))
    assert plan.body == b'{"id":"%s"}' % (b"ab" * 16)
    assert plan.head.headers == ((b"content-length", str(len(plan.body)).encode()),)


def test_id_in_a_compressed_body(kit: Any) -> None:
    """A compressed body in which an id is replaced goes out plain, and its head says so; others stay as they came."""
    recording = kit.recording()
    packed = gzip.compress(kit.uid(1).encode(), mtime=0)
    coding = (b"content-encoding", b"gzip")
    recording.call("GET", "/x", headers=(coding,), reads=((1, packed),))
    (call,) = kit.tapes(recording).calls
    assert recorded_plan(call).body == packed
    plan = recorded_plan(call, IdMap({kit.uid(1): kit.uid(2)}))
    assert (plan.body, coding in plan.head.headers) == (kit.uid(2).encode(), False)


def test_incomplete_body(kit: Any) -> None:
    """A body that did not end by itself breaks off where its recording did, and says why."""
    recording = kit.recording()
    recording.call("GET", "/x", reads=((1, b"ab"),), ending=Ending.UPSTREAM_BROKE)
    (call,) = kit.tapes(recording).calls
    plan = recorded_plan(call)
    assert (plan.end, plan.detail) == (PlanEnd.BREAK, "exchange 1 ended as upstream-broke")


def test_cors_headers_are_not_sent(kit: Any) -> None:
    """Recorded CORS headers stay in the file."""
    recording = kit.recording()
    recording.call("GET", "/x", headers=((b"Access-Control-Allow-Origin", b"*"), (b"x-a", b"1")))
    (call,) = kit.tapes(recording).calls
    assert recorded_plan(call).head.headers == ((b"x-a", b"1"),)


def test_derived_answers(kit: Any) -> None:
    """A derived answer takes date and server from what it is derived from, and says what it is."""
    recording = kit.recording()
    recording.json("GET", "/x", {})
    (call,) = kit.tapes(recording).calls
    plan = json_plan(200, {"a": 1}, like=call, derived="state")
    assert plan.head.headers == (
        kit.DATE,
        kit.SERVER,
        (b"content-length", b"7"),
        (b"content-type", b"application/json"),
        (b"vary", b"Origin"),
        (b"graphtape-derived", b"state"),
    )
    assert wait_head(call, ()).headers[:2] == stream_head(call).headers[:2] == (kit.DATE, kit.SERVER)
    assert json_plan(204, None).parts == ()


def test_locations() -> None:
    """Locations are relative, with the thread or without."""
    assert run_locations("t", "r", "stream")[0] == (b"location", b"/threads/t/runs/r/stream")
    assert run_locations(None, "r", "stream")[1] == (b"content-location", b"/runs/r")
