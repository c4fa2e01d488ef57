"""What the server would say of a thread or a run, made from what its streams have shown.

Pure. Used where the same stage was not recorded. One rule: only what was shown is said; where nothing shows it, None,
and the caller refuses. Shapes: docs/agent-server.md, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graphtape.cassettes.runs import RecordedRun
from graphtape.protocol.ids import uuid_unix_us
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.thread import SessionThread, interrupts_of

Json = dict[str, Any]

# The order in which the server prints the metadata of a checkpoint.
_METADATA_KEYS = (
    "graph_id", "assistant_id", "user_id", "created_by", "run_attempt", "langgraph_version", "langgraph_api_version",
    "langgraph_plan", "langgraph_host", "langgraph_api_url", "run_id", "thread_id", "source", "step", "parents",
    "langgraph_auth_user_id", "langgraph_request_id",
)  # fmt: skip


@dataclass
class _Shown:
    """What the root level of one run has shown."""

    values: Any = None
    has_values: bool = False
    checkpoints: list[Json] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    """Task id -> result."""
    metadata: Json = field(default_factory=dict)


def _read(play: Play, now_ns: int) -> _Shown:
    shown = _Shown()
    if play.final is not None and play.finished(now_ns):
        shown.values, shown.has_values = _without_guests(play.final), True
    for event in play.shown_events(now_ns):
        name = event.block.name
        if name not in ("values", "checkpoints", "tasks"):
            continue
        payload = parsed(play.ids.apply(event.block.data or b""))
        if name == "values":
            # The interrupt is a guest in `values`, no part of the state.
            shown.values, shown.has_values = _without_guests(payload), True
        elif not isinstance(payload, dict):
            continue
        elif name == "checkpoints":
            shown.checkpoints.append(payload)
        else:
            shown.metadata.update(payload.get("metadata") or {})
            if "result" in payload:
                shown.results[str(payload.get("id"))] = payload["result"]
    return shown


def _without_guests(values: Any) -> Any:
    if not isinstance(values, dict):
        return values
    return {key: value for key, value in values.items() if key not in ("__interrupt__", "__error__")}


def thread_values(thread: SessionThread, now_ns: int) -> tuple[bool, Any]:
    """(known, the thread's current values): of the latest run that has shown any; None before the first."""
    for play in reversed(thread.runs):
        shown = _read(play, now_ns)
        if shown.has_values:
            return True, shown.values
        if shown.checkpoints:
            return True, shown.checkpoints[-1].get("values")
        if _may_have_changed_unseen(play, now_ns):
            return False, None
    return True, None


def _may_have_changed_unseen(play: Play, now_ns: int) -> bool:
    """Whether a run that has shown no values may have changed them all the same."""
    modes = play.run.options.modes if play.run.options is not None else frozenset()
    if modes & {"values", "checkpoints"}:
        return False
    # One event says only that the run began.
    ended = play.finished(now_ns) and play.cancelled_ns is None
    return ended or play.sources_shown(now_ns) > 1


def thread_state(thread: SessionThread, now_ns: int) -> Json | None:
    """`GET /threads/{t}/state`; None if no stream shows it."""
    if not thread.runs:
        return empty_state()
    states = thread_history(thread, now_ns)
    if states:
        return states[0]
    known, values = thread_values(thread, now_ns)
    if not known:
        return None
    latest = thread.runs[-1]
    interrupts = plain_interrupts(latest, now_ns)
    return {**empty_state(), "values": {} if values is None else values, "interrupts": interrupts}


def empty_state() -> Json:
    """The state of a thread in which nothing has run."""
    return {
        "values": {},
        "next": [],
        "tasks": [],
        "metadata": None,
        "created_at": None,
        "checkpoint": None,
        "parent_checkpoint": None,
        "interrupts": [],
        "checkpoint_id": None,
        "parent_checkpoint_id": None,
    }


def thread_history(thread: SessionThread, now_ns: int) -> list[Json] | None:
    """All states of a thread, newest first, from its `checkpoints` events; None if a run shows none."""
    # A run that resumes shows the pending checkpoint once more: what it says of it then is the later truth.
    states: dict[object, Json] = {}
    for play in thread.runs:
        shown = _read(play, now_ns)
        if not shown.checkpoints:
            told = play.run.options is not None and "checkpoints" in play.run.options.modes
            if not told and (shown.has_values or _may_have_changed_unseen(play, now_ns)):
                return None
            continue
        interrupts = plain_interrupts(play, now_ns)
        for position, payload in enumerate(shown.checkpoints):
            last = position == len(shown.checkpoints) - 1
            state = _state(payload, play, shown, interrupts if last else [], thread.thread_id)
            states[state["checkpoint_id"] or len(states)] = state
    return [*states.values()][::-1]


def plain_interrupts(play: Play, now_ns: int) -> list[Json]:
    """A run's interrupts as threads and states show them."""
    return _plain(interrupts_of(play, now_ns) or [])


def _plain(interrupts: list[Json]) -> list[Json]:
    """Without `response_schema`, which only streams have."""
    return [{"id": one.get("id"), "value": one.get("value")} for one in interrupts]


def _state(payload: Json, play: Play, shown: _Shown, interrupts: list[Json], thread_id: str) -> Json:
    config = _configurable(payload.get("config"))
    parent = _configurable(payload.get("parent_config"))
    metadata = {**config, **shown.metadata, **(payload.get("metadata") or {}), "thread_id": thread_id}
    checkpoint_id = config.get("checkpoint_id")
    created_us = uuid_unix_us(checkpoint_id) if isinstance(checkpoint_id, str) else None
    tasks = [_task(task, play, shown, interrupts) for task in payload.get("tasks") or []]
    return {
        "values": payload.get("values"),
        "next": payload.get("next") or [],
        "tasks": tasks,
        "metadata": {key: metadata[key] for key in _METADATA_KEYS if key in metadata},
        "created_at": iso(created_us) if created_us is not None else None,
        "checkpoint": _checkpoint(config, thread_id),
        "parent_checkpoint": _checkpoint(parent, thread_id) if parent else None,
        "interrupts": [one for task in tasks for one in task["interrupts"]],
        "checkpoint_id": checkpoint_id,
        "parent_checkpoint_id": parent.get("checkpoint_id") if parent else None,
    }


def _task(task: Json, play: Play, shown: _Shown, interrupts: list[Json]) -> Json:
    state = task.get("state")
    identifier = str(task.get("id"))
    result = shown.results.get(identifier) or None
    if task.get("name") == "__start__":
        # The task that takes in the input has no events of its own.
        result = play.run.body.get("input")
    inner = _configurable(state) if isinstance(state, dict) else None
    return {
        "id": task.get("id"),
        "name": task.get("name"),
        "path": ["__pregel_pull", task.get("name")],
        "error": task.get("error"),
        "interrupts": interrupts or _plain(task.get("interrupts") or []),
        "checkpoint": inner,
        "state": None,
        "result": result,
    }


def _configurable(config: Any) -> Json:
    found = config.get("configurable") if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def _checkpoint(config: Json, thread_id: str) -> Json:
    return {
        "checkpoint_id": config.get("checkpoint_id"),
        "thread_id": thread_id,
        "checkpoint_ns": config.get("checkpoint_ns", ""),
    }


def thread_object(thread: SessionThread, created: Json | None, assistant: Json, now_ns: int) -> Json | None:
    """`GET /threads/{t}`; None if a run has played and nothing shows the values.

    Args:
        created: the recorded answer to the creation, its ids replaced.
        assistant: what a first run adds to the metadata: `graph_id` and `assistant_id`.
    """
    known, values = thread_values(thread, now_ns)
    if not known:
        return None
    moment = iso(uuid_unix_us(thread.thread_id) or 0)
    # Wall times are recorded ones: a replay says when it was, not when it is.
    base: Json = {
        "thread_id": thread.thread_id,
        "created_at": moment,
        "updated_at": moment,
        "state_updated_at": moment,
        "metadata": {},
        "status": "idle",
        "config": {},
        "values": None,
        **(created or {}),
    }
    base["metadata"] = {**(base["metadata"] or {}), **thread.metadata}
    latest = thread.latest
    if latest is None:
        return base
    status = thread.status(now_ns)
    base["metadata"] = {**base["metadata"], **assistant}
    base["updated_at"] = base["state_updated_at"] = _recorded_moment(latest, now_ns)
    base.update(
        status=status, config={"configurable": {}}, values=values, error=latest.error(now_ns), interrupts={}
    )
    if status == "interrupted":
        for state in (thread_history(thread, now_ns) or [])[:1]:
            base["interrupts"] = {
                str(task["id"]): task["interrupts"] for task in state["tasks"] if task["interrupts"]
            }
    return base


def run_object(play: Play, recorded: Json | None, assistant: Json, now_ns: int) -> Json:
    """`GET /threads/{t}/runs/{r}`: the recorded object with today's status, or one made from the request.

    Args:
        recorded: the recorded run object, its ids replaced.
        assistant: `graph_id` and `assistant_id` as far as they are known.
    """
    status = play.status(now_ns)
    if recorded is not None:
        return {**recorded, "status": status}
    body = play.run.body
    modes = body.get("stream_mode") or ["values"]
    return {
        "run_id": play.run_id,
        "thread_id": play.thread_id,
        "assistant_id": assistant.get("assistant_id", play.run.assistant),
        "metadata": {"created_by": "system", **assistant, **(body.get("metadata") or {})},
        "status": status,
        "kwargs": {
            "input": body.get("input"),
            "command": body.get("command"),
            "config": {**(body.get("config") or {}), **_shown_config(play)},
            "context": body.get("context") or {},
            "stream_mode": [modes] if isinstance(modes, str) else modes,
            "interrupt_before": body.get("interrupt_before"),
            "interrupt_after": body.get("interrupt_after"),
            "webhook": body.get("webhook"),
            "feedback_keys": body.get("feedback_keys"),
            "temporary": False,
            "subgraphs": play.options.subgraphs,
            "resumable": play.options.resumable,
            "checkpoint_during": body.get("checkpoint_during", True),
            "durability": body.get("durability") or "async",
        },
        "multitask_strategy": body.get("multitask_strategy") or "enqueue",
        "created_at": iso(uuid_unix_us(play.run_id) or 0),
        "updated_at": _recorded_moment(play, now_ns),
        "langsmith_session_name": None,
    }


def _shown_config(play: Play) -> Json:
    """The config of a run as its first checkpoint and its first task show it."""
    found: Json = {}
    for event in play.tape.events:
        if event.block.name == "checkpoints" and "configurable" not in found:
            config = _configurable(parsed(play.ids.apply(event.block.data or b"")).get("config"))
            kept = {key: value for key, value in config.items() if not key.startswith("checkpoint_")}
            found["configurable"] = {**kept, "__pregel_node_finished": None}
        elif event.block.name == "tasks":
            metadata = parsed(play.ids.apply(event.block.data or b"")).get("metadata") or {}
            found["metadata"] = {key: value for key, value in metadata.items() if key != "run_id"}
            break
    return found


def _recorded_moment(play: Play, now_ns: int) -> str:
    """The wall time at which the recording saw the last event that has been shown here."""
    summary = play.run.call.summary
    shown = play.shown_events(now_ns)
    at_ns = summary.at_ns + (shown[-1].at_ns if shown else 0)
    recording = play.run.call.cassette.recordings[summary.recording - 1]
    return iso((recording.started_unix_ns + at_ns) // 1000)


def final_values_known(run: RecordedRun) -> bool:
    """Whether the recording shows what a `wait` for this run answers."""
    if run.values() is not None:
        return True
    for event in run.tape.events if run.tape is not None else ():
        name = event.block.name
        if name in ("values", "checkpoints", "error") or b'"__interrupt__"' in (event.block.data or b""):
            return True
    return False


def wait_answer(play: Play, now_ns: int, *, late: bool = False) -> Any:
    """What `wait` and `join` answer at the end of a run (docs/agent-server.md, section 6); None if no event shows it.

    Args:
        late: asked when the run was over: then the server looks at the thread, not at events.
    """
    error = play.error(now_ns)
    if error is not None:
        return {"__error__": error}
    if play.final is not None:
        return play.final
    latest: Any = None
    interrupting: list[Json] = []
    for event in play.shown_events(now_ns) if not late else ():
        name = event.block.name or ""
        if name not in ("values", "updates") or name not in play.options.modes:
            continue
        payload = parsed(play.ids.apply(event.block.data or b""))
        if isinstance(payload, dict) and payload.get("__interrupt__"):
            interrupting.append(payload)
        elif name == "values":
            latest = payload
    if len(interrupting) == 1:
        return interrupting[0]
    if interrupting:
        # Each event counts: with `updates` and `values` one interrupt is named twice.
        return {"__interrupt__": [one for payload in interrupting for one in payload["__interrupt__"]]}
    if latest is not None:
        return latest
    interrupts = plain_interrupts(play, now_ns)
    if interrupts:
        return {"__interrupt__": interrupts}
    shown = _read(play, now_ns)
    if shown.has_values:
        return shown.values
    return shown.checkpoints[-1].get("values") if shown.checkpoints else None


def iso(unix_us: int) -> str:
    """A time as the server prints it: UTC, microseconds, `+00:00`."""
    return datetime.fromtimestamp(unix_us / 1e6, UTC).isoformat(timespec="microseconds")
