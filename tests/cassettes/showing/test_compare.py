"""Tests of `cassettes/showing/compare.py`; whole sessions are in tests/golden_output."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.model import Ending, Headers
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.compare import Comparison, Difference, compare
from graphtape.cassettes.writer import CassetteWriter

SSE = (b"content-type", b"text/event-stream")
A, B, C = (f"{digit * 8}-1111-7222-8333-{digit * 12}" for digit in "abc")

Call = dict[str, Any]
Run = Callable[[Iterable[Call], Iterable[Call]], Comparison]


def sse(name: str, data: Any, event_id: str = "") -> bytes:
    line = f"id: {event_id}\r\n" if event_id else ""
    return f"event: {name}\r\ndata: {orjson.dumps(data).decode()}\r\n{line}\r\n".encode()


def stream(*events: bytes, **more: Any) -> Call:
    return {"target": f"/threads/{A}/runs/stream", "headers": (SSE,), "body": b"".join(events), **more}


def _write(path: Path, calls: Iterable[Call], upstream: str) -> Path:
    writer = CassetteWriter.create(path, overwrite=True)
    writer.begin_recording(1, upstream, "test")
    for call in calls:
        request_headers: Headers = call.get("request_headers", ())
        number = writer.request(0, call.get("method", "POST"), call["target"], request_headers)
        writer.request_body(number, 0, call.get("request", b""))
        writer.request_end(number, 0)
        writer.response(number, 1, call.get("status", 200), "", call.get("headers", ()))
        if call["body"]:
            writer.chunk(number, 2, call["body"])
        writer.end(number, 3, call.get("ending", Ending.COMPLETE))
    writer.close()
    return path


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Compares two lists of calls."""

    def compared(left: Iterable[Call], right: Iterable[Call]) -> Comparison:
        one = _write(tmp_path / "left.tape", left, "http://upstream:1")
        two = _write(tmp_path / "right.tape", right, "http://elsewhere:2")
        with Cassette.open(one) as a, Cassette.open(two) as b:
            return compare(a, b)

    return compared


def only(found: Comparison) -> Difference:
    (difference,) = found.differences
    assert found.total == 1
    return difference


def test_ids_mapped_across_exchanges(run: Run) -> None:
    """An id given in one answer must be the one used in the next request."""
    create = {"target": "/threads", "body": orjson.dumps({"thread_id": A})}
    right = [{"target": "/threads", "body": orjson.dumps({"thread_id": B})}]
    get = {"method": "GET", "body": b"{}"}
    same = run([create, {**get, "target": f"/threads/{A}"}], [*right, {**get, "target": f"/threads/{B}"}])
    assert same.same
    assert same.ids == 1
    other = run([create, {**get, "target": f"/threads/{A}"}], [*right, {**get, "target": f"/threads/{C}"}])
    assert only(other).what == "request"
    assert "was" in only(other).note


@pytest.mark.parametrize(
    "name",
    [b"date", b"Server", b"content-length", b"x-request-id", b"Sec-Fetch-Mode", b"host", b"Graphtape-Match"],
)
def test_headers_set_aside(name: bytes, run: Run) -> None:
    """Headers of the clock, the connection, program versions and a mock do not count, be they there or not."""
    one, two = ((name, value) for value in (b"1", b"2"))
    left = {"target": "/", "body": b"", "headers": (one,), "request_headers": (one,)}
    right = {"target": "/", "body": b"", "headers": (two,), "request_headers": (two,)}
    assert run([left], [right]).same
    assert run([left], [{"target": "/", "body": b""}]).same


def test_headers_that_count(run: Run) -> None:
    """A header that changed, and one that one side lacks."""
    left = {"target": "/", "body": b"", "headers": ((b"X-A", b"1"), (b"vary", b"a"))}
    right = {"target": "/", "body": b"", "headers": ((b"x-a", b"2"),)}
    assert [one.what for one in run([left], [right]).differences] == [
        "response header x-a",
        "response header vary",
    ]


def test_location_at_the_upstream(run: Run) -> None:
    """Where each upstream listened does not count, the path behind it does."""
    locations = [((b"location", f"http://{host}/x".encode()),) for host in ("upstream:1", "elsewhere:2")]
    left, right = ({"target": "/", "body": b"", "headers": headers} for headers in locations)
    assert run([left], [right]).same


def test_events_with_ids_of_the_clock(run: Run) -> None:
    """Ids that share a millisecond on one side only are no difference; a missing id is."""
    left = stream(sse("a", 1, "1000000000001-0"), sse("b", 2, "1000000000001-0"))
    right = stream(sse("a", 1, "2000000000001-0"), sse("b", 2, "2000000000002-0"))
    assert run([left], [right]).same
    without = stream(sse("a", 1, "2000000000001-0"), sse("b", 2))
    assert only(run([left], [without])).what == "event id"


