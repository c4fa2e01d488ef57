"""Streams of widened runs, made narrow again, on scripted streams and every cut of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from graphtape.protocol.joining import JoinFilter
from graphtape.recorder.narrowing import JoinNarrowing, Narrowing, RunNarrowing, ThreadNarrowing
from graphtape.recorder.widening import WideRun, WideRuns, widened

ZERO = 1_700_000_000_000
HEARTBEAT = b": heartbeat\r\n\r\n"


def event(name: str, data: Any, at: int | None = None) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    id_line = "" if at is None else f"id: {ZERO + at}-0\r\n"
    return f"event: {name}\r\ndata: {text}\r\n{id_line}\r\n".encode()


def stream(run_id: str = "r", start: int = 0) -> list[bytes]:
    """A run with a subgraph, asked for more than most clients do."""
    return [
        event("metadata", {"run_id": run_id, "attempt": 1}, start),
        event("values", {"n": 0}, start + 1),
        HEARTBEAT,
        event("updates|sub:1", {"inner": 1}, start + 2),
        event("custom", "mine", start + 2),
        event("updates", {"outer": 1}, start + 3),
        event("values", {"n": 1}, start + 4),
    ]


MESSAGE: dict[str, Any] = {
    "content": "x",
    "additional_kwargs": {},
    "response_metadata": {},
    "type": "ai",
    "name": None,
}
RUN_DONE = {"status": "run_done", "run_id": "r"}


class Known:
    """Widened runs, and what was said about them."""

    def __init__(self) -> None:
        self.runs = WideRuns(lambda: ZERO * 1_000_000)
        self.said: list[str] = []

    def run(self, run_id: str = "r", **asked: Any) -> WideRun:
        request = widened(json.dumps({"assistant_id": "a", **asked}).encode())
        assert request is not None
        run = self.runs.started("t", request, f"/threads/t/runs/{run_id}".encode())
        assert run is not None
        return run

    def post(self, **asked: Any) -> RunNarrowing:
        return RunNarrowing(self.run(**asked), self.runs, self.said.append)

    def join(
        self, run: WideRun, *modes: str, cursor: str | None = None, now: int | None = None
    ) -> JoinNarrowing:
        shown = JoinFilter.parse([json.dumps(modes)] if modes else [])
        at = str(ZERO if now is None else ZERO + now)
        return JoinNarrowing(run, self.runs, self.said.append, shown=shown, cursor=cursor, now=at)

    def thread(self, *, cursor: str | None = None, now: int = 0, thread: str = "t") -> ThreadNarrowing:
        return ThreadNarrowing(thread, self.runs, self.said.append, cursor=cursor, now=str(ZERO + now))


@pytest.fixture
def known() -> Known:
    return Known()


def through(narrowing: Narrowing, *parts: bytes) -> list[bytes]:
    return [piece for part in parts for piece in narrowing.feed(part)] + narrowing.finish()


def without_ids(parts: list[bytes]) -> list[bytes]:
    return [b"".join(line for line in part.splitlines(True) if not line.startswith(b"id:")) for part in parts]


def names(parts: list[bytes]) -> list[str]:
    return [part.split(b"\r\n")[0].removeprefix(b"event: ").decode() for part in parts]


# --- the run's own stream


@pytest.mark.parametrize(
    ("asked", "shown", "ids"),
    [
        ({}, [0, 1, 2, 6], False),
        ({"stream_resumable": True}, [0, 1, 2, 6], True),
        ({"stream_mode": "updates", "stream_subgraphs": True}, [0, 2, 3, 5], False),
        ({"stream_mode": ["custom", "updates"], "stream_resumable": True}, [0, 2, 4, 5], True),
        ({"stream_mode": "tasks"}, [0, 2], False),
    ],
)
def test_a_client_gets_what_it_asked(
    known: Known, asked: dict[str, Any], shown: list[int], ids: bool
) -> None:
    """Modes, levels and ids; a heartbeat stays where it was; one piece per event."""
    parts = [stream()[number] for number in shown]
    assert through(known.post(**asked), *stream()) == (parts if ids else without_ids(parts))


@pytest.mark.slow
def test_every_cut(known: Known) -> None:
    """However the reads fall, the pieces are the same, and each goes out with the read that completes it."""
    whole = b"".join(stream())
    expected = without_ids([stream()[number] for number in (0, 1, 2, 6)])
    for cut in range(len(whole) + 1):
        assert through(known.post(), whole[:cut], whole[cut:]) == expected
    assert through(known.post(), *(whole[at : at + 1] for at in range(len(whole)))) == expected
    narrowing = known.post()
    assert [len(narrowing.feed(part)) for part in stream()] == [1, 1, 1, 0, 0, 0, 1]


def test_a_stream_that_breaks_off_inside_an_event(known: Known) -> None:
    """The head of an event that the client would have seen is passed on; of one that it would not, nothing."""
    parts = stream()
    shown = without_ids(parts[:1])
    assert through(known.post(), *parts[:1], parts[1][:25]) == [*shown, parts[1][:25]]
    assert through(known.post(), *parts[:1], parts[5][:25]) == shown


def test_events_that_wait_for_the_end_of_a_node(known: Known) -> None:
    """What a node returned stands before its `updates`: so that waits for the task's end, no longer."""
    update = event("updates", {"outer": 1}, 3)
    end = event("tasks", {"id": "x", "name": "outer", "error": None, "result": {}, "interrupts": []}, 4)
    narrowing = known.post(stream_mode=["updates", "messages-tuple"])
    assert narrowing.feed(update) == []
    assert narrowing.feed(end) == without_ids([update])
    broken = known.post(stream_mode=["updates", "messages-tuple"])
    assert broken.feed(update) == []
    assert broken.finish() == without_ids([update])


