"""Chat messages in JSON: how the server writes them, and how chunks add up to the message that `messages/*` shows.

Knows the fields of messages, no event names beyond the three of `messages` mode, no runs, no levels. One rule: the
bytes are those the server would have written (key order included), or `UnknownShape` is raised; nothing is guessed.

The server adds chunks of one id with langchain-core and writes the sum after each one (docs/views.md). What adds how:

    content                       strings join; lists of blocks merge by `index`; a string before a list is its head
    additional_kwargs, response_metadata   strings join, numbers add up, lists and objects merge, null gives way
    tool_call_chunks              merge by `index` unless ids differ; then parsed to tool_calls, unfinished JSON too
    usage_metadata                integers add up
    name and unknown fields       only in the first
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

Json: TypeAlias = Any
"""A value that came from JSON, or goes there."""
JsonObject: TypeAlias = dict[str, Any]

CHUNK_TYPE: Final = "AIMessageChunk"
_MESSAGE_KEYS: Final = frozenset({"content", "additional_kwargs", "response_metadata", "type", "name", "id"})
_USAGE_KEYS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_token_details",
    "output_token_details",
)
_DETAIL_KEYS: Final = {
    "input_token_details": ("audio", "cache_creation", "cache_read"),
    "output_token_details": ("audio", "reasoning"),
}
_INVALID_CALL_KEYS: Final = ("type", "id", "name", "args", "error", "index", "extras")
_MAX_DEPTH: Final = 100

_ESCAPED_FFFD = re.compile(rb"(?<!\\)((?:\\\\)*)\\ufffd")


class UnknownShape(Exception):
    """Something whose server-made form is not known; `str()` says what, as a clause."""


# --- JSON as the server writes it


def loads(data: bytes) -> Json:
    """A payload; the escape that the server writes for NUL stays distinct from a raw U+FFFD (see `dumps`).

    Raises:
        UnknownShape: no JSON.
    """
    try:
        if rb"\ufffd" in data:
            data = _ESCAPED_FFFD.sub(rb"\1\\u0000", data)
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UnknownShape("an event whose data is no JSON") from error


def dumps(value: Json) -> bytes:
    """The bytes the server writes: compact, raw UTF-8, NUL as `\\ufffd`.

    Raises:
        UnknownShape: an integer beyond 64 bit, or half a surrogate pair; the server's run fails on both.
    """
    try:
        data = orjson.dumps(value)
    except (TypeError, RecursionError) as error:
        raise UnknownShape("a value that the server cannot write") from error
    if rb"\u0000" not in data:
        return data
    return data.replace(rb"\\u0000", rb"\\ufffd").replace(rb"\u0000", rb"\ufffd")


def as_object(value: Json) -> JsonObject:
    """The value, which must be an object.

    Raises:
        UnknownShape: it is none.
    """
    if not isinstance(value, dict):
        raise UnknownShape("a payload of an unknown form")
    return value


def is_message(value: Json) -> bool:
    """Whether this is a message object as the server writes one."""
    return isinstance(value, dict) and value.keys() >= _MESSAGE_KEYS and isinstance(value["id"], str | None)


def iter_messages(fields: Json) -> Iterator[JsonObject]:
    """The messages that the server finds in a state or an update: values, and items of lists that are values."""
    if not isinstance(fields, dict):
        return
    for value in fields.values():
        yield from iter_listed(value)


def iter_listed(value: Json) -> Iterator[JsonObject]:
    """The value if it is a message, else its items that are."""
    if is_message(value):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if is_message(item))


# --- accumulation


class Accumulation:
    """What `messages` mode makes of a `messages-tuple` stream: each message's sum so far, by id."""

    def __init__(self) -> None:
        self._sums: dict[str, JsonObject] = {}

    def feed(self, message: JsonObject, metadata: JsonObject) -> list[tuple[str, bytes]]:
        """Event names and data for one message or chunk.

        Raises:
            UnknownShape: a chunk of another kind than AI, a message twice, or chunks that do not add up.
        """
        message_id = message.get("id")
        kind = message.get("type")
        if not is_message(message) or not isinstance(message_id, str) or not isinstance(kind, str):
            raise UnknownShape("a message without id or type")
        if kind.endswith("Chunk") and kind != CHUNK_TYPE:
            raise UnknownShape(f"chunks of type {kind}")
        if kind == CHUNK_TYPE:
            _check_chunk(message)
        known = self._sums.get(message_id)
        events: list[tuple[str, bytes]] = []
        if known is None:
            total = message
            events.append(("messages/metadata", dumps({message_id: {"metadata": metadata}})))
        elif kind == CHUNK_TYPE == known["type"]:
            total = add_chunks(known, message)
        else:
            raise UnknownShape(f"a second message with the id {message_id}")
        self._sums[message_id] = total
        if kind == CHUNK_TYPE:
            events.append(("messages/partial", dumps([chunk_to_message(total)])))
        else:
            events.append(("messages/complete", dumps([total])))
        return events


