"""Creating, reading, searching and changing threads."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.answering.answers import ThreadStream

BODY = {"assistant_id": "agent", "input": "hi"}


def head(reply: Any, name: str) -> str | None:
    found = [value for key, value in reply.head.headers if key.lower() == name.encode()]
    return found[0].decode() if found else None


def create(kit: Any, session: Any, body: Any = None) -> Any:
    return kit.ask(session, "POST", "/threads", {} if body is None else body)


def thread_ids(kit: Any, session: Any, count: int, body: Any = None) -> list[str]:
    return [kit.value(create(kit, session, body))["thread_id"] for _ in range(count)]


def test_nth_creation(kit: Any, two_creations: Any) -> None:
    """The n-th creation gets the id of the n-th recorded one; later ones derived ids of the same version and order."""
    first, second, third, fourth = thread_ids(kit, kit.session(two_creations), 4)
    assert (first, second) == (kit.uid(1), kit.uid(3))
    assert len({first, second, third, fourth}) == 4
    assert third.startswith(kit.uid(1)[:19])
    assert third[14] == "7"


def test_creation_with_an_equal_body(kit: Any, two_creations: Any) -> None:
    """A creation with a body is answered by the recorded one with an equal body."""
    assert thread_ids(kit, kit.session(two_creations), 1, {"metadata": {"kind": "b"}}) == [kit.uid(2)]


def test_creation_with_another_body(kit: Any, two_creations: Any) -> None:
    """A creation like none recorded takes a recorded one, with the metadata of the request, and says so."""
    reply = create(kit, kit.session(two_creations), {"metadata": {"kind": "new"}})
    assert kit.value(reply)["metadata"] == {"kind": "new"}
    assert head(reply, "graphtape-derived") == "thread"


def test_thread_id_of_the_client(kit: Any, two_creations: Any) -> None:
    """An id that the client brings is the thread's; a second time it exists, unless the client does not mind."""
    session = kit.session(two_creations)
    body = {"thread_id": kit.uid(99)}
    assert thread_ids(kit, session, 1, body) == [kit.uid(99)]
    again = create(kit, session, body)
    assert (again.plan.head.status, kit.value(again)["detail"]) == (
        409,
        f"Thread with ID {kit.uid(99)} already exists",
    )
    assert create(kit, session, {**body, "if_exists": "do_nothing"}).plan.head.status == 200
    bad = create(kit, session, {"thread_id": "nope"})
    assert (bad.plan.head.status, kit.value(bad)["detail"]) == (422, "Invalid thread ID: must be a UUID")


def test_thread_id_in_another_spelling(kit: Any, two_creations: Any) -> None:
    """A UUID without dashes is one."""
    body = {"thread_id": kit.uid(7).replace("-", "").upper()}
    assert kit.value(create(kit, kit.session(two_creations), body))["thread_id"] == kit.uid(7)


def test_thread_id_that_was_recorded_with_another(kit: Any) -> None:
    """A client that makes up its ids is answered by the recorded creation, under its own id."""
    recording = kit.recording()
    recording.thread(1, {"thread_id": kit.uid(1), "if_exists": "do_nothing"})
    reply = create(kit, kit.session(recording), {"thread_id": kit.uid(5), "if_exists": "do_nothing"})
    assert kit.value(reply)["thread_id"] == kit.uid(5)
    assert head(reply, "graphtape-derived") is None


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
def test_creation_that_is_refused(kit: Any, two_creations: Any, body: bytes) -> None:
    """A creation without a JSON object is refused as the server does it."""
    assert create(kit, kit.session(two_creations), body).plan.head.status == 422


