"""What one replay remembers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.protocol.ids import uuid_unix_ms

BODY = {"assistant_id": "agent", "input": "hi"}


def one_run(kit: Any, **more: Any) -> Any:
    recording = kit.recording()
    recording.run(recording.thread(1), kit.uid(2), {**BODY, **more})
    return recording


def stream(kit: Any, session: Any, thread_id: str, body: Any = None, now_ms: float = 0) -> Any:
    target = f"/threads/{thread_id}/runs/stream"
    return kit.ask(session, "POST", target, {**BODY, **(body or {})}, now_ms=now_ms)


def new_thread(kit: Any, session: Any) -> str:
    return str(kit.value(kit.ask(session, "POST", "/threads", {}))["thread_id"])


def test_graph_and_its_assistant(kit: Any) -> None:
    """A graph and the server's default assistant of it are one; so is another pair that the cassette shows."""
    recording = one_run(kit)
    other = {"assistant_id": kit.uid(70), "graph_id": "agent", "metadata": {"created_by": "system"}}
    mine = {"assistant_id": kit.uid(71), "graph_id": "agent", "metadata": {"created_by": "user"}}
    recording.json("POST", "/assistants/search", [other, mine], {})
    session = kit.session(recording, match="strict")
    default = str(uuid.uuid5(uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "agent"))
    for assistant, status in ((default, 200), (kit.uid(70), 200), (kit.uid(71), 404)):
        answer = stream(kit, session, new_thread(kit, session), {"assistant_id": assistant})
        assert answer.head.status == status


def twice_recorded(kit: Any) -> Any:
    """Two runs of which the recorder's end broke the second, and the same conversation again, whole."""
    recording = kit.recording()
    for number, ending in ((1, None), (2, Ending.COMPLETE)):
        thread_id = recording.thread(number)
        recording.run(thread_id, kit.uid(10 * number), BODY)
        recording.run(thread_id, kit.uid(10 * number + 1), {**BODY, "input": "more"}, ending=ending)
    return recording


def test_a_conversation_that_was_recorded_again(kit: Any) -> None:
    """The first conversation is the whole one, with its recorded ids; a second one is that one too."""
    session = kit.session(twice_recorded(kit))
    first, second = new_thread(kit, session), new_thread(kit, session)
    assert first == kit.uid(2)
    for thread_id in (first, second):
        plays = [stream(kit, session, thread_id, {"input": text}).play for text in ("hi", "more")]
        assert [play.run.run_id for play in plays] == [kit.uid(20), kit.uid(21)]
        assert all(play.tape.whole for play in plays)
        if thread_id == first:
            assert [play.run_id for play in plays] == [kit.uid(20), kit.uid(21)]


def test_all_in_recorded_order(kit: Any) -> None:
    """With `broken_last` off the conversation that broke is the first."""
    session = kit.session(twice_recorded(kit), broken_last=False)
    assert new_thread(kit, session) == kit.uid(1)
    assert stream(kit, session, kit.uid(1)).play.run_id == kit.uid(10)


def test_ten_new_chats(kit: Any) -> None:
    """Ten new chats have ten threads and ten runs, of the recorded time and version, the same in every session."""
    made = []
    for _ in range(2):
        session = kit.session(one_run(kit))
        ids = [new_thread(kit, session) for _ in range(10)]
        runs = [stream(kit, session, thread_id).play.run_id for thread_id in ids]
        made.append((ids, runs))
    assert made[0] == made[1]
    ids, runs = made[0]
    assert len({*ids, *runs}) == 20
    assert {uuid_unix_ms(one) for one in ids} == {uuid_unix_ms(kit.uid(1))}


def test_parallel_clients(kit: Any) -> None:
    """Two clients that play the same recording at once do not see each other."""
    session = kit.session(one_run(kit))
    one, two = new_thread(kit, session), new_thread(kit, session)
    first, second = stream(kit, session, one).play, stream(kit, session, two, now_ms=5).play
    first.cancel(12 * kit.MS)
    assert (first.status(99 * kit.MS), second.status(99 * kit.MS)) == ("interrupted", "success")
    assert one.encode() not in b"".join(frame.raw for frame in second.frames())


def test_conversation_is_decided_by_its_first_run(kit: Any) -> None:
    """Which recorded thread a thread plays is decided by its first run, whatever creation gave its id."""
    recording = kit.recording()
    for number, text in ((1, "one"), (2, "two")):
        thread_id = recording.thread(number)
        recording.run(thread_id, kit.uid(10 + number), {**BODY, "input": text})
        recording.json("GET", f"/threads/{thread_id}/state", {"of": text, "thread": thread_id})
    session = kit.session(recording)
    mine = new_thread(kit, session)
    assert mine == kit.uid(1)
    assert stream(kit, session, mine, {"input": "two"}).play.run_id == kit.uid(12)
    state = kit.ask(session, "GET", f"/threads/{mine}/state", now_ms=99)
    assert kit.value(state) == {"of": "two", "thread": kit.uid(1)}


def test_event_ids_of_one_thread_rise(kit: Any) -> None:
    """Every run of a thread has event ids above those of the run before, also when one is played twice."""
    events: list[Any] = [(1, "metadata", {}, "1000-0"), (1, "values", {}, "1005-0")]
    recording = kit.recording()
    body = {**BODY, "stream_resumable": True}
    recording.run(recording.thread(1), kit.uid(2), body, events)
    session = kit.session(recording)
    mine = new_thread(kit, session)
    plays = [stream(kit, session, mine, body, now_ms=100 * n).play for n in range(3)]
    ids = [frame.event_id for play in plays for frame in play.frames()]
    assert ids == ["1000-0", "1005-0", "1006-0", "1011-0", "1012-0", "1017-0"]


