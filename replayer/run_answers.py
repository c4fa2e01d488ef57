"""Answers to what starts, reads, joins and ends runs.

Pure. One rule: what the server refuses whatever its runs comes first, in its words (docs/agent-server.md, sections 1.4,
6 and 9); then a recorded run; only then a miss.
"""

from __future__ import annotations

from typing import Any

import orjson

from graphtape.cassettes.runs import RecordedCall
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import is_uuid
from graphtape.protocol.joining import JoinFilter
from graphtape.protocol.modes import BodySchema, refusal, stream_options
from graphtape.protocol.operations import Operation
from graphtape.replayer.answers import (
    Answer,
    JoinStream,
    Reply,
    RunStream,
    RunWait,
    Turn,
    not_recorded,
    recorded_answer,
    refused_view,
    same_query,
    staged_read,
)
from graphtape.replayer.match import Match, Miss
from graphtape.replayer.plain import run_miss
from graphtape.replayer.plan import Head, Part, Plan
from graphtape.replayer.play import END_OF_TIME_NS, Play, parsed
from graphtape.replayer.replies import (
    json_plan,
    origin_headers,
    recorded_plan,
    refusal_plan,
    stream_head,
)
from graphtape.replayer.session import SessionThread, Started
from graphtape.replayer.twin import Json, run_object, wait_answer

_WAIT_HOW = "Record it with POST .../runs/wait, or with stream_mode values among the modes."
_HALF_SECOND_NS = 500_000_000
RUN_NOT_FOUND = b'{"error":"HTTPException","message":"404: Run not found"}'


def start_run(turn: Turn) -> Answer:
    """`POST .../runs/stream`, `.../runs/wait`, `.../runs`, with a thread or without."""
    route = turn.resolved.route if turn.resolved else None
    assert route is not None
    answer = route.answer.value if route.answer else "stream"
    body = turn.asked.json
    schema = BodySchema.STATEFUL if route.stateful else BodySchema.STATELESS
    refused = _refused_body(body, BodySchema.CREATE if answer == "create" else schema)
    if refused is not None:
        return refused
    thread_id = turn.params.get("thread_id")
    thread: SessionThread | None = None
    if thread_id is not None:
        if not is_uuid(thread_id):
            status = 400 if answer == "stream" else 422
            text = (
                "badly formed hexadecimal UUID string"
                if status == 400
                else "Invalid thread ID: must be a UUID"
            )
            return Reply(refusal_plan(status, text))
        thread = turn.session.thread(thread_id)
        if thread is None and body.get("if_not_exists") == "create":
            thread = turn.session.create_thread(None, thread_id.lower(), {})
        if thread is None:
            return Reply(refusal_plan(404, "Thread or assistant not found."), note=_unknown_thread(thread_id))
    before = thread.latest if thread is not None else None
    in_flight = before if before is not None and not before.exhausted(turn.now_ns) else None
    if in_flight is not None:
        strategy = body.get("multitask_strategy") or "enqueue"
        if strategy == "reject":
            text = "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
            return Reply(refusal_plan(409, text))
        if strategy in ("interrupt", "rollback"):
            end_run(turn, in_flight, rollback=strategy == "rollback")
            in_flight = None
    options = stream_options(body)
    started = turn.session.start_run(
        answer=answer,
        thread=thread,
        body=body,
        raw_body=turn.asked.body,
        options=options,
        now_ns=turn.now_ns,
    )
    if isinstance(started, ViewRefused):
        return refused_view(started)
    if isinstance(started, Miss):
        return run_miss(started, turn)
    if isinstance(started, Match):
        return recorded_answer(started.run.call, thread, started.run.thread)
    after = in_flight if turn.session.options.pace.is_max else None
    return _started(turn, started, answer, body, after)


def _refused_body(body: Any, schema: BodySchema) -> Reply | None:
    if body is None:
        return Reply(refusal_plan(422, "Invalid JSON in request body"))
    text = refusal(body, schema)
    return Reply(refusal_plan(422, text)) if text is not None else None


def _unknown_thread(thread_id: str) -> str:
    return (
        f"404 thread {thread_id} was neither created in this session nor recorded: "
        'POST /threads first, or send "if_not_exists": "create"'
    )


