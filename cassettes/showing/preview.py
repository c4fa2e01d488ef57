"""The first words of an event or a body, for a person scanning a time line.

Knows the shapes of the Agent Server's events by name (docs/agent-server.md, section 1.3); anything else is
shown as it is. Its one rule: a preview never fails and never reads more than the beginning of large data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from graphtape.cassettes.showing.text import ELLIPSIS, cut, short_ids, visible
from graphtape.protocol.jsonvalue import loads

LIMIT = 400
"""Characters of a preview; a terminal line cuts it further."""

_PARSE_LIMIT_BYTES = 4_000_000


def parse_json(data: bytes) -> tuple[bool, Any]:
    """(True, value) if `data` is JSON that can be walked, else (False, None). Never raises."""
    try:
        return True, loads(data)
    except ValueError:
        return False, None


def event_preview(name: str, data: bytes | None) -> str:
    """What an event says, in a few words.

    Args:
        name: the event's name, namespace and all.
        data: its data, None if it has none.
    """
    if data is None:
        return "(no data)"
    if len(data) > _PARSE_LIMIT_BYTES:
        return _text(data)
    is_json, value = parse_json(data)
    if not is_json:
        return _text(data)
    base = name.partition("|")[0]
    return _short(_PREVIEWS.get(base, _any)(value))


def body_preview(data: bytes) -> str:
    """What a body says, in a few words."""
    if not data:
        return "(empty)"
    if len(data) > _PARSE_LIMIT_BYTES:
        return _text(data)
    is_json, value = parse_json(data)
    return _short(_any(value)) if is_json else _text(data)


def value_preview(value: Any) -> str:
    """A JSON value in a few words."""
    return _short(_any(value))


def _text(data: bytes) -> str:
    # A cut may fall inside a character: what is replaced then lies beyond the limit.
    return _short(data[: LIMIT * 8].decode("utf-8", "replace"))


def _short(text: str) -> str:
    """Cut before escaping: text of megabytes is never walked through."""
    return cut(visible(text[: LIMIT + 1]), LIMIT)


def _any(value: Any, depth: int = 0) -> str:
    """Compact, in the manner of JSON, with messages as `ai: words` and long things cut."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        if _is_message(value):
            return _message(value)
        if depth > 4:
            return "{…}" if value else "{}"
        inner = _joined(f"{key}: {_any(item, depth + 1)}" for key, item in value.items())
        return inner if depth == 0 and value else "{" + inner + "}"
    if isinstance(value, list):
        if depth > 4:
            return "[…]" if value else "[]"
        return "[" + _joined(_any(item, depth + 1) for item in value) + "]"
    return orjson.dumps(value).decode()


def _quoted(text: str) -> str:
    return f'"{text[:LIMIT]}{ELLIPSIS if len(text) > LIMIT else ""}"'


def _joined(parts: Iterable[str]) -> str:
    out: list[str] = []
    used = 0
    for part in parts:
        out.append(part)
        used += len(part)
        if used > LIMIT:
            out.append(ELLIPSIS)
            break
    return ", ".join(out)


def _is_message(value: Mapping[str, Any]) -> bool:
    return "content" in value and isinstance(value.get("type", value.get("role")), str)


_CHUNK_SUFFIX = "MessageChunk"


def _message(value: Mapping[str, Any]) -> str:
    kind = str(value.get("type", value.get("role")))
    kind = kind.removesuffix(_CHUNK_SUFFIX).lower() if kind.endswith(_CHUNK_SUFFIX) else kind
    return f"{kind}: {_content(value)}"


def _content(message: Mapping[str, Any]) -> str:
    parts = [_words(message.get("content"))]
    calls = message.get("tool_calls") or message.get("tool_call_chunks")
    if isinstance(calls, list):
        parts += [_call(call) for call in calls if isinstance(call, dict)]
    words = " ".join(part for part in parts if part and part != '""')
    return words or '""'


def _words(content: Any) -> str:
    """A message's content: a string, or a list of blocks of which the text ones are read."""
    if isinstance(content, str):
        return _quoted(content)
    if isinstance(content, list):
        texts = [
            str(block.get("text", f"[{block.get('type', 'block')}]"))
            if isinstance(block, dict)
            else str(block)
            for block in content
        ]
        return _quoted("".join(texts)) if texts else ""
    return "" if content is None else _any(content, 1)


