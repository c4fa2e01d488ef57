"""What the server takes as the body of a request, and in which words it refuses the rest.

Tables and their two readers; knows no route and no session. One rule: what is refused here is refused whatever was
recorded (docs/agent-server.md, sections 1.4, 9 and 10); a live test compares the tables with the server's own.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from graphtape.protocol.modes import STREAM_MODES
from graphtape.protocol.validation import Rule, violation

_TEXT: Final = Rule(("string",))
_TEXTS: Final = Rule(("array",), items=_TEXT)
_OBJECT: Final = Rule(("object",))
_ARRAY: Final = Rule(("array",))
_BOOLEAN: Final = Rule(("boolean",))
_NUMBER: Final = Rule(("number",))
_NULL: Final = Rule(("null",))


def _one_of(*names: str) -> Rule:
    return Rule(("string",), enum=names)


_CHECKPOINT: Final = Rule(
    ("object",),
    properties={
        "thread_id": _TEXT,
        "checkpoint_ns": _TEXT,
        "checkpoint_id": _TEXT,
        "checkpoint_map": _OBJECT,
    },
    reference="CheckpointConfig",
)
_SEND: Final = Rule(
    ("object",),
    required=("node", "input"),
    properties={
        "node": _TEXT,
        "input": Rule(("object", "array", "number", "string", "boolean", "null")),
    },
)
_COMMAND: Final = Rule(
    any_of=(
        Rule(
            ("object",),
            properties={
                "update": Rule(("object", "array", "null")),
                "resume": Rule(("object", "array", "number", "string", "boolean", "null")),
                "goto": Rule(any_of=(_SEND, Rule(("array",), items=_SEND), _TEXT, _TEXTS, _NULL)),
            },
        ),
        _NULL,
    )
)
_NODES: Final = Rule(any_of=(_one_of("*"), _TEXTS))
# `tools` and `lifecycle` exist in the server but are refused on these routes.
_MODE: Final = _one_of(*sorted(STREAM_MODES))

_RUN: Final[Mapping[str, Rule]] = {
    "assistant_id": Rule(any_of=(_TEXT,)),
    "input": Rule(any_of=(_OBJECT, _ARRAY, _TEXT, _NUMBER, _BOOLEAN, _NULL)),
    "command": _COMMAND,
    "metadata": _OBJECT,
    "config": Rule(
        ("object",),
        properties={"tags": _TEXTS, "recursion_limit": Rule(("integer",)), "configurable": _OBJECT},
    ),
    "context": _OBJECT,
    "webhook": Rule(("string",), min_length=1, max_length=65536),
    "stream_mode": Rule(any_of=(Rule(("array",), items=_MODE), _MODE)),
    "stream_subgraphs": _BOOLEAN,
    "stream_resumable": _BOOLEAN,
    "feedback_keys": _TEXTS,
    "after_seconds": _NUMBER,
    "checkpoint_during": _BOOLEAN,
    "durability": _one_of("sync", "async", "exit"),
}
_STATEFUL: Final[Mapping[str, Rule]] = {
    **_RUN,
    "checkpoint": Rule(("object",), all_of=(_CHECKPOINT,)),
    "interrupt_before": _NODES,
    "interrupt_after": _NODES,
    "multitask_strategy": _one_of("reject", "rollback", "interrupt", "enqueue"),
    "if_not_exists": _one_of("create", "reject"),
}
_STATELESS: Final[Mapping[str, Rule]] = {**_RUN, "on_completion": _one_of("delete", "keep")}


def _run(properties: Mapping[str, Rule], reference: str = "") -> Rule:
    return Rule(("object",), required=("assistant_id",), properties=properties, reference=reference)


def _streamed(properties: Mapping[str, Rule], reference: str) -> Rule:
    leaving = Rule(("object",), properties={"on_disconnect": _one_of("cancel", "continue")})
    return Rule(all_of=(_run(properties, reference), leaving))


_TTL: Final = Rule(("object",), properties={"strategy": _one_of("delete", "keep_latest"), "ttl": _NUMBER})
_STATUS: Final = _one_of("idle", "busy", "interrupted", "error")
_THREAD_FIELDS: Final = (
    "thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "config", "status", "values", "interrupts",
)  # fmt: skip
_SUPERSTEP: Final = Rule(
    ("object",),
    required=("as_node",),
    properties={
        "values": Rule(any_of=(Rule(("array",), items=_OBJECT), _OBJECT, _NULL)),
        "command": _COMMAND,
        "as_node": _TEXT,
    },
    reference="ThreadSuperstepUpdate",
)


class BodySchema(StrEnum):
    """The schema of a body, as the server calls it."""

    STATEFUL = "RunCreateStreamingStateful"
    STATELESS = "RunCreateStreamingStateless"
    CREATE_STATEFUL = "RunCreateStateful"
    CREATE_STATELESS = "RunCreateStateless"
    CANCEL_RUNS = "RunsCancel"
    CREATE_THREAD = "ThreadCreate"
    PATCH_THREAD = "ThreadPatch"
    SEARCH_THREADS = "ThreadSearchRequest"
    COUNT_THREADS = "ThreadCountRequest"
    PRUNE_THREADS = "ThreadPruneRequest"
    UPDATE_STATE = "ThreadStateUpdate"
    SEARCH_STATES = "ThreadStateSearch"
    STATE_AT_CHECKPOINT = "ThreadStateCheckpointRequest"


RULES: Final[Mapping[BodySchema, Rule]] = {
    BodySchema.STATEFUL: _streamed(_STATEFUL, "RunCreateStateful"),
    BodySchema.STATELESS: _streamed(_STATELESS, "RunCreateStateless"),
    BodySchema.CREATE_STATEFUL: _run(_STATEFUL),
    BodySchema.CREATE_STATELESS: _run(_STATELESS),
    BodySchema.CANCEL_RUNS: Rule(
        ("object",),
        one_of=(Rule(required=("status",)), Rule(required=("thread_id", "run_ids"))),
        properties={
            "status": _one_of("pending", "running", "all"),
            "thread_id": _TEXT,
            "run_ids": _TEXTS,
        },
    ),
    BodySchema.CREATE_THREAD: Rule(
        ("object",),
        properties={
            "thread_id": _TEXT,
            "metadata": _OBJECT,
            "if_exists": _one_of("raise", "do_nothing"),
            "ttl": _TTL,
            "supersteps": Rule(
                ("array",),
                items=Rule(
                    ("object",),
                    required=("updates",),
                    properties={"updates": Rule(("array",), items=_SUPERSTEP)},
                ),
            ),
        },
    ),
    BodySchema.PATCH_THREAD: Rule(("object",), properties={"metadata": _OBJECT, "ttl": _TTL}),
    BodySchema.SEARCH_THREADS: Rule(
        ("object",),
        properties={
            "ids": _TEXTS,
            "metadata": _OBJECT,
            "values": _OBJECT,
            "status": _STATUS,
            "limit": Rule(("integer",), minimum=1, maximum=1000),
            "offset": Rule(("integer",), minimum=0),
            "sort_by": _one_of("thread_id", "status", "created_at", "updated_at", "state_updated_at"),
            "sort_order": _one_of("asc", "desc"),
            "select": Rule(("array",), items=_one_of(*_THREAD_FIELDS)),
            "extract": Rule(("object",), additional=_TEXT, most_members=10),
        },
    ),
    BodySchema.COUNT_THREADS: Rule(
        ("object",), properties={"metadata": _OBJECT, "values": _OBJECT, "status": _STATUS}
    ),
    BodySchema.PRUNE_THREADS: Rule(
        ("object",),
        required=("thread_ids",),
        properties={"thread_ids": _TEXTS, "strategy": _one_of("delete", "keep_latest")},
    ),
    BodySchema.UPDATE_STATE: Rule(
        ("object",),
        properties={
            "values": Rule(any_of=(_ARRAY, _OBJECT, _NULL)),
            "checkpoint": _CHECKPOINT,
            "as_node": _TEXT,
        },
    ),
    BodySchema.SEARCH_STATES: Rule(
        ("object",),
        properties={
            "limit": Rule(("integer",), minimum=1, maximum=1000),
            "before": _CHECKPOINT,
            "metadata": _OBJECT,
            "checkpoint": _CHECKPOINT,
        },
    ),
    BodySchema.STATE_AT_CHECKPOINT: Rule(
        ("object",), required=("checkpoint",), properties={"checkpoint": _CHECKPOINT, "subgraphs": _BOOLEAN}
    ),
}


def refusal(body: object, schema: BodySchema) -> str | None:
    """The `detail` of the server's 422 for a body, word for word; None if it is not refused for its form.

    Args:
        body: the parsed JSON.
    """
    return violation(body, RULES[schema])


class Refusal(NamedTuple):
    """What the server answers instead of starting a run."""

    status: int
    detail: str


_RESUMING: Final = "You must provide a thread_id when resuming."
_TWO_CONTEXTS: Final = (
    "Cannot specify both configurable and context. Prefer setting context alone. Context was introduced in "
    "LangGraph 0.6.0 and is the long term planned replacement for configurable."
)
_RELATIVE_WEBHOOK: Final = (
    "Loopback webhooks (relative URLs and localhost) are disabled by default. They bypass authentication via the "
    "in-process ASGI transport and can be abused to invoke internal routes as an unauthenticated caller. Set "
    "webhooks.url.disable_loopback to false (in langgraph.json or via LANGGRAPH_WEBHOOKS) to opt back in \u2014 only "
    "do so when you control the mounted routes."
)
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "host.docker.internal"})


def run_refusal(body: Mapping[str, Any], *, stateful: bool) -> Refusal | None:
    """What the server refuses of a run-starting body whose form is right; None if it takes it.

    Checked in the server's order: `checkpoint_id`, resuming without a thread, two contexts, the webhook. What depends
    on the server's graphs, threads or name service is not seen here.

    Args:
        body: one that `refusal` has let pass.
        stateful: the run has a thread.
    """
    checkpoint = body.get("checkpoint_id")
    if isinstance(checkpoint, str) and checkpoint and not _reads_as_uuid(checkpoint):
        return Refusal(422, "Invalid checkpoint ID")
    command = body.get("command")
    if not stateful and command and command.get("resume"):
        return Refusal(400, _RESUMING)
    configurable = (body.get("config") or {}).get("configurable") or {}
    if body.get("context") and not all(map(_is_the_servers, configurable)):
        return Refusal(400, _TWO_CONTEXTS)
    webhook = body.get("webhook")
    detail = _webhook_refusal(webhook) if webhook else None
    return Refusal(422, detail) if detail is not None else None


def _reads_as_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _is_the_servers(name: str) -> bool:
    """Whether a name of `configurable` is one that the server drops, since it sets it itself."""
    return name.startswith(("langgraph_auth_", "langgraph_request_id", "__"))


def _webhook_refusal(webhook: str) -> str | None:
    """Why the server's usual rules forbid a webhook; names other than the local ones are not looked up."""
    if webhook.startswith("/"):
        return _RELATIVE_WEBHOOK
    try:
        parts = urlsplit(webhook)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    if not host:
        return "Invalid webhook hostname ''"
    if parts.scheme.lower() not in ("http", "https"):
        return f"Webhook host blocked: scheme '{parts.scheme.lower()}' not allowed"
    if host in _LOCAL_NAMES:
        return "Webhook host blocked: localhost address"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if not address.is_loopback:
        return None
    return f"Webhook host blocked: {'loopback' if address.version == 4 else 'blocked'} IP range"