def test_unknown_thread(kit: Any, two_creations: Any) -> None:
    """A thread that neither session nor cassette knows is a 404; what is no UUID a 422."""
    session = kit.session(two_creations)
    for path in ("", "/state", "/history", "/runs"):
        reply = kit.ask(session, "GET", f"/threads/{kit.uid(77)}{path}")
        assert (reply.plan.head.status, kit.value(reply)["detail"]) == (
            404,
            f"Thread with ID {kit.uid(77)} not found",
        )
        assert kit.ask(session, "GET", f"/threads/nope{path}").plan.head.status == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("POST", "/threads/search", {"limit": -1}, 422, "-1 is less than the minimum of 1"),
        ("POST", "/threads/search", {"status": "x"}, 422, '"x" is not one of "idle", "busy" or 2 other'),
        ("POST", "/threads/search", {"ids": ["x"]}, 400, "Invalid thread ID x"),
        ("POST", "/threads/search", b"", 422, "Invalid JSON in request body"),
        ("POST", "/threads/count", b"[]", 422, '[] is not of type "object"'),
        ("POST", "/threads/{}/history", b"{", 422, "Invalid JSON in request body"),
        ("POST", "/threads/{}/history", {"limit": 0}, 422, "0 is less than the minimum of 1"),
        ("GET", "/threads/{}/history?limit=x", None, 422, "Invalid limit x"),
        ("POST", "/threads/{}/state", b"", 422, "Invalid JSON in request body"),
        ("POST", "/threads/{}/state/checkpoint", {}, 422, '"checkpoint" is a required property'),
        ("PATCH", "/threads/{}", {"metadata": 1}, 422, '1 is not of type "object"'),
        ("PATCH", "/threads/{unknown}", {"metadata": 1}, 422, '1 is not of type "object"'),
        ("PATCH", "/threads/{unknown}", {}, 404, "Not Found"),
        ("POST", "/threads/{unknown}/copy", None, 409, "Conflict"),
        ("POST", "/threads/nope/copy", None, 400, "badly formed hexadecimal UUID string"),
    ],
)
def test_what_the_server_refuses(  # noqa: PLR0917 - the cell
    kit: Any, method: str, path: str, body: Any, status: int, detail: str, two_creations: Any
) -> None:
    """In its words, and the body is looked at before the thread."""
    session = kit.session(two_creations)
    thread_id = kit.value(create(kit, session, {}))["thread_id"]
    path = path.replace("{unknown}", kit.uid(77)).replace("{}", thread_id)
    reply = kit.ask(session, method, path, body)
    assert reply.plan.head.status == status
    assert kit.value(reply)["detail"].startswith(detail)


def test_new_thread_is_empty(kit: Any, two_creations: Any) -> None:
    """A brand-new thread has the server's empty state and no history, whatever was recorded."""
    session = kit.session(two_creations)
    create(kit, session)
    state = kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}/state"))
    assert (state["values"], state["next"], state["checkpoint"]) == ({}, [], None)
    history = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/history", {"limit": 5})
    assert kit.value(history) == []


def conversation(kit: Any) -> Any:
    """One thread, one run of two values, read before, inside and after it."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.json("GET", f"/threads/{thread_id}/state", {"stage": "new"})
    started = recording.now_ms + 1
    recording.run(thread_id, kit.uid(2), BODY)
    recording.json("GET", f"/threads/{thread_id}/state", {"stage": "inside"}, start_ms=started + 15)
    recording.json("GET", f"/threads/{thread_id}/state", {"stage": "after", "id": kit.uid(2)})
    return recording


def state(kit: Any, session: Any, now_ms: float, thread: int = 1) -> Any:
    return kit.ask(session, "GET", f"/threads/{kit.uid(thread)}/state", now_ms=now_ms)


def test_state_of_the_same_stage(kit: Any) -> None:
    """A state is as recorded where the same stage was recorded: before, inside after as many events, and after."""
    session = kit.session(conversation(kit))
    create(kit, session)
    assert kit.value(state(kit, session, 0)) == {"stage": "new"}
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    assert kit.value(state(kit, session, 15)) == {"stage": "inside"}
    assert kit.value(state(kit, session, 99))["stage"] == "after"


def test_state_of_another_stage(kit: Any) -> None:
    """Where that stage was not recorded the state is what the stream has shown, and says so."""
    session = kit.session(conversation(kit))
    create(kit, session)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    reply = state(kit, session, 25)
    assert kit.value(reply)["values"] == {"text": "a"}
    assert head(reply, "graphtape-derived") == "state"


def test_reads_agree_with_the_stream_at_every_moment(kit: Any) -> None:
    """Whatever was recorded, no read is ahead of the stream or behind it."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), BODY)
    session = kit.session(recording)
    create(kit, session)
    play = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY).play
    expected = [None, None, {"text": "a"}, {"text": "b"}]
    for now in range(40):
        shown = play.position(now * kit.MS)
        values = kit.value(state(kit, session, now))["values"] or None
        thread = kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}", now_ms=now))
        run = kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", now_ms=now))
        assert values == expected[shown], now
        # The thread's own values change when a run ends.
        assert thread["values"] == (values if run["status"] == "success" else None), now
        assert (thread["status"], run["status"]) == (
            ("idle", "success") if shown == 3 else ("busy", "running" if shown else "pending")
        )


