"""Starting runs."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.replayer.answering.answers import Reply, RunStream, RunWait

BODY = {"assistant_id": "agent", "input": {"text": "hi"}}


def head(answer: Any, name: str) -> str | None:
    found = [value for key, value in answer.head.headers if key.lower() == name.encode()]
    return found[0].decode() if found else None


def one_run(kit: Any, body: Any = BODY, **more: Any) -> Any:
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(2), body, kit.simple_events(kit.uid(2)), **more)
    return recording


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/threads/{1}/runs/stream", b"{", 422, "Invalid JSON in request body"),
        ("/threads/{1}/runs/stream", b"", 422, "Invalid JSON in request body"),
        ("/threads/{1}/runs/stream", [], 422, 'is not of type "object"'),
        ("/threads/{1}/runs/stream", {"input": 1}, 422, '"assistant_id" is a required property'),
        ("/threads/{1}/runs/stream", {**BODY, "stream_mode": "bogus"}, 422, '"bogus" is not valid under any'),
        ("/threads/{1}/runs/stream", {**BODY, "stream_subgraphs": "yes"}, 422, 'is not of type "boolean"'),
        ("/threads/nope/runs/stream", BODY, 400, "badly formed hexadecimal UUID string"),
        ("/threads/nope/runs/wait", BODY, 400, "badly formed hexadecimal UUID string"),
        ("/threads/nope/runs", BODY, 422, "Invalid thread ID"),
        ("/threads/{9}/runs/stream", BODY, 404, "Thread or assistant not found."),
        ("/threads/{1}/runs/stream", {**BODY, "on_disconnect": "x"}, 422, '"x" is not one of "cancel" or'),
        ("/threads/{1}/runs", {**BODY, "if_not_exists": "x"}, 422, '"x" is not one of "create" or'),
        ("/threads/{1}/runs/wait", {**BODY, "checkpoint_id": "x"}, 422, "Invalid checkpoint ID"),
        (
            "/runs/stream",
            {**BODY, "command": {"resume": 1}},
            400,
            "You must provide a thread_id when resuming.",
        ),
        # Of several reasons the one that the server comes upon first.
        ("/threads/nope/runs/stream", {**BODY, "durability": 1}, 422, '1 is not of type "string"'),
        ("/threads/nope/runs/stream", {**BODY, "webhook": "/x"}, 400, "badly formed hexadecimal UUID string"),
        ("/threads/{9}/runs/stream", {**BODY, "webhook": "/x"}, 422, "Loopback webhooks"),
    ],
)
def test_what_the_server_refuses(kit: Any, path: str, body: Any, status: int, detail: str) -> None:
    """What the server refuses whatever its runs is refused in its words, before anything is looked up."""
    session = kit.session(one_run(kit))
    path = path.replace("{1}", kit.uid(1)).replace("{9}", kit.uid(9))
    reply = kit.ask(session, "POST", path, body)
    assert reply.plan.head.status == status
    assert detail in kit.value(reply)["detail"]


def test_what_the_recorded_server_took(kit: Any) -> None:
    """A body that was recorded as taken is never refused: that server has other rules than the one we know."""
    body = {**BODY, "webhook": "http://localhost:9/done", "durability": None}
    session = kit.session(one_run(kit, body))
    path = f"/threads/{kit.uid(1)}/runs/stream"
    assert isinstance(kit.ask(session, "POST", path, body), RunStream)
    assert kit.ask(session, "POST", path, {**body, "metadata": {}}).plan.head.status == 422


def test_recorded_response(kit: Any) -> None:
    """The recorded run is answered with its recorded head, and the match is in the header and the log."""
    session = kit.session(one_run(kit))
    answer = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    assert isinstance(answer, RunStream)
    assert head(answer, "content-location") == f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"
    assert head(answer, "date") == kit.DATE[1].decode()
    assert (head(answer, "graphtape-match"), head(answer, "graphtape-derived")) == ("exact", None)
    assert answer.note == "exchange 2"


def test_nearest_is_said(kit: Any) -> None:
    """A run that is only the nearest says so in the header, and the log says what differs."""
    session = kit.session(one_run(kit))
    asked = {**BODY, "input": {"text": "ho"}}
    answer = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", asked)
    assert head(answer, "graphtape-match") == "nearest"
    assert answer.note == "exchange 2 (nearest; differs in input.text)"


def test_which_of_several_cassettes(kit: Any) -> None:
    """The number of an exchange names it together with its file."""
    one, other = kit.recording(), kit.recording()
    for made in (one, other):
        made.run(None, kit.uid(2), {"assistant_id": "agent", "input": str(made.path)})
    session = kit.session(one, other)
    answer = kit.ask(session, "POST", "/runs/stream", {"assistant_id": "agent", "input": str(other.path)})
    assert answer.note == f"exchange 1 of {other.path}"


def test_reuse_is_logged(kit: Any) -> None:
    """A recording that is played again is logged as such, also in strict."""
    session = kit.session(one_run(kit), match="strict")
    for note in ("exchange 2", "exchange 2 (again: every equal recording has been played)"):
        thread_id = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        assert kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY).note == note


def test_incomplete_recording_is_logged(kit: Any) -> None:
    """The log says why a connection will break."""
    session = kit.session(one_run(kit, ending=Ending.CLIENT_LEFT))
    note = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY).note
    assert "ended as client-left; the connection will break where the recording ends" in note


def test_strict_miss(kit: Any) -> None:
    """In strict, an unequal request is a 404 that starts nothing."""
    session = kit.session(one_run(kit), match="strict")
    reply = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {**BODY, "input": 1})
    assert reply.plan.head.status == 404
    assert session.runs == {}


def test_view_that_is_refused(kit: Any) -> None:
    """What was not recorded is a 422 that names the recorded modes and how to record more."""
    session = kit.session(one_run(kit))
    reply = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {**BODY, "stream_mode": "custom"})
    assert reply.plan.head.status == 422
    assert kit.value(reply)["graphtape"]["recorded_modes"] == ["values"]
    assert "Record again" in kit.value(reply)["detail"]


def test_derived_wait(kit: Any) -> None:
    """`wait` of a run recorded as a stream is the same operation, answered as derived."""
    session = kit.session(one_run(kit))
    answer = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/wait", BODY)
    assert isinstance(answer, RunWait)
    assert head(answer, "graphtape-derived") == "recorded stream"
    assert head(answer, "location") == f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/join"


def test_derived_creation(kit: Any) -> None:
    """A run created in the background from a recorded stream is a pending run object with its location."""
    session = kit.session(one_run(kit))
    reply = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs", BODY)
    assert kit.value(reply)["status"] == "pending"
    assert kit.value(reply)["run_id"] == kit.uid(2)
    assert head(reply, "content-location") == f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"
    assert head(reply, "location") is None


def test_wait_that_no_event_answers(kit: Any) -> None:
    """A `wait` that neither a recording nor an event answers is a 422, and starts nothing."""
    recording = kit.recording()
    body = {**BODY, "stream_mode": "custom"}
    recording.run(recording.thread(1), kit.uid(2), body, [(1, "metadata", {}), (1, "custom", {})])
    session = kit.session(recording)
    reply = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/wait", body)
    assert reply.plan.head.status == 422
    assert session.runs == {}


def test_thread_created_by_a_run(kit: Any) -> None:
    """`if_not_exists: create` plays the recorded run in a thread of the client's own id."""
    session = kit.session(one_run(kit))
    answer = kit.ask(
        session, "POST", f"/threads/{kit.uid(9)}/runs/stream", {**BODY, "if_not_exists": "create"}
    )
    assert head(answer, "location") == f"/threads/{kit.uid(9)}/runs/{kit.uid(2)}/stream"


