"""What run objects repeat of the request that started the run."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.modes import stream_options
from graphtape.replayer.answering.answers import Reply, RunWait
from graphtape.replayer.play import END_OF_TIME_NS
from graphtape.replayer.twin.request_fields import ends_alike, repeated
from graphtape.replayer.twin.waiting import wait_answer

BODY = {"assistant_id": "agent", "input": {"text": "hi"}}
INTERRUPT = {"__interrupt__": [{"value": "ok?", "id": "a" * 32, "response_schema": None}]}


def run_object(kit: Any, **more: Any) -> dict[str, Any]:
    """As the server answers to BODY, members of `kwargs` given or as it fills them in."""
    kwargs = {"input": {"text": "hi"}, **repeated(BODY), "temporary": False, **more}
    return {
        "run_id": kit.uid(2),
        "thread_id": kit.uid(1),
        "metadata": {"created_by": "system", "kept": 1},
        "status": "success",
        "kwargs": kwargs,
        "multitask_strategy": "enqueue",
        "created_at": "2026-11-21T00:10:36.000000+00:00",
    }


def recorded(kit: Any, body: Any = BODY, **more: Any) -> Any:
    """One run, its object and its join read when it was over."""
    made = kit.recording()
    thread_id = made.thread(1)
    events = [(1, "metadata", {"run_id": kit.uid(2), "attempt": 1}), (1, "values", {"text": "hi"})]
    if "updates" in body.get("stream_mode", ()):
        events += [(1, "updates", INTERRUPT), (1, "values", {"text": "hi", **INTERRUPT})]
    made.run(thread_id, kit.uid(2), body, events, **more)
    base = f"/threads/{thread_id}/runs/{kit.uid(2)}"
    wide = {name: body[name] for name in ("stream_mode",) if name in body}
    made.json("GET", base, run_object(kit, **wide))
    made.json("GET", f"/threads/{thread_id}/runs", [run_object(kit, **wide)])
    return made


def play(kit: Any, session: Any, body: Any) -> tuple[Any, Any]:
    """(the run object, the list of runs) when the run is over."""
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    base = f"/threads/{kit.uid(1)}/runs"
    return tuple(kit.ask(session, "GET", path, now_ms=99) for path in (f"{base}/{kit.uid(2)}", base))


@pytest.mark.parametrize(
    ("body", "durability", "modes"),
    [
        ({}, "async", ["values"]),
        ({"checkpoint_during": False, "stream_mode": []}, "exit", ["values"]),
        ({"checkpoint_during": False, "durability": "sync", "stream_mode": "updates"}, "sync", ["updates"]),
        ({"stream_mode": ["values", "values", "messages"]}, "async", ["values", "values", "messages"]),
    ],
)
def test_defaults_of_the_server(body: Any, durability: str, modes: list[str]) -> None:
    """What the request leaves out is filled in, and modes are a list as they were given."""
    found = repeated(body)
    assert (found["durability"], found["stream_mode"]) == (durability, modes)


def test_the_recorded_object_as_it_stands(kit: Any) -> None:
    """A request that says the same gets the recorded bytes, ids replaced."""
    one, several = play(kit, kit.session(recorded(kit)), BODY)
    assert one.recorded
    assert several.recorded
    assert kit.value(one) == run_object(kit)


def test_a_request_that_says_something_else(kit: Any) -> None:
    """What it says otherwise is in the run object; everything else stays as recorded, in its order."""
    other = {"stream_mode": "custom", "webhook": "https://example.com/", "multitask_strategy": "interrupt"}
    body = {**BODY, **other, "stream_resumable": True, "metadata": {"mine": 2}}
    session = kit.session(recorded(kit, {**BODY, "stream_mode": ["values", "custom"]}))
    one, several = play(kit, session, body)
    told = kit.value(one)
    assert kit.value(several) == [told]
    expected = run_object(kit, stream_mode=["custom"], webhook="https://example.com/", resumable=True)
    expected |= {
        "multitask_strategy": "interrupt",
        "metadata": {"created_by": "system", "kept": 1, "mine": 2},
    }
    assert told == expected
    assert list(told["kwargs"]) == list(expected["kwargs"])


def test_metadata_of_the_recorded_request(kit: Any) -> None:
    """What only the recorded client gave its run is not in another's."""
    session = kit.session(recorded(kit, {**BODY, "metadata": {"kept": 1}}))
    assert kit.value(play(kit, session, BODY)[0])["metadata"] == {"created_by": "system"}