def test_second_conversation_reads_its_own_ids(kit: Any) -> None:
    """A second thread reads the recorded states under its own ids, also those first seen in a read."""
    session = kit.session(conversation(kit))
    create(kit, session)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    mine = kit.value(create(kit, session))["thread_id"]
    play = kit.ask(session, "POST", f"/threads/{mine}/runs/stream", BODY, now_ms=0).play
    reply = kit.value(kit.ask(session, "GET", f"/threads/{mine}/state", now_ms=99))
    assert reply == {"stage": "after", "id": play.run_id}
    assert play.run_id != kit.uid(2)


def test_deep_link(kit: Any) -> None:
    """A thread that this session has not started answers with its last recorded state, and starts over with a run."""
    session = kit.session(conversation(kit))
    assert kit.value(state(kit, session, 7))["stage"] == "after"
    assert kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}", now_ms=7))["values"] == {"text": "b"}
    play = kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY, now_ms=10).play
    assert (play.run_id, play.started_ns) == (kit.uid(2), 10 * kit.MS)
    assert kit.value(state(kit, session, 25))["stage"] == "inside"


def test_deep_link_does_not_take_the_id(kit: Any) -> None:
    """Reading a recorded thread does not keep its creation from giving out that id."""
    session = kit.session(conversation(kit))
    state(kit, session, 0)
    assert thread_ids(kit, session, 1) == [kit.uid(1)]
    assert kit.value(state(kit, session, 0)) == {"stage": "new"}


def test_thread_older_than_the_recording(kit: Any) -> None:
    """A thread that existed before the recording starts where the recording found it."""
    recording = kit.recording()
    recording.json("GET", f"/threads/{kit.uid(1)}/state", {"stage": "found"})
    recording.run(kit.uid(1), kit.uid(2), BODY)
    recording.json("GET", f"/threads/{kit.uid(1)}/state", {"stage": "after"})
    session = kit.session(recording)
    assert kit.value(state(kit, session, 0)) == {"stage": "found"}
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    assert kit.value(state(kit, session, 99)) == {"stage": "after"}


