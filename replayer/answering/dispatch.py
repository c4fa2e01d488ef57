"""The operations table of the mock: which function answers which operation.

Pure. One rule: what has no row is answered as plain HTTP from the recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from graphtape.protocol.bodies import BodySchema, Refusal
from graphtape.protocol.operations import Kind, Operation, Resolved, allowed_methods, redirect, resolve
from graphtape.replayer.answering import run_answers as runs
from graphtape.replayer.answering import searching
from graphtape.replayer.answering import thread_answers as threads
from graphtape.replayer.answering.answers import Answer, Reply, ThreadStream, Turn
from graphtape.replayer.answering.misses import plain_miss
from graphtape.replayer.answering.plain import outage, plain_answer
from graphtape.replayer.answering.replies import Asked, json_plan, origin_headers, refusal_plan
from graphtape.replayer.answering.start_answers import start_run
from graphtape.replayer.plan import Head, Plan
from graphtape.replayer.session import Session

_O = Operation
ANSWERS: Final[Mapping[Operation, Callable[[Turn], Answer]]] = {
    _O.OK: threads.read_ok,
    _O.ROOT: threads.read_ok,
    _O.INFO: threads.read_info,
    _O.STREAM_RUN: start_run,
    _O.WAIT_RUN: start_run,
    _O.CREATE_RUN: start_run,
    _O.STREAM_STATELESS_RUN: start_run,
    _O.WAIT_STATELESS_RUN: start_run,
    _O.CREATE_STATELESS_RUN: start_run,
    _O.JOIN_RUN_STREAM: runs.join_stream,
    _O.JOIN_RUN: runs.join_run,
    _O.CANCEL_RUN: runs.cancel_run,
    _O.CANCEL_RUNS: runs.cancel_runs,
    _O.GET_RUN: runs.get_run,
    _O.DELETE_RUN: runs.delete_run,
    _O.LIST_RUNS: threads.with_thread(runs.list_runs),
    _O.CREATE_THREAD: threads.create_thread,
    _O.SEARCH_THREADS: searching.search_threads,
    _O.COUNT_THREADS: searching.count_threads,
    _O.PRUNE_THREADS: threads.prune_threads,
    _O.GET_THREAD: threads.with_thread(threads.read_thread),
    _O.UPDATE_THREAD: threads.with_thread(
        threads.update_thread, BodySchema.PATCH_THREAD, unknown=Refusal(404, "Not Found")
    ),
    _O.DELETE_THREAD: threads.with_thread(threads.delete_thread, unknown=threads.UNKNOWN_BY_ITS_ID),
    _O.GET_STATE: threads.with_thread(threads.read_state, unknown=threads.UNKNOWN_BY_ITS_ID),
    _O.GET_STATE_AT_CHECKPOINT: threads.with_thread(threads.read_state_at, unknown=threads.UNKNOWN_BY_ITS_ID),
    _O.SEARCH_STATE_AT_CHECKPOINT: threads.with_thread(
        threads.read_state_at, BodySchema.STATE_AT_CHECKPOINT, unknown=threads.UNKNOWN_BY_ITS_ID
    ),
    _O.UPDATE_STATE: threads.with_thread(threads.update_state, BodySchema.UPDATE_STATE),
    _O.GET_HISTORY: threads.with_thread(threads.read_history),
    _O.SEARCH_HISTORY: threads.with_thread(threads.read_history, BodySchema.SEARCH_STATES),
    _O.COPY_THREAD: threads.with_thread(
        threads.copy_thread,
        no_uuid=Refusal(400, "badly formed hexadecimal UUID string"),
        unknown=Refusal(409, "Conflict"),
    ),
    _O.JOIN_THREAD_STREAM: threads.join_thread_stream,
}

_WITHOUT_CONTENT: Final = (HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT)
_FAIL_IN_THEIR_PLACE: Final = frozenset((Kind.STARTS_RUN, Kind.READS_RUN, Kind.READS_THREAD, Kind.SERVER))

_STATELESS_RUN: Final = re.compile(r"/runs/[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?:/|\Z)")


def answer(session: Session, asked: Asked, now_ns: int) -> Answer:
    """What the mock answers to a request.

    Args:
        session: what it remembers; changed by the answer.
        now_ns: the session's clock.
    """
    turn = Turn(session, asked, resolve(asked.method, asked.path), now_ns)
    found = _answer(turn)
    if isinstance(found, ThreadStream) or (isinstance(found, Reply) and not found.recorded):
        found = _dated(found, session)
    return _spelled(found, turn.resolved) if turn.resolved is not None else found


def _spelled(found: Answer, resolved: Resolved) -> Answer:
    """An answer whose locations spell the ids of the path as the path does."""
    if not resolved.is_respelled:
        return found
    spellings = [
        (f"{place}/{resolved.params[name]}".encode(), f"{place}/{resolved.given[name]}".encode())
        for name, place in (("thread_id", "/threads"), ("run_id", "/runs"))
        if name in resolved.params
    ]

    def spelled(value: bytes) -> bytes:
        for ours, theirs in spellings:
            value = value.replace(ours, theirs)
        return value

    fields = (
        (name, spelled(value) if name.lower() in (b"location", b"content-location") else value)
        for name, value in found.head.headers
    )
    head = replace(found.head, headers=tuple(fields))
    if isinstance(found, Reply):
        return replace(found, plan=replace(found.plan, head=head))
    return replace(found, head=head)


def _dated(made: Reply | ThreadStream, session: Session) -> Answer:
    """A made-up answer with `date` and `server`, which every answer of the server begins with."""
    names = {name.lower() for name, _ in made.head.headers}
    missing = tuple(
        field for field in origin_headers(session.first_answered) if field[0].lower() not in names
    )
    if not missing:
        return made
    head = replace(made.head, headers=(*missing, *made.head.headers))
    if isinstance(made, ThreadStream):
        return replace(made, head=head)
    return replace(made, plan=replace(made.plan, head=head))


def _answer(turn: Turn) -> Answer:
    resolved = turn.resolved
    if resolved is not None and resolved.operation in ANSWERS:
        # Runs are matched with their refusals, and reads with those of their stage.
        failed = None if resolved.route.kind in _FAIL_IN_THEIR_PLACE else outage(turn)
        if failed is not None:
            return failed
        found = ANSWERS[resolved.operation](turn)
        if isinstance(found, Reply) and not found.recorded:
            return _in_recorded_words(turn, found)
        return found
    recorded = plain_answer(turn)
    if recorded is not None:
        return recorded
    if resolved is None:
        return _unrouted(turn)
    if resolved.route.kind is Kind.OTHER_PROTOCOL:
        return _other_protocol(turn)
    return plain_miss(turn)


def _in_recorded_words(turn: Turn, found: Reply) -> Reply:
    """An answer with no content but its status, as the recorded server gave it to the same request."""
    status = found.head.status
    if status >= HTTPStatus.BAD_REQUEST:
        return plain_answer(turn, status=status) or found
    recorded = plain_answer(turn, status=status) if status in _WITHOUT_CONTENT else None
    return found if recorded is None else replace(found, plan=replace(found.plan, head=recorded.head))


def _unrouted(turn: Turn) -> Reply:
    """No route of the server and no recording: the server's own 307, 405 or a miss."""
    path = turn.asked.path
    elsewhere = redirect(path)
    if elsewhere is not None:
        # Absolute, and with the query, as the server's.
        host = turn.asked.headers.get("host", "")
        query = f"?{turn.asked.query_text}" if turn.asked.query_text else ""
        location = f"http://{host}{elsewhere}{query}" if host else f"{elsewhere}{query}"
        fields = (
            (b"content-length", b"0"),
            (b"location", location.encode("utf-8", "replace")),
            (b"vary", b"Origin"),
        )
        return Reply(Plan(Head(307, "Temporary Redirect", fields), 0, (), 0))
    methods = allowed_methods(path)
    if methods:
        return Reply(
            json_plan(405, {"detail": "Method Not Allowed"}, extra=((b"allow", ", ".join(methods).encode()),))
        )
    if _STATELESS_RUN.match(path):
        # SDKs follow the Location of a stateless run, which leads to no route of the server either.
        return Reply(refusal_plan(404, "Not Found"))
    return plain_miss(turn)


def _other_protocol(turn: Turn) -> Reply:
    text = (
        f"{turn.asked.method} {turn.asked.path} belongs to another protocol of the server, which graphtape plays only "
        "as plain HTTP, and no equal request was recorded. Clients of the version 1 streaming API do not use it."
    )
    return Reply(refusal_plan(404, text), note=text)
