"""Which assistant a run is of, and the run objects that the recording has of it.

Pure. One rule: ids are those that the run goes by in this session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from graphtape.protocol.ids import canonical_uuid
from graphtape.protocol.operations import Operation
from graphtape.replayer.play import Play, parsed

_LOOKED_AT = 200
"""Events that are searched for the assistant: the first ones show it, if any does."""


def assistant_of(play: Play, canonical: Callable[[str], str]) -> dict[str, str]:
    """`graph_id` and `assistant_id` of a run, as far as the recording shows them.

    Args:
        canonical: the id of a graph's default assistant.
    """
    for event in play.tape.events[:_LOOKED_AT]:
        data = event.block.data or b""
        if b'"graph_id"' in data:
            found = _search(parsed(data), "graph_id", "assistant_id")
            if found:
                return found
    for recorded in recorded_run_objects(play):
        # Of a run that created its thread the metadata name no graph, its configuration does.
        found = _search(recorded, "graph_id", "assistant_id")
        if found:
            return found
    assistant = play.run.assistant
    identifier = canonical_uuid(assistant)
    if identifier is not None:
        return {"assistant_id": identifier}
    return {"graph_id": assistant, "assistant_id": canonical(assistant)}


def _search(value: Any, *keys: str) -> dict[str, str] | None:
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


def recorded_run_objects(play: Play) -> list[dict[str, Any]]:
    """Every recorded run object of a run, the latest last, its ids replaced."""
    thread = play.run.thread
    calls = [play.run.call] if play.run.answer == "create" else []
    if thread is not None:
        calls += [read for read in thread.reads if read.operation in (Operation.GET_RUN, Operation.LIST_RUNS)]
    found: list[dict[str, Any]] = []
    for call in calls:
        answer = call.json()
        rows = answer if isinstance(answer, list) else [answer]
        found += [row for row in rows if isinstance(row, dict) and row.get("run_id") == play.run.run_id]
    replaced = [parsed(play.ids.apply(orjson.dumps(row))) for row in found]
    return [row for row in replaced if isinstance(row, dict)]
