"""Any other recorded route, as plain HTTP.

Pure. One rule: a request is answered by a recording of the same method, path, query and body, in recorded order; ids of
this session's threads and runs count as the recorded ones, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.runs import RecordedThread
from graphtape.protocol.ids import IdMap, places_of_ids
from graphtape.protocol.mask import may_be
from graphtape.replayer.answering.answers import Reply, Turn
from graphtape.replayer.answering.recorded_answers import (
    broken_note,
    recorded_answer,
    same_body,
    same_query,
)
from graphtape.replayer.answering.replies import recorded_plan
from graphtape.replayer.thread import SessionThread


def plain_answer(turn: Turn, *, status: int | None = None) -> Reply | None:
    """The recorded answer to the same request: the n-th gets the n-th, then they start again.

    Args:
        status: only answers of this status.
    """
    threads, key, equal = _same_requests(turn)
    equal = [call for call in equal if status in (None, call.summary.status)]
    if not equal:
        return None
    if turn.session.options.broken_last:
        equal = [call for call in equal if not call.broken] or equal
    return _as_recorded(turn, turn.session.nth((status, *key), equal), threads)


def outage(turn: Turn) -> Reply | None:
    """The recorded answer, if the n-th request like this one failed for reasons that lie outside it; else None."""
    if not turn.session.tapes.outages:
        return None
    threads, key, equal = _same_requests(turn)
    if turn.session.tapes.outages.isdisjoint(call.order for call in equal):
        return None
    position = turn.session.times_asked(key)
    if position < len(equal) and equal[position].order in turn.session.tapes.outages:
        return _as_recorded(turn, equal[position], threads)
    return None


def _same_requests(turn: Turn) -> tuple[list[SessionThread], tuple[object, ...], list[RecordedCall]]:
    """(the threads that it names, what it is, the recorded requests like it)."""
    threads = _threads_named(turn)
    key, equal = _like_this(turn, {old: new for thread in threads for old, new in _ids_of(thread).items()})
    if equal or len(threads) != 1 or threads[0].plays or threads[0].created is None:
        return threads, key, equal
    # Which recorded thread a new one stands for is a guess until something is done in it: this may tell.
    (thread,) = threads
    for recorded in _threads_of_such(turn):
        other_key, other = _like_this(turn, {recorded.thread_id: thread.thread_id})
        if other:
            thread.origin = recorded
            return threads, other_key, other
    return threads, key, equal


def _like_this(turn: Turn, ids: Mapping[str, str]) -> tuple[tuple[object, ...], list[RecordedCall]]:
    asked = turn.asked
    back = IdMap(ids).inverse()
    path = back.apply_text(asked.path)
    query = tuple((name, back.apply_text(value)) for name, value in asked.query)
    body = back.apply(asked.body)
    methods = ("HEAD", "GET") if asked.method == "HEAD" else (asked.method,)
    equal = [
        call
        for call in turn.session.tapes.calls
        if call.answered
        and call.summary.method in methods
        and may_be(call.path, path)
        and same_query(call.query, query)
        and same_body(call.request_body(), body)
    ]
    return (asked.method, path, tuple(sorted(query)), body), equal


_THREADS_TRIED = 20
"""Each costs a look at all calls."""


def _threads_of_such(turn: Turn) -> list[RecordedThread]:
    """The created threads of which the same operation was recorded, the first of them."""
    tapes = turn.session.tapes
    named = (
        call.params["thread_id"]
        for call in tapes.calls
        if call.operation is turn.operation and "thread_id" in call.params
    )
    found = (tapes.threads.get(thread_id) for thread_id in dict.fromkeys(named))
    return list(islice((one for one in found if one is not None and one.created is not None), _THREADS_TRIED))


def _as_recorded(turn: Turn, call: RecordedCall, threads: list[SessionThread]) -> Reply:
    """A recorded answer with the ids that the threads of the request go by."""
    if len(threads) <= 1:
        thread = threads[0] if threads else None
        recorded = turn.session.tapes.threads.get(_recorded_id(call.params, thread))
        return recorded_answer(call, thread, recorded)
    # Which of them an id that only the answer has is of, nothing says.
    ids = {
        old: new
        for thread in threads
        for old, new in thread.ids_for(set(), thread.recorded or thread.origin).pairs.items()
    }
    plan = recorded_plan(call, IdMap(ids))
    return Reply(plan, note=broken_note(plan.detail), recorded=True)


def _threads_named(turn: Turn) -> list[SessionThread]:
    """The threads of this session whose ids, or ids of whose runs, stand in the request; that of the path first."""
    session, asked = turn.session, turn.asked
    found = [session.known(turn.params.get("thread_id", ""))]
    query = "&".join(value for _, value in asked.query)
    text = f"{asked.path}&{query}&".encode("utf-8", "surrogateescape") + asked.body
    for start, stop in places_of_ids(text):
        identifier = text[start:stop].decode()
        play = session.runs.get(identifier)
        found.append(session.known((play.thread_id or "") if play is not None else identifier))
    return list({thread.thread_id: thread for thread in found if thread is not None}.values())


def _ids_of(thread: SessionThread) -> dict[str, str]:
    """Recorded id -> the id it goes by here, also before its first run has told."""
    if thread.origin is None or thread.plays:
        return thread.ids
    return {**thread.ids, thread.origin.thread_id: thread.thread_id}


def _recorded_id(params: Mapping[str, str], thread: SessionThread | None) -> str:
    """The recorded thread that an answer is about: that of its path, else the one that the thread stands for."""
    home = (thread.recorded or thread.origin) if thread is not None else None
    return params.get("thread_id") or (home.thread_id if home is not None else "")