def add_chunks(left: JsonObject, right: JsonObject) -> JsonObject:
    """The sum of two AI chunks of one id, as a chunk.

    Raises:
        UnknownShape: they do not add up.
    """
    tool_call_chunks = [
        {
            "name": c.get("name"),
            "args": c.get("args"),
            "id": c.get("id"),
            "index": c.get("index"),
            "type": "tool_call_chunk",
        }
        for c in _merge_lists(left.get("tool_call_chunks") or [], right.get("tool_call_chunks") or [])
    ]
    total: JsonObject = {
        "content": _merge_content(left["content"], right["content"]),
        "additional_kwargs": _merge_objects(left["additional_kwargs"], right["additional_kwargs"]),
        "response_metadata": _merge_objects(left["response_metadata"], right["response_metadata"]),
        "type": CHUNK_TYPE,
        "name": None,
        "id": left["id"],
        "tool_calls": [],
        "invalid_tool_calls": [],
        "usage_metadata": _add_usage(left.get("usage_metadata"), right.get("usage_metadata")),
        "tool_call_chunks": tool_call_chunks,
        "chunk_position": "last"
        if "last" in (left.get("chunk_position"), right.get("chunk_position"))
        else None,
    }
    _parse_tool_calls(total)
    if total["chunk_position"] == "last" and total["response_metadata"].get("output_version") == "v1":
        _finish_blocks(total)
    return total


def chunk_to_message(chunk: JsonObject) -> JsonObject:
    """The AI message that `messages/partial` shows for a sum of chunks.

    Raises:
        UnknownShape: tool calls in the provider's own form only.
    """
    if not (chunk.get("tool_calls") or chunk.get("invalid_tool_calls")) and chunk["additional_kwargs"].get(
        "tool_calls"
    ):
        raise UnknownShape("tool calls that are only in additional_kwargs")
    return {
        "content": chunk["content"],
        "additional_kwargs": chunk["additional_kwargs"],
        "response_metadata": chunk["response_metadata"],
        "type": "ai",
        "name": chunk["name"],
        "id": chunk["id"],
        "tool_calls": [
            {"name": c.get("name"), "args": c.get("args"), "id": c.get("id"), "type": "tool_call"}
            for c in chunk.get("tool_calls") or []
        ],
        "invalid_tool_calls": [
            {key: call[key] for key in _INVALID_CALL_KEYS if key in call}
            for call in chunk.get("invalid_tool_calls") or []
        ],
        "usage_metadata": chunk.get("usage_metadata"),
    }


def parse_partial_json(text: str) -> Json:
    """JSON that may stop anywhere: open strings, lists and objects are closed, else the end is cut off.

    Raises:
        ValueError: no prefix of it is JSON.
    """
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError:
        pass
    characters: list[str] = []
    open_ends: list[str] = []
    in_string = escaped = False
    for character in text:
        written = character
        if in_string:
            if character == '"' and not escaped:
                in_string = False
            elif character == "\n" and not escaped:
                written = "\\n"
            elif character == "\\":
                escaped = not escaped
            else:
                escaped = False
        elif character == '"':
            in_string, escaped = True, False
        elif character in "{[":
            open_ends.append("}" if character == "{" else "]")
        elif character in "}]" and (not open_ends or open_ends.pop() != character):
            return None
        characters.append(written)
    if in_string:
        if escaped:
            characters.pop()
        characters.append('"')
    closing = "".join(reversed(open_ends))
    while characters:
        try:
            return json.loads("".join(characters) + closing, strict=False)
        except json.JSONDecodeError:
            characters.pop()
    raise ValueError("no JSON")


def _check_chunk(chunk: JsonObject) -> None:
    objects = [
        chunk["additional_kwargs"],
        chunk["response_metadata"],
        chunk.get("usage_metadata") or {},
        *(chunk.get("tool_call_chunks") or []),
        *(chunk.get("tool_calls") or []),
        *(chunk.get("invalid_tool_calls") or []),
    ]
    if not isinstance(chunk["content"], str | list) or not all(isinstance(part, dict) for part in objects):
        raise UnknownShape("a message chunk of an unknown form")


def _parse_tool_calls(total: JsonObject) -> None:
    for chunk in total["tool_call_chunks"]:
        try:
            args = parse_partial_json(chunk["args"]) if chunk["args"] else {}
        except (ValueError, TypeError, RecursionError):
            args = None
        if isinstance(args, dict):
            call = {"name": chunk["name"] or "", "args": args, "id": chunk["id"], "type": "tool_call"}
            total["tool_calls"].append(call)
        else:
            call = {"name": chunk["name"], "args": chunk["args"], "id": chunk["id"], "error": None}
            total["invalid_tool_calls"].append({**call, "type": "invalid_tool_call"})


def _finish_blocks(total: JsonObject) -> None:
    """Standard content blocks of the last chunk: tool call chunks become tool calls, server tool calls are parsed."""
    if not isinstance(total["content"], list):
        return
    calls = {call["id"]: call for call in total["tool_calls"]}
    blocks: list[Json] = []
    for block in total["content"]:
        if not isinstance(block, dict):
            blocks.append(block)
        elif block.get("type") == "tool_call_chunk" and block.get("id") in calls and block.get("id"):
            call = calls[block["id"]]
            done = {"type": "tool_call", "name": call["name"], "args": call["args"], "id": call["id"]}
            blocks.append({**done, "extras": block["extras"]} if "extras" in block else done)
        elif block.get("type") in ("server_tool_call", "server_tool_call_chunk"):
            blocks.append(_finish_server_call(block))
        else:
            blocks.append(block)
    total["content"] = blocks