def test_what_the_view_cannot_read(known: Known) -> None:
    """A live stream is not refused: it is narrowed by event names from there on, and a person is told."""
    narrowing = known.post(stream_mode=["messages-tuple", "values"])
    assert narrowing.feed(event("messages", "no pair", 1)) == without_ids([event("messages", "no pair")])
    assert narrowing.feed(event("messages|sub:1", "no pair", 2)) == []
    assert narrowing.feed(event("messages", [1], 3)) == [event("messages", [1])]
    assert narrowing.finish() == []
    (said,) = known.said
    assert "run r" in said
    assert "names" in said


def test_a_stream_teaches(known: Known) -> None:
    """From its ids the upstream's clock is learnt, and its end is remembered."""
    narrowing = known.post()
    narrowing.feed(event("metadata", {}, 5000))
    assert known.runs.id_at(ZERO) == str(ZERO + 5000)
    run = known.runs.get("r")
    assert run is not None
    assert not run.is_done
    narrowing.finish()
    assert run.is_done


# --- joins


def test_a_join_of_a_running_run(known: Known) -> None:
    """What the upstream sends from now on, narrowed as the run's own stream; ids only if the client's run has them."""
    parts = [stream()[number] for number in (1, 2, 6)]
    assert through(known.join(known.run("r")), *stream()[1:]) == without_ids(parts)
    assert through(known.join(known.run("s", stream_resumable=True)), *stream()[1:]) == parts


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        (["values"], [1, 2, 6]),
        (["metadata", "custom"], [0, 2, 4]),
        (["updates"], [2]),
        (["bogus"], [2]),
    ],
)
def test_the_filter_of_a_join(known: Known, modes: list[str], shown: list[int]) -> None:
    """It filters what the client's run has, and cannot bring back what that had not."""
    run = known.run(stream_mode=["values", "custom"], stream_resumable=True)
    assert through(known.join(run, *modes), *stream()) == [stream()[number] for number in shown]


