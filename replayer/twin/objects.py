"""The objects of a thread and of a run, as the server has them at this moment.

Pure. Used where the same stage was not recorded. One rule: only what was shown is said; where nothing shows it, None,
and the caller refuses. Shapes: docs/agent-server.md, section 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphtape.protocol.ids import uuid_unix_us
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.shown import Json, may_have_changed_unseen, shown_of
from graphtape.replayer.thread import SessionThread, Stamp, Update
from graphtape.replayer.twin.metadata import STARTED, run_metadata, thread_config, thread_metadata
from graphtape.replayer.twin.request_fields import as_requested, repeated, strategy
from graphtape.replayer.twin.states import iso, last_interrupts, update_values


def thread_values(thread: SessionThread, now_ns: int) -> tuple[bool, Any]:
    """(known, the thread's own values): they change when a run ends, not with its stream; None before."""
    for play in reversed(thread.ended(now_ns)):
        if isinstance(play, Update):
            return update_values(play)
        if play.cancellation is not None and play.cancellation.rollback:
            continue
        shown = shown_of(play, now_ns)
        if may_have_changed_unseen(play, now_ns):
            return False, None
        if shown.inner is not None:
            # The server takes the last checkpoint that the stream showed, of whatever level.
            return True, shown.inner.get("values")
        if shown.known:
            return True, shown.last_values
    return True, None


def thread_object(thread: SessionThread, created: Json | None, now_ns: int) -> Json | None:
    """`GET /threads/{t}`; None if a run has ended and nothing shows the values.

    Args:
        created: the recorded answer to the creation, its ids replaced.
    """
    known, values = thread_values(thread, now_ns)
    return _object(thread, created, values, now_ns) if known else None


HIDDEN = frozenset(("values", "interrupts"))
"""The members of a thread's object that are unknown together."""


def known_members(thread: SessionThread, created: Json | None, now_ns: int) -> Json:
    """The object of a thread of which nothing shows the values, without them."""
    found = _object(thread, created, None, now_ns)
    hidden = HIDDEN if found["status"] else {*HIDDEN, "status"}
    if found["status"] == "error" and found.get("error") is None:
        hidden = {*hidden, "error"}
    return {name: value for name, value in found.items() if name not in hidden}


def _object(thread: SessionThread, created: Json | None, values: Any, now_ns: int) -> Json:
    found = {**_new(thread), **(created or {})}
    found["metadata"] = thread_metadata(thread)
    latest = thread.latest
    steps = thread.ended(now_ns)
    ended = [play for play in steps if isinstance(play, Play)]
    found["status"] = thread.status(now_ns)
    found["config"] = thread_config(thread)
    if latest is not None:
        found["updated_at"] = recorded_moment(latest, now_ns)
    if steps and isinstance(steps[-1], Update):
        return _updated(found, steps[-1], values)
    if not ended:
        return found
    last = ended[-1]
    cancelled = last.cancelled_as(now_ns)
    found["state_updated_at"] = recorded_moment(last, now_ns)
    found["error"] = last.error(now_ns) if cancelled is None else cancelled.error
    counted = [play for play in ended if not (play.cancellation and play.cancellation.rollback)]
    counted = [play for play in counted if shown_of(play, now_ns).known or not _was_cancelled(play, now_ns)]
    if counted:
        found["values"] = values
        found["interrupts"] = last_interrupts(thread, counted[-1], now_ns)
    return found


def _updated(thread: Json, update: Update, values: Any) -> Json:
    """A thread after a state update: what the server then knows is the state."""
    tasks = update.told.state.get("tasks") or [] if update.told is not None else []
    interrupts = {str(task["id"]): task["interrupts"] for task in tasks if task.get("interrupts")}
    return {**thread, "error": None, "values": values, "interrupts": interrupts}


def _was_cancelled(play: Play, now_ns: int) -> bool:
    return play.cancelled_as(now_ns) is not None


def _new(thread: SessionThread) -> Json:
    """A thread in which nothing has happened. Wall times are recorded ones: a replay says when it was."""
    moment = iso(uuid_unix_us(thread.thread_id) or 0)
    if thread.born_of_run:
        first = next((change.what for change in thread.changes if isinstance(change.what, Play)), None)
        moment = moment if first is None else _recorded_wall_time(first, 0)
        return {
            "thread_id": thread.thread_id,
            "status": "busy",
            "metadata": {},
            "config": {},
            "created_at": moment,
            "updated_at": moment,
            "values": None,
            "state_updated_at": moment,
        }
    found: Json = {
        "thread_id": thread.thread_id,
        "created_at": moment,
        "updated_at": moment,
        "state_updated_at": moment,
        "metadata": {},
        "status": "idle",
        "config": {},
    }
    return found if thread.is_copy else {**found, "values": None}


def touched(thread: SessionThread, now_ns: int) -> dict[str, Stamp]:
    """When a thread was changed on the session's clock, by the field that the server keeps it in."""
    ends: list[Stamp] = []
    for change in thread.changes:
        if isinstance(change.what, Play) and change.what.never_began(now_ns):
            continue
        if isinstance(change.what, Play) and change.what.finished(now_ns):
            play = change.what
            over_ns = play.over_ns if play.cancelled_ns is None else play.cancelled_ns
            ends.append((min(max(over_ns, change.at[0]), now_ns), change.at[1] + 0.5))
        elif change.what is None:
            ends.append(change.at)
    # A run that finds others going on changes nothing of the thread.
    begun = [
        change.at
        for change in thread.changes
        if not (isinstance(change.what, Play) and change.what.found_busy)
    ]
    said = [thread.said.at] if thread.said is not None and thread.said.status == "idle" else []
    return {
        "created_at": thread.created_at,
        "updated_at": max([thread.created_at, *begun, *ends, *said]),
        "state_updated_at": max([thread.created_at, *ends]),
    }


# Fields of a run object that are as its own request says, whatever was recorded for an equal input.
_ASKED = ("stream_mode", "interrupt_before", "interrupt_after", "webhook", "feedback_keys")


def run_object(
    play: Play, recorded: Json | None, thread: SessionThread | None, now_ns: int, *, is_new: bool = False
) -> Json:
    """`GET /threads/{t}/runs/{r}`: the recorded object with today's status, or one made from the request.

    Args:
        recorded: the recorded run object, its ids replaced.
        thread: whose metadata the run has; None if it is there no more.
        is_new: it is told to the client that has just asked for it: nothing has been done about it yet.
    """
    status = "pending" if is_new else play.status(now_ns)
    begun = status != "pending" and (play.sources_shown(now_ns) > 0 or play.seen.silent)
    if recorded is not None:
        found = {**as_requested(recorded, play), "status": status}
        return _since_it_began(found, play) if begun else _before_it_began(found)
    body = play.body
    asked = repeated(body)
    shown = _shown_config(play)
    told = shown.get("metadata") or {"created_by": "system", **play.assistant}
    metadata = run_metadata(thread, play, told, started=False)
    made: Json = {
        "run_id": play.run_id,
        "thread_id": play.thread_id,
        "assistant_id": play.assistant.get("assistant_id", play.run.assistant),
        "metadata": metadata,
        "status": status,
        "kwargs": {
            "input": asked["input"],
            "command": asked["command"],
            "config": {**(body.get("config") or {}), **_config(shown, metadata)},
            "context": _context(body),
            **{name: asked[name] for name in _ASKED},
            "temporary": play.temporary,
            **{name: asked[name] for name in ("subgraphs", "resumable", "checkpoint_during", "durability")},
        },
        "multitask_strategy": strategy(body),
        "created_at": iso(uuid_unix_us(play.run_id) or 0),
        "updated_at": recorded_moment(play, now_ns),
        "langsmith_session_name": None,
    }
    return made if begun else _before_it_began(made)


def _context(body: Mapping[str, Any]) -> Any:
    """The context of a run is its `configurable`, if it has no other."""
    config = body.get("config")
    configurable = config.get("configurable") if isinstance(config, dict) else None
    return body.get("context") or configurable or {}


def _before_it_began(run: Json) -> Json:
    """A run object without what the server adds when it starts the run."""
    kwargs = run.get("kwargs")
    config = kwargs.get("config") if isinstance(kwargs, dict) else None
    if not isinstance(kwargs, dict) or not isinstance(config, dict):
        return run
    added = {"configurable": ("__pregel_node_finished",), "metadata": STARTED}
    kept = {
        name: (
            {key: one for key, one in value.items() if key not in added[name]}
            if name in added and isinstance(value, dict)
            else value
        )
        for name, value in config.items()
    }
    return {**run, "kwargs": {**kwargs, "config": kept}}


def _since_it_began(run: Json, play: Play) -> Json:
    """A run object with what the server adds when it starts the run, as far as its events show it."""
    kwargs = run.get("kwargs")
    config = kwargs.get("config") if isinstance(kwargs, dict) else None
    if not isinstance(kwargs, dict) or not isinstance(config, dict):
        return run
    told, configurable = config.get("metadata"), config.get("configurable")
    if not isinstance(told, dict) or not isinstance(configurable, dict) or STARTED[0] in told:
        return run
    shown = _shown_config(play).get("metadata") or {}
    added = {
        "configurable": {**configurable, "__pregel_node_finished": None},
        "metadata": {**told, **{key: shown[key] for key in STARTED if key in shown}},
    }
    return {**run, "kwargs": {**kwargs, "config": {**config, **added}}}


def _config(shown: Json, metadata: Json) -> Json:
    """The configuration of a run that has started."""
    found = dict(shown)
    if "configurable" in found:
        found["configurable"] = {**found["configurable"], "__pregel_node_finished": None}
    if "metadata" in found:
        added = {key: found["metadata"][key] for key in STARTED if key in found["metadata"]}
        found["metadata"] = {**metadata, **added}
    return found


def shows_its_configuration(play: Play) -> bool:
    """Whether a whole run object can be made from the events of a run."""
    return _shown_config(play).keys() >= {"configurable", "metadata"}


def _shown_config(play: Play) -> Json:
    """The configuration of a run as its first checkpoint and its first task show it."""
    found: Json = {}
    for event in play.tape.events:
        if event.block.name == "checkpoints" and "configurable" not in found:
            payload = parsed(play.ids.apply(event.block.data or b""))
            config = payload.get("config") if isinstance(payload, dict) else None
            configurable = config.get("configurable") if isinstance(config, dict) else None
            found["configurable"] = {
                key: value for key, value in (configurable or {}).items() if not key.startswith("checkpoint_")
            }
        elif event.block.name == "tasks":
            payload = parsed(play.ids.apply(event.block.data or b""))
            metadata = payload.get("metadata") if isinstance(payload, dict) else None
            found["metadata"] = metadata or {}
            break
    return found


def recorded_moment(play: Play, now_ns: int) -> str:
    """The wall time at which the recording saw the last event that has been shown here."""
    shown = play.shown_events(now_ns)
    return _recorded_wall_time(play, shown[-1].at_ns if shown else 0)


def _recorded_wall_time(play: Play, at_ns: int) -> str:
    """The wall time of the recording so long after its run was asked for."""
    summary = play.run.call.summary
    recording = play.run.call.cassette.recordings[summary.recording - 1]
    return iso((recording.started_unix_ns + summary.at_ns + at_ns) // 1000)
