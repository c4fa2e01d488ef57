"""Searching and counting threads."""

from __future__ import annotations

from typing import Any

import pytest


def head(reply: Any, name: str) -> str | None:
    found = [value for key, value in reply.head.headers if key.lower() == name.encode()]
    return found[0].decode() if found else None


def create(kit: Any, session: Any, body: Any = None, now_ms: float = 0) -> Any:
    return kit.ask(session, "POST", "/threads", {} if body is None else body, now_ms=now_ms)


@pytest.mark.parametrize("what", ["search", "count"])
def test_overview_with_no_json(kit: Any, what: str) -> None:
    """A search whose body is no JSON is refused in the server's words."""
    reply = kit.ask(kit.session(kit.recording()), "POST", f"/threads/{what}", b"{")
    assert (reply.plan.head.status, kit.value(reply)["detail"]) == (422, "Invalid JSON in request body")


def test_search_of_this_session(kit: Any, two_creations: Any) -> None:
    """Threads are searched and counted as this session has them; the total is the page, plus one if there is more."""
    session = kit.session(two_creations)
    for kind in ("x", "y", "x"):
        create(kit, session, {"metadata": {"kind": kind}})
    reply = kit.ask(session, "POST", "/threads/search", {"metadata": {"kind": "x"}, "limit": 1})
    assert len(kit.value(reply)) == 1
    assert (head(reply, "x-pagination-total"), head(reply, "x-pagination-next")) == ("2", "1")
    assert kit.value(kit.ask(session, "POST", "/threads/count", {"metadata": {"kind": "x"}})) == 2
    assert kit.value(kit.ask(session, "POST", "/threads/count", {"status": "busy"})) == 0


def test_search_as_recorded(kit: Any) -> None:
    """An equal search at the same stage of all threads is answered as recorded; at another it is not."""
    recording = kit.recording()
    recording.thread(1)
    recording.json("POST", "/threads/search", [{"thread_id": kit.uid(1), "was": "recorded"}], {"limit": 3})
    session = kit.session(recording)
    assert kit.value(kit.ask(session, "POST", "/threads/search", {"limit": 3})) == []
    create(kit, session)
    assert kit.value(kit.ask(session, "POST", "/threads/search", {"limit": 3}))[0]["was"] == "recorded"


def found(kit: Any, session: Any, body: Any, now_ms: float = 1000) -> list[str]:
    rows = kit.value(kit.ask(session, "POST", "/threads/search", body, now_ms=now_ms))
    return [row["thread_id"] for row in rows]


def test_order(kit: Any) -> None:
    """The thread that changed last comes first: by its creation, its run's start and end, metadata or a state."""
    recording = kit.recording()
    for number in (1, 2, 3):
        recording.thread(number)
    body = {"assistant_id": "agent"}
    recording.run(kit.uid(1), kit.uid(11), body)
    session = kit.session(recording)
    for now_ms in (0, 1, 2):
        create(kit, session, now_ms=now_ms)
    one, two, three = (kit.uid(number) for number in (1, 2, 3))
    assert found(kit, session, {}, 5) == [three, two, one]
    kit.ask(session, "POST", f"/threads/{one}/runs/stream", body, now_ms=10)
    assert found(kit, session, {}, 11) == [one, three, two]
    kit.ask(session, "PATCH", f"/threads/{two}", {"metadata": {"a": 1}}, now_ms=12)
    assert found(kit, session, {}, 13) == [two, one, three]
    assert found(kit, session, {}) == [one, two, three]
    assert found(kit, session, {"sort_by": "created_at", "sort_order": "asc"}) == [one, two, three]
    assert found(kit, session, {"sort_by": "state_updated_at"}) == [one, three, two]
    assert found(kit, session, {"sort_by": "thread_id", "sort_order": "desc"}) == [three, two, one]


def test_order_of_one_moment(kit: Any, two_creations: Any) -> None:
    """What was asked for later is later, at the same time of the clock too."""
    session = kit.session(two_creations)
    ids = [kit.value(create(kit, session))["thread_id"] for _ in range(3)]
    assert found(kit, session, {}, 0) == ids[::-1]


def test_filters(kit: Any, two_creations: Any) -> None:
    """Metadata and values are contained, objects in them too; members of a row and paths into it can be chosen."""
    session = kit.session(two_creations)
    mine = kit.value(create(kit, session, {"metadata": {"a": {"b": 1, "c": [5, 6]}}}))["thread_id"]
    create(kit, session)
    assert found(kit, session, {"metadata": {"a": {"b": 1}}}) == [mine]
    assert found(kit, session, {"metadata": {"a": {"b": 2}}}) == []
    assert found(kit, session, {"values": {"n": 1}}) == []
    asked = {
        "ids": [mine],
        "select": ["thread_id"],
        "extract": {"last": "metadata.a.c[-1]", "no": "values.x"},
    }
    rows = kit.value(kit.ask(session, "POST", "/threads/search", asked))
    assert rows == [{"thread_id": mine, "extracted": {"last": 6, "no": None}}]


UPDATES = {"assistant_id": "agent", "stream_mode": ["updates"]}