def _started(turn: Turn, started: Started, answer: str, body: Json, after: Play | None) -> Answer:
    play, match = started.play, started.match
    play.on_disconnect = str(body.get("on_disconnect") or ("cancel" if answer == "wait" else "continue"))
    note = _note(turn, started)
    marks: list[tuple[bytes, bytes]] = [(b"graphtape-match", b"exact" if match.exact else b"nearest")]
    same_way = match.run.answer == answer
    derived = (
        play.derived if same_way else ", ".join(filter(None, (f"recorded {match.run.answer}", play.derived)))
    )
    if derived:
        marks.append((b"graphtape-derived", derived.encode("ascii", "replace")))
    extra = tuple(marks)
    like = match.run.call
    if answer == "stream":
        locations = run_locations(play, suffix="stream", stateful=turn.params.get("thread_id") is not None)
        head = stream_head(like, ids=play.ids, locations=locations, extra=extra, verbatim=same_way)
        return RunStream(play, head, note, after)
    if answer == "wait":
        locations = run_locations(play, suffix="join", stateful=True)
        head = wait_head(like, locations, extra)
        recorded = recorded_plan(like, play.ids, extra=extra) if same_way else None
        if recorded is None and wait_answer(play, END_OF_TIME_NS) is None:
            return not_recorded("What the run answers in the end", _WAIT_HOW)
        return RunWait(play, recorded.head if recorded else head, recorded, note, after)
    if same_way:
        plan = recorded_plan(like, play.ids, extra=extra)
        return Reply(plan, note, recorded=True)
    value = {**run_object(play, None, assistant_of(turn, play), turn.now_ns), "status": "pending"}
    locations = run_locations(play, suffix="", stateful=turn.params.get("thread_id") is not None)[1:]
    return Reply(json_plan(200, value, like=like, extra=(*locations, *extra)), note)


def _note(turn: Turn, started: Started) -> str:
    match = started.match
    number = match.run.call.number
    note = f"exchange {number}"
    if not match.exact:
        shown = ", ".join(difference.field for difference in match.differences[:5])
        note += f" (nearest; differs in {shown})"
    if match.reused:
        note += " (again: all equal recordings were played)"
    if match.run.tape is not None and not match.run.tape.whole:
        note += f" (incomplete: {match.run.tape.detail})"
    return note


def run_locations(play: Play, *, suffix: str, stateful: bool) -> tuple[tuple[bytes, bytes], ...]:
    """`location` and `content-location` of an answer about a run: relative, as the server's."""
    base = (
        f"/threads/{play.thread_id}/runs/{play.run_id}"
        if stateful and play.thread_id
        else f"/runs/{play.run_id}"
    )
    return (b"location", f"{base}/{suffix}".encode()), (b"content-location", base.encode())


def wait_head(like: RecordedCall | None, locations: tuple[tuple[bytes, bytes], ...], extra: Any = ()) -> Head:
    """The head of a `wait` or `join`: chunked JSON."""
    return Head(
        200,
        "OK",
        (
            *origin_headers(like),
            *locations,
            (b"content-type", b"application/json"),
            (b"vary", b"Origin"),
            (b"transfer-encoding", b"chunked"),
            *extra,
        ),
    )


# --- a run that exists ---


def find_run(turn: Turn) -> tuple[SessionThread | None, Play | None] | Reply:
    """The thread and run of a path, or the 422 for ids that are no UUIDs."""
    thread_id, run_id = turn.params.get("thread_id", ""), turn.params.get("run_id", "")
    if not is_uuid(thread_id):
        return Reply(refusal_plan(422, "Invalid thread ID: must be a UUID"))
    if not is_uuid(run_id):
        return Reply(refusal_plan(422, "Invalid run ID: must be a UUID"))
    play = turn.session.runs.get(run_id.lower())
    thread = turn.session.thread(thread_id)
    if play is None and thread is not None:
        turn.session.open_deep_link(thread, turn.now_ns)
        play = turn.session.runs.get(run_id.lower())
    if play is not None and play.thread_id not in (None, thread_id.lower()):
        play = None
    return thread, play


