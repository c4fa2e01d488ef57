"""Answers about threads: creating, reading, searching, changing, streaming them.

Pure. One rule: as recorded where the same stage was recorded, else derived from what the streams have shown, else a
422 that names what to record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.placing import makes_states
from graphtape.cassettes.runs import RecordedStep
from graphtape.protocol.bodies import BodySchema, Refusal
from graphtape.protocol.ids import IdMap, canonical_uuid
from graphtape.protocol.joining import InvalidThreadStream, ThreadFilter, check_thread_stream_id
from graphtape.replayer.answering.answers import Answer, Reply, ThreadStream, Turn, not_recorded, refused_body
from graphtape.replayer.answering.describing import (
    READ_HOW,
    created_object,
    creation_ids,
    described_thread,
    known_of,
)
from graphtape.replayer.answering.misses import plain_miss
from graphtape.replayer.answering.plain import plain_answer
from graphtape.replayer.answering.recorded_answers import (
    recorded_answer,
    recorded_thread_stream,
    same_body,
    staged_read,
)
from graphtape.replayer.answering.replies import json_plan, recorded_plan, refusal_plan, stream_head
from graphtape.replayer.answering.searching import contains
from graphtape.replayer.thread import Change, SessionThread, Update
from graphtape.replayer.twin.metadata import tells_otherwise, thread_metadata
from graphtape.replayer.twin.objects import thread_object
from graphtape.replayer.twin.state_updates import told_of
from graphtape.replayer.twin.states import (
    copied_states,
    empty_state,
    newest_states,
    thread_history,
    thread_state,
    values_so_far,
)

_INTEGER = re.compile(r"\s*[+-]?\d+\s*")
"""As the server reads a number in a query."""

_OWN_ID = frozenset(("thread_id",))
"""What two clients that create the same thread give differently."""


_NO_UUID = Refusal(422, "Invalid thread ID: must be a UUID")
_UNKNOWN_THREAD = Refusal(404, "Thread with ID {given} not found")
UNKNOWN_BY_ITS_ID = Refusal(404, "Thread with ID {thread_id} not found")
"""Of those that repeat the id and not its spelling."""


def with_thread(
    answer: Callable[[Turn, SessionThread], Answer],
    schema: BodySchema | None = None,
    *,
    no_uuid: Refusal = _NO_UUID,
    unknown: Refusal = _UNKNOWN_THREAD,
) -> Callable[[Turn], Answer]:
    """The answer for a thread that exists, or the server's refusal.

    Args:
        schema: of the body, where the server looks at it before it looks for the thread.
        no_uuid: its answer to an id that is none.
        unknown: its answer to one of no thread.
    """

    def found(turn: Turn) -> Answer:
        thread_id = turn.params.get("thread_id", "")
        if canonical_uuid(thread_id) is None:
            return Reply(refusal_plan(*no_uuid))
        refused = refused_body(turn, schema) if schema is not None else None
        if refused is not None:
            return refused
        thread = turn.session.thread(thread_id, turn.now_ns)
        if thread is not None and thread.temporary:
            # Whoever reads a thread finds a run over that nobody streams, and this one is deleted with its run.
            turn.session.complete_unwatched(thread)
            thread = turn.session.thread(thread_id, turn.now_ns)
        if thread is None:
            # A recorded refusal is a recording like any other, if it was always refused.
            recorded = plain_answer(turn) if thread_id not in turn.session.tapes.threads else None
            if recorded is not None and recorded.head.status >= HTTPStatus.BAD_REQUEST:
                return recorded
            detail = unknown.detail.format(thread_id=thread_id, given=turn.given["thread_id"])
            return Reply(refusal_plan(unknown.status, detail))
        return answer(turn, thread)

    return found


def create_thread(turn: Turn) -> Answer:
    """`POST /threads`: the n-th gets the id of the n-th recorded creation."""
    refused = refused_body(turn, BodySchema.CREATE_THREAD)
    if refused is not None:
        return refused
    body = turn.asked.json
    brought = body.get("thread_id") or None
    if brought is not None:
        brought = canonical_uuid(brought)
        if brought is None:
            return Reply(refusal_plan(*_NO_UUID))
        existing = _existing(turn, brought)
        if existing is not None:
            if body.get("if_exists") == "do_nothing":
                return _as_it_is(turn, existing)
            return Reply(refusal_plan(409, f"Thread with ID {brought} already exists"))
    creations = turn.session.tapes.creations
    equal = [call for call in creations if same_body(call.request_body(), turn.asked.body, but=_OWN_ID)]
    equal = _first_own(equal, brought)
    if makes_states(body) and not equal:
        return not_recorded("What the supersteps make of a thread", "Record this very POST /threads.")
    plain = [call for call in creations if not makes_states(call.request_json())]
    call = turn.session.next_creation(equal or plain)
    metadata = body.get("metadata")
    thread = turn.session.create_thread(
        call, brought, metadata if isinstance(metadata, dict) else {}, now_ns=turn.now_ns
    )
    if makes_states(body) and call is not None:
        _begin_with_states(turn, thread)
    if call is None or not equal:
        value = thread_object(thread, created_object(thread), turn.now_ns)
        return Reply(json_plan(200, value, like=call, derived="thread"))
    return Reply(recorded_plan(call, creation_ids(thread)), recorded=True)


def _begin_with_states(turn: Turn, thread: SessionThread) -> None:
    """What the supersteps made of it stands in its recorded creation and in recorded reads."""
    made = created_object(thread)
    if made is not None:
        thread.inherited, thread.first_status = None, str(made.get("status"))
        turn.session.begins_with_states(thread)


def _existing(turn: Turn, thread_id: str) -> SessionThread | None:
    """A thread of this session, or one that was there before the recording."""
    recorded = turn.session.tapes.threads.get(thread_id)
    if recorded is not None and recorded.is_older:
        return turn.session.thread(thread_id, turn.now_ns)
    started = turn.session.started_thread(thread_id)
    return None if started is None or started.gone(turn.now_ns) else started


def _first_own(creations: list[RecordedCall], brought: str | None) -> list[RecordedCall]:
    """Of equal creations, the one that was recorded with the very id that the client brings, if there is one."""
    own = [call for call in creations if brought is not None and brought.encode() in call.request_body()]
    return own or creations


def read_thread(turn: Turn, thread: SessionThread) -> Answer:
    """`GET /threads/{t}`."""
    turn.session.complete_unwatched(thread)
    recorded = staged_read(turn, thread)
    if recorded is not None and not tells_otherwise(thread):
        return recorded
    value = described_thread(turn, thread)
    if value is None:
        return recorded or not_recorded("The thread", READ_HOW)
    return Reply(json_plan(200, value, like=_like(thread), derived="thread"))


def _as_it_is(turn: Turn, thread: SessionThread) -> Reply:
    """The thread, for a request that changes it: it has done what was asked, so it says of it what is known."""
    turn.session.complete_unwatched(thread)
    value, is_whole = known_of(turn, thread)
    if is_whole:
        return Reply(json_plan(200, value, like=_like(thread), derived="thread"))
    note = "(without the thread's values: nothing recorded shows them)"
    return Reply(json_plan(200, value, like=_like(thread), derived="thread without values"), note)


def _like(thread: SessionThread) -> RecordedCall | None:
    return thread.runs[-1].run.call if thread.runs else thread.created


def read_state(turn: Turn, thread: SessionThread) -> Answer:
    """`GET /threads/{t}/state`."""
    if _is_respelled(turn):
        return Reply(json_plan(200, empty_state(), like=_like(thread), derived="state"))
    turn.session.complete_unwatched(thread)
    recorded = staged_read(turn, thread)
    if recorded is not None:
        return recorded
    turn.session.open_deep_link(thread, turn.now_ns)
    state = thread_state(thread, turn.now_ns)
    if state is None:
        return not_recorded("The state of the thread", READ_HOW)
    return Reply(json_plan(200, state, like=_like(thread), derived="state"))


def read_state_at(turn: Turn, thread: SessionThread) -> Answer:
    """`GET /threads/{t}/state/{checkpoint}` and `POST /threads/{t}/state/checkpoint`."""
    recorded = staged_read(turn, thread) if not _is_respelled(turn) else None
    if recorded is not None:
        return recorded
    turn.session.open_deep_link(thread, turn.now_ns)
    body = turn.asked.json
    asked = body.get("checkpoint") if isinstance(body, dict) else None
    wanted = turn.params.get("checkpoint_id") or (
        asked.get("checkpoint_id") if isinstance(asked, dict) else None
    )
    states = thread_history(thread, turn.now_ns) if not _is_respelled(turn) else []
    state = thread_state(thread, turn.now_ns) if not wanted else None
    if state is None:
        state = next((one for one in states or () if one["checkpoint_id"] == wanted), None)
    if state is None and states is not None:
        # No checkpoint of the thread, which the server does not mind.
        named = {"checkpoint_id": wanted, **(asked or {}), "thread_id": turn.given["thread_id"]}
        state = (
            {**empty_state(), "checkpoint": named, "checkpoint_id": wanted} if thread.runs else empty_state()
        )
    if state is None:
        return not_recorded(f"The state at checkpoint {wanted}", READ_HOW)
    return Reply(json_plan(200, state, like=_like(thread), derived="state"))


def read_history(turn: Turn, thread: SessionThread) -> Answer:
    """`GET` and `POST /threads/{t}/history`: newest first; one state unless a limit is given."""
    asked_limit = turn.asked.all_of("limit") if turn.asked.method == "GET" else []
    if asked_limit and not _INTEGER.fullmatch(asked_limit[-1]):
        return Reply(refusal_plan(422, f"Invalid limit {asked_limit[-1]}"))
    if _is_respelled(turn):
        return Reply(json_plan(200, [], like=_like(thread), derived="history"))
    turn.session.complete_unwatched(thread)
    recorded = staged_read(turn, thread)
    if recorded is not None:
        return recorded
    turn.session.open_deep_link(thread, turn.now_ns)
    body = turn.asked.json if turn.asked.method == "POST" else dict(turn.asked.query)
    options = body if isinstance(body, dict) else {}
    limit = _count(options.get("limit"), 1)
    before = options.get("before")
    if isinstance(before, dict):
        before = before.get("checkpoint_id") or (before.get("configurable") or {}).get("checkpoint_id")
    states, complete = newest_states(thread, turn.now_ns)
    if not states and not complete:
        known, values = values_so_far(thread, turn.now_ns)
        state = thread_state(thread, turn.now_ns) if known and values is not None else None
        states, complete = ([state], True) if state is not None else ([], False)
    if before:
        # Ids of checkpoints rise with time, as texts too.
        states = [state for state in states if (state["checkpoint_id"] or "") < before]
    metadata = options.get("metadata")
    if isinstance(metadata, dict) and metadata:
        states = [state for state in states if contains(state["metadata"] or {}, metadata)]
    if not complete and len(states) < limit:
        return not_recorded("The history of the thread", READ_HOW)
    return Reply(json_plan(200, states[:limit], like=_like(thread), derived="history"))


def _is_respelled(turn: Turn) -> bool:
    """The server keeps states by the id as it is spelled in the path, and finds none in another spelling."""
    return turn.given["thread_id"] != turn.params["thread_id"]


def _count(value: Any, default: int) -> int:
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return default


def update_state(turn: Turn, thread: SessionThread) -> Answer:
    """`POST /threads/{t}/state`: a recorded update of the thread it plays, the next in order first."""
    recorded = thread.stage(turn.now_ns).recorded
    back = IdMap(thread.ids).inverse()
    body = back.apply(turn.asked.body)
    equal: list[RecordedStep] = [
        step
        for step in (recorded.steps if recorded is not None else [])
        if step.run is None and same_body(step.call.request_body(), body)
    ]
    if recorded is None or not equal:
        return plain_answer(turn) or plain_miss(turn)
    positions = [recorded.steps.index(step) for step in equal]
    position = next((one for one in positions if one >= thread.next_step), positions[0])
    reply = recorded_answer(recorded.steps[position].call, thread, recorded)
    update = Update(position, recorded, told_of(thread, recorded, position))
    turn.session.updated(thread, update, now_ns=turn.now_ns)
    return reply


def update_thread(turn: Turn, thread: SessionThread) -> Answer:
    """`PATCH /threads/{t}`: metadata is merged."""
    recorded = plain_answer(turn)
    if recorded is not None and recorded.head.status >= HTTPStatus.BAD_REQUEST:
        return recorded
    metadata = turn.asked.json.get("metadata") or {}
    change = Change(turn.session.stamp(turn.now_ns), metadata, is_recorded=recorded is not None)
    thread.changes.append(change)
    wants_nothing = turn.asked.headers.get("prefer") == "return=minimal"
    if recorded is not None and (recorded.head.status == HTTPStatus.NO_CONTENT) is wants_nothing:
        return recorded
    if wants_nothing:
        return Reply(json_plan(204, None, like=_like(thread)))
    return _as_it_is(turn, thread)


def delete_thread(turn: Turn, thread: SessionThread) -> Answer:
    """`DELETE /threads/{t}`."""
    like = _like(thread)
    _delete(turn, thread)
    return Reply(json_plan(204, None, like=like))


def _delete(turn: Turn, thread: SessionThread) -> None:
    for play in thread.runs:
        play.cancel(turn.now_ns)
    turn.session.delete_thread(thread.thread_id)


def prune_threads(turn: Turn) -> Answer:
    """`POST /threads/prune`: deletes several threads; what else it can do to them only a recording shows."""
    refused = refused_body(turn, BodySchema.PRUNE_THREADS)
    if refused is not None:
        return refused
    thread_ids = [canonical_uuid(thread_id) for thread_id in turn.asked.json["thread_ids"]]
    if None in thread_ids:
        return Reply(refusal_plan(*_NO_UUID))
    recorded = plain_answer(turn)
    if turn.asked.json.get("strategy", "delete") != "delete":
        return recorded or plain_miss(turn)
    if recorded is not None and recorded.head.status >= HTTPStatus.BAD_REQUEST:
        return recorded
    found = [turn.session.thread(thread_id or "", turn.now_ns) for thread_id in dict.fromkeys(thread_ids)]
    threads = [thread for thread in found if thread is not None]
    for thread in threads:
        _delete(turn, thread)
    like = turn.session.first_answered
    return recorded or Reply(json_plan(200, {"pruned_count": len(threads)}, like=like, derived="threads"))


def copy_thread(turn: Turn, thread: SessionThread) -> Answer:
    """`POST /threads/{t}/copy`: a new thread with the same states, without the runs."""
    turn.session.complete_unwatched(thread)
    turn.session.open_deep_link(thread, turn.now_ns)
    call = _recorded_copy(turn, thread)
    states = thread_history(thread, turn.now_ns)
    if states is None:
        state = thread_state(thread, turn.now_ns)
        states = [state] if state is not None else None
    copy = turn.session.create_thread(call, None, thread_metadata(thread), now_ns=turn.now_ns)
    copy.is_copy = True
    copy.inherited = None if states is None else copied_states(states, copy.thread_id)
    # What it has from the other thread goes by the same ids in both.
    copy.ids.update(thread.ids)
    turn.session.begins_with_states(copy)
    if call is not None:
        return recorded_answer(call, copy, copy.origin)
    value = thread_object(copy, None, turn.now_ns)
    return Reply(json_plan(200, value, like=_like(thread), derived="thread"))


def _recorded_copy(turn: Turn, thread: SessionThread) -> RecordedCall | None:
    """The recorded copy that was made at this very stage, the next in order."""
    recorded, done, in_flight, exact = thread.stage(turn.now_ns)
    if recorded is None or not exact:
        return None
    equal = [call for call in recorded.copies if recorded.stage_at(call.started) == (done, in_flight)]
    return turn.session.next_creation(equal)


def join_thread_stream(turn: Turn) -> Answer:
    """`GET /threads/{t}/stream`: all runs of a thread, for ever (docs/agent-server.md, section 8)."""
    thread_id = turn.params.get("thread_id", "")
    if canonical_uuid(thread_id) is None:
        return Reply(refusal_plan(422, "Invalid thread ID: must be a UUID"))
    try:
        docs = turn.session.options.docs_semantics
        shows = ThreadFilter.parse(turn.asked.all_of("stream_modes"), docs_semantics=docs)
        last_event_id = check_thread_stream_id(turn.asked.headers.get("last-event-id"))
    except InvalidThreadStream as invalid:
        return Reply(refusal_plan(422, invalid.detail))
    thread = turn.session.thread(thread_id, turn.now_ns)
    like = None
    if thread is not None:
        like = recorded_thread_stream(turn, thread) or _like(thread)
        turn.session.open_deep_link(thread, turn.now_ns)
    return ThreadStream(thread_id, stream_head(like), shows, last_event_id)


def read_info(turn: Turn) -> Answer:
    """`GET /info`: as recorded, else what a client looks at to see that a server is there."""
    recorded = plain_answer(turn)
    if recorded is not None:
        return recorded
    flags = {"assistants": True, "crons": True, "langsmith": False}
    return Reply(json_plan(200, {"version": "graphtape", "flags": flags}, derived="info"))


def read_ok(turn: Turn) -> Answer:
    """`GET /ok` and `GET /`."""
    like = next((call for call in turn.session.tapes.calls if call.answered), None)
    return plain_answer(turn) or Reply(json_plan(200, {"ok": True, "services": {}}, extra=(), like=like))