def test_a_join_whose_view_needs_the_past(known: Known) -> None:
    """The upstream sends all; the client sees what comes from now on, or after its cursor."""
    run = known.run(stream_mode=["messages-tuple", "custom", "values"], stream_resumable=True)
    assert run.remembers
    parts = stream()

    def shown(cursor: str | None, now: int) -> list[int]:
        return [parts.index(part) for part in through(known.join(run, cursor=cursor, now=now), *parts)]

    assert shown(None, 0) == [0, 1, 2, 4, 6]
    assert shown(None, 4) == [2, 6]
    assert shown(None, 9) == [2]
    assert shown("-1", 9) == [0, 1, 2, 4, 6]
    assert shown("-", 4) == [0, 1, 2, 4, 6]
    assert shown(f"{ZERO + 1}-0", 9) == [2, 4, 6]
    assert shown(f"{ZERO + 2}-0", 4) == [2, 6]
    assert shown("zzz", 4) == [2, 6]
    assert shown(f"{ZERO + 10**6}-0", 4) == [2, 6]


def test_messages_are_not_stored(known: Known) -> None:
    """`messages/*` of the past are not shown, also where they would be put back; those to come are."""
    run = known.run(stream_mode=["messages", "custom"], stream_resumable=True)
    parts = [event("metadata", {"run_id": "r"}, 0), metadata_of("out", "n:3", 2), event("custom", 1, 3)]
    late = [metadata_of("more", "n:4", 12), event("custom", 2, 13)]
    shown = [parts[0], parts[2], *late]
    assert through(known.join(run, cursor="-1", now=9), *parts, *late) == shown
    assert (
        through(
            known.thread(cursor="-", now=9),
            *[event("metadata", {"run_id": "r", "attempt": 1}, 0)],
            *parts[1:],
            *late,
        )[1:]
        == shown[1:]
    )


def test_a_run_that_stores_nothing(known: Known) -> None:
    """The client's run was not resumable: whatever its cursor, nothing of the past, and no ids."""
    run = known.run(stream_mode=["messages-tuple", "values"])
    for cursor in (None, "-1", f"{ZERO}-0"):
        found = through(known.join(run, cursor=cursor, now=4), *stream())
        assert found == [HEARTBEAT, *without_ids(stream()[6:])]


def test_events_sent_twice(known: Known) -> None:
    """Where what is stored and what is live overlap, the overlap is dropped."""
    run = known.run(stream_mode=["messages-tuple", "values"], stream_resumable=True)
    parts = stream()
    found = through(known.join(run, cursor="-1", now=9), *parts, *parts[1:])
    assert found == [parts[0], parts[1], HEARTBEAT, HEARTBEAT, parts[6], parts[6]]


def metadata_of(message_id: str, namespace: str, at: int) -> bytes:
    metadata = {"langgraph_checkpoint_ns": namespace, "langgraph_node": "n", "langgraph_step": 1}
    return event("messages/metadata", {message_id: {"metadata": metadata}}, at)


def partial_of(message_id: str, at: int) -> bytes:
    return event("messages/partial", [MESSAGE | {"id": message_id}], at)


def test_levels_that_are_not_stored(known: Known) -> None:
    """`messages` tells the level of a message once, and the upstream does not store it; the recorder remembers."""
    run = known.run(stream_mode="messages")
    own = RunNarrowing(run, known.runs, known.said.append)
    first = [metadata_of("in", "sub:1|n:2", 1), metadata_of("out", "n:3", 2), partial_of("in", 3)]
    assert names(through(own, *first)) == ["messages/metadata"]
    run.is_done = False
    late = [event("metadata", {"run_id": "r"}, 0), partial_of("in", 5), partial_of("out", 6)]
    assert through(known.join(run, now=4), *late) == without_ids(late[2:])
    assert through(known.join(run, now=4), *late[1:]) == without_ids(late[2:])


# --- thread streams


