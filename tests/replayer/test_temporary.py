"""Threads that go with their runs."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.ids import IdMap
from graphtape.replayer.session import Session
from graphtape.replayer.temporary import TemporaryThreads

BODY = {"assistant_id": "agent", "input": "hi", "metadata": {"who": "me"}}


def session_of(kit: Any) -> Session:
    recording = kit.recording()
    events = [*kit.simple_events(kit.uid(2)), (10, "values", {"thread_id": kit.uid(1)})]
    recording.run(None, kit.uid(2), BODY, events)
    session: Session = kit.session(recording)
    return session


def start(kit: Any, session: Session, now_ms: float = 0) -> Any:
    return kit.ask(session, "POST", "/runs/stream", BODY, now_ms=now_ms).play


@pytest.mark.parametrize("client", [1, 2])
def test_made_again_as_it_was(kit: Any, monkeypatch: pytest.MonkeyPatch, client: int) -> None:
    """All that the session knew of a thread when its run began is there again: its ids, its time, what it plays."""
    kept: list[Any] = []
    keep = TemporaryThreads.keep

    def watched(self: TemporaryThreads, thread: Any, play: Any) -> Any:
        kept.append(thread)
        return keep(self, thread, play)

    monkeypatch.setattr(TemporaryThreads, "keep", watched)
    session = session_of(kit)
    plays = [start(kit, session, now_ms=n) for n in range(client)]
    assert session.threads == {}
    before, again = kept[-1], session.known(plays[-1].thread_id)
    assert again is session.known(plays[-1].thread_id)
    one, other = vars(before), vars(again)
    aside = {"ids", "changes"}
    assert {name: one[name] for name in one.keys() - aside} == {
        name: other[name] for name in other.keys() - aside
    }
    assert IdMap(before.ids).pairs == IdMap(again.ids if again is not None else {}).pairs
    assert (
        [change.what for change in before.changes]
        == [plays[-1]]
        == [change.what for change in other["changes"]]
    )


def test_what_a_client_says_of_it_stays(kit: Any) -> None:
    """Metadata that were merged while it was there are there as long as it is."""
    session = session_of(kit)
    path = f"/threads/{start(kit, session).thread_id}"
    kit.ask(session, "PATCH", path, {"metadata": {"more": 1}}, now_ms=15)
    assert kit.value(kit.ask(session, "GET", path, now_ms=16))["metadata"]["more"] == 1


def test_an_id_that_a_client_takes_over(kit: Any) -> None:
    """When it is gone its id can be a client's own; what is forgotten later is not that thread."""
    session = session_of(kit)
    thread_id = start(kit, session).thread_id
    made = {"thread_id": thread_id, "if_exists": "raise"}
    assert kit.ask(session, "POST", "/threads", made, now_ms=15).head.status == 409
    assert kit.ask(session, "POST", "/threads", made, now_ms=99).head.status == 200
    assert kit.value(kit.ask(session, "GET", f"/threads/{thread_id}", now_ms=99))["status"] == "idle"
    for _ in range(3):
        start(kit, session, now_ms=99)
    assert session.known(thread_id) is session.threads[thread_id]


def test_those_that_go_on(kit: Any) -> None:
    """Only they are looked through; the others take no room for it."""
    session = session_of(kit)
    first, second = start(kit, session), start(kit, session, now_ms=30)
    assert [thread.thread_id for thread in session.visible_threads(50 * kit.MS)] == [second.thread_id]
    assert list(session.threads) == [second.thread_id]
    assert session.known(first.thread_id) is not None
    assert [thread.thread_id for thread in session.visible_threads(50 * kit.MS)] == [second.thread_id]
