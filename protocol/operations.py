"""The operations of an Agent Server: every route, what it is, and what it needs.

Knows methods and paths, no bodies and no answers. One rule: the table is in the order in which the server registered
its routes (langgraph-api 0.16.7), because the first that fits answers, and the first whose path fits is the one whose
methods a 405 names (docs/agent-server.md, sections 9 and 10).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from graphtape.protocol.ids import canonical_uuid


class Kind(StrEnum):
    """What an operation does to what the server remembers."""

    STARTS_RUN = "starts-run"
    STREAM = "stream"
    """Follows runs that exist, on a stream or until they end."""
    READS_RUN = "reads-run"
    WRITES_RUN = "writes-run"
    READS_THREAD = "reads-thread"
    WRITES_THREAD = "writes-thread"
    READS_ASSISTANT = "reads-assistant"
    WRITES_ASSISTANT = "writes-assistant"
    CRON = "cron"
    STORE = "store"
    SERVER = "server"
    """About the server itself. A wrong method, or a trailing slash, is 404 here, not 405 or 307."""
    OTHER_PROTOCOL = "other-protocol"
    """Known by name only: event streaming version 2, MCP, A2A, generative UI."""


class Answer(StrEnum):
    """How a request that has to do with a run is answered."""

    STREAM = "stream"
    """200 and server-sent events."""
    WAIT = "wait"
    """200 at once, a newline every 5 s, then the last values as JSON."""
    CREATE = "create"
    """200 and the run object as JSON, without waiting."""


class Operation(StrEnum):
    """The name of an operation: one per route, except that a route may have two spellings."""

    CREATE_ASSISTANT = "create-assistant"
    SEARCH_ASSISTANTS = "search-assistants"
    COUNT_ASSISTANTS = "count-assistants"
    SET_LATEST_ASSISTANT_VERSION = "set-latest-assistant-version"
    LIST_ASSISTANT_VERSIONS = "list-assistant-versions"
    GET_ASSISTANT = "get-assistant"
    GET_ASSISTANT_GRAPH = "get-assistant-graph"
    GET_ASSISTANT_SCHEMAS = "get-assistant-schemas"
    GET_ASSISTANT_SUBGRAPHS = "get-assistant-subgraphs"
    GET_ASSISTANT_SUBGRAPH = "get-assistant-subgraph"
    UPDATE_ASSISTANT = "update-assistant"
    DELETE_ASSISTANT = "delete-assistant"

    STREAM_STATELESS_RUN = "stream-stateless-run"
    WAIT_STATELESS_RUN = "wait-stateless-run"
    CREATE_STATELESS_RUN = "create-stateless-run"
    CREATE_RUN_BATCH = "create-run-batch"
    CANCEL_RUNS = "cancel-runs"
    CREATE_CRON = "create-cron"
    SEARCH_CRONS = "search-crons"
    COUNT_CRONS = "count-crons"
    JOIN_RUN = "join-run"
    JOIN_RUN_STREAM = "join-run-stream"
    CANCEL_RUN = "cancel-run"
    GET_RUN = "get-run"
    DELETE_RUN = "delete-run"
    STREAM_RUN = "stream-run"
    WAIT_RUN = "wait-run"
    CREATE_RUN = "create-run"
    CREATE_THREAD_CRON = "create-thread-cron"
    LIST_RUNS = "list-runs"
    GET_CRON = "get-cron"
    UPDATE_CRON = "update-cron"
    DELETE_CRON = "delete-cron"

    CREATE_THREAD = "create-thread"
    SEARCH_THREADS = "search-threads"
    COUNT_THREADS = "count-threads"
    PRUNE_THREADS = "prune-threads"
    GET_THREAD = "get-thread"
    UPDATE_THREAD = "update-thread"
    DELETE_THREAD = "delete-thread"
    GET_STATE = "get-state"
    GET_STORAGE = "get-storage"
    UPDATE_STATE = "update-state"
    GET_HISTORY = "get-history"
    COPY_THREAD = "copy-thread"
    SEARCH_HISTORY = "search-history"
    GET_STATE_AT_CHECKPOINT = "get-state-at-checkpoint"
    SEARCH_STATE_AT_CHECKPOINT = "search-state-at-checkpoint"
    JOIN_THREAD_STREAM = "join-thread-stream"

    PUT_ITEM = "put-item"
    GET_ITEM = "get-item"
    DELETE_ITEM = "delete-item"
    SEARCH_ITEMS = "search-items"
    LIST_NAMESPACES = "list-namespaces"

    UI = "ui"
    UI_FILE = "ui-file"
    MCP = "mcp"
    A2A = "a2a"
    A2A_CARD = "a2a-card"
    EVENT_STREAM_V2 = "event-stream-v2"
    COMMAND_V2 = "command-v2"

    ROOT = "root"
    OK = "ok"
    INFO = "info"
    METRICS = "metrics"
    DOCS = "docs"
    OPENAPI = "openapi"


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table.

    Args:
        methods: as registered; where GET is, HEAD is answered too.
        template: as in the server's own description, `{name}` for one segment, `{name:path}` for the rest.
        answer: for operations that have to do with a run.
        stateful: starts or follows runs on a thread that the path names.
    """

    operation: Operation
    methods: tuple[str, ...]
    template: str
    kind: Kind
    answer: Answer | None = None
    websocket: bool = False
    """The same path also takes a WebSocket upgrade (GET with `upgrade: websocket`)."""
    segments: tuple[str, ...] = field(init=False, repr=False)
    params: tuple[str, ...] = field(init=False)
    """Names of the path's parameters, in order."""

    def __post_init__(self) -> None:
        segments = tuple(self.template.split("/")[1:])
        object.__setattr__(self, "segments", segments)
        params = tuple(segment[1:-1].removesuffix(":path") for segment in segments if segment.startswith("{"))
        object.__setattr__(self, "params", params)

    @property
    def starts_run(self) -> bool:
        """Whether `stream`, `wait` and `create` of it are the same run-starting operation."""
        return self.kind is Kind.STARTS_RUN

    @property
    def streams(self) -> bool:
        """Whether a good answer is server-sent events."""
        return self.answer is Answer.STREAM

    @property
    def thread_scoped(self) -> bool:
        """Whether the path names a thread."""
        return "thread_id" in self.params

    @property
    def stateful(self) -> bool:
        """Whether a run that it starts or follows belongs to a thread that the path names."""
        return self.answer is not None and self.thread_scoped