def test_resume_point(run: Run) -> None:
    """Last-Event-ID must name the same event on both sides."""

    def session(base: int, resumed: int) -> list[Call]:
        ids = [f"{base + n}-0" for n in range(3)]
        join = f"/threads/{A}/runs/{B}/stream"
        last = ((b"Last-Event-ID", ids[resumed].encode()),)
        events = [sse("a", n, one) for n, one in enumerate(ids)]
        return [stream(*events), stream(events[2], method="GET", target=join, request_headers=last)]

    assert run(session(1_000_000_000_000, 1), session(2_000_000_000_000, 1)).same
    differing = run(session(1_000_000_000_000, 1), session(2_000_000_000_000, 0))
    assert only(differing).what == "request header last-event-id"


def test_ids_of_parallel_threads(run: Run) -> None:
    """Two threads share the clock: ids that coincide on one side need not on the other."""

    def session(one: str, two: str) -> list[Call]:
        return [stream(sse("a", 1, one)), stream(sse("a", 2, two), target=f"/threads/{B}/runs/stream")]

    left = session("1000000000001-0", "1000000000001-0")
    assert run(left, session("2000000000009-0", "2000000000001-0")).same


def test_heartbeats_do_not_count(run: Run) -> None:
    """Comments come by the clock."""
    assert run([stream(b": heartbeat\r\n\r\n", sse("a", 1))], [stream(sse("a", 1))]).same


def test_client_that_left(run: Run) -> None:
    """How much came before a client left is chance: said in a note, not counted."""
    left = stream(sse("a", 1), sse("b", 2), ending=Ending.CLIENT_LEFT)
    found = run([left], [stream(sse("a", 1), ending=Ending.CLIENT_LEFT)])
    assert found.same
    assert "set aside" in found.notes[0]
    changed = run([left], [stream(sse("x", 1), sse("b", 2), ending=Ending.CLIENT_LEFT)])
    assert not changed.same


def test_ending(run: Run) -> None:
    """How an exchange ended counts."""
    found = only(run([stream(sse("a", 1))], [stream(sse("a", 1), ending=Ending.UPSTREAM_BROKE)]))
    assert (found.what, found.left, found.right) == ("ending", "complete", "upstream-broke")


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        (b"plain", b"other", ""),
        (b"\xff", b"\xfe", ""),
        (b'{"a":1}', b'{"a":2}', "$.a"),
        (b'{"a":1}', b"", ""),
    ],
)
def test_bodies(left: bytes, right: bytes, path: str, run: Run) -> None:
    """JSON is compared by value, text as text, the rest by its bytes."""
    found = only(run([{"target": "/", "body": left}], [{"target": "/", "body": right}]))
    assert (found.what, found.path) == ("response body", path)


def test_bodies_that_are_equal_as_json(run: Run) -> None:
    """White space is no difference: a wait sends newlines to stay alive."""
    assert run([{"target": "/", "body": b'\n\n{"a": 1}'}], [{"target": "/", "body": b'{"a":1}'}]).same


def test_undecodable_bodies(run: Run) -> None:
    """A coding that cannot be undone is compared by its bytes."""
    headers = (SSE, (b"content-encoding", b"unheard-of"))
    left = {"target": "/", "body": b"\xff1", "headers": headers}
    assert run([left], [left]).same
    assert only(run([left], [{**left, "body": b"\xff2"}])).what == "response body"


def test_context_of_the_first_difference(run: Run) -> None:
    """The two events before it are kept."""
    events = [sse("a", n) for n in range(5)]
    found = run([stream(*events)], [stream(*events[:3], sse("a", 9), events[4])])
    assert found.context is not None
    assert found.context.events == ((2, "a", "1"), (3, "a", "2"))


def test_many_differences(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, by exchange too; not all are kept."""
    monkeypatch.setattr("graphtape.cassettes.showing.compare._KEPT_DIFFERENCES", 3)
    left, right = (stream(*(sse("a", {"n": n, "x": x}) for n in range(10))) for x in (1, 2))
    found = run([left], [right])
    assert (found.total, len(found.differences), found.per_exchange) == (10, 3, {(1, 1): 10})


def test_unfinished_cassette(tmp_path: Path) -> None:
    """What an unfinished cassette holds is compared, and the note says that it is unfinished."""
    path = _write(tmp_path / "a.tape", [stream(sse("a", 1))], "http://u")
    torn = tmp_path / "b.tape"
    torn.write_bytes(path.read_bytes()[:-20])
    with Cassette.open(path) as one, Cassette.open(torn) as two:
        found = compare(one, two)
    assert found.same
    assert found.notes == ["the right cassette is unfinished; what it holds was compared"]


def test_deep_json(run: Run) -> None:
    """JSON nested deeper than can be walked is compared as text: the same is the same, another is another."""
    deep = b'{"a":' * 900 + b"%d" + b"}" * 900
    assert run([{"target": "/t", "body": deep % 1}], [{"target": "/t", "body": deep % 1}]).same
    assert only(
        run([{"target": "/t", "body": deep % 1}], [{"target": "/t", "body": deep % 2}])
    ).what.endswith("body")