def _call(call: Mapping[str, Any]) -> str:
    args = call.get("args")
    shown = args if isinstance(args, str) else "" if args in (None, {}) else _any(args, 2)
    return f"→ {call.get('name') or '…'}({shown})"


def _token(value: Any) -> str:
    """`messages`: `[chunk, metadata]`. The token first, then who said it."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return _any(value)
    node = value[1].get("langgraph_node") if len(value) > 1 and isinstance(value[1], dict) else None
    words = _content(value[0]) if _is_message(value[0]) else _any(value[0])
    kind = str(value[0].get("type", ""))
    said = words if kind.endswith(_CHUNK_SUFFIX) else f"{kind}: {words}"
    return f"{said}  ({node})" if node else said


def _accumulated(value: Any) -> str:
    """`messages/partial` and `messages/complete`: an array of one message."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and _is_message(value[0]):
        return _message(value[0])
    return _any(value)


def _message_metadata(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        (key, inner), *_ = value.items()
        meta = inner.get("metadata", {}) if isinstance(inner, dict) else {}
        node = meta.get("langgraph_node") if isinstance(meta, dict) else None
        return f"{key}  ({node})" if node else str(key)
    return _any(value)


def _metadata(value: Any) -> str:
    if isinstance(value, dict) and "run_id" in value:
        rest = {key: item for key, item in value.items() if key != "run_id"}
        return f"run {short_ids(str(value['run_id']))}" + (f", {_any(rest)}" if rest else "")
    return _any(value)


def _error(value: Any) -> str:
    if isinstance(value, dict) and "error" in value:
        return f"{value['error']}: {value.get('message', '')}"
    return _any(value)


def _task(value: Any) -> str:
    if not isinstance(value, dict) or "name" not in value:
        return _any(value)
    if "result" in value or "error" in value:
        if value.get("error"):
            return f"{value['name']} failed: {_error(value['error'])}"
        if value.get("interrupts"):
            return f"{value['name']} interrupted: {_any(value['interrupts'])}"
        return f"{value['name']} done: {_any(value.get('result'))}"
    return f"{value['name']} starts: {_any(value.get('input'))}"


def _checkpoint(value: Any) -> str:
    if not isinstance(value, dict) or "values" not in value:
        return _any(value)
    metadata = value.get("metadata")
    step = metadata.get("step") if isinstance(metadata, dict) else None
    following = value.get("next") or []
    names = ", ".join(str(name) for name in following) if isinstance(following, list) else str(following)
    return f"step {step} → {names or 'end'}: {_any(value['values'], 1)}"


def _debug(value: Any) -> str:
    if not isinstance(value, dict) or "payload" not in value:
        return _any(value)
    kind = str(value.get("type"))
    inner = _checkpoint if kind == "checkpoint" else _task
    return f"{kind}: {inner(value['payload'])}"


def _event(value: Any) -> str:
    if not isinstance(value, dict) or "event" not in value:
        return _any(value)
    return f"{value['event']} {value.get('name', '')}: {_any(value.get('data'))}"


def _values(value: Any) -> str:
    """State, of which the newest message is what one looks for."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list) and value["messages"]:
        shown = dict(value)
        messages = value["messages"]
        earlier = f"{len(messages) - 1} before, " if len(messages) > 1 else ""
        rest = {key: item for key, item in shown.items() if key != "messages"}
        tail = f", {_any(rest)}" if rest else ""
        return f"messages: [{earlier}{_any(messages[-1], 1)}]{tail}"
    return _any(value)


_PREVIEWS: dict[str, Callable[[Any], str]] = {
    "metadata": _metadata,
    "error": _error,
    "values": _values,
    "messages": _token,
    "messages/partial": _accumulated,
    "messages/complete": _accumulated,
    "messages/metadata": _message_metadata,
    "tasks": _task,
    "checkpoints": _checkpoint,
    "debug": _debug,
    "events": _event,
}
