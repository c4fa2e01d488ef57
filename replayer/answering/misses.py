"""The 404 for a request that nothing recorded answers: what is nearest, what differs, and what would help.

Pure. One rule: whoever reads it knows what to change: the request, an option of the replay, or the recording.
"""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import orjson

from graphtape.cassettes.calls import RecordedCall, parsed_or_none
from graphtape.cassettes.model import Ending
from graphtape.cassettes.runs import RecordedRun
from graphtape.protocol.aspects import Difference, Path, differences, format_path
from graphtape.protocol.mask import may_be
from graphtape.protocol.operations import Resolved
from graphtape.replayer.answering.answers import Reply, Turn
from graphtape.replayer.answering.recorded_answers import same_body, same_query
from graphtape.replayer.answering.replies import json_plan
from graphtape.replayer.answering.showing import shown_body, shown_query, shown_target, shown_value
from graphtape.replayer.match import Miss

_NEAREST_SHOWN = 3
_DIFFERENCES_SHOWN = 3
_DIFFERENCES_KEPT = 20
_TEXT_KEPT = 500
_BRIEF = 60
_FARTHEST = 0.45
"""How unlike (0 to 1, by difflib) a path may be and still be named as near."""
_PATH_COMPARED = 200


def plain_miss(turn: Turn) -> Reply:
    """The 404 for a request that no recorded exchange answers."""
    asked = turn.asked
    near = sorted(_near_calls(turn), key=lambda entry: entry[:3])
    nearest = [_shown_call(call, found) for *_, call, found in near[:_NEAREST_SHOWN]]
    target = f"{asked.method} {shown_target(asked.path)}"
    if near and not near[0][-1]:
        text = f"{_unanswered(near[0][-2])} There is no answer to replay."
    elif near and near[0][0] == 0:
        text = f"No recorded exchange equals this request. {_in_words(nearest[0])}"
    elif near:
        text = f"Nothing was recorded for {target}. {_in_words(nearest[0])}"
    else:
        text = (
            f"Nothing like {target} was recorded. `graphtape ls` lists what was; "
            "to have it answered, record it into the cassette with `graphtape record --append`."
        )
    return _miss_reply(text, nearest, None)


def _near_calls(turn: Turn) -> Iterator[tuple[float, int, int, RecordedCall, list[Difference]]]:
    """Recorded exchanges with how far they are from the request: (distance of the paths, differences, order, ...)."""
    asked = turn.asked
    wanted = _template(turn.resolved, asked.path)
    matcher = difflib.SequenceMatcher(b=wanted, autojunk=False)
    distances: dict[str, float] = {}
    near: list[tuple[float, RecordedCall]] = []
    for call in turn.session.tapes.calls:
        if call.path == asked.path or (call.operation is not None and call.operation == turn.operation):
            near.append((0.0, call))
            continue
        template = _template(call.resolved, call.path)
        if template not in distances:
            matcher.set_seq1(template)
            distances[template] = 1 - matcher.ratio()
        if distances[template] <= _FARTHEST:
            near.append((max(distances[template], 0.01), call))
    near.sort(key=lambda entry: (entry[0], entry[1].summary.method != asked.method, entry[1].order))
    # What has the very path is looked through; of others, bodies are read of those only that may be shown.
    own = sum(1 for distance, _ in near if not distance)
    for distance, call in near[: own or _NEAREST_SHOWN]:
        found = list(itertools.islice(_request_differences(call, turn), _DIFFERENCES_KEPT))
        if call.answered or (not found and not distance):
            yield distance, len(found), call.order, call, found


def _template(resolved: Resolved | None, path: str) -> str:
    return resolved.route.template if resolved is not None else path[:_PATH_COMPARED]


def _unanswered(call: RecordedCall) -> str:
    what = f"Exchange {call.number} of {os.path.basename(call.cassette.path)} asked for exactly this"
    if call.summary.ending is Ending.UNREACHED:
        return f"{what}, but its upstream was never reached."
    return f"{what}, but ended before there was an answer ({call.summary.ending.value})."


def run_miss(miss: Miss, turn: Turn) -> Reply:
    """The 404 for a run that no recording answers: nearest recorded runs, field by field."""
    if miss.nearest:
        nearest = [_shown_run(near.run, list(near.differences)) for near in miss.nearest]
        text = f"No recorded run equals this request. {_in_words(nearest[0])}"
        if miss.option:
            text += f" With {miss.option} it would be played."
        return _miss_reply(text, nearest, miss.option)
    same = _runs_elsewhere(turn)
    nearest = [_shown_run(run, _run_differences(run, turn)) for run in same[:_NEAREST_SHOWN]]
    return _miss_reply(_why_none(miss, turn, same), nearest, miss.option)


def _runs_elsewhere(turn: Turn) -> list[RecordedRun]:
    """Runs of the assistant that no request of this kind can play: with a thread where it has none, or the reverse."""
    session = turn.session
    asked = session.canonical_assistant(str(turn.asked.json.get("assistant_id")))
    runs = session.tapes.runs
    return [run for run in runs if not run.refused and session.canonical_assistant(run.assistant) == asked]


def _run_differences(run: RecordedRun, turn: Turn) -> list[Difference]:
    session = turn.session

    def same(recorded: str, asked: str) -> bool:
        return session.canonical_assistant(recorded) == session.canonical_assistant(asked)

    body = differences(run.body, turn.asked.json, same_assistant=same, ignore=session.options.ignore)
    return [Difference("path", run.call.path, turn.asked.path), *body]


def _why_none(miss: Miss, turn: Turn, same: list[RecordedRun]) -> str:
    asked = shown_target(str(turn.asked.json.get("assistant_id")))
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
    close = difflib.get_close_matches(asked, miss.known_assistants, 1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return f"No run of assistant {asked!r} was recorded.{guess} Recorded assistants: {known}."


def _request_differences(call: RecordedCall, turn: Turn) -> Iterator[Difference]:
    asked = turn.asked
    if call.summary.method != asked.method:
        yield Difference("method", call.summary.method, asked.method)
    if not may_be(call.path, asked.path):
        yield Difference("path", call.path, asked.path)
    if not same_query(call.query, asked.query):
        ours, theirs = _by_name(call.query), _by_name(asked.query)
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            if ours.get(name) != theirs.get(name):
                pair = (shown_query(name, side.get(name)) for side in (ours, theirs))
                yield Difference(f"query {name}", *pair)
    recorded_body, content_type = call.request_body(), asked.headers.get("content-type", "")
    if not same_body(recorded_body, asked.body):
        one, other = parsed_or_none(recorded_body), parsed_or_none(asked.body)
        if isinstance(one, dict | list) and isinstance(other, dict | list):
            yield from _json_differences((), one, other)
        else:
            shown = (shown_body(body, content_type) for body in (recorded_body, asked.body))
            yield Difference("body", *(body.decode("utf-8", "replace") for body in shown))


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
        "request": f"{call.summary.method} {shown_target(call.path)}",
        "status": call.summary.status,
        "differences": [
            {
                "field": one.field,
                "recorded": _clipped(shown_value(one.field, one.recorded)),
                "asked": _clipped(shown_value(one.field, one.asked)),
            }
            for one in found
        ],
    }


def _clipped(value: Any) -> Any:
    """A value as it is, or the start of its text if that is long."""
    value = value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
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
