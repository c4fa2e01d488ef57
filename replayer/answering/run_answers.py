"""Answers to what reads, follows and ends runs that exist.

Pure. One rule: as recorded where the same was asked at the same stage, else from what the run has shown so far
(docs/agent-server.md, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.model import Ending
from graphtape.cassettes.tape import tape_of
from graphtape.protocol.bodies import BodySchema
from graphtape.protocol.headers import get
from graphtape.protocol.ids import canonical_uuid
from graphtape.protocol.joining import JoinFilter
from graphtape.replayer.answering.answers import (
    Answer,
    JoinStream,
    Reply,
    RunWait,
    Silence,
    Turn,
    not_recorded,
    refused_body,
)
from graphtape.replayer.answering.describing import WAIT_HOW, described_run
from graphtape.replayer.answering.plain import plain_answer
from graphtape.replayer.answering.recorded_answers import (
    broken_note,
    recorded_answer,
    same_query,
    staged_read,
)
from graphtape.replayer.answering.replies import (
    RUN_NOT_FOUND,
    RUN_NOT_FOUND_EVENT,
    json_plan,
    recorded_plan,
    refusal_plan,
    run_locations,
    stream_head,
    wait_head,
)
from graphtape.replayer.cancelling import MANY_RUNS, requested
from graphtape.replayer.plan import Head, Part, Plan
from graphtape.replayer.play import END_OF_TIME_NS, Play, parsed
from graphtape.replayer.thread import SessionThread
from graphtape.replayer.twin.metadata import tells_otherwise
from graphtape.replayer.twin.objects import thread_values
from graphtape.replayer.twin.request_fields import as_requested, asks_alike, ends_alike
from graphtape.replayer.twin.told_threads import told_thread
from graphtape.replayer.twin.waiting import late_answer, told_answer, wait_answer

_COLUMNS = (
    "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata", "kwargs",
    "multitask_strategy", "langsmith_session_name",
)  # fmt: skip
"""What `select` can name; a set in the server, whose order differs from one start to the next."""
_HALF_SECOND_NS = 500_000_000
_TOO_MUCH = (
    "When providing a 'status', 'thread_id' and 'run_ids' must be omitted. The 'status' parameter cancels all runs "
    "with the given status, regardless of thread or run ID."
)
_NO_RUN_FOUND = "No runs found to cancel."
_NO_RUN_TO_CANCEL = (
    "No matching runs to cancel. Please verify the thread ID and run IDs are correct, "
    "and the runs haven't been deleted or completed."
)


def find_run(turn: Turn) -> tuple[SessionThread | None, Play | None] | Reply:
    """The thread and run of a path; or the 422 for ids that are no UUIDs, or what was recorded of an older run."""
    thread_id, run_id = turn.params.get("thread_id", ""), turn.params.get("run_id", "")
    if canonical_uuid(thread_id) is None:
        return Reply(refusal_plan(422, "Invalid thread ID: must be a UUID"))
    if canonical_uuid(run_id) is None:
        return Reply(refusal_plan(422, "Invalid run ID: must be a UUID"))
    thread = turn.session.thread(thread_id, turn.now_ns)
    if thread is not None:
        turn.session.open_deep_link(thread, turn.now_ns)
    play = turn.session.runs.get(run_id)
    if play is not None and play.thread_id != thread_id:
        play = None
    if play is None and run_id not in turn.session.tapes.run_ids:
        # It was there before the recording, or a batch started it.
        recorded = plain_answer(turn)
        if recorded is not None:
            return recorded
    return thread, play


def join_stream(turn: Turn) -> Answer:
    """`GET /threads/{t}/runs/{r}/stream` (docs/agent-server.md, section 6)."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    last_event_id = turn.asked.headers.get("last-event-id", "")
    if play is None:
        return _no_such_run(turn)
    # What a run has published can still be had by its cursor when it is gone.
    had = last_event_id and play.options.resumable and not play.never_began(turn.now_ns)
    if play.gone(turn.now_ns) and not had:
        return _no_such_run(turn, _recorded_join(turn, play, last_event_id, when_over=True))
    locations = run_locations(play.thread_id, play.run_id, "stream")
    same = _recorded_join(turn, play, last_event_id)
    # To one who comes when it is over the server tells nothing of a run, unless it kept the events.
    told_nothing = play.finished(turn.now_ns) and not (last_event_id and play.options.resumable)
    silence = None
    if play.seen.silent and not told_nothing:
        silence = _silence(play, same) if same is not None else None
        if silence is None:
            return not_recorded(
                f"The stream of run {play.run_id}",
                "Record the run with POST .../runs/stream, or join its stream from the start while recording.",
            )
    if same is not None and not play.tape.whole and play.finished(turn.now_ns):
        # The run went on when the recorded reader had left; what it did then stands in this answer alone.
        return recorded_answer(same, thread, play.run.thread)
    return JoinStream(
        play,
        stream_head(same or play.run.call, ids=play.ids, locations=locations, verbatim=same is not None),
        JoinFilter.parse(turn.asked.all_of("stream_mode")),
        last_event_id,
        turn.asked.flag("cancel_on_disconnect"),
        broken_note("" if play.tape.whole else play.tape.detail),
        silence,
    )


