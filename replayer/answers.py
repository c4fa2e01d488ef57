"""What an answer can be, and what every answer needs to know.

Pure. One rule: an answer is data; the shell only sends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphtape.cassettes.runs import RecordedCall, RecordedThread, parsed_or_none
from graphtape.cassettes.streams import decoded_body
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import IdMap, harvest
from graphtape.protocol.joining import JoinFilter, ThreadFilter
from graphtape.protocol.mask import is_masked
from graphtape.protocol.operations import Operation, Resolved
from graphtape.replayer.plan import Head, Plan
from graphtape.replayer.play import Play
from graphtape.replayer.replies import NO_IDS, Asked, json_plan, recorded_plan
from graphtape.replayer.session import Session, SessionThread


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; times since the request."""

    plan: Plan
    note: str = ""
    """What the log says of it."""
    recorded: bool = False
    """Whether its times are recorded ones, to be paced."""


@dataclass(frozen=True, slots=True)
class RunStream:
    """The stream of a run that this request started."""

    play: Play
    head: Head
    note: str = ""
    after: Play | None = None
    """The run of the same thread that must be over first (`max` only; else due times say it)."""


@dataclass(frozen=True, slots=True)
class JoinStream:
    """A reader of a run's stream."""

    play: Play
    head: Head
    shows: JoinFilter
    last_event_id: str
    cancel_on_disconnect: bool = False


@dataclass(frozen=True, slots=True)
class RunWait:
    """The values of a run, once it is over; a newline every five seconds until then."""

    play: Play
    head: Head
    body: Plan | None
    """The recorded answer; None to derive it from the events when they have been shown."""
    note: str = ""
    after: Play | None = None


@dataclass(frozen=True, slots=True)
class ThreadStream:
    """A reader of all runs of a thread; never ends by itself."""

    thread_id: str
    head: Head
    shows: ThreadFilter
    last_event_id: str | None


Answer = Reply | RunStream | JoinStream | RunWait | ThreadStream


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, in its session, at its time."""

    session: Session
    asked: Asked
    resolved: Resolved | None
    now_ns: int

    @property
    def params(self) -> Mapping[str, str]:
        return self.resolved.params if self.resolved else {}

    @property
    def operation(self) -> Operation | None:
        return self.resolved.operation if self.resolved else None


def refused_view(refused: ViewRefused) -> Reply:
    """The 422 for what this recording cannot answer truthfully."""
    detail = {
        "reason": refused.reason,
        "recorded_modes": list(refused.recorded_modes),
        "how": refused.how,
    }
    return Reply(json_plan(422, {"detail": str(refused), "graphtape": detail}), note=f"422 {refused}")


def not_recorded(what: str, how: str) -> Reply:
    """The 422 for a read that neither the recording nor the streams answer."""
    detail = f"{what} was not recorded at this point, and no stream shows it. {how}"
    return Reply(
        json_plan(422, {"detail": detail, "graphtape": {"reason": what, "how": how}}), note=f"422 {detail}"
    )


def same_query(one: Sequence[tuple[str, str]], other: Sequence[tuple[str, str]]) -> bool:
    """Whether two queries ask the same: order between names does not count; a masked value matches anything."""
    if Counter(one) == Counter(other):
        return True
    if len(one) != len(other):
        return False
    return all(
        key == other_key and (value == other_value or is_masked(value))
        for (key, value), (other_key, other_value) in zip(sorted(one), sorted(other), strict=True)
    )


def same_body(recorded: bytes, asked: bytes) -> bool:
    """Whether two bodies say the same: equal bytes, or equal JSON where masked values match anything."""
    if recorded == asked:
        return True
    one, other = parsed_or_none(recorded), parsed_or_none(asked)
    return one is not None and _same_json(one, other)


def _same_json(recorded: Any, asked: Any) -> bool:
    if is_masked(recorded):
        return True
    if isinstance(recorded, dict) and isinstance(asked, dict):
        return all(_same_json(recorded.get(key), asked.get(key)) for key in recorded.keys() | asked.keys())
    if isinstance(recorded, list) and isinstance(asked, list):
        return len(recorded) == len(asked) and all(map(_same_json, recorded, asked))
    return bool(recorded == asked)


def recorded_answer(
    call: RecordedCall, thread: SessionThread | None, recorded: RecordedThread | None
) -> Reply:
    """A recorded answer with the ids that this thread goes by."""
    ids = NO_IDS
    if thread is not None:
        found: set[str] = set()
        if thread.scope(recorded):
            found = harvest(parsed_or_none(decoded_body(call.exchange())))
        ids = thread.ids_for(found, recorded)
    return Reply(recorded_plan(call, ids), recorded=True)


def staged_read(turn: Turn, thread: SessionThread) -> Reply | None:
    """The recorded answer to the same read at the same stage of the same thread, if there is one.

    The n-th such read gets the n-th recorded; the last one serves all later ones.
    """
    recorded, steps, in_flight = thread.stage(turn.now_ns)
    if recorded is None:
        return None
    back = IdMap(thread.ids).inverse()
    params = {name: back.apply_text(value) for name, value in turn.params.items()}
    params["thread_id"] = recorded.thread_id
    query = [(name, back.apply_text(value)) for name, value in turn.asked.query]
    body = back.apply(turn.asked.body)
    equal = [
        read
        for read in recorded.reads
        if read.operation == turn.operation
        and dict(read.params) == params
        and recorded.stage_at(read.started) == (steps, in_flight)
        and (not in_flight or _same_position(read, thread, turn.now_ns))
        and same_query(read.query, query)
        and same_body(read.request_body(), body)
    ]
    if not equal:
        return None
    key = (turn.operation, steps, in_flight, tuple(sorted(params.items())), tuple(sorted(query)), body)
    position = min(thread.reads[key], len(equal) - 1)
    thread.reads[key] += 1
    return recorded_answer(equal[position], thread, recorded)


def _same_position(read: RecordedCall, thread: SessionThread, now_ns: int) -> bool:
    """Whether a read inside a run saw as many of its events as have been shown here."""
    play = thread.latest
    if play is None or play.cancelled_ns is not None:
        return False
    elapsed_ns = read.summary.at_ns - play.run.call.summary.at_ns
    seen = sum(1 for event in play.tape.events if event.at_ns <= elapsed_ns)
    return seen == play.sources_shown(now_ns)