def silent(kit: Any, **more: Any) -> Any:
    """A run of which no event shows the state, played twice; the state was read after it."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {**BODY, "stream_mode": "custom"}
    recording.run(thread_id, kit.uid(2), body, [(1, "metadata", {}), (1, "custom", {})])
    recording.json("GET", f"/threads/{thread_id}/state", {"stage": "after"})
    session = kit.session(recording, **more)
    create(kit, session)
    for _ in range(2):
        kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    return session


def test_state_that_nothing_shows(kit: Any) -> None:
    """In strict, a state that neither a recording nor a stream shows is a 422 that says what to record."""
    reply = state(kit, silent(kit, match="strict"), 99)
    assert reply.plan.head.status == 422
    assert "values or checkpoints" in kit.value(reply)["detail"]


def test_unknown_state(kit: Any) -> None:
    """What neither the recording nor the streams show is a 422 in nearest too: a read is no guess."""
    reply = state(kit, silent(kit), 99)
    assert reply.plan.head.status == 422
    assert "was not recorded at this point" in kit.value(reply)["detail"]


def test_patch_of_unknown_values(kit: Any) -> None:
    """What is known of the thread is the answer to a change of it, and to its creation once more; the log says so."""
    session = silent(kit)
    path = f"/threads/{kit.uid(1)}"
    again = {"thread_id": kit.uid(1), "if_exists": "do_nothing"}
    for reply in (
        kit.ask(session, "PATCH", path, {"metadata": {"mine": 1}}, now_ms=99),
        kit.ask(session, "POST", "/threads", again, now_ms=99),
    ):
        assert (reply.head.status, head(reply, "graphtape-derived")) == (200, "thread without values")
        assert "nothing recorded shows them" in reply.note
        told = kit.value(reply)
        assert (told["thread_id"], told["metadata"]["mine"], told["status"]) == (kit.uid(1), 1, "idle")
        assert told.keys().isdisjoint({"values", "interrupts"})
    assert kit.ask(session, "GET", path, now_ms=99).head.status == 422


@pytest.mark.parametrize("recorded", [None, "thread", "nothing"])
@pytest.mark.parametrize("asked", ["thread", "nothing"])
def test_patch_that_wants_no_answer(kit: Any, recorded: str | None, asked: str) -> None:
    """A client chooses whether it is told the thread, whatever the recorded one chose."""
    recording = kit.recording()
    path, body = f"/threads/{recording.thread(1)}", {"metadata": {"mine": 1}}
    if recorded == "thread":
        recording.json("PATCH", path, {"told": "then"}, body)
    elif recorded == "nothing":
        recording.call("PATCH", path, body, status=204, reason="No Content")
    session = kit.session(recording)
    create(kit, session)
    reply = kit.ask(
        session, "PATCH", path, body, **({"prefer": "return=minimal"} if asked == "nothing" else {})
    )
    assert (reply.head.status, bool(reply.plan.body)) == ((200, True) if asked == "thread" else (204, False))
    assert reply.recorded is (recorded == asked)
    assert kit.value(kit.ask(session, "GET", path))["metadata"] == {"mine": 1}


def test_patch_that_was_refused(kit: Any) -> None:
    """What the recorded server refused changes nothing."""
    recording = kit.recording()
    path, body = f"/threads/{recording.thread(1)}", {"metadata": {"mine": 1}}
    recording.json("PATCH", path, {"detail": "Forbidden"}, body, status=403, reason="Forbidden")
    session = kit.session(recording)
    create(kit, session)
    assert kit.ask(session, "PATCH", path, body).head.status == 403
    assert kit.value(kit.ask(session, "GET", path))["metadata"] == {}


def test_deleted_thread(kit: Any) -> None:
    """A thread that was deleted is not found, although reading and deleting it was recorded."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}"
    recording.call("DELETE", path, status=204)
    session = kit.session(recording)
    create(kit, session)
    assert kit.ask(session, "DELETE", path).plan.head.status == 204
    assert kit.ask(session, "DELETE", path).plan.head.status == 404


def test_update_delete_copy(kit: Any) -> None:
    """Metadata is merged, a copy is a new thread with the same state, and a deleted thread is gone."""
    session = kit.session(conversation(kit))
    create(kit, session)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    path = f"/threads/{kit.uid(1)}"
    patched = kit.value(kit.ask(session, "PATCH", path, {"metadata": {"a": 1}}, now_ms=99))
    assert patched["metadata"]["a"] == 1
    copied = kit.value(kit.ask(session, "POST", f"{path}/copy", now_ms=99))
    assert copied["thread_id"] != kit.uid(1)
    assert "values" not in copied
    twin = f"/threads/{copied['thread_id']}"
    assert kit.value(kit.ask(session, "GET", f"{twin}/state", now_ms=99))["values"] == {"text": "b"}
    assert kit.value(kit.ask(session, "GET", f"{twin}/runs", now_ms=99)) == []
    assert kit.ask(session, "DELETE", path, now_ms=99).plan.head.status == 204
    assert kit.ask(session, "GET", path, now_ms=99).plan.head.status == 404
    assert thread_ids(kit, session, 1) != [kit.uid(1)]


