"""Answers to what starts runs: `stream`, `wait` and `create`, with a thread or without.

Pure. One rule: what the server refuses whatever its runs comes first, in its words (docs/agent-server.md, sections 1.4
and 9); then a recorded run; only then a miss.
"""

from __future__ import annotations

from graphtape.cassettes.runs import Tapes
from graphtape.protocol.bodies import BodySchema, run_refusal
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import canonical_uuid
from graphtape.protocol.modes import stream_options
from graphtape.replayer.answering.answers import (
    Answer,
    Reply,
    RunStream,
    RunWait,
    Turn,
    not_recorded,
    refused_body,
    refused_view,
)
from graphtape.replayer.answering.describing import WAIT_HOW
from graphtape.replayer.answering.misses import run_miss
from graphtape.replayer.answering.plain import plain_answer
from graphtape.replayer.answering.recorded_answers import broken_note, recorded_answer
from graphtape.replayer.answering.replies import (
    json_plan,
    recorded_plan,
    refusal_plan,
    run_locations,
    stream_head,
    wait_head,
)
from graphtape.replayer.cancelling import superseded
from graphtape.replayer.match import Match, Miss, asked_for
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.session import Chosen
from graphtape.replayer.shown import Json
from graphtape.replayer.thread import SessionThread
from graphtape.replayer.twin.objects import run_object
from graphtape.replayer.twin.request_fields import asks_alike, ends_alike
from graphtape.replayer.twin.waiting import final_values_known

_BUSY = "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."


def start_run(turn: Turn) -> Answer:
    """`POST .../runs/stream`, `.../runs/wait`, `.../runs`, with a thread or without."""
    route = turn.resolved.route if turn.resolved else None
    assert route is not None
    answer = route.answer.value if route.answer else "stream"
    refused = _refused(turn, answer, stateful=route.stateful)
    if refused is not None:
        return refused
    body = turn.asked.json
    thread: SessionThread | None = None
    thread_id = turn.params.get("thread_id")
    if thread_id is not None:
        found = _thread_of(turn, thread_id, body)
        if isinstance(found, Reply):
            return found
        thread = found
    open_runs = thread.open_runs(turn.now_ns) if thread is not None else []
    strategy = body.get("multitask_strategy") or "enqueue"
    if open_runs and strategy == "reject":
        return Reply(refusal_plan(409, _BUSY))
    options = stream_options(body)
    chosen = turn.session.choose(
        answer=answer, thread=thread, body=body, raw_body=turn.asked.body, options=options
    )
    if isinstance(chosen, ViewRefused):
        return refused_view(chosen)
    if isinstance(chosen, Miss):
        return run_miss(chosen, turn)
    if isinstance(chosen, Match):
        return recorded_answer(chosen.run.call, thread, chosen.run.thread)
    same_way = chosen.match.run.answer == answer
    if answer == "wait" and not same_way and not final_values_known(chosen.match.run, options):
        return not_recorded("What the run answers in the end", WAIT_HOW)
    displaced = _displaced(turn, thread) if strategy in ("interrupt", "rollback") else []
    for each in displaced:
        turn.session.cancel(each, turn.now_ns, superseded("", rollback=strategy == "rollback"))
    play = turn.session.start(
        chosen, answer=answer, thread=thread, body=body, options=options, now_ns=turn.now_ns
    )
    for each in displaced:
        # Only now it has an id; and the server looks for those in its way when it has put it into its line.
        each.cancellation = superseded(play.run_id, rollback=each.rolled_back)
        turn.session.cancelled(each, turn.now_ns)
    play.on_disconnect = str(body.get("on_disconnect") or "continue")
    return _started(turn, chosen, play, answer)


def _displaced(turn: Turn, thread: SessionThread | None) -> list[Play]:
    """The runs that a new one takes the place of: those that go on, and those whose recordings end with that."""
    return [
        play
        for play in (thread.runs if thread is not None else [])
        if play.cancelled_ns is None
        and (play.run.displaced_by is not None or not play.exhausted(turn.now_ns))
    ]


_SCHEMAS = {
    (True, True): BodySchema.CREATE_STATEFUL,
    (True, False): BodySchema.CREATE_STATELESS,
    (False, True): BodySchema.STATEFUL,
    (False, False): BodySchema.STATELESS,
}
"""By (created in the background, has a thread)."""