_POST, _GET, _PUT, _PATCH, _DELETE = ("POST",), ("GET",), ("PUT",), ("PATCH",), ("DELETE",)
_O, _K, _A = Operation, Kind, Answer

OPERATIONS: Final[tuple[Route, ...]] = (
    Route(_O.OK, _GET, "/ok", _K.SERVER),
    Route(_O.METRICS, _GET, "/metrics", _K.SERVER),
    Route(_O.DOCS, _GET, "/docs", _K.SERVER),
    Route(_O.OPENAPI, _GET, "/openapi.json", _K.SERVER),
    Route(_O.ROOT, _GET, "/", _K.SERVER),
    Route(_O.INFO, _GET, "/info", _K.SERVER),
    Route(_O.CREATE_ASSISTANT, _POST, "/assistants", _K.WRITES_ASSISTANT),
    Route(_O.SEARCH_ASSISTANTS, _POST, "/assistants/search", _K.READS_ASSISTANT),
    Route(_O.COUNT_ASSISTANTS, _POST, "/assistants/count", _K.READS_ASSISTANT),
    Route(_O.SET_LATEST_ASSISTANT_VERSION, _POST, "/assistants/{assistant_id}/latest", _K.WRITES_ASSISTANT),
    Route(_O.LIST_ASSISTANT_VERSIONS, _POST, "/assistants/{assistant_id}/versions", _K.READS_ASSISTANT),
    Route(_O.GET_ASSISTANT, _GET, "/assistants/{assistant_id}", _K.READS_ASSISTANT),
    Route(_O.GET_ASSISTANT_GRAPH, _GET, "/assistants/{assistant_id}/graph", _K.READS_ASSISTANT),
    Route(_O.GET_ASSISTANT_SCHEMAS, _GET, "/assistants/{assistant_id}/schemas", _K.READS_ASSISTANT),
    Route(_O.GET_ASSISTANT_SUBGRAPHS, _GET, "/assistants/{assistant_id}/subgraphs", _K.READS_ASSISTANT),
    Route(_O.GET_ASSISTANT_SUBGRAPH, _GET, "/assistants/{assistant_id}/subgraphs/{namespace}", _K.READS_ASSISTANT),
    Route(_O.UPDATE_ASSISTANT, _PATCH, "/assistants/{assistant_id}", _K.WRITES_ASSISTANT),
    Route(_O.DELETE_ASSISTANT, _DELETE, "/assistants/{assistant_id}", _K.WRITES_ASSISTANT),
    Route(_O.STREAM_STATELESS_RUN, _POST, "/runs/stream", _K.STARTS_RUN, _A.STREAM),
    Route(_O.WAIT_STATELESS_RUN, _POST, "/runs/wait", _K.STARTS_RUN, _A.WAIT),
    Route(_O.CREATE_STATELESS_RUN, _POST, "/runs", _K.STARTS_RUN, _A.CREATE),
    Route(_O.CREATE_RUN_BATCH, _POST, "/runs/batch", _K.WRITES_RUN),
    Route(_O.CANCEL_RUNS, _POST, "/runs/cancel", _K.WRITES_RUN),
    Route(_O.CREATE_CRON, _POST, "/runs/crons", _K.CRON),
    Route(_O.SEARCH_CRONS, _POST, "/runs/crons/search", _K.CRON),
    Route(_O.COUNT_CRONS, _POST, "/runs/crons/count", _K.CRON),
    Route(_O.JOIN_RUN, _GET, "/threads/{thread_id}/runs/{run_id}/join", _K.STREAM, _A.WAIT),
    Route(_O.JOIN_RUN_STREAM, _GET, "/threads/{thread_id}/runs/{run_id}/stream", _K.STREAM, _A.STREAM),
    Route(_O.CANCEL_RUN, _POST, "/threads/{thread_id}/runs/{run_id}/cancel", _K.WRITES_RUN),
    Route(_O.GET_RUN, _GET, "/threads/{thread_id}/runs/{run_id}", _K.READS_RUN),
    Route(_O.DELETE_RUN, _DELETE, "/threads/{thread_id}/runs/{run_id}", _K.WRITES_RUN),
    Route(_O.STREAM_RUN, _POST, "/threads/{thread_id}/runs/stream", _K.STARTS_RUN, _A.STREAM),
    Route(_O.WAIT_RUN, _POST, "/threads/{thread_id}/runs/wait", _K.STARTS_RUN, _A.WAIT),
    Route(_O.CREATE_RUN, _POST, "/threads/{thread_id}/runs", _K.STARTS_RUN, _A.CREATE),
    Route(_O.CREATE_THREAD_CRON, _POST, "/threads/{thread_id}/runs/crons", _K.CRON),
    Route(_O.LIST_RUNS, _GET, "/threads/{thread_id}/runs", _K.READS_RUN),
    Route(_O.GET_CRON, _GET, "/runs/crons/{cron_id}", _K.CRON),
    Route(_O.UPDATE_CRON, _PATCH, "/runs/crons/{cron_id}", _K.CRON),
    Route(_O.DELETE_CRON, _DELETE, "/runs/crons/{cron_id}", _K.CRON),
    Route(_O.CREATE_THREAD, _POST, "/threads", _K.WRITES_THREAD),
    Route(_O.SEARCH_THREADS, _POST, "/threads/search", _K.READS_THREAD),
    Route(_O.COUNT_THREADS, _POST, "/threads/count", _K.READS_THREAD),
    Route(_O.PRUNE_THREADS, _POST, "/threads/prune", _K.WRITES_THREAD),
    Route(_O.GET_THREAD, _GET, "/threads/{thread_id}", _K.READS_THREAD),
    Route(_O.UPDATE_THREAD, _PATCH, "/threads/{thread_id}", _K.WRITES_THREAD),
    Route(_O.DELETE_THREAD, _DELETE, "/threads/{thread_id}", _K.WRITES_THREAD),
    Route(_O.GET_STATE, _GET, "/threads/{thread_id}/state", _K.READS_THREAD),
    Route(_O.GET_STORAGE, _GET, "/threads/{thread_id}/storage", _K.READS_THREAD),
    Route(_O.UPDATE_STATE, _POST, "/threads/{thread_id}/state", _K.WRITES_THREAD),
    Route(_O.GET_HISTORY, _GET, "/threads/{thread_id}/history", _K.READS_THREAD),
    Route(_O.COPY_THREAD, _POST, "/threads/{thread_id}/copy", _K.WRITES_THREAD),
    Route(_O.SEARCH_HISTORY, _POST, "/threads/{thread_id}/history", _K.READS_THREAD),
    Route(_O.GET_STATE_AT_CHECKPOINT, _GET, "/threads/{thread_id}/state/{checkpoint_id}", _K.READS_THREAD),
    Route(_O.SEARCH_STATE_AT_CHECKPOINT, _POST, "/threads/{thread_id}/state/checkpoint", _K.READS_THREAD),
    Route(_O.JOIN_THREAD_STREAM, _GET, "/threads/{thread_id}/stream", _K.STREAM, _A.STREAM),
    Route(_O.PUT_ITEM, _PUT, "/store/items", _K.STORE),
    Route(_O.GET_ITEM, _GET, "/store/items", _K.STORE),
    Route(_O.DELETE_ITEM, _DELETE, "/store/items", _K.STORE),
    Route(_O.SEARCH_ITEMS, _POST, "/store/items/search", _K.STORE),
    Route(_O.LIST_NAMESPACES, _POST, "/store/namespaces", _K.STORE),
    Route(_O.UI, _POST, "/ui/{graph_id}", _K.OTHER_PROTOCOL),
    Route(_O.UI_FILE, _GET, "/ui/{file:path}", _K.OTHER_PROTOCOL),
    Route(_O.MCP, ("GET", "POST", "DELETE"), "/mcp", _K.OTHER_PROTOCOL),
    Route(_O.A2A, ("GET", "POST", "DELETE"), "/a2a/{assistant_id}", _K.OTHER_PROTOCOL),
    Route(_O.A2A, ("GET", "POST", "DELETE"), "/a2a/{assistant_id}/", _K.OTHER_PROTOCOL),
    Route(_O.A2A_CARD, _GET, "/a2a/{assistant_id}/.well-known/agent-card.json", _K.OTHER_PROTOCOL),
    Route(_O.A2A_CARD, _GET, "/a2a/{assistant_id}/.well-known/agent.json", _K.OTHER_PROTOCOL),
    Route(_O.A2A_CARD, _GET, "/.well-known/agent-card.json", _K.OTHER_PROTOCOL),
    Route(_O.EVENT_STREAM_V2, _POST, "/threads/{thread_id}/stream/events", _K.OTHER_PROTOCOL, websocket=True),
    Route(_O.COMMAND_V2, _POST, "/threads/{thread_id}/commands", _K.OTHER_PROTOCOL),
)  # fmt: skip
"""Every route, in the server's order."""


