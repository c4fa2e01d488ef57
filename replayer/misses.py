"""The 404 for a request that nothing recorded answers: what is nearest, what differs, and what would help.

Pure. One rule: whoever reads it knows what to change: the request, an option of the replay, or the recording.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import Any

import orjson

from graphtape.cassettes.runs import RecordedCall, RecordedRun, parsed_or_none
from graphtape.protocol.aspects import Difference, Path, format_path
from graphtape.replayer.answers import Reply, Turn
from graphtape.replayer.match import Miss
from graphtape.replayer.recorded_answers import same_body, same_query
from graphtape.replayer.replies import json_plan

_NEAREST_SHOWN = 3
_DIFFERENCES_SHOWN = 3
_DIFFERENCES_KEPT = 20
_TEXT_KEPT = 500
_BRIEF = 60


def plain_miss(turn: Turn) -> Reply:
    """The 404 for a request that no recorded exchange answers."""
    asked = turn.asked
    near: list[tuple[int, int, RecordedCall, list[Difference]]] = []
    for call in turn.session.tapes.calls:
        # Only what shares the path, or its template, is like it at all.
        alike = call.operation is not None and call.operation == turn.operation
        if call.answered and (alike or call.path == asked.path):
            found = list(_request_differences(call, turn))[:_DIFFERENCES_KEPT]
            near.append((len(found), call.order, call, found))
    near.sort(key=lambda entry: entry[:2])
    nearest = [_shown_call(call, found) for _, _, call, found in near[:_NEAREST_SHOWN]]
    if nearest:
        text = f"No recorded exchange equals this request. {_in_words(nearest[0])}"
    else:
        text = (
            f"Nothing like {asked.method} {asked.path} was recorded. `graphtape ls` lists what was; "
            "to have it answered, record it into the cassette with `graphtape record --append`."
        )
    return _miss_reply(text, nearest, None)


def run_miss(miss: Miss, turn: Turn) -> Reply:
    """The 404 for a run that no recording answers: nearest recorded runs, field by field."""
    nearest = [_shown_run(near.run, list(near.differences)) for near in miss.nearest]
    if nearest:
        text = f"No recorded run equals this request. {_in_words(nearest[0])}"
        if miss.option:
            text += f" With {miss.option} it would be played."
    else:
        text = _why_none(miss, turn)
    return _miss_reply(text, nearest, miss.option)


def _why_none(miss: Miss, turn: Turn) -> str:
    asked = turn.asked.json.get("assistant_id")
    session = turn.session
    same = [
        run
        for run in session.tapes.runs
        if session.canonical_assistant(run.assistant) == session.canonical_assistant(str(asked))
    ]
    if same:
        how = (
            "without a thread (POST /runs/...)"
            if not same[0].stateful
            else "on a thread (POST /threads/{id}/runs/...)"
        )
        return f"Assistant {asked!r} was recorded only {how}, first in exchange {same[0].call.number}."
    if not miss.known_assistants:
        return "The cassette holds no run of any assistant. `graphtape ls` lists what it holds."
    known = ", ".join(miss.known_assistants)
    close = difflib.get_close_matches(str(asked), miss.known_assistants, 1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return f"No run of assistant {asked!r} was recorded.{guess} Recorded assistants: {known}."


def _request_differences(call: RecordedCall, turn: Turn) -> Iterator[Difference]:
    asked = turn.asked
    if call.summary.method != asked.method:
        yield Difference("method", call.summary.method, asked.method)
    if call.path != asked.path:
        yield Difference("path", call.path, asked.path)
    if not same_query(call.query, asked.query):
        ours, theirs = _by_name(call.query), _by_name(asked.query)
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            if ours.get(name) != theirs.get(name):
                yield Difference(f"query {name}", ours.get(name), theirs.get(name))
    recorded_body = call.request_body()
    if not same_body(recorded_body, asked.body):
        one, other = parsed_or_none(recorded_body), parsed_or_none(asked.body)
        if isinstance(one, dict | list) and isinstance(other, dict | list):
            yield from _json_differences((), one, other)
        else:
            yield Difference(
                "body", recorded_body.decode("utf-8", "replace"), asked.body.decode("utf-8", "replace")
            )


def _by_name(query: tuple[tuple[str, str], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in query:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _json_differences(path: Path, recorded: Any, asked: Any) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in [*recorded, *(key for key in asked if key not in recorded)]:
            yield from _json_differences((*path, key), recorded.get(key), asked.get(key))
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        for position, (one, other) in enumerate(zip(recorded, asked, strict=True)):
            yield from _json_differences((*path, position), one, other)
    elif not same_body(orjson.dumps(recorded), orjson.dumps(asked)):
        yield Difference(f"body {format_path(path)}" if path else "body", recorded, asked)


def _shown_run(run: RecordedRun, found: list[Difference]) -> dict[str, Any]:
    return {**_shown_call(run.call, found), "assistant": run.assistant}


def _shown_call(call: RecordedCall, found: list[Difference]) -> dict[str, Any]:
    return {
        "exchange": call.number,
        "cassette": os.path.basename(call.cassette.path),
        "request": f"{call.summary.method} {call.path}",
        "status": call.summary.status,
        "differences": [
            {"field": one.field, "recorded": _clipped(one.recorded), "asked": _clipped(one.asked)}
            for one in found
        ],
    }


def _clipped(value: Any) -> Any:
    """A value as it is, or the start of its text if that is long."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return value if len(text) <= _TEXT_KEPT else text[:_TEXT_KEPT] + "…"


def _in_words(near: dict[str, Any]) -> str:
    text = f"Nearest is exchange {near['exchange']} of {near['cassette']}"
    found = near["differences"]
    shown = "; ".join(
        f"{one['field']} (recorded {_brief(one['recorded'])}, asked {_brief(one['asked'])})"
        for one in found[:_DIFFERENCES_SHOWN]
    )
    more = len(found) - _DIFFERENCES_SHOWN
    tail = f"; and {more} more" if more > 0 else ""
    return f"{text}, which differs in {shown}{tail}." if found else f"{text}."


def _brief(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str) and len(value) > _BRIEF:
        value = value[:_BRIEF] + "…"
    text = orjson.dumps(value).decode()
    return text if isinstance(value, str) or len(text) <= _BRIEF else text[:_BRIEF] + "…"


def _miss_reply(text: str, nearest: list[dict[str, Any]], option: str | None) -> Reply:
    report = {"nearest": nearest, "option": option}
    return Reply(json_plan(404, {"detail": text, "graphtape": report}), note=text)