def _silence(play: Play, join: RecordedCall) -> Silence | None:
    """How long a recorded reader of a run got nothing; None if it got something."""
    call, ending = play.run.call, join.summary.ending
    if ending not in (Ending.CLIENT_LEFT, Ending.COMPLETE) or join.ended[0] != call.started[0]:
        return None
    if tape_of(join, 0).events:
        return None
    return Silence(play.pace.schedule([join.ended[1] - call.started[1]])[0], ending is Ending.COMPLETE)


def _recorded_join(
    turn: Turn, play: Play, last_event_id: str, *, when_over: bool = False
) -> RecordedCall | None:
    """The recorded join of the same kind that asked for the same: its head is the answer's.

    Args:
        when_over: one that was asked for when the run was over.
    """
    for join in play.run.joins:
        if join.operation is not turn.operation or not join.answered:
            continue
        if when_over and join.started < play.run.done:
            continue
        cursor = get(join.cassette.request(join.number)[0].headers, b"last-event-id") or b""
        if cursor.decode("latin-1") == last_event_id and same_query(join.query, turn.asked.query):
            return join
    return None


def _no_such_run(turn: Turn, like: RecordedCall | None = None) -> Reply:
    """A stream of 200 whose only event says that there is no such run, as the server does it."""
    thread_id, run_id = turn.params["thread_id"], turn.params["run_id"]
    due_ns = 0 if turn.session.options.pace.is_max else _HALF_SECOND_NS
    head = stream_head(like, locations=run_locations(thread_id, run_id, "stream"))
    return Reply(Plan(head, 0, (Part(due_ns, RUN_NOT_FOUND_EVENT),), due_ns), note=f"run {run_id} is unknown")


