"""Which recorded call belongs to which run and thread: cassettes in, all that they show out.

Pure but for the cassettes that it reads. One rule: nothing is asked of a run or thread before every call has its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from graphtape.cassettes.calls import Moment, RecordedCall, calls_of, parsed_or_none
from graphtape.cassettes.hearsay import heard_of
from graphtape.cassettes.hiddenthreads import made_soon_after, made_thread_id, thread_in_events
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.runs import RecordedRun, RecordedStep, RecordedThread, Tapes
from graphtape.cassettes.tape import tape_of
from graphtape.protocol.ids import canonical_uuid, is_made_next
from graphtape.protocol.operations import READS_STATES, Kind, Operation, Route

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_RUN_PATH = re.compile(r"^(?:/threads/(?P<thread>[^/]+))?/runs/(?P<run>[^/?]+)")

_ANSWERED_FOR_ANY_THREAD = frozenset(
    (Operation.JOIN_RUN, Operation.JOIN_RUN_STREAM, Operation.JOIN_THREAD_STREAM)
)


def read_tapes(cassettes: Sequence[Cassette]) -> Tapes:
    """Find the runs and threads of cassettes, in the order given."""
    calls: list[RecordedCall] = []
    for cassette in cassettes:
        calls.extend(calls_of(cassette, first_order=len(calls)))
    tapes = Tapes(calls, [], {}, [])
    by_run: dict[str, RecordedRun] = {}
    for call in calls:
        if call.route is not None and call.answered:
            _place(call, call.route, tapes, by_run)
    _place_without_threads(tapes)
    for call in calls:
        if call.operation in _ANSWERED_FOR_ANY_THREAD and call.answered:
            _place_follower(call, tapes)
    for run in tapes.runs:
        if run.thread is not None and not run.refused:
            run.thread.steps.append(RecordedStep(run.call, run, run.call.ended))
    for thread in tapes.threads.values():
        thread.steps.sort(key=lambda step: step.call.order)
        for position, step in enumerate(thread.steps):
            if step.run is not None:
                step.run.step = position
    for run in tapes.runs:
        run.done = _run_done(run, tapes)
        if run.cancel is not None:
            # What is read after the cancel sees a cancelled run, however long its last step took to end.
            run.done = min(run.done, run.cancel.started)
        if run.thread is not None and not run.refused:
            run.thread.steps[run.step].done = run.done
    for thread in tapes.threads.values():
        _mark_displaced(thread)
    return tapes


def _mark_displaced(thread: RecordedThread) -> None:
    """A run that was in flight when another was started in its place was cancelled by that."""
    for position, step in enumerate(thread.steps):
        strategy = step.run.body.get("multitask_strategy") if step.run is not None else None
        if strategy not in ("interrupt", "rollback"):
            continue
        for earlier in thread.steps[:position]:
            run = earlier.run
            if run is None or step.call.started >= earlier.done:
                continue
            if run.answer == "create":
                # What told of its end later has seen that it was no longer going on then.
                run.done = earlier.done = step.call.started
                status = run.told_over[1] if run.told_over is not None else ""
                run.told_over = None if run.told_over is None else (run.done, status)
                if status not in ("", "interrupted"):
                    continue
                run.ended_by = run.done
            run.cancelled = True
            run.displaced_by = step.run


def _place(call: RecordedCall, route: Route, tapes: Tapes, by_run: dict[str, RecordedRun]) -> None:
    succeeded = not call.failed
    if route.starts_run:
        body = parsed_or_none(call.request_body())
        thread_id, run_id = _ids_of_run(call)
        run = RecordedRun(call, body if isinstance(body, dict) else {}, thread_id, run_id)
        if thread_id is not None and not run.refused:
            run.thread = _thread(tapes, thread_id, call)
        left = call.summary.ending is Ending.CLIENT_LEFT
        run.cancelled = left and run.body.get("on_disconnect") == "cancel"
        run.ended_by = call.ended if run.cancelled else None
        if run_id is not None:
            by_run[run_id] = run
        tapes.runs.append(run)
        return
    if route.operation is Operation.CREATE_THREAD:
        if succeeded:
            _place_creation(call, tapes)
        return
    for cancelled_id in _cancelled_by(call, by_run) if succeeded else ():
        if cancelled_id in by_run:
            cancelled = by_run[cancelled_id]
            cancelled.cancelled = True
            cancelled.cancel = cancelled.cancel or call
            cancelled.ended_by = cancelled.ended_by or call.started
    for gone in _deleted_by(call) if succeeded else ():
        if gone in tapes.threads:
            tapes.threads[gone].deleted = call
    thread_id = call.params.get("thread_id")
    if thread_id is None:
        return
    if route.operation is Operation.COPY_THREAD and succeeded:
        copied = call.json()
        if isinstance(copied, dict) and isinstance(copied.get("thread_id"), str):
            _thread(tapes, copied["thread_id"], call).created = call
            _thread(tapes, thread_id, call).copies.append(call)
        return
    run_id = call.params.get("run_id")
    if (
        run_id is not None
        and run_id in by_run
        and route.operation in (Operation.JOIN_RUN_STREAM, Operation.JOIN_RUN)
    ):
        by_run[run_id].joins.append(call)
        if _left_cancelling(call, by_run[run_id]):
            by_run[run_id].cancelled = True
            by_run[run_id].ended_by = by_run[run_id].ended_by or call.ended
    is_read = route.kind in (Kind.READS_THREAD, Kind.READS_RUN)
    if (
        is_read
        and not succeeded
        and call.summary.status != HTTPStatus.NOT_FOUND
        and thread_id in tapes.threads
    ):
        tapes.threads[thread_id].failed_reads.append(call)
    if succeeded and route.operation not in _ANSWERED_FOR_ANY_THREAD:
        thread = _thread(tapes, thread_id, call)
        if route.operation is Operation.UPDATE_STATE:
            thread.steps.append(RecordedStep(call, None, call.ended))
        elif route.operation in READS_STATES and call.resolved is not None and call.resolved.is_respelled:
            return  # the server finds no states there, whatever the thread has
        elif is_read:
            thread.reads.append(call)


def _place_without_threads(tapes: Tapes) -> None:
    """Give each run that was started without a thread the one that the server made for it."""
    unplaced = [run for run in tapes.runs if run.thread is None and not run.refused]
    if not unplaced:
        return
    told = {
        call.params["run_id"]: call.params["thread_id"]
        for call in tapes.calls
        if "run_id" in call.params and "thread_id" in call.params
    }
    taken = {run.thread_id for run in tapes.runs if not run.stateful}
    free = [
        thread_id
        for thread_id, thread in tapes.threads.items()
        if thread.created is None and thread_id not in taken
    ]
    for run in unplaced:
        run_id = run.run_id or ""
        near = made_soon_after(run_id, free)
        thread_id = told.get(run_id) or next((one for one in near if is_made_next(run_id, one)), None)
        if thread_id is None and near:
            # Rarely the clock went on between the two ids; then what the run itself says is worth reading.
            shown = thread_in_events(tape_of(run.call, 0).events)
            thread_id = shown if shown in near else None
        run.thread_id = thread_id or made_thread_id(run.run_id, run.order)
        run.thread = _thread(tapes, run.thread_id, run.call)


def _place_follower(call: RecordedCall, tapes: Tapes) -> None:
    """To a thread that something else shows: the server follows what does not exist with 200 too."""
    thread = tapes.threads.get(call.params["thread_id"])
    if thread is None or call.failed:
        return
    if call.operation is Operation.JOIN_THREAD_STREAM:
        thread.streams.append(call)
    elif call.operation is Operation.JOIN_RUN:
        thread.reads.append(call)


def created_thread_id(creation: RecordedCall) -> str | None:
    """The thread that a `POST /threads` made.

    If the states that it was to begin with (`supersteps`) were refused, the thread is there all the same, and the
    server names it in a sentence only (status 201).
    """
    answer = creation.json()
    created = answer if isinstance(answer, dict) else {}
    thread_id = created.get("thread_id")
    if thread_id is None and isinstance(created.get("detail"), str):
        named = _UUID.search(created["detail"])
        thread_id = named and named.group()
    return thread_id if isinstance(thread_id, str) else None


def makes_states(body: Any) -> bool:
    """Whether the body of a `POST /threads` gives the thread states to begin with."""
    return isinstance(body, dict) and bool(body.get("supersteps"))


def _place_creation(call: RecordedCall, tapes: Tapes) -> None:
    thread_id = created_thread_id(call)
    if thread_id is not None:
        thread = _thread(tapes, thread_id, call)
        if _was_there(thread, call):
            thread.reads.append(call)
            return
        thread.created = thread.created or call
        thread.deleted = None
    tapes.creations.append(call)


def _was_there(thread: RecordedThread, creation: RecordedCall) -> bool:
    """Whether the answer to a creation (`if_exists: do_nothing`) is a thread that it did not make."""
    body, answer = creation.request_json(), creation.json()
    if not (isinstance(body, dict) and body.get("if_exists") == "do_nothing" and isinstance(answer, dict)):
        return False
    before = thread.created.json() if thread.created is not None else None
    made_at = answer.get("created_at")
    seen_before = isinstance(before, dict) and before.get("created_at") == made_at
    # A thread that begins with states is changed by them at once.
    return seen_before or (answer.get("updated_at") != made_at and not makes_states(body))


def _deleted_by(call: RecordedCall) -> list[str]:
    """The threads that a request deleted."""
    if call.operation is Operation.DELETE_THREAD:
        return [call.params["thread_id"]]
    asked = parsed_or_none(call.request_body()) if call.operation is Operation.PRUNE_THREADS else None
    if not isinstance(asked, dict) or asked.get("strategy", "delete") != "delete":
        return []
    named = asked.get("thread_ids")
    return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []


def _cancelled_by(call: RecordedCall, by_run: Mapping[str, RecordedRun]) -> list[str]:
    """The runs that a request cancelled: by their ids, or by status, if they were to wait longer than until then."""
    if call.operation is Operation.CANCEL_RUN:
        return [call.params["run_id"]]
    asked = parsed_or_none(call.request_body()) if call.operation is Operation.CANCEL_RUNS else None
    if isinstance(asked, dict) and asked.get("status") in ("pending", "all"):
        return [run_id for run_id, run in by_run.items() if _waits_at(run, call.started)]
    named = asked.get("run_ids") if isinstance(asked, dict) else None
    return [run_id for run_id in named if isinstance(run_id, str)] if isinstance(named, list) else []


def _waits_at(run: RecordedRun, moment: Moment) -> bool:
    """Whether its client wanted it to wait longer than until a moment, and it was not cancelled before."""
    until = run.held_until
    return until is not None and moment[0] == until[0] and moment < until and run.ended_by is None


def _left_cancelling(join: RecordedCall, run: RecordedRun) -> bool:
    """Whether the reader of a run left it while it went on, and asked that this should end it."""
    flags = [value.lower() for name, value in join.query if name == "cancel_on_disconnect"]
    left = join.summary.ending is Ending.CLIENT_LEFT and flags[-1:] in (["true"], ["yes"], ["1"])
    went_on = run.answer == "create" or run.call.ended >= join.ended
    return left and went_on


def _thread(tapes: Tapes, thread_id: str, call: RecordedCall) -> RecordedThread:
    return tapes.threads.setdefault(thread_id, RecordedThread(thread_id, call.cassette))


def _path_of(location: str) -> str:
    """The path of a `Content-Location`, absolute or relative."""
    after_scheme = location.partition("://")[2]
    return "/" + after_scheme.partition("/")[2] if after_scheme else location


def _ids_of_run(call: RecordedCall) -> tuple[str | None, str | None]:
    """(thread id, run id) of a run-starting exchange, from its Content-Location, path or JSON answer."""
    thread_id = call.params.get("thread_id")
    run_id = None
    found = _RUN_PATH.match(_path_of(call.headers().get("content-location", "")))
    if found:
        named = found["thread"]
        run_id = found["run"]
        thread_id = thread_id or (named and canonical_uuid(named)) or named
    if thread_id is not None and run_id is not None:
        return thread_id, run_id
    if not call.failed and call.summary.content_type.startswith("application/json"):
        # The location of a run in the background names no thread, if its request did not.
        answer = call.json()
        if isinstance(answer, dict) and isinstance(answer.get("run_id"), str):
            return thread_id or answer.get("thread_id"), run_id or answer["run_id"]
    return thread_id, run_id


def _run_done(run: RecordedRun, tapes: Tapes) -> Moment:
    """When a run was over, as the cassette shows it.

    Its own stream or wait says so by ending; of others, and of runs created in the background, joins and reads tell. Of
    what nothing tells, it is when its answer, or what was last told to go on, ended.
    """
    if run.answer != "create" and run.call.summary.ending is Ending.COMPLETE:
        return run.call.ended
    heard = heard_of(run, tapes)
    run.pending_until, run.left_thread = heard.pending_until, heard.thread
    going_on = run.call.ended
    if heard.open_until is not None:
        going_on = max(going_on, (heard.open_until[0], heard.open_until[1] + 1))
    if heard.over is not None:
        run.told_over = heard.over, heard.status
        return heard.over
    if run.call.summary.ending is Ending.UNFINISHED and run.tape is not None:
        # Of what a killed recorder left, the last event is the end.
        return run.call.summary.recording, run.call.summary.at_ns + run.tape.end_ns
    return run.ended_by or going_on
