"""Ids of second and third conversations."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.naming import Naming
from graphtape.replayer.thread import SessionThread


def thread(kit: Any, number: int) -> SessionThread:
    return SessionThread(kit.uid(number), None, None, {})


def recorded(kit: Any, body: Any = None) -> Any:
    recording = kit.recording()
    thread_id = recording.thread(1)
    events = [
        (1, "metadata", {"run_id": kit.uid(2)}),
        (1, "values", {"messages": [{"type": "human", "id": kit.uid(3), "content": "hi"}]}),
        (1, f"updates|sub:{kit.uid(4)}", {"messages": [{"type": "ai", "id": f"lc_run--{kit.uid(5)}"}]}),
    ]
    recording.run(thread_id, kit.uid(2), body or {"assistant_id": "a"}, events)
    (run,) = kit.tapes(recording).runs
    return run


def test_first_conversation_keeps_recorded_ids(kit: Any) -> None:
    """The first thread to play a recorded one goes by the recorded ids, but for its own."""
    ids = Naming().ids_of(recorded(kit), thread(kit, 9), body={}, again=0)
    assert ids.pairs == {kit.uid(1): kit.uid(9)}


def test_second_and_third_conversation(kit: Any) -> None:
    """Later threads get ids of their own for all that has one: others each time, the same in every session."""
    run = recorded(kit)
    made = []
    for _ in range(2):
        naming = Naming()
        made.append([naming.ids_of(run, thread(kit, n), body={}, again=0).pairs for n in (1, 8, 9)])
    assert made[0] == made[1]
    first, second, third = made[0]
    assert first == {}
    assert second.keys() == third.keys() == {kit.uid(n) for n in (1, 2, 3, 4, 5)}
    assert not set(second.values()) & set(third.values())


def test_stateless_runs(kit: Any) -> None:
    """A stateless run played again has other ids, also where no event but its answer shows them."""
    recording = kit.recording()
    told = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "config": {"langgraph_request_id": kit.uid(3)}}
    recording.json("POST", "/runs", told, {"assistant_id": "a"})
    (run,) = kit.tapes(recording).runs
    naming = Naming()
    assert naming.ids_of(run, thread(kit, 1), body={}, again=0).pairs == {}
    again = naming.ids_of(run, thread(kit, 8), body={}, again=0).pairs
    assert again.keys() == {kit.uid(n) for n in (1, 2, 3)}
    assert again[kit.uid(1)] == kit.uid(8)


def test_later_plays_search_no_events(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are looked for when a run is first played, so that no later client waits for it."""
    run, naming = recorded(kit), Naming()
    naming.ids_of(run, thread(kit, 1), body={}, again=0)
    monkeypatch.delattr("graphtape.replayer.naming.harvest_events")
    assert len(naming.ids_of(run, thread(kit, 8), body={}, again=0).pairs) == 5


def test_again_in_one_thread(kit: Any) -> None:
    """A run played twice in one thread has new ids the second time, so that clients do not merge the two."""
    run, mine, naming = recorded(kit), thread(kit, 1), Naming()
    once = naming.ids_of(run, mine, body={}, again=0)
    twice = naming.ids_of(run, mine, body={}, again=1)
    assert once.pairs == {}
    assert twice.pairs.keys() == {kit.uid(n) for n in (2, 3, 4, 5)} | {kit.uid(1)} - {kit.uid(1)}


def test_message_ids_of_the_client(kit: Any) -> None:
    """The id that a client gives to its own message stands where the server had put one."""
    run = recorded(kit, {"assistant_id": "a", "input": {"messages": [{"type": "human", "content": "hi"}]}})
    asked = {"input": {"messages": [{"type": "human", "content": "hi", "id": "mine"}]}}
    ids = Naming().ids_of(run, thread(kit, 1), body=asked, again=0)
    assert ids.pairs == {kit.uid(3): "mine"}
    assert ids.apply(b'{"id":"%s"}' % kit.uid(3).encode()) == b'{"id":"mine"}'


def test_history_stays_when_a_run_is_played_again(kit: Any) -> None:
    """Ids that stood before the run keep being the same in its second play: the history is not doubled."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    old = {"type": "human", "id": kit.uid(5), "content": "hi"}
    new = {"type": "ai", "id": kit.uid(6), "content": "ho"}
    for number, messages in ((2, [old]), (3, [old, new])):
        events = [(1, "metadata", {"run_id": kit.uid(number)}), (1, "values", {"messages": messages})]
        recording.run(thread_id, kit.uid(number), {"assistant_id": "a"}, events)
    run = kit.tapes(recording).runs[1]
    ids = Naming().ids_of(run, thread(kit, 1), body={}, again=1)
    assert ids.pairs.keys() == {kit.uid(3), kit.uid(6)}


def test_ids_that_only_waits_show(kit: Any) -> None:
    """A run that nobody streamed has the ids of its own object, and of what its waiters were told."""
    recording = kit.recording()
    base = f"/threads/{recording.thread(1)}/runs"
    asked = {
        "run_id": kit.uid(2),
        "kwargs": {"config": {"configurable": {"langgraph_request_id": kit.uid(3)}}},
    }
    recording.json("POST", base, asked, {"assistant_id": "a"})
    told = {"__interrupt__": [{"value": "ok?", "id": "0123456789abcdef" * 2}]}
    recording.json("GET", f"{base}/{kit.uid(2)}/join", told)
    (run,) = kit.tapes(recording).runs
    naming = Naming()
    naming.ids_of(run, thread(kit, 1), body={}, again=0)
    second = naming.ids_of(run, thread(kit, 9), body={}, again=0).pairs
    assert second.keys() == {kit.uid(1), kit.uid(2), kit.uid(3), "0123456789abcdef" * 2}