def unknown_values(kit: Any) -> Any:
    """A session with two threads: in the first something ran that showed no values."""
    recording = kit.recording()
    for number in (1, 2):
        recording.thread(number)
    recording.run(kit.uid(1), kit.uid(3), UPDATES, [(1, "metadata", {}), (1, "updates", {"a": {"n": 1}})])
    session = kit.session(recording)
    for _ in range(2):
        create(kit, session)
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", UPDATES)
    kit.ask(session, "PATCH", f"/threads/{kit.uid(1)}", {"metadata": {"mine": 1}}, now_ms=900)
    return session


def test_thread_of_unknown_values(kit: Any) -> None:
    """It is counted and found by what is known of it, and told without its values."""
    session = unknown_values(kit)
    asked = {"metadata": {"mine": 1}}
    assert kit.value(kit.ask(session, "POST", "/threads/count", asked, now_ms=1000)) == 1
    assert found(kit, session, {"metadata": {"mine": 2}}) == []
    rows = kit.ask(
        session, "POST", "/threads/search", {**asked, "select": ["thread_id", "status"]}, now_ms=1000
    )
    assert kit.value(rows) == [{"thread_id": kit.uid(1), "status": "idle"}]


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("search", {}),
        ("search", {"select": ["thread_id", "values"]}),
        ("search", {"select": ["thread_id"], "extract": {"n": "values.n"}}),
        ("search", {"select": ["thread_id"], "values": {"n": 1}}),
        ("count", {"values": {"n": 1}}),
    ],
)
def test_unknown_values_asked_for(kit: Any, what: str, asked: Any) -> None:
    """Nobody knows them: a search that looks at them, or tells them, is refused."""
    session = unknown_values(kit)
    reply = kit.ask(session, "POST", f"/threads/{what}", asked, now_ms=1000)
    assert reply.plan.head.status == 422
    assert "not recorded" in kit.value(reply)["detail"]
    # Those of the other thread are known.
    assert (
        kit.ask(session, "POST", f"/threads/{what}", {**asked, "metadata": {"a": 1}}).plan.head.status == 200
    )


def test_status_that_is_not_known(kit: Any) -> None:
    """After an update of the state a failed thread has failed no more; what is left to do in it nobody knows."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent"}
    failing = [(1, "metadata", {}), (1, "error", {"error": "ValueError", "message": "boom"})]
    recording.run(thread_id, kit.uid(2), body, failing)
    recording.json("POST", f"/threads/{thread_id}/state", {"checkpoint_id": kit.uid(5)}, {"values": {}})
    session = kit.session(recording)
    create(kit, session)
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body)
    select = {"select": ["thread_id"]}
    assert found(kit, session, {"status": "error", **select}) == [thread_id]
    kit.ask(session, "POST", f"/threads/{thread_id}/state", {"values": {}}, now_ms=500)
    assert found(kit, session, {"status": "error", **select}) == []
    assert found(kit, session, select) == [thread_id]
    for asked in ({"status": "idle"}, {"select": ["status"]}):
        reply = kit.ask(session, "POST", "/threads/search", {**select, **asked}, now_ms=1000)
        assert reply.plan.head.status == 422


def test_threads_of_runs_without_one(kit: Any) -> None:
    """They are found like all others as long as they are there: one that is not kept until its run is over."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), {"assistant_id": "agent"})
    session = kit.session(recording)
    made = {}
    for completion in ("keep", "delete"):
        body = {"assistant_id": "agent", "on_completion": completion, "metadata": {"who": completion}}
        made[completion] = kit.ask(session, "POST", "/runs/stream", body).play.thread_id
    assert found(kit, session, {"status": "busy"}, now_ms=20) == [made["delete"], made["keep"]]
    assert found(kit, session, {"metadata": {"who": "delete"}}, now_ms=20) == [made["delete"]]
    assert found(kit, session, {}, now_ms=31) == [made["keep"]]
    assert kit.value(kit.ask(session, "POST", "/threads/count", {"status": "idle"}, now_ms=31)) == 1


@pytest.mark.parametrize("completion", ["keep", "delete"])
def test_recorded_overview_of_a_run_without_a_thread(kit: Any, completion: str) -> None:
    """It is played where the same threads are there: after the run, with it where its thread is kept."""
    recording = kit.recording()
    body = {"assistant_id": "agent", "on_completion": completion}
    recording.run(None, kit.uid(2), body)
    recording.json("POST", "/threads/search", [{"was": "recorded"}], {"limit": 3})
    recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", {})
    session = kit.session(recording)

    def is_recorded(now_ms: float) -> bool:
        reply = kit.ask(session, "POST", "/threads/search", {"limit": 3}, now_ms=now_ms)
        return bool(kit.value(reply) == [{"was": "recorded"}])

    assert is_recorded(0) is (completion == "delete")
    kit.ask(session, "POST", "/runs/stream", body)
    assert not is_recorded(15)
    assert is_recorded(99)


def test_recorded_count_after_a_deletion(kit: Any) -> None:
    """What was recorded when a thread was gone is played when it is gone here."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.json("POST", "/threads/count", 7, {})
    recording.call("DELETE", f"/threads/{thread_id}", status=204)
    recording.json("POST", "/threads/count", 6, {})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    assert kit.value(kit.ask(session, "POST", "/threads/count", {})) == 7
    kit.ask(session, "DELETE", f"/threads/{thread_id}")
    assert kit.value(kit.ask(session, "POST", "/threads/count", {})) == 6
