"""Answers about all threads at once: searching and counting them.

Pure. One rule: as recorded if this session has come exactly as far as the recording had, else from its threads, found,
sorted and cut as the server does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.runs import RecordedThread
from graphtape.protocol.bodies import BodySchema
from graphtape.protocol.ids import canonical_uuid
from graphtape.replayer.answering.answers import Answer, Reply, Turn, not_recorded, refused_body
from graphtape.replayer.answering.describing import READ_HOW, Json, known_of
from graphtape.replayer.answering.recorded_answers import recorded_answer, same_body
from graphtape.replayer.answering.replies import json_plan, refusal_plan
from graphtape.replayer.thread import Stamp
from graphtape.replayer.twin.objects import HIDDEN, touched


def search_threads(turn: Turn) -> Answer:
    """`POST /threads/search`: as recorded at the same stage, else the threads of this session, newest first."""
    refused = refused_body(turn, BodySchema.SEARCH_THREADS)
    if refused is not None:
        return refused
    for thread_id in turn.asked.json.get("ids") or ():
        if canonical_uuid(thread_id) is None:
            return Reply(refusal_plan(400, f"Invalid thread ID {thread_id}"))
    recorded = _recorded_overview(turn)
    if recorded is not None:
        return recorded
    body = turn.asked.json
    found = _matching(turn, body)
    if isinstance(found, Reply):
        return found
    rows = _sorted(found, body)
    offset, limit = _count(body.get("offset"), 0), _count(body.get("limit"), 10)
    cut = rows[offset : offset + limit]
    if any(not row.is_whole and _looks_at_hidden(row, body) for row in cut):
        return _unknown_values()
    page = [_selected(row, body) for row in cut]
    more = len(rows) > offset + limit
    # Not a total: one more than the page's end while there is more, as the server has it.
    total = offset + len(page) + (1 if more else 0)
    extra = [(b"x-pagination-total", str(total).encode())]
    if more:
        extra.append((b"x-pagination-next", str(offset + limit).encode()))
    like = turn.session.first_answered
    return Reply(json_plan(200, page, like=like, derived="threads", extra=tuple(extra)))


def count_threads(turn: Turn) -> Answer:
    """`POST /threads/count`: a bare number."""
    refused = refused_body(turn, BodySchema.COUNT_THREADS)
    if refused is not None:
        return refused
    recorded = _recorded_overview(turn)
    if recorded is not None:
        return recorded
    found = _matching(turn, turn.asked.json)
    if isinstance(found, Reply):
        return found
    return Reply(json_plan(200, len(found), like=turn.session.first_answered, derived="threads"))


def _recorded_overview(turn: Turn) -> Reply | None:
    """The recorded answer to an equal request, if this session has come exactly as far as the recording had."""
    session = turn.session
    here = {}
    for thread in turn.session.visible_threads(turn.now_ns):
        recorded, done, in_flight, exact = thread.stage(turn.now_ns)
        if thread.deep and not thread.plays:
            continue
        own = recorded is not None and recorded.thread_id == thread.thread_id
        if recorded is None or not own or in_flight or not exact or any(thread.scopes.values()):
            return None
        here[recorded.thread_id] = done
    equal = []
    for call in session.tapes.calls:
        if call.operation is not turn.operation or not call.answered:
            continue
        there = {
            thread.thread_id: thread.stage_at(call.started)[0]
            for thread in session.tapes.threads.values()
            if thread.cassette is call.cassette and _was_there(thread, call, here)
        }
        if there == here and same_body(call.request_body(), turn.asked.body):
            equal.append(call)
    if not equal:
        return None
    key = (turn.operation, turn.asked.body, tuple(sorted(here.items())))
    return recorded_answer(session.nth(key, equal), None, None)


def _was_there(thread: RecordedThread, call: RecordedCall, here: Mapping[str, object]) -> bool:
    """Whether a recorded overview would show a recorded thread, if it has what was asked for."""
    if thread.deleted is not None and thread.deleted.ended <= call.started:
        return False
    if thread.created is not None:
        return thread.created.ended <= call.started
    if thread.is_hidden:
        first = thread.steps[0]
        return first.call.started <= call.started and not (thread.temporary and first.done <= call.started)
    return thread.thread_id in here


@dataclass(frozen=True, slots=True)
class _Row:
    """A thread's object, and when it was changed on the session's clock."""

    value: Json
    is_whole: bool
    """Nothing is missing because no stream shows it."""
    touched: dict[str, Stamp]


def _matching(turn: Turn, body: Json) -> list[_Row] | Reply:
    """The threads that were asked for, oldest first; a refusal if nothing shows whether one is among them."""
    status, ids, wanted = (
        body.get("status"),
        set(map(canonical_uuid, body.get("ids") or ())),
        body.get("values") or {},
    )
    rows = []
    for thread in turn.session.visible_threads(turn.now_ns):
        row, whole = known_of(turn, thread)
        if (
            (not status or row.get("status", status) == status)
            and (not ids or row["thread_id"] in ids)
            and contains(row.get("metadata") or {}, body.get("metadata") or {})
        ):
            if "status" not in row and status in ("busy", "error"):
                continue  # it is one of the other two
            if (wanted and not whole) or (status and "status" not in row):
                return _unknown_values()
            # A copy has no values, which the server does not look into then.
            if "values" not in row or contains(row["values"] or {}, wanted):
                rows.append(_Row(row, whole, touched(thread, turn.now_ns)))
    return rows


def _looks_at_hidden(row: _Row, body: Json) -> bool:
    """Whether an answer tells what is unknown of a thread."""
    select, extract = body.get("select"), body.get("extract")
    roots = {re.split(r"[.\[]", path)[0] for path in extract.values()} if isinstance(extract, dict) else set()
    hidden = HIDDEN if "status" in row.value else {*HIDDEN, "status"}
    return not select or not hidden.isdisjoint({*select, *roots})


def _unknown_values() -> Reply:
    return not_recorded("The values of one of these threads", READ_HOW)


def contains(whole: Any, part: Json) -> bool:
    """Whether an object has these members, and objects in it theirs."""
    return isinstance(whole, dict) and all(
        key in whole and (contains(whole[key], value) if isinstance(value, dict) else whole[key] == value)
        for key, value in part.items()
    )


def _sorted(rows: list[_Row], body: Json) -> list[_Row]:
    """In the order asked for; the last changed first if none is. The recorded times of rows are not this session's."""
    key = body.get("sort_by") or "updated_at"
    ascending = body.get("sort_by") is not None and str(body.get("sort_order") or "").upper() == "ASC"

    def place(row: _Row) -> Any:
        return row.touched.get(key, row.value.get(key))

    return sorted(rows, key=place, reverse=not ascending)


def _selected(row: _Row, body: Json) -> Json:
    select, extract = body.get("select"), body.get("extract")
    found = {key: value for key, value in row.value.items() if key in select} if select else dict(row.value)
    if isinstance(extract, dict):
        found["extracted"] = {alias: _extracted(row.value, path) for alias, path in extract.items()}
    return found


def _extracted(value: Any, path: str) -> Any:
    """What a path like `values.messages[-1].content` leads to; None if to nothing."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(-?\d+)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _count(value: Any, default: int) -> int:
    try:
        return int(value) or default
    except (TypeError, ValueError):
        return default
