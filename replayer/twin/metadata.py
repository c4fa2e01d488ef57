"""The metadata of a thread and of its runs, put together as the server does it.

Pure. One rule: what was recorded of the recorded thread and request is left out, what this session's client gave comes
in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphtape.cassettes.runs import RecordedThread
from graphtape.replayer.play import Play
from graphtape.replayer.thread import SessionThread

Json = dict[str, Any]

# What the server adds when a run starts, in its order (docs/agent-server.md, section 11).
STARTED = (
    "run_attempt", "langgraph_version", "langgraph_api_version", "langgraph_plan", "langgraph_host",
    "langgraph_api_url",
)  # fmt: skip
_OF_THE_TASK = frozenset(("run_id", "thread_id", "tags"))
_IDS = ("graph_id", "assistant_id")


def thread_metadata(thread: SessionThread, until: Play | None = None) -> Json:
    """What its client gave, and what runs added to it.

    Args:
        until: the run before which it is asked for, with what that run adds; None for now.
    """
    found = dict(thread.metadata)
    for change in thread.changes:
        if isinstance(change.what, Play):
            if not change.what.found_busy:
                found.update(change.what.assistant)
            if thread.born_of_run and change is thread.changes[0]:
                found.update(_given(change.what.body))
            if change.what is until:
                break
        elif change.what is not None:
            found.update(change.what)
    return found


def tells_otherwise(thread: SessionThread) -> bool:
    """Whether its client said other things about it than the recorded one, which recorded reads of it repeat."""
    recorded = thread.recorded or thread.origin
    if recorded is None or thread.deep or thread.is_copy:
        return False
    if thread.born_of_run or recorded.born_of_run:
        return thread.born_of_run != recorded.born_of_run
    creation = _object(recorded.created.request_json() if recorded.created is not None else None)
    merged = any(isinstance(change.what, dict) and not change.is_recorded for change in thread.changes)
    return merged or thread.metadata != _object(creation.get("metadata"))


def thread_config(thread: SessionThread) -> Json:
    """What runs leave of their configuration in the thread: all but `configurable`."""
    found: Json = {}
    for change in thread.changes:
        if isinstance(change.what, Play) and not change.what.found_busy:
            found.update(_object(change.what.body.get("config")))
            found["configurable"] = {}
    return found


def run_metadata(thread: SessionThread | None, play: Play, told: Json, *, started: bool = True) -> Json:
    """The metadata of a run's configuration.

    Args:
        told: as the recorded run's tasks show it; empty if they do not.
        started: with what the server adds when the run starts.
    """
    if not told:
        return {}
    given = {**_given_first(play.run.thread), **_given(play.run.body)}
    added = {key: told[key] for key in STARTED if key in told}
    own = {
        key: value
        for key, value in told.items()
        if key not in added and key not in given and key not in _OF_THE_TASK and key not in _IDS
    }
    ids = {key: told[key] for key in _IDS if key in told}
    if thread is not None and thread.born_of_run and thread.changes and thread.changes[0].what is play:
        # There was no thread yet whose metadata it could have; the assistant's id is put in last.
        first = {**own, **_given(play.body), "assistant_id": ids.get("assistant_id")}
        return {**first, **(added if started else {})}
    of_thread = thread_metadata(thread, play) if thread is not None else {}
    return {**own, **of_thread, **ids, **_given(play.body), **(added if started else {})}


def _given_first(recorded: RecordedThread | None) -> Json:
    """What the client of a recorded thread gave it when it was made, itself or by a run."""
    if recorded is None:
        return {}
    if recorded.created is not None:
        return _object(_object(recorded.created.request_json()).get("metadata"))
    first = recorded.first_run if recorded.born_of_run else None
    return _given(first.body) if first is not None else {}


def _given(body: Mapping[str, Any]) -> Json:
    """What a request says of its run."""
    config = _object(body.get("config"))
    return {**_object(config.get("metadata")), **_object(body.get("metadata"))}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
