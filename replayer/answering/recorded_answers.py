"""Recorded answers to reads: which recorded request is this one, and was the thread as far then as it is now.

Pure. One rule: a recorded read is played only at the stage at which it was recorded; the n-th such read gets the n-th.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphtape.cassettes.calls import RecordedCall, parsed_or_none
from graphtape.cassettes.runs import RecordedThread
from graphtape.cassettes.streams import decoded_body
from graphtape.protocol.ids import NO_IDS, IdMap, harvest
from graphtape.protocol.mask import is_masked, may_be, same_but_stars
from graphtape.replayer.answering.answers import Reply, Turn
from graphtape.replayer.answering.replies import recorded_plan
from graphtape.replayer.changes import nth_or_last
from graphtape.replayer.play import Play
from graphtape.replayer.thread import SessionThread, Stage

_STATE_EVENTS = frozenset(("metadata", "values", "updates", "checkpoints", "tasks", "debug", "error"))


def same_query(recorded: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]]) -> bool:
    """Whether two queries ask the same: order between names does not count; a masked value matches anything."""
    if Counter(recorded) == Counter(asked):
        return True
    if len(recorded) != len(asked):
        return False
    return all(
        key == other_key and may_be(value, other_value)
        for (key, value), (other_key, other_value) in zip(sorted(recorded), sorted(asked), strict=True)
    )


def same_body(recorded: bytes, asked: bytes, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether two bodies say the same, as far as masks let it be seen: equal bytes, or equal JSON.

    Args:
        but: fields of the outermost object that do not count.
    """
    if recorded == asked or same_but_stars(recorded, asked):
        return True
    one, other = parsed_or_none(recorded), parsed_or_none(asked)
    if but and isinstance(one, dict) and isinstance(other, dict):
        one, other = ({key: side[key] for key in side.keys() - but} for side in (one, other))
    return one is not None and _same_json(one, other)


def _same_json(recorded: Any, asked: Any) -> bool:
    if is_masked(recorded):
        return True
    if isinstance(recorded, dict) and isinstance(asked, dict):
        return all(_same_json(recorded.get(key), asked.get(key)) for key in recorded.keys() | asked.keys())
    if isinstance(recorded, list) and isinstance(asked, list):
        return len(recorded) == len(asked) and all(map(_same_json, recorded, asked))
    if isinstance(recorded, str) and isinstance(asked, str):
        return may_be(recorded, asked)
    # To Python true equals 1; to JSON it does not.
    return isinstance(recorded, bool) is isinstance(asked, bool) and bool(recorded == asked)


def recorded_answer(
    call: RecordedCall,
    thread: SessionThread | None,
    recorded: RecordedThread | None,
    *,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> Reply:
    """A recorded answer with the ids that this thread goes by."""
    ids = NO_IDS
    if thread is not None:
        found: set[str] = set()
        if thread.scope(recorded):
            found = harvest(parsed_or_none(decoded_body(call.exchange())))
        ids = thread.ids_for(found, recorded)
    plan = recorded_plan(call, ids, extra=extra)
    return Reply(plan, note=broken_note(plan.detail), recorded=True)


def broken_note(detail: str) -> str:
    """What the log says of an answer that will break off where its recording did."""
    return f"(incomplete: {detail}; the connection will break where the recording ends)" if detail else ""


def staged_read(turn: Turn, thread: SessionThread) -> Reply | None:
    """The recorded answer to the same read at the same stage of the same thread, if there is one."""
    stage = thread.stage(turn.now_ns)
    return _read_at(turn, thread, stage) if stage.exact else None


def recorded_thread_stream(turn: Turn, thread: SessionThread) -> RecordedCall | None:
    """The recorded stream of the same thread that was asked for at the same stage; the n-th gets the n-th."""
    recorded, *wanted, exact = thread.stage(turn.now_ns)
    if recorded is None or not exact:
        return None
    equal = [
        call
        for call in recorded.streams
        if recorded.stage_at(call.started) == tuple(wanted) and same_query(call.query, turn.asked.query)
    ]
    return _next_of(equal, thread, (turn.operation, *wanted, tuple(sorted(turn.asked.query))))


def _next_of(
    equal: Sequence[RecordedCall], thread: SessionThread, key: tuple[object, ...]
) -> RecordedCall | None:
    """The last one serves all later ones: at a stage that lasts, clients read as often as they like."""
    if not equal:
        return None
    thread.reads[key] += 1
    return nth_or_last(equal, thread.reads[key] - 1)


def _read_at(turn: Turn, thread: SessionThread, stage: Stage) -> Reply | None:
    recorded = stage.recorded
    if recorded is None:
        return None
    # Which recorded thread this one plays is known before its first run has told its ids.
    back = IdMap({**thread.ids, recorded.thread_id: thread.thread_id}).inverse()
    params = {name: back.apply_text(value) for name, value in turn.params.items()}
    params["thread_id"] = recorded.thread_id
    query = [(name, back.apply_text(value)) for name, value in turn.asked.query]
    body = back.apply(turn.asked.body)
    wanted = (stage.done, stage.in_flight)
    equal = [
        read
        for read in sorted((*recorded.reads, *recorded.failed_reads), key=lambda read: read.order)
        if read.operation == turn.operation
        and dict(read.params) == params
        and recorded.stage_at(read.started) == wanted
        and (not stage.in_flight or _same_position(read, thread, turn.now_ns))
        and same_query(read.query, query)
        and same_body(read.request_body(), body)
    ]
    key = (turn.operation, wanted, tuple(sorted(params.items())), tuple(sorted(query)), body)
    found = _next_of(equal, thread, key)
    return None if found is None else recorded_answer(found, thread, recorded)


def _same_position(read: RecordedCall, thread: SessionThread, now_ns: int) -> bool:
    """Whether a read inside of runs saw as much of each as has been shown here: as many changes of the state."""
    open_runs = thread.open_runs(now_ns)
    return bool(open_runs) and all(_at_same_position(read, play, now_ns) for play in open_runs)


def _at_same_position(read: RecordedCall, play: Play, now_ns: int) -> bool:
    if play.cancelled_ns is not None:
        return False
    if play.seen.silent:
        waited = play.run.pending_until is not None and read.started <= play.run.pending_until
        return waited is (play.status(now_ns) == "pending")
    elapsed_ns = read.summary.at_ns - play.run.call.summary.at_ns
    changes = [moves_state(event.block.name or "") for event in play.tape.events]
    if not any(changes):
        changes = [True] * len(changes)  # nothing better shows how far it is
    seen = sum(1 for event in play.tape.events if event.at_ns <= elapsed_ns)
    return sum(changes[:seen]) == sum(changes[: play.sources_shown(now_ns)])


def moves_state(name: str) -> bool:
    """Whether an event of this name can tell of a new state: what nodes write meanwhile (`custom`, messages) cannot."""
    return name.partition("|")[0] in _STATE_EVENTS
