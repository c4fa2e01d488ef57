"""Which function answers which operation."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.operations import OPERATIONS, Kind
from graphtape.replayer.answering.dispatch import ANSWERS


def head(reply: Any, name: str) -> str:
    return str(dict(reply.head.headers)[name.encode()].decode())


def test_every_run_starting_route_has_a_row() -> None:
    """Whatever starts, follows or reads runs and threads is answered with its semantics."""
    kinds = {Kind.STARTS_RUN, Kind.STREAM, Kind.READS_RUN}
    assert {route.operation for route in OPERATIONS if route.kind in kinds} <= ANSWERS.keys()


@pytest.mark.parametrize(("method", "path"), [("PUT", "/threads"), ("GET", "/threads/search/x/y/../z")])
def test_wrong_method_or_path(kit: Any, method: str, path: str) -> None:
    """A known path with another method is the server's 405; an unknown path is a miss."""
    reply = kit.ask(kit.session(kit.recording()), method, path)
    assert reply.plan.head.status == (405 if path == "/threads" else 404)
    if path == "/threads":
        assert head(reply, "allow") == "POST"


def test_slash_too_many(kit: Any) -> None:
    """A slash too many is the server's redirect: absolute, with the query."""
    reply = kit.ask(kit.session(kit.recording()), "GET", f"/threads/{kit.uid(1)}/?a=1", host="localhost:2024")
    assert reply.plan.head.status == 307
    assert head(reply, "location") == f"http://localhost:2024/threads/{kit.uid(1)}?a=1"
    made = [(name, value) for name, value in reply.head.headers if name != b"location"]
    assert made == [(b"content-length", b"0"), (b"vary", b"Origin")]


def test_other_protocol(kit: Any) -> None:
    """Another protocol of the server is played as plain HTTP, or refused with a clear answer."""
    recording = kit.recording()
    recording.json("POST", f"/threads/{kit.uid(1)}/commands", {"ok": 1}, {"a": 1})
    session = kit.session(recording)
    path = f"/threads/{kit.uid(1)}/commands"
    assert kit.value(kit.ask(session, "POST", path, {"a": 1})) == {"ok": 1}
    assert "another protocol" in kit.value(kit.ask(session, "POST", path, {"a": 2}))["detail"]


def test_run_without_a_thread_has_no_routes(kit: Any) -> None:
    """Where the Location of a stateless run leads, the server has no route: its Not Found."""
    session = kit.session(kit.recording())
    for tail in ("", "/stream", "/join"):
        reply = kit.ask(session, "GET", f"/runs/{kit.uid(2)}{tail}")
        assert (reply.plan.head.status, kit.value(reply)) == (404, {"detail": "Not Found"})


def test_stream_that_was_none(kit: Any) -> None:
    """A run that was answered with 200 and a page is played as that page; it is no run."""
    recording = kit.recording()
    headers = ((b"content-type", b"text/html"), (b"content-length", b"4"))
    recording.call("POST", "/runs/stream", {"assistant_id": "agent"}, headers=headers, reads=((1, b"oops"),))
    reply = kit.ask(kit.session(recording), "POST", "/runs/stream", {"assistant_id": "agent"})
    assert (reply.plan.head.status, reply.plan.body) == (200, b"oops")


def test_ids_spelled_otherwise(kit: Any) -> None:
    """They are those of the thread and run; locations and some refusals spell them as the path does."""
    recording = kit.recording()
    body = {"assistant_id": "agent"}
    recording.run(recording.thread(1), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    thread, run = kit.uid(1).replace("-", ""), f"urn:uuid:{kit.uid(2).upper()}"
    started = kit.ask(session, "POST", f"/threads/{thread}/runs/stream", body)
    assert head(started, "content-location") == f"/threads/{thread}/runs/{kit.uid(2)}"
    joined = kit.ask(session, "GET", f"/threads/{thread}/runs/{run}/stream", now_ms=99)
    assert head(joined, "location") == f"/threads/{thread}/runs/{run}/stream"
    assert kit.value(kit.ask(session, "GET", f"/threads/{thread}/runs/{run}", now_ms=99))[
        "run_id"
    ] == kit.uid(2)
    missing = {
        "": kit.uid(9).upper(),
        "/history": kit.uid(9).upper(),
        "/runs": kit.uid(9).upper(),
        "/state": kit.uid(9),
    }
    for what, named in missing.items():
        reply = kit.ask(session, "GET", f"/threads/{kit.uid(9).upper()}{what}")
        assert kit.value(reply)["detail"] == f"Thread with ID {named} not found"


def test_recorded_ids_spelled_otherwise(kit: Any) -> None:
    """What was recorded by one spelling answers another, with locations as the other has them."""
    recording = kit.recording()
    body = {"assistant_id": "agent"}
    recording.thread(1)
    recording.run(kit.uid(1).replace("-", ""), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    started = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    assert head(started, "location") == f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/stream"


def test_states_by_ids_spelled_otherwise(kit: Any) -> None:
    """The server keeps states by the id of their thread as it is spelled: in another way there are none."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), {"assistant_id": "agent"})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {"assistant_id": "agent"})
    path = f"/threads/{kit.uid(1).upper()}"
    assert kit.value(kit.ask(session, "GET", f"{path}/state", now_ms=99))["values"] == {}
    assert kit.value(kit.ask(session, "GET", f"{path}/history", now_ms=99)) == []
    at = kit.value(kit.ask(session, "GET", f"{path}/state/{kit.uid(5)}", now_ms=99))
    assert at["checkpoint"] == {"checkpoint_id": kit.uid(5), "thread_id": kit.uid(1).upper()}


def test_refusal_in_recorded_words(kit: Any) -> None:
    """What we would refuse is refused in the words of the recorded server, if it refused the same in the same way."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    path = f"/threads/{thread_id}/runs?select=nope"
    recording.json("GET", path, {"detail": "my words"}, status=422)
    session = kit.session(recording)
    mine = [kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"] for _ in range(2)]
    for one in mine:
        refused = kit.ask(session, "GET", f"/threads/{one}/runs?select=nope")
        assert (refused.plan.head.status, kit.value(refused)) == (422, {"detail": "my words"})
    assert "bogus" in kit.value(kit.ask(session, "GET", f"/threads/{mine[0]}/runs?select=bogus"))["detail"]


def test_outages_in_their_order(kit: Any) -> None:
    """A request that failed for reasons outside it fails where it failed; after that it is answered as ever."""
    recording = kit.recording()
    limited = {"detail": "too many requests"}
    recording.json("POST", "/threads", limited, {}, status=429)
    thread_id = recording.thread(1)
    recording.json("POST", "/threads", limited, {}, status=503)
    recording.json("DELETE", f"/threads/{thread_id}", limited, status=500)
    session = kit.session(recording)
    statuses = [kit.ask(session, "POST", "/threads", {}).plan.head.status for _ in range(5)]
    assert statuses == [429, 200, 503, 200, 200]
    assert [kit.ask(session, "DELETE", f"/threads/{thread_id}").plan.head.status for _ in range(3)] == [
        500,
        204,
        404,
    ]