def twice(kit: Any, session: Any, **more: Any) -> Any:
    path = f"/threads/{kit.uid(1)}/runs/stream"
    first = kit.ask(session, "POST", path, BODY, now_ms=0)
    return first.play, kit.ask(session, "POST", path, {**BODY, **more}, now_ms=5)


def test_enqueue(kit: Any) -> None:
    """By default a second run begins when the first is over."""
    first, second = twice(kit, kit.session(one_run(kit)))
    assert second.play.started_ns == first.end_ns
    assert second.play.status(6 * kit.MS) == "pending"


def test_reject(kit: Any) -> None:
    """`reject` is the server's 409 while a run is in flight, and starts nothing."""
    session = kit.session(one_run(kit))
    _, refused = twice(kit, session, multitask_strategy="reject")
    assert refused.plan.head.status == 409
    assert len(session.runs) == 1


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_displacing(kit: Any, strategy: str) -> None:
    """`interrupt` and `rollback` end the run in flight where it is; the new one begins at once."""
    first, second = twice(kit, kit.session(one_run(kit)), multitask_strategy=strategy)
    assert first.cancelled_ns == second.play.started_ns == 5 * kit.MS
    assert first.rolled_back is (strategy == "rollback")


def test_a_miss_displaces_nothing(kit: Any) -> None:
    """A request that is a miss leaves the run in flight alone."""
    session = kit.session(one_run(kit), match="strict")
    first, missed = twice(kit, session, multitask_strategy="interrupt", input="other")
    assert isinstance(missed, Reply)
    assert first.cancelled_ns is None