def _refused(turn: Turn, answer: str, *, stateful: bool) -> Reply | None:
    """What the server refuses whatever its runs and threads, in its order; None if it would look for them."""
    misshapen = refused_body(turn, _SCHEMAS[answer == "create", stateful])
    if misshapen is not None:
        return None if _was_taken(turn) else misshapen
    thread_id = turn.params.get("thread_id")
    if thread_id is not None and canonical_uuid(thread_id) is None:
        recorded = plain_answer(turn)
        if recorded is not None:
            return recorded
        if answer == "create":
            return Reply(refusal_plan(422, "Invalid thread ID"))
        return Reply(refusal_plan(400, "badly formed hexadecimal UUID string"))
    refused = run_refusal(turn.asked.json, stateful=stateful)
    if refused is None or _was_taken(turn):
        return None
    return Reply(refusal_plan(refused.status, refused.detail))


def _was_taken(turn: Turn) -> bool:
    """Whether the recorded server took this very body: its rules are then not those of the server that we know."""
    body = turn.asked.json
    return isinstance(body, dict) and any(
        asked_for(run, body) and run.options is not None and not run.refused
        for run in turn.session.tapes.runs
    )


def _thread_of(turn: Turn, thread_id: str, body: Json) -> SessionThread | Reply:
    thread = turn.session.thread(thread_id, turn.now_ns)
    if thread is None and body.get("if_not_exists") == "create":
        thread = turn.session.create_thread(None, thread_id, {}, now_ns=turn.now_ns)
        thread.born_of_run = True
    if thread is not None:
        return thread
    note = (
        f"thread {thread_id} was neither created in this session nor recorded: "
        'POST /threads first, or send "if_not_exists": "create"'
    )
    return Reply(refusal_plan(404, "Thread or assistant not found."), note=note)


def _started(turn: Turn, chosen: Chosen, play: Play, answer: str) -> Answer:
    match, like = chosen.match, chosen.match.run.call
    note = _note(chosen, turn.session.tapes)
    marks: list[tuple[bytes, bytes]] = [(b"graphtape-match", b"exact" if match.exact else b"nearest")]
    same_way = match.run.answer == answer
    seen = chosen.seen.derived if answer == "stream" else ""
    derived = seen if same_way else ", ".join(filter(None, (f"recorded {match.run.answer}", seen)))
    if derived:
        marks.append((b"graphtape-derived", derived.encode("ascii", "replace")))
    extra = tuple(marks)
    stateful = "thread_id" in turn.params
    if answer == "stream":
        locations = run_locations(play.thread_id if stateful else None, play.run_id, "stream")
        head = stream_head(like, ids=play.ids, locations=locations, extra=extra, verbatim=same_way)
        return RunStream(play, head, note)
    if answer == "wait":
        cancels = play.on_disconnect == "cancel"
        if same_way and (play.seen.silent or ends_alike(match.run.options, play.options)):
            plan = recorded_plan(like, play.ids, extra=extra)
            return RunWait(play, plan.head, plan, starts=True, cancel_on_disconnect=cancels, note=note)
        head = wait_head(like, run_locations(play.thread_id, play.run_id, "join"), extra)
        return RunWait(play, head, None, starts=True, cancel_on_disconnect=cancels, note=note)
    if same_way and asks_alike(play):
        return Reply(recorded_plan(like, play.ids, extra=extra), note, recorded=True)
    thread = turn.session.known(play.thread_id or "")
    told = parsed(play.ids.apply(recorded_plan(like).body)) if same_way else None
    value = run_object(play, told, thread, turn.now_ns, is_new=True)
    location = run_locations(play.thread_id if stateful else None, play.run_id, "")[1:]
    return Reply(json_plan(200, value, like=like, extra=(*location, *extra)), note)


def _note(chosen: Chosen, tapes: Tapes) -> str:
    match = chosen.match
    tape = chosen.seen.tape
    call = match.run.call
    parts = [f"exchange {call.number}" + (f" of {call.cassette.path}" if tapes.are_several else "")]
    if not match.exact:
        fields = [difference.field for difference in match.differences]
        more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
        parts.append(f"(nearest; differs in {', '.join(fields[:5])}{more})")
    if match.reused:
        parts.append("(again: every equal recording has been played)")
    parts.append(broken_note("" if tape.whole else tape.detail))
    return " ".join(filter(None, parts))