def join_run(turn: Turn) -> Answer:
    """`GET /threads/{t}/runs/{r}/join`: the values at the end of a run."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    if thread is not None and play is not None and play.finished(turn.now_ns):
        recorded = staged_read(turn, thread)
        if recorded is not None:
            return recorded
    if play is None or play.gone(turn.now_ns):
        locations = run_locations(turn.params["thread_id"], turn.params["run_id"], "join")
        body = b'{"__error__":' + RUN_NOT_FOUND + b"}"
        like = None if play is None else _recorded_join(turn, play, "", when_over=True)
        plan = Plan(wait_head(like, locations), 0, (Part(0, body),), 0)
        return Reply(plan, note=f"run {turn.params['run_id']} is unknown")
    cancels = turn.asked.flag("cancel_on_disconnect")
    head = wait_head(play.run.call, run_locations(play.thread_id, play.run_id, "join"))
    if thread is not None and play.finished(turn.now_ns):
        late = _late_join(turn, thread, head)
        if late is not None:
            return late
    same = _recorded_join(turn, play, "")
    if same is not None and ends_alike(play.run.options, play.options):
        plan = recorded_plan(same, play.ids)
        return RunWait(play, plan.head, plan, cancel_on_disconnect=cancels, note=broken_note(plan.detail))
    over_unseen = play.finished(turn.now_ns) and not play.tape.whole
    if over_unseen or (play.tape.whole and wait_answer(play, END_OF_TIME_NS) is None):
        return not_recorded("What the run answers in the end", WAIT_HOW)
    note = broken_note("" if play.tape.whole else play.tape.detail)
    return RunWait(play, head, None, cancel_on_disconnect=cancels, note=note)


def _late_join(turn: Turn, thread: SessionThread, head: Head) -> Reply | None:
    """The run was over when this was asked: the server looks at the thread, not at events. None if nothing shows it."""
    known, values = thread_values(thread, turn.now_ns)
    ended = [play for play in thread.ended(turn.now_ns) if isinstance(play, Play)]
    if not ended and not thread.runs:
        return None
    last = ended[-1] if ended else thread.runs[-1]
    told = None if known else told_thread(turn.session.tapes, thread, turn.now_ns, before_a_patch=True)
    if told is not None:
        value = told_answer(told)
    else:
        value = late_answer(thread.status(turn.now_ns), last, (values or {}) if known else None, turn.now_ns)
    if value is None:
        return None
    due_ns = 0 if turn.session.options.pace.is_max else _HALF_SECOND_NS
    return Reply(Plan(head, 0, (Part(due_ns, orjson.dumps(value)),), due_ns))


def get_run(turn: Turn) -> Answer:
    """`GET /threads/{t}/runs/{r}`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    if thread is not None:
        turn.session.complete_unwatched(thread)
    if thread is None or thread.gone(turn.now_ns):
        return Reply(refusal_plan(404, f"Thread with ID {turn.given['thread_id']} not found"))
    if play is None or play.rolled_back:
        return Reply(refusal_plan(404, "Not Found"))
    recorded = staged_read(turn, thread)
    if recorded is not None and not tells_otherwise(thread):
        return _as_requested(recorded, [play])
    return Reply(json_plan(200, described_run(turn, play), like=play.run.call, derived="run"))


def _as_requested(recorded: Reply, plays: Sequence[Play]) -> Reply:
    """A recorded run object, or an array of them, with what this session's requests said otherwise."""
    if all(map(asks_alike, plays)):
        return recorded
    told = parsed(recorded.plan.body)
    by_id = {play.run_id: play for play in plays}
    rows = [
        as_requested(row, by_id[row["run_id"]])
        if isinstance(row, dict) and row.get("run_id") in by_id
        else row
        for row in (told if isinstance(told, list) else [told])
    ]
    value = rows if isinstance(told, list) else rows[0]
    like = plays[-1].run.call
    return Reply(json_plan(200, value, like=like, derived="runs" if isinstance(told, list) else "run"))


def list_runs(turn: Turn, thread: SessionThread) -> Answer:
    """`GET /threads/{t}/runs`: newest first."""
    numbers: dict[str, int] = {}
    for name, default in (("limit", 10), ("offset", 0)):
        given = turn.asked.all_of(name)[-1:] or [str(default)]
        try:
            numbers[name] = int(given[0])
        except ValueError as wrong:
            return Reply(refusal_plan(400, str(wrong)))
    selected = turn.asked.all_of("select")
    bogus = [name for name in selected if name not in _COLUMNS]
    if bogus:
        text = f"Invalid select columns: {bogus}. Expected: {{{', '.join(map(repr, _COLUMNS))}}}"
        return Reply(refusal_plan(422, text))
    turn.session.complete_unwatched(thread)
    recorded = staged_read(turn, thread)
    if recorded is not None and not tells_otherwise(thread):
        return _as_requested(recorded, thread.runs)
    turn.session.open_deep_link(thread, turn.now_ns)
    rows = [described_run(turn, play) for play in thread.newest_runs]
    wanted = turn.asked.all_of("status")
    if wanted:
        rows = [row for row in rows if row["status"] == wanted[-1]]
    # As the server cuts them, also from a negative number on.
    rows = rows[numbers["offset"] : numbers["offset"] + numbers["limit"]]
    if selected:
        rows = [{key: value for key, value in row.items() if key in selected} for row in rows]
    like = thread.runs[-1].run.call if thread.runs else thread.created
    return Reply(json_plan(200, rows, like=like, derived="runs"))