def test_the_events_of_two_runs(known: Known) -> None:
    """Each run is narrowed to what its client asked; ids are always there, `run_done` always passes."""
    known.run("r", stream_mode="custom")
    known.run("s", stream_mode="updates", stream_subgraphs=True)
    parts = [
        *stream("r", 1),
        event("metadata", RUN_DONE, 8),
        *stream("s", 11),
        event("metadata", {"status": "run_done", "run_id": "s"}, 18),
        event("state_update", {"state": {}}, 20),
    ]
    assert through(known.thread(), *parts) == [parts[n] for n in (0, 2, 4, 7, 8, 10, 11, 13, 15, 16)]
    assert known.runs.get("r").is_done  # type: ignore[union-attr]


def test_what_follows_the_end_of_a_run(known: Known) -> None:
    """Is of no widened run until one begins."""
    known.run("r", stream_mode="custom")
    stray = event("values", {"n": 1}, 9)
    assert through(known.thread(), stream()[0], event("metadata", RUN_DONE, 8), stray)[-1] == stray


def test_a_run_that_was_not_widened(known: Known) -> None:
    """Passes as it came, between others."""
    known.run("r", stream_mode="custom")
    parts = [*stream("x", 1), event("metadata", {"status": "run_done", "run_id": "x"}, 8), *stream("r", 11)]
    assert through(known.thread(), *parts) == [*parts[:8], *(parts[n] for n in (8, 10, 12))]


def test_a_run_whose_answer_has_not_come_yet(known: Known) -> None:
    """Is that of the request on its way for this thread."""
    request = widened(b'{"assistant_id":"a","stream_mode":"custom"}')
    assert request is not None
    known.runs.starts("t", request)
    assert through(known.thread(), *stream()) == [stream()[n] for n in (0, 2, 4)]


def test_attached_in_the_middle_of_a_run(known: Known) -> None:
    """No `metadata` names it: it is the thread's run that has not ended."""
    known.run("r", stream_mode="custom")
    assert through(known.thread(), *stream()[1:]) == [stream()[n] for n in (2, 4)]
    known.runs.get("r").is_done = True  # type: ignore[union-attr]
    assert through(known.thread(), *stream()[1:]) == stream()[1:]
    assert through(known.thread(thread="other"), *stream()[1:]) == stream()[1:]


@pytest.mark.parametrize(
    ("cursor", "shown"),
    [
        ("-", [7, 8, 12, 13, 14, 15]),
        (f"{ZERO + 11}-0", [8, 12, 13, 14, 15]),
        (f"{ZERO + 18}", [13, 14, 15]),
        (f"{ZERO + 18}-0", [14, 15]),
        (f"{ZERO + 999}", [14, 15]),
    ],
)
def test_what_is_replayed(known: Known, cursor: str, shown: list[int]) -> None:
    """Of the past, what the client's runs store behind its cursor; then all that is live."""
    known.run("r", stream_mode="custom")
    known.run("s", stream_mode="values", stream_resumable=True)
    past = [part for part in stream("r", 1) if part != HEARTBEAT]
    past += [event("metadata", RUN_DONE, 8)]
    past += [part for part in stream("s", 11) if part != HEARTBEAT]
    past += [event("metadata", {"status": "run_done", "run_id": "s"}, 18)]
    live = [event("metadata", {"run_id": "x", "attempt": 1}, 30), event("values", 1, 31)]
    parts = past + live
    found = through(known.thread(cursor=cursor, now=20), *parts)
    assert [parts.index(part) for part in found] == shown


def test_the_end_of_another_run(known: Known) -> None:
    """A `run_done` that is not the shown run's passes, but of what the client's run did not store."""
    known.run("r", stream_mode="custom")
    known.run("s", stream_mode="custom", stream_resumable=True)
    done = event("metadata", RUN_DONE, 25)
    head = stream("s", 21)
    assert through(known.thread(cursor="-", now=20), head[0], done, head[4]) == [head[0], done, head[4]]
    assert through(known.thread(cursor="-", now=40), head[0], done, head[4]) == [head[0], head[4]]


def test_names_of_all_functions(known: Known) -> None:
    """A narrowing of events asks nothing."""
    make: list[Callable[[], Narrowing]] = [known.post, lambda: known.join(known.run()), known.thread]
    for one in make:
        assert one().question is None
        assert one().answer(b"") == []