def test_state_update(kit: Any) -> None:
    """A recorded update of the state moves the thread to the next stage."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}/state"
    recording.json("POST", path, {"checkpoint_id": kit.uid(5)}, {"values": {"n": 1}})
    recording.json("GET", path, {"values": {"n": 1}})
    session = kit.session(recording)
    create(kit, session)
    assert kit.value(kit.ask(session, "GET", path))["values"] == {}
    assert kit.value(kit.ask(session, "POST", path, {"values": {"n": 1}})) == {"checkpoint_id": kit.uid(5)}
    assert kit.value(kit.ask(session, "GET", path)) == {"values": {"n": 1}}
    assert kit.ask(session, "POST", path, {"values": {"n": 2}}).plan.head.status == 404


@pytest.mark.parametrize(
    ("query", "cursor", "detail"),
    [
        ("stream_modes=bogus", "", "Invalid stream mode: bogus"),
        ("", "zzz", "Invalid last-event-id: must be a valid Redis stream ID"),
        ("", "-1", "Invalid last-event-id: must be a valid Redis stream ID"),
    ],
)
def test_thread_stream_that_is_refused(
    kit: Any, two_creations: Any, query: str, cursor: str, detail: str
) -> None:
    """A thread stream refuses modes and cursors in the server's words."""
    path = f"/threads/{kit.uid(1)}/stream?{query}"
    reply = kit.ask(kit.session(two_creations), "GET", path, last_event_id=cursor)
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (422, detail)


def test_head_of_a_thread_stream(kit: Any) -> None:
    """The n-th at a stage has the head of the n-th that was recorded there; others that of the thread's last answer."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}/stream"
    for second in (1, 2):
        recording.call("GET", path, headers=((b"date", b"%d" % second), *kit.STREAM_TAIL))
    recording.run(kit.uid(1), kit.uid(2), BODY)
    recording.call("GET", path, headers=((b"date", b"3"), *kit.STREAM_TAIL))
    session = kit.session(recording)
    create(kit, session)

    def date(query: str = "", now_ms: float = 0) -> bytes:
        answer = kit.ask(session, "GET", path + query, now_ms=now_ms)
        return bytes(dict(answer.head.headers)[b"date"])

    created = kit.DATE[1]
    assert [date(), date(), date(), date("?stream_modes=lifecycle")] == [b"1", b"2", b"2", created]
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", BODY)
    assert [date(now_ms=1), date(now_ms=99)] == [created, b"3"]


def test_thread_stream_modes(kit: Any, two_creations: Any) -> None:
    """Of repeated `stream_modes` the last counts, `stream_mode` is ignored; by the docs they add up."""
    path = f"/threads/{kit.uid(1)}/stream?stream_modes=lifecycle&stream_modes=state_update&stream_mode=x"
    answer = kit.ask(kit.session(two_creations), "GET", path)
    assert isinstance(answer, ThreadStream)
    assert answer.shows.modes == {"state_update"}
    recording = kit.recording()
    session = kit.session(recording, docs_semantics=True)
    assert kit.ask(session, "GET", path).shows.modes == {"state_update", "lifecycle"}


def test_server_reads(kit: Any) -> None:
    """`/ok` and `/info` are answered as recorded, else as derived."""
    recording = kit.recording()
    recording.json("GET", "/info", {"version": "0.16.7"})
    session = kit.session(recording)
    assert kit.value(kit.ask(session, "GET", "/info")) == {"version": "0.16.7"}
    assert kit.value(kit.ask(session, "GET", "/ok")) == {"ok": True, "services": {}}
    assert kit.value(kit.ask(kit.session(kit.recording()), "GET", "/info"))["version"] == "graphtape"


def test_thread_that_is_there_is_created_again(kit: Any) -> None:
    """Its client, who does not mind, gets the thread as it is: here as it was recorded at this stage."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {**BODY, "stream_mode": ["updates"]}
    recording.run(thread_id, kit.uid(2), body, [(1, "metadata", {}), (1, "updates", {"a": {"n": 1}})])
    again = {"thread_id": thread_id, "if_exists": "do_nothing"}
    metadata = {"graph_id": "agent", "assistant_id": kit.uid(7)}
    whole = {
        "thread_id": thread_id, "created_at": "2026-11-21T00:10:36.000000+00:00", "updated_at": "later",
        "state_updated_at": "later", "metadata": metadata, "status": "idle", "config": {}, "values": {"n": 1},
    }  # fmt: skip
    recording.json("POST", "/threads", whole, again)
    session = kit.session(recording)
    create(kit, session)
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body)
    told = kit.ask(session, "POST", "/threads", again, now_ms=99)
    assert kit.value(told)["values"] == {"n": 1}
    kit.ask(session, "PATCH", f"/threads/{thread_id}", {"metadata": {"mine": 1}}, now_ms=99)
    told = kit.value(kit.ask(session, "POST", "/threads", again, now_ms=99))
    assert (told["values"], told["metadata"]["mine"]) == ({"n": 1}, 1)