def join_stream(turn: Turn) -> Answer:
    """`GET /threads/{t}/runs/{r}/stream` (docs/agent-server.md, section 6)."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    _, play = found
    if play is None or play.rolled_back:
        return _no_such_run(turn)
    if play.silent:
        return not_recorded(
            f"The stream of run {play.run_id}",
            "Record the run with POST .../runs/stream, or join its stream from the start while recording.",
        )
    last_event_id = turn.asked.headers.get("last-event-id", "")
    locations = run_locations(play, suffix="stream", stateful=True)
    same = _recorded_join(turn, play, last_event_id)
    return JoinStream(
        play,
        stream_head(same or play.run.call, ids=play.ids, locations=locations, verbatim=same is not None),
        JoinFilter.parse(turn.asked.all_of("stream_mode")),
        last_event_id,
        turn.asked.flag("cancel_on_disconnect"),
    )


def _recorded_join(turn: Turn, play: Play, last_event_id: str) -> RecordedCall | None:
    """The recorded join of the same kind that asked for the same: its head is the answer's."""
    for join in play.run.joins:
        if join.operation is not turn.operation or not join.answered:
            continue
        headers = join.cassette.request(join.number)[0].headers
        cursor = next((value for name, value in headers if name.lower() == b"last-event-id"), b"")
        if cursor.decode("latin-1") == last_event_id and same_query(join.query, turn.asked.query):
            return join
    return None


def _no_such_run(turn: Turn) -> Reply:
    """A stream of 200 whose only event says that there is no such run, as the server does it."""
    thread_id, run_id = turn.params["thread_id"], turn.params["run_id"]
    locations = (
        (b"location", f"/threads/{thread_id}/runs/{run_id}/stream".encode()),
        (b"content-location", f"/threads/{thread_id}/runs/{run_id}".encode()),
    )
    due_ns = 0 if turn.session.options.pace.is_max else _HALF_SECOND_NS
    frame = b"event: error\r\ndata: " + RUN_NOT_FOUND + b"\r\n\r\n"
    head = stream_head(None, locations=locations)
    return Reply(Plan(head, 0, (Part(due_ns, frame),), due_ns), note=f"run {run_id} is unknown")


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
    if play is None:
        locations = (
            (b"location", f"{turn.asked.path}".encode()),
            (b"content-location", turn.asked.path.removesuffix("/join").encode()),
        )
        body = b'{"__error__":' + RUN_NOT_FOUND + b"}"
        return Reply(Plan(wait_head(None, locations), 0, (Part(0, body),), 0))
    same = _recorded_join(turn, play, "")
    if same is not None:
        plan = recorded_plan(same, play.ids)
        return RunWait(play, plan.head, plan)
    if wait_answer(play, END_OF_TIME_NS) is None and play.tape.whole:
        return not_recorded("What the run answers in the end", _WAIT_HOW)
    head = wait_head(play.run.call, run_locations(play, suffix="join", stateful=True))
    return RunWait(play, head, None)


def assistant_of(turn: Turn, play: Play) -> Json:
    """`graph_id` and `assistant_id` of a run, as far as the recording shows them."""
    for event in play.tape.events:
        data = event.block.data or b""
        if b'"graph_id"' in data:
            found = _search(parsed(data), "graph_id", "assistant_id")
            if found:
                return found
    for recorded in recorded_run_objects(turn, play):
        metadata = recorded.get("metadata") or {}
        return {key: metadata[key] for key in ("graph_id", "assistant_id") if key in metadata}
    assistant = play.run.assistant
    canonical = turn.session.canonical_assistant(assistant)
    return (
        {"assistant_id": assistant}
        if is_uuid(assistant)
        else {"graph_id": assistant, "assistant_id": canonical}
    )


def _search(value: Any, *keys: str) -> Json | None:
    """The first object inside `value` that has all the keys."""
    if isinstance(value, dict):
        if all(isinstance(value.get(key), str) for key in keys):
            return {key: value[key] for key in keys}
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = _search(item, *keys)
            if found:
                return found
    return None