def cancel_run(turn: Turn) -> Answer:
    """`POST /threads/{t}/runs/{r}/cancel`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    _, play = found
    if play is None or play.gone(turn.now_ns):
        return Reply(refusal_plan(404, _NO_RUN_FOUND))
    if not _can_be_cancelled(play, turn.now_ns):
        return Reply(refusal_plan(404, _NO_RUN_TO_CANCEL))
    waits = turn.asked.flag("wait")
    play.readers += waits
    rollback = turn.asked.all_of("action")[-1:] == ["rollback"]
    turn.session.cancel(play, turn.now_ns, requested(rollback=rollback))
    play.readers -= waits
    if waits:
        locations = run_locations(play.thread_id, play.run_id, "join")
        rest_ns = max((play.cancelled_ns or 0) - turn.now_ns, 0)
        return Reply(Plan(wait_head(play.run.call, locations), 0, (Part(rest_ns, b"{}"),), rest_ns))
    return Reply(json_plan(202, None, like=play.run.call))


def cancel_runs(turn: Turn) -> Answer:
    """`POST /runs/cancel`: several runs of a thread, or all that have not ended."""
    refused = refused_body(turn, BodySchema.CANCEL_RUNS)
    if refused is not None:
        return refused
    body, session = turn.asked.json, turn.session
    if "status" in body:
        if body.get("thread_id") or body.get("run_ids"):
            return Reply(refusal_plan(422, _TOO_MUCH))
        wanted = {"pending", "running"} if body["status"] == "all" else {body["status"]}
        found = [play for play in session.runs.values() if play.status(turn.now_ns) in wanted]
        if session.options.pace.is_max:
            # There, what nobody streams is over as soon as somebody asks, if it was not ended so in the recording.
            found = [play for play in found if play.run.cancelled or not play.unwatched]
    else:
        thread_id = canonical_uuid(body["thread_id"])
        if thread_id is None:
            return Reply(refusal_plan(422, "Invalid thread ID: must be a UUID"))
        run_ids = [canonical_uuid(run_id) for run_id in body["run_ids"]]
        if None in run_ids:
            return Reply(refusal_plan(422, "Invalid run ID: must be a UUID"))
        known = [session.runs.get(run_id or "") for run_id in run_ids]
        found = [play for play in known if play is not None and play.thread_id == thread_id]
    found = [play for play in found if not play.gone(turn.now_ns)]
    if not found:
        return Reply(refusal_plan(404, _NO_RUN_FOUND))
    able = [play for play in found if _can_be_cancelled(play, turn.now_ns)]
    if not able:
        return Reply(refusal_plan(404, _NO_RUN_TO_CANCEL))
    rollback = turn.asked.all_of("action")[-1:] == ["rollback"]
    for play in able:
        turn.session.cancel(play, turn.now_ns, requested(rollback=rollback, path=MANY_RUNS))
    return Reply(json_plan(204, None, like=able[0].run.call))


def _can_be_cancelled(play: Play, now_ns: int) -> bool:
    if play.cancelled_ns is not None:
        return False
    # A recorded run that ended because it was cancelled may have shown all its events before this request comes.
    return play.run.cancelled or not play.finished(now_ns)


def delete_run(turn: Turn) -> Answer:
    """`DELETE /threads/{t}/runs/{r}`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    if play is None or thread is None or play.rolled_back:
        return Reply(refusal_plan(404, "Run not found"))
    play.cancel(turn.now_ns)
    play.rolled_back = True
    turn.session.cancelled(play, turn.now_ns)
    return Reply(json_plan(204, None, like=play.run.call))