_RESPELLED = ("thread_id", "run_id")

READS_STATES: Final = frozenset(
    (
        Operation.GET_STATE,
        Operation.GET_STATE_AT_CHECKPOINT,
        Operation.SEARCH_STATE_AT_CHECKPOINT,
        Operation.GET_HISTORY,
        Operation.SEARCH_HISTORY,
    )
)
"""What looks for states by the id of the thread as it is spelled: in another spelling there are none."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a request line asks for."""

    operation: Operation
    params: Mapping[str, str]
    """The path's parameters, percent-decoded; not checked, so a `thread_id` may be anything. Ids of threads and runs
    that are UUIDs are in the one form that the server knows them by."""
    given: Mapping[str, str]
    """The same as they are spelled in the path: the server takes more spellings than one, and repeats them."""
    route: Route

    @property
    def is_respelled(self) -> bool:
        """Whether the path spells an id in another way than the server does."""
        return self.params != self.given


def resolve(method: str, path: str) -> Resolved | None:
    """The operation of a request line, or None: then `redirect` and `allowed_methods` say what the server answers.

    HEAD is GET. Like the server, the path is percent-decoded before it is taken apart, so `%2F` separates segments.

    Args:
        path: as on the request line; a query is ignored.
    """
    wanted = "GET" if method == "HEAD" else method
    segments = _segments(path)
    for route in _candidates(segments):
        if wanted in route.methods:
            given = _fit(route, segments)
            if given is not None:
                return Resolved(route.operation, _canonical(given), given, route)
    return None