def test_thread_older_than_the_recording_is_created_again(kit: Any) -> None:
    """It was there before: its client finds it, or is told that it exists."""
    recording = kit.recording()
    again = {"thread_id": kit.uid(1), "if_exists": "do_nothing"}
    old = {
        "thread_id": kit.uid(1), "created_at": "then", "updated_at": "later", "state_updated_at": "later",
        "metadata": {}, "status": "idle", "config": {}, "values": {"n": 1},
    }  # fmt: skip
    recording.json("POST", "/threads", old, again)
    recording.run(kit.uid(1), kit.uid(2), BODY)
    session = kit.session(recording)
    assert kit.value(kit.ask(session, "POST", "/threads", again))["values"] == {"n": 1}
    assert create(kit, session, {"thread_id": kit.uid(1)}).plan.head.status == 409


STEPS = {"supersteps": [{"updates": [{"values": {"n": 1}, "as_node": "one"}]}]}


@pytest.fixture
def with_states(kit: Any) -> Any:
    """A thread that was created with states, and read."""
    recording = kit.recording()
    thread_id = kit.uid(1)
    made = {
        "thread_id": thread_id, "created_at": "2026-11-21T00:10:36.000000+00:00", "metadata": {},
        "updated_at": "2026-11-21T00:10:36.500000+00:00", "status": "interrupted", "values": {"n": 1},
    }  # fmt: skip
    recording.json("POST", "/threads", made, STEPS)
    recording.thread(2)
    at = {"thread_id": thread_id, "checkpoint_id": kit.uid(100), "checkpoint_ns": ""}
    state = {"values": {"n": 1}, "next": ["two"], "checkpoint": at, "checkpoint_id": kit.uid(100)}
    recording.json("GET", f"/threads/{thread_id}/state", state)
    recording.run(thread_id, kit.uid(3), BODY)
    recording.json("GET", f"/threads/{thread_id}/state", state)
    return recording


def test_thread_that_begins_with_states(kit: Any, with_states: Any) -> None:
    """It is what the recording says, to each client under ids of its own, before a run as after it."""
    session = kit.session(with_states, speed="max")
    seen = []
    for _ in range(2):
        made = kit.value(kit.ask(session, "POST", "/threads", STEPS))
        thread_id = made["thread_id"]
        assert (made["status"], made["values"]) == ("interrupted", {"n": 1})
        assert kit.value(kit.ask(session, "GET", f"/threads/{thread_id}"))["status"] == "interrupted"
        state = kit.value(kit.ask(session, "GET", f"/threads/{thread_id}/state"))
        play = kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", BODY).play
        play.complete()
        later = kit.value(kit.ask(session, "GET", f"/threads/{thread_id}/state"))
        assert state["checkpoint"]["thread_id"] == thread_id
        assert later["checkpoint_id"] == state["checkpoint_id"]
        seen.append(state["checkpoint_id"])
    assert seen[0] == kit.uid(100) != seen[1]