def test_incomplete_run_blocks_nothing(kit: Any) -> None:
    """A run whose recording has no end does not hold up the thread once its last event has been shown."""
    session = kit.session(one_run(kit, ending=Ending.RECORDER_STOPPED))
    path = f"/threads/{kit.uid(1)}/runs/stream"
    kit.ask(session, "POST", path, BODY, now_ms=0)
    assert kit.ask(session, "POST", path, BODY, now_ms=100).play.started_ns == 100 * kit.MS


def test_thread_that_a_run_leaves_behind(kit: Any) -> None:
    """A stateless run that is to keep its thread leaves one to each client; others leave none."""
    recording = kit.recording()
    for number, more in ((1, {"on_completion": "keep"}), (3, {})):
        location = f"/threads/{kit.uid(number)}/runs/{kit.uid(number + 1)}".encode()
        recording.call(
            "POST", "/runs/wait", {**BODY, **more},
            headers=((b"content-type", b"application/json"), (b"content-location", location)),
            reads=[(1, b'{"n":1}')],
        )  # fmt: skip
        recording.json("GET", location.decode(), {"run_id": kit.uid(number + 1), "status": "success"})
    session = kit.session(recording, speed="max")
    for _ in range(3):
        play = kit.ask(session, "POST", "/runs/wait", {**BODY, "on_completion": "keep"}).play
        play.complete()
        thread_id = play.thread_id
        assert kit.value(kit.ask(session, "GET", f"/threads/{thread_id}"))["thread_id"] == thread_id
        run = kit.value(kit.ask(session, "GET", f"/threads/{thread_id}/runs/{play.run_id}"))
        assert run["run_id"] == play.run_id
    assert play.thread_id != kit.uid(1)


def test_parallel_conversations_begin_where_theirs_began(kit: Any) -> None:
    """Two clients at once that say the same again and again both get the recorded conversation from its beginning."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    for number in (2, 3):
        recording.run(thread_id, kit.uid(number), BODY)
    session = kit.session(recording)
    threads = [kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"] for _ in range(2)]
    played = [
        kit.ask(session, "POST", f"/threads/{one}/runs/stream", BODY).play.run.step
        for _ in range(2)
        for one in threads
    ]
    assert played == [0, 0, 1, 1]


def test_runs_without_a_thread_name_the_one_that_was_made(kit: Any) -> None:
    """A wait in its locations, a run object as its member; a stream does not."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), BODY)
    session = kit.session(recording)
    wait = kit.ask(session, "POST", "/runs/wait", BODY)
    base = f"/threads/{wait.play.thread_id}/runs/{wait.play.run_id}"
    assert (head(wait, "location"), head(wait, "content-location")) == (f"{base}/join", base)
    created = kit.ask(session, "POST", "/runs", {**BODY, "on_completion": "keep"})
    run = kit.value(created)
    assert head(created, "content-location") == f"/runs/{run['run_id']}"
    assert (run["thread_id"] in session.threads, run["kwargs"]["temporary"]) == (True, False)
    stream = kit.ask(session, "POST", "/runs/stream", BODY)
    assert head(stream, "content-location") == f"/runs/{stream.play.run_id}"


def test_going_on_in_a_thread_that_was_kept(kit: Any) -> None:
    """The next run of the recorded thread follows; in one that went with its run there is nothing to go on with."""
    recording = kit.recording()
    keep = {**BODY, "on_completion": "keep"}
    recording.run(None, kit.uid(2), keep)
    recording.run(kit.uid(1), kit.uid(3), BODY, kit.simple_events(kit.uid(3), "c"))
    recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", {})
    session = kit.session(recording)
    for body, status in ((keep, 200), (BODY, 404)):
        play = kit.ask(session, "POST", "/runs/stream", body).play
        path = f"/threads/{play.thread_id}"
        answer = kit.ask(session, "POST", f"{path}/runs/stream", BODY, now_ms=99)
        assert answer.head.status == status
    thread = session.threads[kit.uid(1)]
    assert [play.run_id for play in thread.runs] == [kit.uid(2), kit.uid(3)]
    assert kit.read(session, "/state", now_ms=999)["values"] == {"text": "c"}
