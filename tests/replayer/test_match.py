"""Which recorded run answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.modes import stream_options
from graphtape.replayer.match import Match, Matcher, Miss, RunQuery


def query(body: Any, **more: Any) -> RunQuery:
    return RunQuery(
        **{"answer": "stream", "stateful": True, "body": body, "options": stream_options(body), **more}
    )


def choose(
    tapes: Any,
    asked: RunQuery,
    used: Any = None,
    *,
    mode: Any = "strict",
    able: Any = None,
    broken: Any = lambda run: run.broken,
) -> Any:
    def refusal(run: Any, _: RunQuery) -> ViewRefused | None:
        if able is None or able(run):
            return None
        return ViewRefused(reason="no", recorded_modes=(), how="record more")

    matcher = Matcher(mode=mode, canonical_assistant=str, refusal=refusal, broken=broken)
    return matcher.choose(asked, tapes.runs, used or {})


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"assistant_id": "agent", "input": {"text": text}, **more}


@pytest.fixture
def two_threads(kit: Any) -> Any:
    """Thread 1: hi, more, hi. Thread 2: hi, other."""
    recording = kit.recording()
    number = 100
    for thread, texts in ((1, ("hi", "more", "hi")), (2, ("hi", "other"))):
        thread_id = recording.thread(thread)
        for text in texts:
            number += 1
            recording.run(thread_id, kit.uid(number), body(text))
    return kit.tapes(recording)


def numbers(tapes: Any, asked: RunQuery, times: int, **more: Any) -> list[int]:
    """Which runs (from 0) answer a request asked several times."""
    used: dict[int, int] = {}
    found = []
    for _ in range(times):
        match = choose(tapes, replace(asked, refused=frozenset(used)), used, **more)
        used[match.run.order] = used.get(match.run.order, 0) + 1
        found.append(tapes.runs.index(match.run))
    return found


def test_openings_first(two_threads: Any) -> None:
    """A thread without runs starts a recorded conversation; only when these are used, it enters one in the middle."""
    assert numbers(two_threads, query(body("hi")), 4) == [0, 3, 2, 0]


def test_a_thread_begins_as_the_recorded_one_of_its_creation(kit: Any) -> None:
    """However often that was played; but a recording of the modes that are asked goes before one to be rebuilt."""
    recording = kit.recording()
    for number, mode in ((1, "values"), (2, "updates"), (3, "values")):
        recording.run(recording.thread(number), kit.uid(10 + number), body("hi", stream_mode=mode))
    tapes = kit.tapes(recording)
    first, second, third = (run.thread for run in tapes.runs)
    asked = query(body("hi", stream_mode="values"))
    assert numbers(tapes, replace(asked, origin=third), 2) == [2, 2]
    assert numbers(tapes, replace(asked, origin=first), 2) == [0, 0]
    assert numbers(tapes, replace(asked, origin=second), 2) == [0, 2]


def test_bound_thread_in_order(two_threads: Any) -> None:
    """A thread that plays a recorded one gets that one's runs, the next in order first."""
    thread = two_threads.runs[0].thread
    match = choose(two_threads, query(body("hi"), thread=thread, next_step=1))
    assert (two_threads.runs.index(match.run), match.reused) == (2, False)
    match = choose(two_threads, query(body("more"), thread=thread, next_step=3))
    assert (two_threads.runs.index(match.run), match.reused) == (1, True)


def test_reuse_is_marked(two_threads: Any) -> None:
    """When every equal recording has been played it starts again from the first, and says so, also in strict."""
    other = next(run for run in two_threads.runs if run.body["input"]["text"] == "other")
    match = choose(two_threads, query(body("other")), {other.order: 1})
    assert match == Match(other, exact=True, reused=True)


def test_reuse_in_a_bound_thread_is_marked(two_threads: Any) -> None:
    """A second conversation that plays the same recorded thread reuses its runs too."""
    run = two_threads.runs[1]
    asked = query(body("more"), thread=run.thread, next_step=1)
    assert choose(two_threads, asked, {run.order: 1}).reused


def test_same_modes_first(kit: Any) -> None:
    """Among equal recordings the one with the same modes and flags comes before those it can be derived from."""
    recording = kit.recording()
    for number, modes in enumerate((["values", "updates"], "updates")):
        recording.run(None, kit.uid(number), body("hi", stream_mode=modes))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi", stream_mode="updates"), stateful=False), 3) == [1, 0, 1]


