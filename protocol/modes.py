"""Stream modes and the other two switches of a stream, as the Agent Server reads them from a request body.

Knows names and JSON values, no events and no run. One rule: what the server refuses is refused here, with its words
(docs/agent-server.md, sections 1.3 and 1.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from graphtape.protocol.errors import InvalidStreamMode

STREAM_MODES: Final = frozenset(
    {
        "values",
        "updates",
        "messages",
        "messages-tuple",
        "custom",
        "debug",
        "events",
        "tasks",
        "checkpoints",
    }
)
"""The nine modes of a run. `tools` and `lifecycle` exist in the server but are refused on these routes."""

DEFAULT_MODES: Final = frozenset({"values"})

NAMESPACE_SEPARATOR: Final = "|"


class Absent(StrEnum):
    """The type of `ABSENT`, which is not the same as null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""A key that the body does not have."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a request asks of a stream."""

    modes: frozenset[str] = DEFAULT_MODES
    subgraphs: bool = False
    resumable: bool = False


def parse_stream_modes(value: object = ABSENT) -> frozenset[str]:
    """The modes that a `stream_mode` stands for.

    Absent and `[]` mean `values`; order and repetition mean nothing; `messages-tuple` displaces `messages`, since
    the server then sends no `messages/*` event.

    Raises:
        InvalidStreamMode: null, an unknown name, or anything else that the server answers with 422.
    """
    modes = _read_modes(value)
    if modes is None:
        raise InvalidStreamMode(value)
    return modes


def _read_modes(value: object) -> frozenset[str] | None:
    if value is ABSENT:
        return DEFAULT_MODES
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name in STREAM_MODES for name in names
    ):
        return None
    modes = frozenset(names) or DEFAULT_MODES
    return modes - {"messages"} if "messages-tuple" in modes else modes


def split_event_name(name: str) -> tuple[str, tuple[str, ...]]:
    """`updates|a:1|b:2` is `("updates", ("a:1", "b:2"))`; a root event has the namespace `()`."""
    base, *namespace = name.split(NAMESPACE_SEPARATOR)
    return base, tuple(namespace)


def stream_options(body: Mapping[str, object]) -> StreamOptions:
    """What a run-starting body asks of its stream.

    A `stream_subgraphs` or `stream_resumable` that is no boolean counts as false here; the server refuses it: ask
    `refusal` first.

    Raises:
        InvalidStreamMode: as `parse_stream_modes`.
    """
    return StreamOptions(
        modes=parse_stream_modes(body.get("stream_mode", ABSENT)),
        subgraphs=body.get("stream_subgraphs") is True,
        resumable=body.get("stream_resumable") is True,
    )


class BodySchema(StrEnum):
    """How the server's refusals name the schema of a run-starting body; the value is what they say."""

    STATEFUL = 'schema["components"]["schemas"]["RunCreateStateful"]'
    STATELESS = 'schema["components"]["schemas"]["RunCreateStateless"]'
    CREATE = "schema"
    """`POST .../runs`, with and without a thread: the one route whose schema stands alone."""


_ANY_OF: Final = "is not valid under any of the schemas listed in the 'anyOf' keyword"
_BOOLEAN: Final = 'is not of type "boolean"'


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_stream_mode(value: object) -> bool:
    return _read_modes(value) is not None


def _is_boolean(value: object) -> bool:
    return isinstance(value, bool)


# In the order in which the server looks: by name. (field, what is right, the keyword it breaks, the words)
_CHECKS: Final[tuple[tuple[str, Callable[[object], bool], str, str], ...]] = (
    ("assistant_id", _is_text, "anyOf", _ANY_OF),
    ("stream_mode", _is_stream_mode, "anyOf", _ANY_OF),
    ("stream_resumable", _is_boolean, "type", _BOOLEAN),
    ("stream_subgraphs", _is_boolean, "type", _BOOLEAN),
)


def refusal(body: object, schema: BodySchema) -> str | None:
    """The `detail` of the server's 422 for a run-starting body, word for word; None if it is not refused for this.

    Checked are that it is an object with an `assistant_id`, and the fields that say how to stream; a wrong value of
    any other field is not seen here.

    Args:
        body: the parsed JSON.
        schema: by route, see `BodySchema`.
    """
    if not isinstance(body, Mapping):
        return _detail(body, 'is not of type "object"', "type", schema, field=None)
    if "assistant_id" not in body:
        return _detail(body, '"assistant_id" is a required property', "required", schema, field=None)
    for field, is_right, keyword, words in _CHECKS:
        if field in body and not is_right(body[field]):
            return _detail(body[field], words, keyword, schema, field=field)
    return None


def _detail(instance: object, words: str, keyword: str, schema: BodySchema, *, field: str | None) -> str:
    shown = _format_json(instance)
    subject = words if keyword == "required" else f"{shown} {words}"
    properties = "" if field is None else f'["properties"]["{field}"]'
    at = "" if field is None else f'["{field}"]'
    return (
        f'{subject}\n\nFailed validating "{keyword}" in {schema}{properties}\n\nOn instance{at}:\n    {shown}'
    )


_MOST_NESTED: Final = 200


def _format_json(value: object, depth: int = 0) -> str:
    """JSON as the server's validator prints it: compact, keys sorted, not escaped to ASCII."""
    if depth > _MOST_NESTED:
        return "..."
    if isinstance(value, Mapping):
        members = (f"{_format_json(key)}:{_format_json(value[key], depth + 1)}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_format_json(item, depth + 1) for item in value) + "]"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        # As JSON parsers read them; beyond the range of a float there is nothing to be like.
        value = float(value) if abs(value) < 2**1023 else float("inf")
    if isinstance(value, float):
        mantissa, _, exponent = repr(value).partition("e")
        if exponent == "-05":
            # The validator, unlike Python, writes five zeros before it turns to exponents.
            sign = "-" if value < 0 else ""
            return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}" if exponent else mantissa
    return orjson.dumps(value).decode()
