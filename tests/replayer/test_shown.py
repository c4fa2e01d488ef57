"""What a run has shown of its thread."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.shown import may_have_changed_unseen, shown_of, stopped_short, without_guests


def only_play(session: Any) -> Any:
    (play,) = session.runs.values()
    return play


def test_shown_by_now(kit: Any) -> None:
    """Nothing is said before its event; what is a guest in values is no part of them."""
    events = [(9, "values", {"n": 1}), (10, "values", {"n": 2, "__interrupt__": []})]
    play = only_play(kit.conversation(("values", events)))
    assert not shown_of(play, 5 * kit.MS).known
    assert [shown_of(play, now * kit.MS).last_values for now in (15, 25)] == [{"n": 1}, {"n": 2}]


def test_inner_checkpoint(kit: Any) -> None:
    """The last checkpoint of an inner graph counts until one of the root follows."""
    events: list[Any] = [
        (9, "checkpoints|sub:" + kit.uid(7), kit.checkpoint(0, {"inner": 1})),
        (10, "checkpoints", kit.checkpoint(1, {"outer": 1})),
    ]
    recording = kit.recording()
    recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": "checkpoints", "stream_subgraphs": True}
    recording.run(kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), *events])
    session = kit.session(recording)
    for asked in (body, {**body, "stream_subgraphs": False}):
        thread = kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"]
        kit.ask(session, "POST", f"/threads/{thread}/runs/stream", asked)
    play, root_only = session.runs.values()
    assert shown_of(root_only, 15 * kit.MS).inner is None
    shown = shown_of(play, 15 * kit.MS)
    assert shown.inner is not None
    assert (shown.inner["values"], shown.known) == ({"inner": 1}, False)
    assert shown_of(play, 25 * kit.MS).inner is None


def test_stopped_short(kit: Any) -> None:
    """A run has stopped short if its last checkpoint has something next."""
    for following in (["a"], []):
        events = [(1, "checkpoints", kit.checkpoint(0, {}, next=following))]
        play = only_play(kit.conversation(("checkpoints", events)))
        assert stopped_short(play, 99 * kit.MS) is bool(following)


def test_guests() -> None:
    """Values that are no object have no guests."""
    assert without_guests({"a": 1, "__error__": 2}) == {"a": 1}
    assert without_guests([1]) == [1]


@pytest.mark.parametrize(
    ("answered", "known"),
    [
        ({"n": 1}, True),
        ({"n": 1, "__interrupt__": []}, True),
        ({}, True),
        ([1], True),
        ({"__error__": {}}, False),
        ({"__interrupt__": [{"id": "i"}]}, False),
    ],
)
def test_values_of_a_run_that_was_waited_for(kit: Any, answered: Any, known: bool) -> None:
    """Its answer shows them when it is over, unless an error or interrupts stand in their place."""
    recording = kit.recording()
    thread = recording.thread(1)
    recording.json("POST", f"/threads/{thread}/runs/wait", answered, {"assistant_id": "agent"})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread}/runs/wait", {"assistant_id": "agent"})
    play = only_play(session)
    over = 99 * kit.MS
    assert shown_of(play, over).known is known
    assert may_have_changed_unseen(play, over) is not known
    # Meanwhile nobody tells what it does.
    assert may_have_changed_unseen(play, 1)
    state = kit.ask(session, "GET", f"/threads/{thread}/state", now_ms=99)
    assert state.plan.head.status == (200 if known else 422)