def _canonical(given: Mapping[str, str]) -> Mapping[str, str]:
    return {
        name: (canonical_uuid(value) or value) if name in _RESPELLED else value
        for name, value in given.items()
    }


def allowed_methods(path: str) -> tuple[str, ...]:
    """What the `allow` header of the server's 405 names; empty if the answer is 404.

    These are the methods of the first route of this path, not of all: misleading, and what the server does. Where
    there is more than one, their order differs from one start of the server to the next; here HEAD comes first.
    """
    segments = _segments(path)
    for route in _candidates(segments):
        if route.kind is not Kind.SERVER and _fit(route, segments) is not None:
            return ("HEAD", *route.methods) if "GET" in route.methods else route.methods
    return ()


def redirect(path: str) -> str | None:
    """The path to which the server sends a request with a slash too many (307), whatever its method; else None.

    Only for paths that no route fits. The server's `location` is absolute and keeps the query.
    """
    path = path.partition("?")[0]
    if path == "/ui":
        return "/ui/"
    stripped = path.rstrip("/")
    if not stripped or allowed_methods(path):
        return None
    return stripped if allowed_methods(stripped) else None


def _segments(path: str) -> tuple[str, ...]:
    # Invalid UTF-8 becomes U+FFFD, as in the server.
    return tuple(unquote(path.partition("?")[0]).split("/")[1:])


def _is_rest(segment: str) -> bool:
    return segment.endswith(":path}")


_BY_LENGTH: Final[Mapping[int, tuple[Route, ...]]] = {
    length: tuple(
        route
        for route in OPERATIONS
        if len(route.segments) == length or (_is_rest(route.segments[-1]) and len(route.segments) < length)
    )
    for length in range(1, max(len(route.segments) for route in OPERATIONS) + 2)
}


def _candidates(segments: tuple[str, ...]) -> tuple[Route, ...]:
    return _BY_LENGTH.get(len(segments)) or _BY_LENGTH[max(_BY_LENGTH)] if segments else ()


def _fit(route: Route, segments: tuple[str, ...]) -> Mapping[str, str] | None:
    """The values of the route's parameters if the path is its path."""
    values: list[str] = []
    for position, expected in enumerate(route.segments):
        if not expected.startswith("{"):
            if expected != segments[position]:
                return None
        elif _is_rest(expected):
            values.append("/".join(segments[position:]))
        elif segments[position]:
            values.append(segments[position])
        else:
            return None
    return dict(zip(route.params, values, strict=True))