def test_states_that_nothing_shows(kit: Any, with_states: Any) -> None:
    """What other states make of a thread nobody knows; a thread without any has none, whatever was recorded."""
    session = kit.session(with_states)
    other = {"supersteps": [{"updates": [{"values": {"n": 2}, "as_node": "one"}]}]}
    refused = kit.ask(session, "POST", "/threads", other)
    assert refused.plan.head.status == 422
    assert "supersteps" in kit.value(refused)["detail"]
    plain = kit.value(kit.ask(session, "POST", "/threads", {"metadata": {"a": 1}}))
    assert (plain["status"], plain["values"]) == ("idle", None)
    kit.ask(session, "POST", "/threads", STEPS)
    assert kit.ask(session, "POST", f"/threads/{kit.uid(1)}/history", {"limit": 5}).plan.head.status == 422


def test_copy_of_a_second_conversation(kit: Any) -> None:
    """What a copy has from its thread goes by the ids of this client, in recorded reads too."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    checkpoint = kit.checkpoint(0, {"n": 1})
    body = {**BODY, "stream_mode": "checkpoints"}
    recording.run(thread_id, kit.uid(3), body, [(1, "checkpoints", checkpoint)])
    copy = {"thread_id": kit.uid(7), "created_at": "2026-11-21T00:10:36.000000+00:00", "status": "idle"}
    recording.json("POST", f"/threads/{thread_id}/copy", copy)
    state = {"values": {"n": 1}, "checkpoint_id": kit.uid(100), "checkpoint": {"checkpoint_id": kit.uid(100)}}
    recording.json("GET", f"/threads/{kit.uid(7)}/state", state)
    session = kit.session(recording, speed="max")
    for number in range(2):
        mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        kit.ask(session, "POST", f"/threads/{mine}/runs/stream", body).play.complete()
        own = kit.value(kit.ask(session, "GET", f"/threads/{mine}/state"))["checkpoint_id"]
        copied = kit.value(kit.ask(session, "POST", f"/threads/{mine}/copy"))["thread_id"]
        assert kit.value(kit.ask(session, "GET", f"/threads/{copied}/state"))["checkpoint_id"] == own
        assert (own == kit.uid(100)) is (number == 0)


def test_pruned_threads(kit: Any) -> None:
    """Pruned threads are gone, for each client its own; of the other strategy only a recording tells."""
    recording = kit.recording()
    recorded = [recording.thread(1), recording.thread(2)]
    told = {"pruned_count": 2, "thread_ids": recorded}
    recording.json("POST", "/threads/prune", told, {"thread_ids": recorded})
    keep = {"thread_ids": recorded, "strategy": "keep_latest"}
    recording.json("POST", "/threads/prune", {"pruned_count": 0}, keep)
    session = kit.session(recording)
    for _ in range(2):
        mine = [kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"] for _ in range(2)]
        kept = kit.ask(session, "POST", "/threads/prune", {"thread_ids": mine, "strategy": "keep_latest"})
        assert kit.value(kept) == {"pruned_count": 0}
        assert kit.ask(session, "GET", f"/threads/{mine[0]}").plan.head.status == 200
        pruned = kit.ask(session, "POST", "/threads/prune", {"thread_ids": mine})
        assert kit.value(pruned) == {"pruned_count": 2, "thread_ids": mine}
        assert [kit.ask(session, "GET", f"/threads/{one}").plan.head.status for one in mine] == [404, 404]
    third = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
    one = kit.ask(session, "POST", "/threads/prune", {"thread_ids": [third, kit.uid(99), third]})
    assert kit.value(one) == {"pruned_count": 1}
    assert kit.ask(session, "POST", "/threads/prune", {"thread_ids": ["x"]}).plan.head.status == 422
    assert kit.ask(session, "POST", "/threads/prune", {}).plan.head.status == 422