def recorded_run_objects(turn: Turn, play: Play) -> list[Json]:
    """Every recorded run object of a run, the latest last, its ids replaced."""
    thread = play.run.thread
    calls = [play.run.call] if play.run.answer == "create" else []
    if thread is not None:
        calls += [read for read in thread.reads if read.operation in (Operation.GET_RUN, Operation.LIST_RUNS)]
    found: list[Json] = []
    for call in calls:
        answer = call.json()
        rows = answer if isinstance(answer, list) else [answer]
        found += [row for row in rows if isinstance(row, dict) and row.get("run_id") == play.run.run_id]
    replaced = [parsed(play.ids.apply(orjson.dumps(row))) for row in found]
    return [row for row in replaced if isinstance(row, dict)]


def described_run(turn: Turn, play: Play) -> Json:
    """The run object as of now."""
    recorded = recorded_run_objects(turn, play)
    return run_object(play, recorded[-1] if recorded else None, assistant_of(turn, play), turn.now_ns)


def get_run(turn: Turn) -> Answer:
    """`GET /threads/{t}/runs/{r}`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    if play is None or thread is None or play.rolled_back:
        return Reply(refusal_plan(404, "Not Found"))
    _complete_unwatched(turn, play)
    recorded = staged_read(turn, thread)
    if recorded is not None:
        return recorded
    return Reply(json_plan(200, described_run(turn, play), like=play.run.call, derived="run"))


def _complete_unwatched(turn: Turn, play: Play) -> None:
    """At `max` a run that nobody streams is over as soon as somebody asks."""
    if play.pace.is_max and play.answer == "create" and not play.begun:
        play.complete()


def complete_unwatched(turn: Turn, thread: SessionThread) -> None:
    """The same for all runs of a thread."""
    for play in thread.runs:
        _complete_unwatched(turn, play)


def list_runs(turn: Turn, thread: SessionThread) -> Answer:
    """`GET /threads/{t}/runs`: newest first."""
    complete_unwatched(turn, thread)
    recorded = staged_read(turn, thread)
    if recorded is not None:
        return recorded
    turn.session.open_deep_link(thread, turn.now_ns)
    rows = [described_run(turn, play) for play in reversed(thread.runs)]
    wanted = turn.asked.all_of("status")
    if wanted:
        rows = [row for row in rows if row["status"] == wanted[-1]]
    offset, limit = _number(turn, "offset", 0), _number(turn, "limit", 10)
    like = thread.runs[-1].run.call if thread.runs else thread.created
    return Reply(json_plan(200, rows[offset : offset + limit], like=like, derived="runs"))


def _number(turn: Turn, name: str, default: int) -> int:
    values = turn.asked.all_of(name)
    return int(values[-1]) if values and values[-1].isascii() and values[-1].isdigit() else default


def end_run(turn: Turn, play: Play, *, rollback: bool) -> None:
    """Interrupt a run where it is, or roll it back as if it had never been."""
    play.cancel(turn.now_ns)
    if rollback:
        play.rolled_back = True
        turn.session.runs.pop(play.run_id, None)


def cancel_run(turn: Turn) -> Answer:
    """`POST /threads/{t}/runs/{r}/cancel`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    _, play = found
    if play is None or play.finished(turn.now_ns):
        text = "No matching runs to cancel. Please verify the thread ID and run IDs are correct, and the runs haven't already finished or been canceled."  # noqa: E501 - the server's words
        return Reply(refusal_plan(404, text))
    rollback = turn.asked.all_of("action")[-1:] == ["rollback"]
    end_run(turn, play, rollback=rollback)
    if turn.asked.flag("wait"):
        locations = run_locations(play, suffix="join", stateful=True)
        return Reply(Plan(wait_head(play.run.call, locations), 0, (Part(0, b"{}"),), 0))
    return Reply(json_plan(202, None, like=play.run.call))


def delete_run(turn: Turn) -> Answer:
    """`DELETE /threads/{t}/runs/{r}`."""
    found = find_run(turn)
    if isinstance(found, Reply):
        return found
    thread, play = found
    if play is None or thread is None:
        return Reply(refusal_plan(404, "Not Found"))
    end_run(turn, play, rollback=True)
    return Reply(json_plan(204, None, like=play.run.call))