def test_what_a_widened_run_was_asked_for_counts(kit: Any) -> None:
    """Of equal recordings one whose client asked for the same modes comes first, whatever the recorder asked for."""
    recording = kit.recording()
    wide = body("hi", stream_mode=["values", "updates"], stream_subgraphs=True)
    for number, mode in ((11, None), (12, b'"updates"')):
        theirs = {"stream_mode": mode, "stream_subgraphs": None}
        recording.run(recording.thread(number - 10), kit.uid(number), wide, widened_from=theirs)
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi", stream_mode="updates")), 1) == [1]
    assert numbers(tapes, query(body("hi")), 1) == [0]


def test_same_way_first(kit: Any) -> None:
    """A recording made by `wait` answers `wait` first, `stream` only if nothing was streamed."""
    recording = kit.recording()
    recording.run(None, kit.uid(1), body("hi"))
    recording.json("POST", "/runs/wait", {}, body("hi"))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi"), stateful=False, answer="wait"), 1) == [1]
    assert numbers(tapes, query(body("hi"), stateful=False), 1) == [0]


RECORDER_ENDED = [Ending.RECORDER_STOPPED, None]


@pytest.mark.parametrize("ending", RECORDER_ENDED)
def test_what_the_recorders_end_broke_comes_last(kit: Any, ending: Any) -> None:
    """Of equal recordings a whole one plays, again too; if that does not count, all in recorded order."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(11), body("hi"), ending=ending)
    recording.run(recording.thread(2), kit.uid(12), body("hi"))
    recording.run(recording.thread(3), kit.uid(13), body("alone"), ending=ending)
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi")), 2) == [1, 1]
    assert numbers(tapes, query(body("hi")), 3, broken=lambda _: False) == [0, 1, 0]
    assert numbers(tapes, query(body("alone")), 1) == [2]
    assert numbers(tapes, query(body("new")), 2, mode="nearest") == [1, 1]


@pytest.mark.parametrize("ending", [Ending.CLIENT_LEFT, Ending.UPSTREAM_BROKE])
def test_what_client_or_upstream_broke_keeps_its_place(kit: Any, ending: Any) -> None:
    """That is what happened, not what the recording lacks."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(11), body("hi"), ending=ending)
    recording.run(recording.thread(2), kit.uid(12), body("hi"))
    assert numbers(kit.tapes(recording), query(body("hi")), 2) == [0, 1]


def test_a_broken_run_whose_join_was_whole(kit: Any) -> None:
    """What a join holds to its end is not broken."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(11), body("hi"), ending=None)
    recording.call("GET", f"/threads/{thread_id}/runs/{kit.uid(11)}/stream")
    recording.run(recording.thread(2), kit.uid(12), body("hi"))
    assert numbers(kit.tapes(recording), query(body("hi")), 2) == [0, 1]


def test_a_background_run_whose_join_broke(kit: Any) -> None:
    """A run that was created in the background is as whole as its join."""
    recording = kit.recording()
    for number, ending in ((1, None), (2, Ending.COMPLETE)):
        thread_id, run_id = recording.thread(number), kit.uid(10 + number)
        created = {"run_id": run_id, "thread_id": thread_id, "status": "pending"}
        recording.json("POST", f"/threads/{thread_id}/runs", created, body("hi"))
        recording.call("GET", f"/threads/{thread_id}/runs/{run_id}/stream", ending=ending)
    assert numbers(kit.tapes(recording), query(body("hi"), answer="create"), 2) == [1, 1]


def test_a_broken_run_of_this_thread(kit: Any) -> None:
    """A conversation that is under way is gone on with to where it broke."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(11), body("hi"))
    recording.run(thread_id, kit.uid(12), body("more"), ending=None)
    recording.run(recording.thread(2), kit.uid(13), body("more"))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("more"), thread=tapes.threads[thread_id], next_step=1), 1) == [1]


def test_checkpoint_is_a_preference(kit: Any) -> None:
    """Of equal runs the one from the same checkpoint is played; another checkpoint never refuses."""
    recording = kit.recording()
    for number in (1, 2):
        checkpoint = {"checkpoint_id": kit.uid(number)}
        recording.run(None, kit.uid(number), body("hi", checkpoint=checkpoint))
    tapes = kit.tapes(recording)
    asked = body("hi", checkpoint={"checkpoint_id": kit.uid(2)})
    assert numbers(tapes, query(asked, stateful=False), 1) == [1]
    asked = body("hi", checkpoint={"checkpoint_id": kit.uid(9)})
    assert numbers(tapes, query(asked, stateful=False), 1) == [0]