def test_deep_link_to_a_widened_run(kit: Any) -> None:
    """Nothing shows that the recorder asked for more."""
    wide = {**BODY, "stream_mode": ["values", "updates"], "stream_resumable": True}
    made = recorded(kit, wide, widened_from={"stream_mode": None, "stream_resumable": None})
    session = kit.session(made)
    told = kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"))
    assert told["kwargs"]["stream_mode"] == ["values"]


def test_creation_in_the_background(kit: Any) -> None:
    """The answer to POST .../runs repeats its own request too."""
    made = kit.recording()
    thread_id = made.thread(1)
    made.json("POST", f"/threads/{thread_id}/runs", {**run_object(kit), "status": "pending"}, BODY)
    events = kit.simple_events(kit.uid(2))
    reads = [(gap, kit.sse(name, data)) for gap, name, data in events]
    made.call("GET", f"/threads/{thread_id}/runs/{kit.uid(2)}/stream", headers=kit.STREAM_TAIL, reads=reads)
    session = kit.session(made)
    kit.ask(session, "POST", "/threads", {})
    path = f"/threads/{thread_id}/runs"
    first = kit.ask(session, "POST", path, BODY)
    assert first.recorded
    second = kit.value(kit.ask(session, "POST", path, {**BODY, "durability": "exit"}))
    assert (second["kwargs"]["durability"], second["status"]) == ("exit", "pending")
    assert second["run_id"] != kit.uid(2)


@pytest.mark.parametrize(
    ("modes", "answer"),
    [
        (["values"], {"text": "hi", **INTERRUPT}),
        (["updates"], INTERRUPT),
        (["values", "updates"], {"__interrupt__": INTERRUPT["__interrupt__"] * 2}),
    ],
)
def test_join_of_a_widened_run_that_asks(kit: Any, modes: list[str], answer: Any) -> None:
    """An interrupt is in the answer as the modes of this session's run make it, whatever was recorded."""
    wide = {**BODY, "stream_mode": ["values", "updates"]}
    made = recorded(kit, wide, widened_from={"stream_mode": b'"values"'})
    base = f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}"
    doubled = {"__interrupt__": INTERRUPT["__interrupt__"] * 2}
    made.json("GET", f"{base}/join", doubled, start_ms=3)
    session = kit.session(made)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {**BODY, "stream_mode": modes})
    join = kit.ask(session, "GET", f"{base}/join", now_ms=1)
    assert isinstance(join, RunWait)
    if join.body is not None:
        assert modes == ["values", "updates"]
        assert kit.value(Reply(join.body)) == answer
    else:
        assert wait_answer(join.play, END_OF_TIME_NS) == answer


def test_ends_alike() -> None:
    """Only `values` and `updates` decide what a wait answers."""
    options = [stream_options({"stream_mode": mode}) for mode in ("values", ["values", "custom"], "updates")]
    assert ends_alike(options[0], options[1])
    assert not ends_alike(options[0], options[2])
    assert not ends_alike(None, options[0])


def test_whether_the_thread_goes_with_the_run(kit: Any) -> None:
    """A recorded run object says what this session's request makes of its thread."""
    recording = kit.recording()
    kwargs = {"input": "hi", "temporary": True}
    told = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "pending", "kwargs": kwargs}
    recording.json("POST", "/runs", told, BODY)
    session = kit.session(recording)
    for more, temporary in (({}, True), ({"on_completion": "keep"}, False)):
        run = kit.value(kit.ask(session, "POST", "/runs", {**BODY, **more}))
        assert run["kwargs"]["temporary"] is temporary