def test_ignored_path(kit: Any) -> None:
    """What the user says is not compared is not compared."""
    recording = one_run(kit, input={"now": 1, "text": "x"})
    session = kit.session(recording, match="strict", ignore=("input.now",))
    mine = new_thread(kit, session)
    assert stream(kit, session, mine, {"input": {"now": 2, "text": "x"}}).head.status == 200
    assert stream(kit, session, mine, {"input": {"now": 2, "text": "y"}}).head.status == 404


def test_interrupt_and_resume(kit: Any) -> None:
    """A resume plays the recorded continuation, also in a second conversation, whose interrupt has an id of its own."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    interrupt = {"id": "ab" * 16, "value": "ok?"}
    recording.run(
        thread_id, kit.uid(2), BODY, [(1, "metadata", {}), (1, "values", {"__interrupt__": [interrupt]})]
    )
    resume = {"assistant_id": "agent", "command": {"resume": {"ab" * 16: "yes"}}}
    recording.run(thread_id, kit.uid(3), resume, [(1, "metadata", {}), (1, "values", {"done": True})])
    session = kit.session(recording, match="strict")
    for _ in range(2):
        mine = new_thread(kit, session)
        play = stream(kit, session, mine).play
        raised = play.frame(1).data.split(b'"id":"')[1][:32].decode()
        body = {"assistant_id": "agent", "command": {"resume": {raised: "yes"}}}
        answer = kit.ask(session, "POST", f"/threads/{mine}/runs/stream", body, now_ms=99)
        assert answer.play.frame(1).data == b'{"done":true}'
    assert raised != "ab" * 16


def test_queued_as_recorded(kit: Any) -> None:
    """A run that was recorded in the queue waits once: its first event comes after the run before, as it did there."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    events = [(50, "metadata", {"run_id": kit.uid(2), "attempt": 1}), (50, "values", {})]
    recording.run(thread_id, kit.uid(2), {**BODY, "input": 1}, events, start_ms=100)  # to 201
    late = [(130, "metadata", {"run_id": kit.uid(3), "attempt": 1}), (10, "values", {})]
    recording.run(thread_id, kit.uid(3), {**BODY, "input": 2}, late, start_ms=110)  # its first event at 241
    session = kit.session(recording)
    mine = new_thread(kit, session)
    before = stream(kit, session, mine, {**BODY, "input": 1}, now_ms=0).play
    play = stream(kit, session, mine, {**BODY, "input": 2}, now_ms=30).play
    assert play.due_ns(0) == before.end_ns + 40 * kit.MS
    before.cancel(60 * kit.MS)
    assert play.due_ns(0) == 100 * kit.MS


WITHOUT = {"assistant_id": "agent", "input": "hi", "metadata": {"who": "me"}}
KEEP = {**WITHOUT, "on_completion": "keep"}


def without_threads(kit: Any, body: Any = KEEP, **choices: Any) -> Any:
    """A session that knows one stateless run, whose events name its thread, and nothing else."""
    recording = kit.recording()
    events = [
        (10, "metadata", {"run_id": kit.uid(2)}),
        (10, "tasks", {"id": kit.uid(3), "name": "a", "metadata": {"thread_id": kit.uid(1)}}),
        (10, "values", {"n": 1}),
    ]
    recording.run(None, kit.uid(2), {**body, "stream_mode": ["tasks", "values"]}, events)
    return kit.session(recording, **choices)


def start_without(kit: Any, session: Any, body: Any = KEEP, now_ms: float = 0) -> Any:
    asked = {**body, "stream_mode": ["tasks", "values"]}
    return kit.ask(session, "POST", "/runs/stream", asked, now_ms=now_ms).play


def test_thread_of_a_run_without_one(kit: Any) -> None:
    """Each run gets a thread: the first as its events name it, later ones one of their own, in the events too."""
    session = without_threads(kit)
    plays = [start_without(kit, session) for _ in range(3)]
    made = [play.thread_id for play in plays]
    assert made[0] == kit.uid(1)
    assert len({*made, *(play.run_id for play in plays)}) == 6
    for play in plays:
        assert play.thread_id.encode() in play.frame(1).raw
        thread = session.known(play.thread_id)
        assert (thread.runs, thread.born_of_run, thread.temporary) == ([play], True, False)
    again = without_threads(kit)
    assert [start_without(kit, again).thread_id for _ in range(3)] == made


@pytest.mark.parametrize("keep", [True, False])
def test_kept_or_not(kit: Any, keep: bool) -> None:
    """While its run goes on the thread is there; when that is over only one that is kept is."""
    session = without_threads(kit)
    play = start_without(kit, session, KEEP if keep else WITHOUT)
    assert session.thread(play.thread_id, 30 * kit.MS) is session.known(play.thread_id)
    assert (session.thread(play.thread_id, 31 * kit.MS) is not None) is keep
    # Its id is not given out again.
    assert start_without(kit, session, now_ms=99).thread_id != play.thread_id


def test_recorded_thread_of_a_run_without_one(kit: Any) -> None:
    """As a deep link a kept one answers as it was last; one that went with its run is not there."""
    for body, there in ((KEEP, True), (WITHOUT, False)):
        recording = kit.recording()
        recording.run(None, kit.uid(2), body)
        recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", {"run_id": kit.uid(2)})
        session = kit.session(recording)
        thread = session.thread(kit.uid(1), 0)
        assert (thread is not None) is there
        if thread is not None:
            assert thread.deep
            assert kit.read(session, "/state")["values"] == {"text": "b"}
