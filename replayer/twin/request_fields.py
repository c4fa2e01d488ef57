"""What a run object repeats of the request that started its run.

Pure. One rule: a recorded run object is changed only where this session's request says something else than the
recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.shown import Json

_AS_GIVEN: Final = (
    "input",
    "command",
    "interrupt_before",
    "interrupt_after",
    "webhook",
    "feedback_keys",
)
_STATE_MODES: Final = frozenset({"values", "updates"})


def repeated(body: Mapping[str, Any]) -> Json:
    """The members of `kwargs` that are as the request has them, with the server's defaults."""
    modes = body.get("stream_mode") or ["values"]
    kept = body.get("checkpoint_during", True)
    return {
        **{name: body.get(name) for name in _AS_GIVEN},
        "stream_mode": [modes] if isinstance(modes, str) else modes,
        "subgraphs": body.get("stream_subgraphs", False),
        "resumable": body.get("stream_resumable", False),
        "checkpoint_during": kept,
        "durability": body.get("durability") or ("async" if kept in (None, True) else "exit"),
    }


def strategy(body: Mapping[str, Any]) -> str:
    """The `multitask_strategy` of a run."""
    return body.get("multitask_strategy") or "enqueue"


def asks_alike(play: Play) -> bool:
    """Whether what a run object repeats is the same for this session's request and the recorded one."""
    recorded = _recorded_body(play)
    return _compared(recorded) == _compared(play.body) and play.temporary is not play.run.keeps_thread


def as_requested(recorded: Json, play: Play) -> Json:
    """A recorded run object, its ids replaced, as it would be for this session's request."""
    if asks_alike(play):
        return recorded
    body = _recorded_body(play)
    found = dict(recorded)
    kwargs = recorded.get("kwargs")
    if isinstance(kwargs, dict):
        was, ours = repeated(body), repeated(play.body)
        found["kwargs"] = {
            name: ours[name] if name in ours and ours[name] != was[name] else value
            for name, value in kwargs.items()
        }
        if "temporary" in kwargs:
            found["kwargs"]["temporary"] = play.temporary
    if "multitask_strategy" in recorded and strategy(body) != strategy(play.body):
        found["multitask_strategy"] = strategy(play.body)
    metadata = recorded.get("metadata")
    was, ours = body.get("metadata") or {}, play.body.get("metadata") or {}
    if isinstance(metadata, dict) and was != ours:
        kept = {name: value for name, value in metadata.items() if was.get(name, ...) != value}
        found["metadata"] = {**kept, **{name: value for name, value in ours.items() if name not in kept}}
    return found


def ends_alike(recorded: StreamOptions | None, asked: StreamOptions) -> bool:
    """Whether `wait` and `join` of both runs answer the same: that depends on these modes.

    Source: docs/agent-server.md, section 6.
    """
    return recorded is not None and recorded.modes & _STATE_MODES == asked.modes & _STATE_MODES


def _compared(body: Mapping[str, Any]) -> tuple[Json, str, Any]:
    return repeated(body), strategy(body), body.get("metadata") or {}


def _recorded_body(play: Play) -> Json:
    if not play.ids:
        return play.run.body
    body = parsed(play.ids.apply(orjson.dumps(play.run.body)))
    return body if isinstance(body, dict) else play.run.body
