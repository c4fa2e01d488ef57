"""Other routes, as plain HTTP."""

from __future__ import annotations

from typing import Any

from graphtape.cassettes.model import Ending


def test_nth_answer(kit: Any) -> None:
    """The n-th equal request gets the n-th recorded answer, then they start again."""
    recording = kit.recording()
    for number in (1, 2):
        recording.json("GET", "/anything", {"n": number})
    session = kit.session(recording)
    assert [kit.value(kit.ask(session, "GET", "/anything"))["n"] for _ in range(5)] == [1, 2, 1, 2, 1]


def test_a_broken_answer_comes_last(kit: Any) -> None:
    """What the recorder's own end broke is not played where an equal request was answered."""
    for choices, expected in (({}, [1, 3, 1]), ({"broken_last": False}, [0, 1, 2])):
        recording = kit.recording()
        for number, ending in enumerate(
            (None, Ending.COMPLETE, Ending.RECORDER_STOPPED, Ending.UPSTREAM_BROKE)
        ):
            recording.json("GET", "/anything", {"n": number}, ending=ending)
        recording.json("GET", "/other", {"n": 4}, ending=None)
        session = kit.session(recording, **choices)
        assert [kit.value(kit.ask(session, "GET", "/anything"))["n"] for _ in range(3)] == expected
        assert kit.value(kit.ask(session, "GET", "/other")) == {"n": 4}


def test_what_is_compared(kit: Any) -> None:
    """Method, path, query and body are compared, and nothing else."""
    recording = kit.recording()
    recording.json("POST", "/search?a=1", {"found": True}, {"q": "x"})
    session = kit.session(recording)
    assert kit.value(kit.ask(session, "POST", "/search?a=1", {"q": "x"}, x_other="1")) == {"found": True}
    for method, target, body in (
        ("PUT", "/search?a=1", {"q": "x"}),
        ("POST", "/search?a=2", {"q": "x"}),
        ("POST", "/search?a=1", {"q": "y"}),
        ("POST", "/other?a=1", {"q": "x"}),
    ):
        assert kit.ask(session, method, target, body).plan.head.status == 404


def test_what_is_starred(kit: Any) -> None:
    """Values that were masked in path, query and body are not compared; what is around them is."""
    recording = kit.recording()
    recording.json("POST", "/of/******/all?q=is-******", {"found": True}, {"q": "is ******"})
    session = kit.session(recording)
    ok = kit.ask(session, "POST", "/of/secret/all?q=is-secret", {"q": "is secret"})
    assert kit.value(ok) == {"found": True}
    assert kit.ask(session, "POST", "/of/secret/one?q=is-secret", {"q": "is secret"}).plan.head.status == 404


def test_head_of_a_recorded_get(kit: Any) -> None:
    """HEAD is answered from a recorded GET."""
    recording = kit.recording()
    recording.json("GET", "/anything", {"n": 1})
    assert kit.ask(kit.session(recording), "HEAD", "/anything").plan.head.status == 200


def test_thread_of_another_id(kit: Any) -> None:
    """A route below a thread that this session knows by another id is that of the recorded thread."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.json("GET", f"/threads/{thread_id}/storage", {"thread_id": thread_id})
    session = kit.session(recording)
    ids = [kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"] for _ in range(2)]
    for mine in ids:
        assert kit.value(kit.ask(session, "GET", f"/threads/{mine}/storage")) == {"thread_id": mine}


def test_recorded_refusal(kit: Any) -> None:
    """A refusal that was recorded is an answer like any other."""
    recording = kit.recording()
    recording.json("GET", "/threads/nobody-knows", {"detail": "no"}, status=422)
    recording.json("GET", f"/threads/{kit.uid(5)}", {"detail": "my words"}, status=404)
    session = kit.session(recording)
    assert kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(5)}")) == {"detail": "my words"}


def test_ids_of_threads_and_runs_anywhere(kit: Any) -> None:
    """Ids of this session's threads and runs are the recorded ones in a query and in a body too, and in the answer."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    other = recording.thread(2)
    recording.run(thread_id, kit.uid(3), {"assistant_id": "a"})
    recording.json("POST", "/runs/crons/search", [{"thread_id": thread_id}], {"thread_id": thread_id})
    recording.json("GET", f"/mine?run={kit.uid(3)}", {"run_id": kit.uid(3)})
    both = {"threads": [other, thread_id]}
    recording.json("POST", "/mine", both, both)
    session = kit.session(recording)
    for _ in range(2):
        mine, second = (kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"] for _ in range(2))
        run_id = kit.ask(session, "POST", f"/threads/{mine}/runs/stream", {"assistant_id": "a"}).play.run_id
        found = kit.ask(session, "POST", "/runs/crons/search", {"thread_id": mine})
        assert kit.value(found) == [{"thread_id": mine}]
        assert kit.value(kit.ask(session, "GET", f"/mine?run={run_id}")) == {"run_id": run_id}
        ours = {"threads": [second, mine]}
        assert kit.value(kit.ask(session, "POST", "/mine", ours)) == ours


def test_thread_that_stands_for_another(kit: Any) -> None:
    """A new thread is whatever recorded one has what is asked of it first, if nothing has played in it yet."""
    recording = kit.recording()
    recording.thread(1)
    second = recording.thread(2)
    made = {"thread_id": second, "cron_id": "c"}
    recording.json("POST", f"/threads/{second}/runs/crons", made, {"schedule": "x"})
    recording.json("POST", "/runs/crons/search", [made], {"thread_id": second})
    session = kit.session(recording)
    for _ in range(2):
        mine = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        created = kit.value(kit.ask(session, "POST", f"/threads/{mine}/runs/crons", {"schedule": "x"}))
        assert created == {"thread_id": mine, "cron_id": "c"}
        assert kit.value(kit.ask(session, "POST", "/runs/crons/search", {"thread_id": mine})) == [created]
    other = kit.ask(session, "POST", f"/threads/{mine}/runs/crons", {"schedule": "y"})
    assert other.plan.head.status == 404