def test_a_starred_part_is_equal(kit: Any) -> None:
    """A value that was masked inside a text is no difference, in strict."""
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(1), body("my key is ******** ok"))
    match = choose(kit.tapes(recording), query(body("my key is abcd1234 ok")))
    assert (match.exact, match.differences) == (True, ())


def test_strict_miss(two_threads: Any) -> None:
    """In strict no equal recording is a miss, with the nearest runs first and the option that would have helped."""
    miss = choose(two_threads, query({**body("hi"), "config": {"tags": ["x"]}}))
    assert isinstance(miss, Miss)
    assert [difference.field for difference in miss.nearest[0].differences] == ["config.tags"]
    assert (len(miss.nearest), miss.option) == (3, "--match nearest")


def test_nearest_is_the_next_of_the_thread(two_threads: Any) -> None:
    """In nearest the next run at the same position of the thread plays, and says what differs."""
    thread = two_threads.runs[0].thread
    match = choose(two_threads, query(body("new"), thread=thread, next_step=1), mode="nearest")
    assert (two_threads.runs.index(match.run), match.exact) == (1, False)
    assert [difference.field for difference in match.differences] == ["input.text"]


def test_nearest_of_a_new_thread_opens_one(two_threads: Any) -> None:
    """In nearest a new thread plays the first run of a recorded thread, the next time another."""
    assert numbers(two_threads, query(body("new")), 2, mode="nearest") == [0, 3]


@pytest.mark.parametrize("mode", ["strict", "nearest"])
def test_unknown_assistant_is_a_miss(two_threads: Any, mode: str) -> None:
    """An assistant that the cassette does not know is a miss, in nearest too; it says which there are."""
    miss = choose(two_threads, query({**body("hi"), "assistant_id": "other"}), mode=mode)
    assert isinstance(miss, Miss)
    assert (miss.known_assistants, miss.nearest, miss.option) == (("agent",), (), None)


def test_view_that_no_equal_recording_gives(two_threads: Any) -> None:
    """Equal recordings that cannot give the view refuse; nothing else is played in their place."""
    refused = choose(two_threads, query(body("hi")), mode="nearest", able=lambda run: False)
    assert isinstance(refused, ViewRefused)


def test_equal_recording_that_gives_the_view(two_threads: Any) -> None:
    """Of equal recordings those that cannot give the view are passed over."""
    last = two_threads.runs[3]
    assert choose(two_threads, query(body("hi")), able=lambda run: run is last).run is last


def test_recorded_refusal_matches(kit: Any) -> None:
    """A refusal that was recorded answers an equal request; it is never the nearest to another."""
    recording = kit.recording()
    recording.json("POST", f"/threads/{kit.uid(1)}/runs/stream", {"detail": "no"}, body("bad"), status=422)
    tapes = kit.tapes(recording)
    assert choose(tapes, query(body("bad"))).run.refused
    assert isinstance(choose(tapes, query(body("good")), mode="nearest"), Miss)