def _finish_server_call(block: JsonObject) -> JsonObject:
    text = block.get("args") or "{}"
    if not isinstance(text, str):
        return block
    try:
        args = json.loads(text)
    except json.JSONDecodeError:
        return block
    return {**block, "type": "server_tool_call", "args": args} if isinstance(args, dict) else block


def _add_usage(left: JsonObject | None, right: JsonObject | None) -> JsonObject | None:
    if not left or not right:
        return left or right
    return _ordered_usage(_add_integers(left, right, 0))


def _add_integers(left: Mapping[str, Json], right: Mapping[str, Json], depth: int) -> JsonObject:
    total: JsonObject = {}
    for key in dict.fromkeys((*left, *right)):
        a, b = left.get(key, 0), right.get(key, 0)
        if isinstance(a, int) and isinstance(b, int):
            total[key] = a + b
            continue
        a, b = left.get(key, {}), right.get(key, {})
        if not (isinstance(a, dict) and isinstance(b, dict)) or depth == _MAX_DEPTH:
            raise UnknownShape("usage_metadata that does not add up")
        total[key] = _add_integers(a, b, depth + 1)
    return total


def _ordered_usage(usage: JsonObject) -> JsonObject:
    # The server's schema orders the keys it knows.
    ordered = {key: usage[key] for key in _USAGE_KEYS if key in usage} | usage
    for key, names in _DETAIL_KEYS.items():
        if isinstance(details := ordered.get(key), dict):
            ordered[key] = {name: details[name] for name in names if name in details} | details
    return ordered


def _merge_content(left: Json, right: Json) -> Json:
    if isinstance(left, str):
        return left + right if isinstance(right, str) else [left, *right]
    if isinstance(right, list):
        return _merge_lists(left, right)
    if left and isinstance(left[-1], str):
        return [*left[:-1], left[-1] + right]
    return [*left, right] if left and right else list(left)


def _merge_objects(left: Mapping[str, Json], right: Mapping[str, Json], depth: int = 0) -> JsonObject:
    if depth > _MAX_DEPTH:
        raise UnknownShape("chunks nested too deep")
    merged = dict(left)
    for key, value in right.items():
        old = merged.get(key)
        if old is None:
            if key not in merged or value is not None:
                merged[key] = value
        elif value is None:
            continue
        elif type(old) is not type(value):
            raise UnknownShape(f"chunks in which {key!r} changes its type")
        else:
            merged[key] = _MERGE[type(old)](key, old, value, depth)
    return merged


def _merge_text(key: str, old: str, new: str, _: int) -> str:
    if key == "index" and old.startswith("lc_"):
        return old
    return old if key in ("id", "output_version", "model_provider") and old == new else old + new


def _merge_whole(key: str, old: int, new: int, _: int) -> int:
    if old == new:
        return old
    return new if key in ("index", "created", "timestamp") else old + new


def _keep_equal(key: str, old: Json, new: Json, _: int) -> Json:
    if old != new:
        raise UnknownShape(f"chunks in which {key!r} has two values")
    return old


_MERGE: Final[dict[type, Callable[[str, Any, Any, int], Json]]] = {
    str: _merge_text,
    int: _merge_whole,
    bool: _keep_equal,
    float: _keep_equal,
    dict: lambda _key, old, new, depth: _merge_objects(old, new, depth + 1),
    list: lambda _key, old, new, depth: _merge_lists(old, new, depth + 1),
}


def _merge_lists(left: Sequence[Json], right: Sequence[Json], depth: int = 0) -> list[Json]:
    merged = list(left)
    for item in right:
        place = _place(merged, item)
        if place is None:
            merged.append(item)
        else:
            merged[place] = _merge_objects(merged[place], _addition(merged[place], item), depth + 1)
    return merged


def _place(merged: Sequence[Json], item: Json) -> int | None:
    """Where in the list the block is that this one continues: the same index, and no other id."""
    if not isinstance(item, dict) or "index" not in item:
        return None
    index = item["index"]
    if not isinstance(index, int) and not (isinstance(index, str) and index.startswith("lc_")):
        return None
    for place, old in enumerate(merged):
        if not isinstance(old, dict) or "index" not in old or old["index"] != index:
            continue
        if not old.get("id") or not item.get("id") or old["id"] == item["id"]:
            return place
    return None


def _addition(old: JsonObject, new: JsonObject) -> JsonObject:
    """What of a block is merged into the one it continues."""
    if old.get("type") and new.get("type") == "non_standard" and "value" in new:
        value = {key: part for key, part in new["value"].items() if key != "type"}
        if old["type"] != "non_standard":
            return {"extras": value}
        return {"value": value, "index": new["index"]}
    return {key: part for key, part in new.items() if key != "type"}
