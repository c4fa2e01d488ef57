"""The states of a thread, made from the checkpoints that its runs have shown.

Pure. Used where the same stage was not recorded. One rule: only what was shown is said; where nothing shows it, None,
and the caller refuses. Shapes: docs/agent-server.md, section 10.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from graphtape.cassettes.hearsay import CANCELLED
from graphtape.protocol.ids import uuid_unix_us
from graphtape.replayer.play import Play
from graphtape.replayer.shown import (
    Json,
    Shown,
    may_have_changed_unseen,
    plain,
    plain_interrupts,
    shown_of,
)
from graphtape.replayer.thread import SessionThread, Update
from graphtape.replayer.twin.metadata import run_metadata


def values_so_far(thread: SessionThread, now_ns: int) -> tuple[bool, Any]:
    """(known, the values of the thread's state); None before its first run."""
    if thread.temporary:
        return True, None
    for play in reversed(thread.steps):
        if isinstance(play, Update):
            return update_values(play)
        shown = shown_of(play, now_ns)
        if may_have_changed_unseen(play, now_ns):
            return False, None
        if shown.known:
            return True, shown.last_values
    if thread.inherited is None:
        return False, None
    return True, thread.inherited[0]["values"] if thread.inherited else None


def update_values(update: Update) -> tuple[bool, Any]:
    """(known, the values after a state update): its answer names a checkpoint, and no values."""
    if update.told is None or "values" not in update.told.state:
        return False, None
    return True, update.told.state["values"]


def thread_state(thread: SessionThread, now_ns: int) -> Json | None:
    """`GET /threads/{t}/state`; None if no stream shows it."""
    if thread.temporary or (not thread.steps and thread.inherited == []):
        return empty_state()
    states, _ = newest_states(thread, now_ns)
    if states:
        return states[0]
    known, values = values_so_far(thread, now_ns)
    if not known:
        return None
    interrupts = plain_interrupts(thread.runs[-1], now_ns) if thread.runs else []
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
    """All states of a thread, newest first; None if a step of it shows none."""
    states, complete = newest_states(thread, now_ns)
    return states if complete else None


def newest_states(thread: SessionThread, now_ns: int) -> tuple[list[Json], bool]:
    """(states from `checkpoints` events, newest first, as far back as all are shown; whether these are all)."""
    if thread.temporary:
        return [], True
    known: list[Play | Update] = []
    complete = thread.inherited is not None
    for play in reversed(thread.steps):
        if not _shows_all(play, now_ns):
            complete = False
            break
        known.insert(0, play)
    # A run that resumes shows the pending checkpoint once more: what it says of it then is the later truth.
    states: dict[object, Json] = {}
    for position, state in enumerate(reversed((thread.inherited or []) if complete else [])):
        states[state["checkpoint_id"] or position] = state
    for play in known:
        if isinstance(play, Update):
            state = dict(play.told.state) if play.told is not None else {}
            states[state.get("checkpoint_id") or len(states)] = state
            continue
        shown = shown_of(play, now_ns)
        made = _states_of(thread, play, shown, now_ns) if shown.checkpoints else []
        if made and _writes_at_its_end(play):
            made = [_after(made[-1], [*states.values()])] if play.finished(now_ns) else []
        for state in made:
            before = states.get(state["checkpoint_id"])
            if before is not None:
                # Of its tasks; its metadata are those it was made with.
                state["metadata"] = before["metadata"]
            states[state["checkpoint_id"] or len(states)] = state
    return [*states.values()][::-1], complete


def _writes_at_its_end(play: Play) -> bool:
    """Whether a run was asked to write down nothing but its last state, when it is over."""
    durability = play.body.get("durability")
    return durability == "exit" or (durability is None and play.body.get("checkpoint_during") is False)


def _after(state: Json, before: list[Json]) -> Json:
    """A state as it follows on those that were written down before it."""
    if not before or before[-1]["checkpoint_id"] == state["checkpoint_id"]:
        return state
    parent = before[-1]
    return {
        **state,
        "parent_checkpoint": parent["checkpoint"],
        "parent_checkpoint_id": parent["checkpoint_id"],
    }


def _shows_all(play: Play | Update, now_ns: int) -> bool:
    """Whether every state that a run or an update has made was shown."""
    if isinstance(play, Update):
        return update_values(play)[0]
    if may_have_changed_unseen(play, now_ns):
        return False
    if play.seen.silent:
        return play.status(now_ns) == "pending" or play.never_began(now_ns)
    shown = shown_of(play, now_ns)
    recorded = play.run.options
    told = recorded is not None and "checkpoints" in recorded.modes and play.run.keeps_thread
    return bool(shown.checkpoints) or told or not shown.has_values


def _states_of(thread: SessionThread, play: Play, shown: Shown, now_ns: int) -> list[Json]:
    interrupts = _task_interrupts(play, shown, now_ns)
    errors = _task_errors(play, shown, now_ns)
    metadata = run_metadata(thread, play, shown.metadata)
    last = len(shown.checkpoints) - 1
    return [
        _state(
            payload,
            play,
            shown,
            metadata,
            interrupts=interrupts if position == last else {},
            errors=errors if position == last else {},
            thread_id=thread.thread_id,
        )
        for position, payload in enumerate(shown.checkpoints)
    ]


def last_interrupts(thread: SessionThread, play: Play, now_ns: int) -> Json:
    """`interrupts` of a thread whose last run this was: task id -> its interrupts."""
    shown = shown_of(play, now_ns)
    if shown.inner is not None:
        inner = {str(task.get("id")) for task in shown.inner.get("tasks") or []}
        return {task: found for task, found in shown.interrupts.items() if task in inner}
    if not shown.checkpoints:
        return dict(shown.interrupts)
    tasks = _states_of(thread, play, shown, now_ns)[-1]["tasks"]
    return {str(task["id"]): task["interrupts"] for task in tasks if task["interrupts"]}


def _task_interrupts(play: Play, shown: Shown, now_ns: int) -> dict[str, list[Json]]:
    """By task of the last checkpoint: what it was interrupted by."""
    found = plain_interrupts(play, now_ns)
    if not found or shown.interrupts:
        return shown.interrupts
    tasks = [str(task.get("id")) for task in shown.checkpoints[-1].get("tasks") or []]
    left = [task for task in tasks if task not in shown.results]
    if len(left) == len(found):
        # Tasks of one step raise them in their order.
        return {task: [one] for task, one in zip(left, found, strict=True)}
    return dict.fromkeys(left, found)


def _task_errors(play: Play, shown: Shown, now_ns: int) -> dict[str, str]:
    """By task of the last checkpoint: what it ended with instead of a result, as the state has it."""
    found = {identifier: _as_exception(error) for identifier, error in shown.errors.items()}
    tasks = [str(task.get("id")) for task in shown.checkpoints[-1].get("tasks") or []]
    left = [task for task in tasks if task not in shown.results]
    if play.run.options is not None and "tasks" in play.run.options.modes:
        left = [task for task in left if task in shown.started]
    if play.cancelled_as(now_ns) is not None:
        found.update(dict.fromkeys(left, CANCELLED))
    error = play.error(now_ns)
    if error is not None and not found and len(left) == 1:
        found[left[0]] = _as_exception(error)
    return found


def _as_exception(error: Json) -> str:
    """`repr` of the exception that a stream names as `error` and `message`."""
    name, message = error.get("error"), error.get("message")
    # The text of a KeyError is the `repr` of its key already.
    return f"{name}({message})" if name == "KeyError" else f"{name}({message!r})"


_HIDDEN = ("__", "checkpoint_", "langgraph_")
_LATER = ("run_id", "thread_id")
_LAST = ("langgraph_auth_user_id", "langgraph_request_id")


def _state(
    payload: Json,
    play: Play,
    shown: Shown,
    run: Json,
    *,
    interrupts: dict[str, list[Json]],
    errors: dict[str, str],
    thread_id: str,
) -> Json:
    config = _configurable(payload.get("config"))
    parent = _configurable(payload.get("parent_config"))
    # In the order in which the server puts it together: the configuration's own, the run's, the checkpoint's.
    metadata = {
        **{key: value for key, value in config.items() if _is_told(key, value)},
        **run,
        **{key: config[key] for key in _LATER if key in config},
        "thread_id": thread_id,
        **(payload.get("metadata") or {}),
        **{key: config[key] for key in _LAST if key in config},
    }
    checkpoint_id = config.get("checkpoint_id")
    created_us = uuid_unix_us(checkpoint_id) if isinstance(checkpoint_id, str) else None
    paths = _paths(payload.get("tasks") or [], shown)
    tasks = [
        _task(task, path, play, shown, ended=(interrupts, errors))
        for task, path in zip(payload.get("tasks") or [], paths, strict=True)
    ]
    return {
        "values": payload.get("values"),
        "next": payload.get("next") or [],
        "tasks": tasks,
        "metadata": metadata,
        "created_at": iso(created_us) if created_us is not None else None,
        "checkpoint": _checkpoint(config, thread_id),
        "parent_checkpoint": _checkpoint(parent, thread_id) if parent else None,
        "interrupts": [one for task in tasks for one in task["interrupts"]],
        "checkpoint_id": checkpoint_id,
        "parent_checkpoint_id": parent.get("checkpoint_id") if parent else None,
    }


def _is_told(key: str, value: Any) -> bool:
    """Whether the metadata of a checkpoint repeats this of the run's configuration."""
    return isinstance(value, (str, int, float)) and not key.startswith(_HIDDEN) and key not in _LATER


def _paths(tasks: list[Json], shown: Shown) -> list[list[Any]]:
    """Where each task comes from: its node's edges, or the n-th `Send` of the step before."""
    found: list[list[Any]] = []
    sent = 0
    for task in tasks:
        if str(task.get("id")) in shown.pushed:
            found.append(["__pregel_push", sent, False])
            sent += 1
        else:
            found.append(["__pregel_pull", task.get("name")])
    return found


def _task(
    task: Json,
    path: list[Any],
    play: Play,
    shown: Shown,
    *,
    ended: tuple[dict[str, list[Json]], dict[str, str]],
) -> Json:
    interrupts, errors = ended
    state = task.get("state")
    identifier = str(task.get("id"))
    cut_short = identifier in shown.errors or identifier in shown.interrupts
    result = None if cut_short else shown.results.get(identifier)
    if task.get("name") == "__start__":
        # The task that takes in the input has no events of its own.
        result = play.run.body.get("input")
    inner = _configurable(state) if isinstance(state, dict) else None
    return {
        "id": task.get("id"),
        "name": task.get("name"),
        "path": path,
        "error": task.get("error") or errors.get(identifier),
        "interrupts": interrupts.get(identifier) or plain(task.get("interrupts") or []),
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


def copied_states(states: list[Json], thread_id: str) -> list[Json]:
    """The states that a copy of a thread has: the same checkpoints, in another thread."""
    return [
        {
            **state,
            "metadata": {**state["metadata"], "thread_id": thread_id} if state["metadata"] else None,
            "checkpoint": {**state["checkpoint"], "thread_id": thread_id} if state["checkpoint"] else None,
            "parent_checkpoint": (
                {**state["parent_checkpoint"], "thread_id": thread_id} if state["parent_checkpoint"] else None
            ),
        }
        for state in states
    ]


def iso(unix_us: int) -> str:
    """A time as the server prints it: UTC, microseconds, `+00:00`."""
    return datetime.fromtimestamp(unix_us / 1e6, UTC).isoformat(timespec="microseconds")