def test_refusal_of_what_is_not_compared(kit: Any) -> None:
    """A recorded refusal answers the very body that was refused, and no other."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    path = f"/threads/{thread_id}/runs/stream"
    hook = {"webhook": "http://nowhere.invalid/"}
    recording.json("POST", path, {"detail": "no"}, body("hi", **hook), status=422)
    recording.run(thread_id, kit.uid(2), body("hi"))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi", **hook)), 2) == [0, 0]
    assert numbers(tapes, query(body("hi")), 2) == [1, 1]
    assert numbers(tapes, query(body("hi", webhook="http://elsewhere.invalid/")), 1) == [1]


@pytest.mark.parametrize("status", [404, 409])
def test_refusal_of_another_thread(kit: Any, status: int) -> None:
    """That a thread was not there, or busy, is no answer to a run of another one, however early it was recorded."""
    recording = kit.recording()
    busy, other = recording.thread(1), recording.thread(2)
    recording.run(busy, kit.uid(11), body("first"))
    recording.json("POST", f"/threads/{busy}/runs/stream", {"detail": "no"}, body("hi"), status=status)
    recording.run(other, kit.uid(12), body("hi"))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi")), 2) == [2, 2]
    assert numbers(tapes, query(body("hi"), thread=tapes.threads[other]), 2) == [2, 2]
    assert numbers(tapes, query(body("hi"), thread=tapes.threads[busy], next_step=1), 2) == [1, 2]


def test_refusal_of_this_thread_comes_when_it_came(kit: Any) -> None:
    """A thread that was refused before its first run is refused there again, once, and not later in its life."""
    recording = kit.recording()
    thread_id = kit.uid(1)
    recording.json("POST", f"/threads/{thread_id}/runs/stream", {"detail": "no"}, body("hi"), status=404)
    recording.run(thread_id, kit.uid(11), body("hi"))
    tapes = kit.tapes(recording)
    here = tapes.threads[thread_id]
    assert numbers(tapes, query(body("hi"), origin=here), 2) == [0, 1]
    assert numbers(tapes, query(body("hi"), thread=here), 2) == [0, 1]
    assert numbers(tapes, query(body("hi"), thread=here, next_step=1), 1) == [1]


def test_refusal_comes_to_each_conversation(kit: Any) -> None:
    """Each thread that plays the recorded one is refused where that was, once, and never where that was not."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(11), body("hi"))
    recording.json("POST", f"/threads/{thread_id}/runs/stream", {"detail": "no"}, body("hi"), status=404)
    tapes = kit.tapes(recording)
    here = tapes.threads[thread_id]
    for times in range(4):
        used = {tapes.runs[0].order: times, tapes.runs[1].order: 0}
        first = choose(tapes, query(body("hi"), origin=here), used)
        assert not first.run.refused
        second = query(body("hi"), thread=here, origin=here, next_step=1)
        assert choose(tapes, second, used).run.refused
        assert not choose(tapes, replace(second, refused={tapes.runs[1].order}), used).run.refused


def test_refusal_before_the_thread_was_there(kit: Any) -> None:
    """What was refused because the thread did not exist yet is not said of one that does."""
    recording = kit.recording()
    recording.json("POST", f"/threads/{kit.uid(1)}/runs/stream", {"detail": "no"}, body("hi"), status=404)
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(11), body("hi"))
    tapes = kit.tapes(recording)
    assert numbers(tapes, query(body("hi"), origin=tapes.threads[thread_id]), 2) == [1, 1]


def test_refusal_of_a_widened_request(kit: Any) -> None:
    """A refusal answers the body that its client sent, however the recorder widened it."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    recording.run(thread_id, kit.uid(11), body("hi"))
    recording.json(
        "POST",
        f"/threads/{thread_id}/runs/stream",
        {"detail": "no"},
        body("hi", stream_mode=["values", "updates"]),
        status=404,
        widened_from={"stream_mode": None},
    )
    tapes = kit.tapes(recording)
    here = tapes.threads[thread_id]
    assert choose(tapes, query(body("hi"), thread=here, next_step=1)).run.refused


def test_refusal_of_a_bad_thread_id(kit: Any) -> None:
    """That a thread's id was no UUID says nothing of the body."""
    recording = kit.recording()
    recording.json("POST", "/threads/xyz/runs/stream", {"detail": "badly formed"}, body("hi"), status=400)
    recording.run(recording.thread(1), kit.uid(11), body("hi", metadata={"a": 1}))
    assert numbers(kit.tapes(recording), query(body("hi")), 2) == [1, 1]


@pytest.mark.parametrize("mode", ["strict", "nearest"])
def test_only_what_may_play_is_read(two_threads: Any, mode: str) -> None:
    """Of many recorded runs only the one that plays is looked at: a large cassette is not read to find it."""
    looked_at: list[Any] = []
    text = "hi" if mode == "strict" else "new"

    def able(run: Any) -> bool:
        looked_at.append(run)
        return True

    choose(two_threads, query(body(text)), mode=mode, able=able)
    assert looked_at == [two_threads.runs[0]]


def test_a_thread_that_is_kept_likewise(kit: Any) -> None:
    """Among equal runs without a thread only those count whose thread stayed or went as this request asks."""
    recording = kit.recording()
    for number, more in enumerate(({}, {"on_completion": "keep"}, {"on_completion": "delete"}), 2):
        recording.run(None, kit.uid(number), body("hi", **more))
    tapes = kit.tapes(recording)
    for asked, expected in ({}, [0, 2, 0]), ({"on_completion": "keep"}, [1, 1, 1]):
        assert numbers(tapes, query(body("hi", **asked), stateful=False), 3) == expected
        other = query(body("other", **asked), stateful=False)
        assert numbers(tapes, other, 3, mode="nearest") == expected
