"""Any other recorded route, as plain HTTP; and the answer to what nothing answers.

Pure. One rule: a request is answered by a recording of the same method, path, query and body, or told what is nearest.
"""

from __future__ import annotations

from typing import Any

from graphtape.cassettes.runs import RecordedCall, RecordedRun
from graphtape.protocol.aspects import Difference
from graphtape.protocol.ids import IdMap
from graphtape.replayer.answers import Reply, Turn, recorded_answer, same_body, same_query
from graphtape.replayer.match import Miss
from graphtape.replayer.replies import json_plan

_NEAREST_SHOWN = 3
_VALUE_SHOWN = 200


def plain_answer(turn: Turn) -> Reply | None:
    """The recorded answer to the same request: the n-th gets the n-th, then they start again."""
    asked, session = turn.asked, turn.session
    thread = session.threads.get(turn.params.get("thread_id", "").lower())
    back = IdMap(thread.ids).inverse() if thread is not None else IdMap({})
    path = back.apply_text(asked.path)
    if thread is not None and thread.origin is not None and not thread.plays:
        path = path.replace(thread.thread_id, thread.origin.thread_id)
    body = back.apply(asked.body)
    methods = ("HEAD", "GET") if asked.method == "HEAD" else (asked.method,)
    equal = [
        call
        for call in session.tapes.calls
        if call.answered
        and call.summary.method in methods
        and call.path == path
        and same_query(call.query, asked.query)
        and same_body(call.request_body(), body)
    ]
    if not equal:
        return None
    call = session.nth((asked.method, path, tuple(sorted(asked.query)), body), equal)
    recorded = session.tapes.threads.get(call.params.get("thread_id", ""))
    return recorded_answer(call, thread, recorded)


def plain_miss(turn: Turn) -> Reply:
    """The 404 for a request that no recorded exchange answers."""
    asked = turn.asked
    near: list[tuple[int, int, RecordedCall, list[Difference]]] = []
    for call in turn.session.tapes.calls:
        if not call.answered:
            continue
        found = _differences(call, turn)
        # A path that shares its template is nearer than one that shares nothing.
        kin = call.operation is not None and call.operation == turn.operation
        if kin or call.path == asked.path:
            near.append((len(found), call.order, call, found))
    near.sort(key=lambda entry: entry[:2])
    what = f"{asked.method} {asked.path}"
    nearest = [_shown_call(call, found) for _, _, call, found in near[:_NEAREST_SHOWN]]
    if nearest:
        text = f"{what}: no recorded exchange has this request. Nearest: {_in_words(nearest[0])}."
    else:
        text = f"{what}: nothing like it was recorded. `graphtape ls` lists what was; record it to have it answered."
    return _miss_reply(text, nearest, None)


def _differences(call: RecordedCall, turn: Turn) -> list[Difference]:
    found = []
    asked = turn.asked
    if call.summary.method != asked.method:
        found.append(Difference("method", call.summary.method, asked.method))
    if call.path != asked.path:
        found.append(Difference("path", call.path, asked.path))
    if not same_query(call.query, asked.query):
        found.append(Difference("query", _query(call.query), _query(asked.query)))
    if not same_body(call.request_body(), asked.body):
        found.append(
            Difference(
                "body", call.request_body().decode("utf-8", "replace"), asked.body.decode("utf-8", "replace")
            )
        )
    return found


def _query(pairs: tuple[tuple[str, str], ...]) -> str:
    return "&".join(f"{key}={value}" for key, value in pairs)


def run_miss(miss: Miss, turn: Turn) -> Reply:
    """The 404 for a run that no recording answers: nearest recorded runs, field by field."""
    body = turn.asked.json
    assistant = body.get("assistant_id") if isinstance(body, dict) else None
    nearest = [_shown_run(near.run, list(near.differences)) for near in miss.nearest]
    what = f"{turn.asked.method} {turn.asked.path}"
    if nearest:
        text = f"{what}: no recorded run equals this request. Nearest: {_in_words(nearest[0])}."
        if miss.option:
            text += f" {miss.option} would have played it."
    else:
        known = ", ".join(miss.known_assistants) or "none"
        text = f"{what}: no run of assistant {assistant!r} was recorded. Recorded assistants: {known}."
    return _miss_reply(text, nearest, miss.option)


def _shown_run(run: RecordedRun, found: list[Difference]) -> dict[str, Any]:
    return {**_shown_call(run.call, found), "assistant": run.assistant}


def _shown_call(call: RecordedCall, found: list[Difference]) -> dict[str, Any]:
    return {
        "exchange": call.number,
        "cassette": call.cassette.path,
        "request": f"{call.summary.method} {call.path}",
        "differences": [
            {"field": one.field, "recorded": _clipped(one.recorded), "asked": _clipped(one.asked)}
            for one in found
        ],
    }


def _clipped(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= _VALUE_SHOWN else value[:_VALUE_SHOWN] + "…"


def _in_words(near: dict[str, Any]) -> str:
    text = f"exchange {near['exchange']} ({near['request']})"
    found = near["differences"]
    if not found:
        return text
    shown = "; ".join(
        f"{one['field']}: recorded {_brief(one['recorded'])}, asked {_brief(one['asked'])}"
        for one in found[:3]
    )
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{text} differs in {shown}{more}"


def _brief(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:59] + "…"


def _miss_reply(text: str, nearest: list[dict[str, Any]], option: str | None) -> Reply:
    report = {"nearest": nearest, "option": option}
    return Reply(json_plan(404, {"detail": text, "graphtape": report}), note=f"404 {text}")
