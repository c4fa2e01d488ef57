"""The table of the server's operations."""

from __future__ import annotations

import http.client
import itertools
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from graphtape.protocol.operations import (
    OPERATIONS,
    Answer,
    Kind,
    Operation,
    allowed_methods,
    redirect,
    resolve,
)

# What /openapi.json of langgraph-api 0.16.7 lists; compared with the running server below.
DESCRIBED = """
    POST /assistants
    POST /assistants/search
    POST /assistants/count
    GET /assistants/{assistant_id}
    DELETE /assistants/{assistant_id}
    PATCH /assistants/{assistant_id}
    GET /assistants/{assistant_id}/graph
    GET /assistants/{assistant_id}/subgraphs
    GET /assistants/{assistant_id}/subgraphs/{namespace}
    GET /assistants/{assistant_id}/schemas
    POST /assistants/{assistant_id}/versions
    POST /assistants/{assistant_id}/latest
    POST /threads
    POST /threads/search
    POST /threads/count
    POST /threads/prune
    GET /threads/{thread_id}/storage
    GET /threads/{thread_id}/state
    POST /threads/{thread_id}/state
    GET /threads/{thread_id}/state/{checkpoint_id}
    POST /threads/{thread_id}/state/checkpoint
    GET /threads/{thread_id}/history
    POST /threads/{thread_id}/history
    POST /threads/{thread_id}/copy
    GET /threads/{thread_id}
    DELETE /threads/{thread_id}
    PATCH /threads/{thread_id}
    GET /threads/{thread_id}/stream
    POST /threads/{thread_id}/stream/events
    GET /threads/{thread_id}/runs
    POST /threads/{thread_id}/runs
    POST /threads/{thread_id}/runs/crons
    POST /threads/{thread_id}/runs/stream
    POST /threads/{thread_id}/runs/wait
    GET /threads/{thread_id}/runs/{run_id}
    DELETE /threads/{thread_id}/runs/{run_id}
    GET /threads/{thread_id}/runs/{run_id}/join
    GET /threads/{thread_id}/runs/{run_id}/stream
    POST /threads/{thread_id}/runs/{run_id}/cancel
    POST /runs/crons
    POST /runs/crons/search
    POST /runs/crons/count
    POST /runs/stream
    POST /runs/cancel
    POST /runs/wait
    POST /runs
    POST /runs/batch
    GET /runs/crons/{cron_id}
    PATCH /runs/crons/{cron_id}
    DELETE /runs/crons/{cron_id}
    PUT /store/items
    DELETE /store/items
    GET /store/items
    POST /store/items/search
    POST /store/namespaces
    POST /a2a/{assistant_id}
    POST /mcp/
    GET /mcp/
    DELETE /mcp/
    GET /info
    GET /metrics
    GET /docs
    GET /ok
    POST /threads/{thread_id}/commands
"""
# Answered, but not described by the server itself.
NOT_DESCRIBED = {
    "GET /",
    "GET /openapi.json",
    "GET /a2a/{assistant_id}",
    "DELETE /a2a/{assistant_id}",
    "GET /a2a/{assistant_id}/",
    "POST /a2a/{assistant_id}/",
    "DELETE /a2a/{assistant_id}/",
    "GET /a2a/{assistant_id}/.well-known/agent-card.json",
    "GET /a2a/{assistant_id}/.well-known/agent.json",
    "GET /.well-known/agent-card.json",
    "POST /ui/{graph_id}",
    "GET /ui/{file:path}",
}

THREAD = "00000000-0000-7000-8000-000000000000"

# Observed: (request line, status if it tells, the allow header, the path of the location header).
SERVER_ANSWERS: list[tuple[str, int, set[str], str | None]] = [
    ("POST /", 404, set(), None),
    ("OPTIONS /ok", 404, set(), None),
    ("POST /info", 404, set(), None),
    ("GET /ok/", 404, set(), None),
    ("GET /openapi.json/", 404, set(), None),
    ("GET /runs/x", 404, set(), None),
    ("GET /threads//state", 404, set(), None),
    ("GET //threads/x", 404, set(), None),
    ("GET /THREADS/x", 404, set(), None),
    ("GET /threads/a%2Fb", 404, set(), None),
    ("GET /nope/", 404, set(), None),
    ("GET /.well-known/agent.json", 404, set(), None),
    ("GET /runs/stream", 405, {"POST"}, None),
    ("GET /threads", 405, {"POST"}, None),
    ("PUT /threads/search", 405, {"POST"}, None),
    ("PUT /threads%2Fsearch", 405, {"POST"}, None),
    (f"OPTIONS /threads/{THREAD}", 405, {"HEAD", "GET"}, None),
    (f"PUT /threads/{THREAD}/runs/stream", 405, {"HEAD", "GET"}, None),
    (f"PUT /threads/{THREAD}/runs/crons", 405, {"HEAD", "GET"}, None),
    (f"PUT /threads/{THREAD}/runs", 405, {"POST"}, None),
    (f"PUT /threads/{THREAD}/state/checkpoint", 405, {"HEAD", "GET"}, None),
    (f"DELETE /threads/{THREAD}/stream", 405, {"HEAD", "GET"}, None),
    (f"GET /threads/{THREAD}/stream/events", 405, {"POST"}, None),
    ("PUT /runs/crons/search", 405, {"POST"}, None),
    ("POST /store/items", 405, {"PUT"}, None),
    ("PUT /mcp", 405, {"GET", "HEAD", "POST", "DELETE"}, None),
    ("PUT /a2a/x/", 405, {"GET", "HEAD", "POST", "DELETE"}, None),
    ("QUERY /threads", 405, {"POST"}, None),
    ("POST /threads/", 307, set(), "/threads"),
    ("GET /threads//", 307, set(), "/threads"),
    ("GET /runs/stream/", 307, set(), "/runs/stream"),
    (f"GET /threads/{THREAD}/state/", 307, set(), f"/threads/{THREAD}/state"),
    ("GET /mcp/", 307, set(), "/mcp"),
    ("GET /ui", 307, set(), "/ui/"),
]


def rows() -> list[str]:
    return [f"{method} {route.template}" for route in OPERATIONS for method in route.methods]


def described(listed: set[str]) -> set[str]:
    """The server describes /mcp/, and redirects it to /mcp."""
    return {line.replace(" /mcp/", " /mcp") for line in listed}


def test_every_described_route_has_a_row() -> None:
    """The table is what the server describes, and what it answers without describing it; nothing twice."""
    listed = described({line.strip() for line in DESCRIBED.split("\n") if line.strip()})
    assert sorted(rows()) == sorted(listed | NOT_DESCRIBED)


def test_every_operation_has_a_route() -> None:
    """No name without a row."""
    assert {route.operation for route in OPERATIONS} == set(Operation)


def test_no_request_line_fits_two_routes() -> None:
    """Within one method a path means one operation: a literal never competes with a parameter."""
    for one, other in itertools.combinations(OPERATIONS, 2):
        if not set(one.methods) & set(other.methods) or len(one.segments) != len(other.segments):
            continue
        pairs = zip(one.segments, other.segments, strict=True)
        assert any(a != b and not a.startswith("{") and not b.startswith("{") for a, b in pairs) or any(
            (a == "") != (b == "") for a, b in zip(one.segments, other.segments, strict=True)
        ), (one.template, other.template)


@pytest.mark.parametrize("row", range(len(OPERATIONS)), ids=[r.template for r in OPERATIONS])
def test_every_row_resolves_to_itself(row: int) -> None:
    """Its own template, filled in, gives the row back with the parameters, for each method and for HEAD."""
    route = OPERATIONS[row]
    values = {name: f"{name}-é x" for name in route.params}
    path = route.template.replace(":path}", "}")
    for name in values:
        path = path.replace("{" + name + "}", f"{name}-%C3%A9%20x")
    for method in (*route.methods, *(["HEAD"] if "GET" in route.methods else [])):
        resolved = resolve(method, path)
        assert resolved is not None
        assert (resolved.operation, resolved.route, resolved.params) == (route.operation, route, values)
        assert resolve(method, path + "?a=/b") == resolved


def test_a_literal_and_a_parameter_are_told_apart_by_method() -> None:
    """POST /threads/search searches; GET of the same path reads a thread of that name, as on the server."""
    search = resolve("POST", "/threads/search")
    read = resolve("GET", "/threads/search")
    assert search is not None
    assert read is not None
    assert (search.operation, search.params) == (Operation.SEARCH_THREADS, {})
    assert (read.operation, read.params) == (Operation.GET_THREAD, {"thread_id": "search"})


def test_an_encoded_slash_separates() -> None:
    """The server takes the path apart after decoding it."""
    resolved = resolve("GET", "/threads/a%2Fstate")
    assert resolved is not None
    assert (resolved.operation, resolved.params) == (Operation.GET_STATE, {"thread_id": "a"})


def test_what_starts_a_run() -> None:
    """Six routes start runs: stream, wait and create, with and without a thread."""
    starting = {(route.operation, route.answer, route.stateful) for route in OPERATIONS if route.starts_run}
    assert starting == {
        (Operation.STREAM_RUN, Answer.STREAM, True),
        (Operation.WAIT_RUN, Answer.WAIT, True),
        (Operation.CREATE_RUN, Answer.CREATE, True),
        (Operation.STREAM_STATELESS_RUN, Answer.STREAM, False),
        (Operation.WAIT_STATELESS_RUN, Answer.WAIT, False),
        (Operation.CREATE_STATELESS_RUN, Answer.CREATE, False),
    }


def test_what_streams() -> None:
    """Four routes answer with version 1 events."""
    assert {route.operation for route in OPERATIONS if route.streams} == {
        Operation.STREAM_RUN,
        Operation.STREAM_STATELESS_RUN,
        Operation.JOIN_RUN_STREAM,
        Operation.JOIN_THREAD_STREAM,
    }


def test_reads_of_a_thread_and_of_runs_name_the_thread() -> None:
    """What reads one run is scoped to a thread; what joins is too."""
    for route in OPERATIONS:
        if route.kind in (Kind.READS_RUN, Kind.STREAM):
            assert route.thread_scoped, route


def test_version_two_is_known_by_name() -> None:
    """The routes of event streaming version 2 resolve, and are marked as outside version 1."""
    events = resolve("POST", f"/threads/{THREAD}/stream/events")
    commands = resolve("POST", f"/threads/{THREAD}/commands")
    assert events is not None
    assert commands is not None
    assert events.route.kind is commands.route.kind is Kind.OTHER_PROTOCOL
    assert events.route.websocket


@pytest.mark.parametrize(
    "line", ["GET ", "GET *", "OPTIONS *", "GET /a/b/c/d/e/f/g/h/i", "get /ok", "GET ok"]
)
def test_what_is_no_path_of_the_server(line: str) -> None:
    """Nothing resolves, nothing is allowed, nothing raises."""
    method, _, path = line.partition(" ")
    assert resolve(method, path) is None
    assert redirect(path) is None


@pytest.mark.parametrize("answer", SERVER_ANSWERS, ids=[answer[0] for answer in SERVER_ANSWERS])
def test_what_the_server_answers_to_wrong_request_lines(
    answer: tuple[str, int, set[str], str | None],
) -> None:
    """404, 405 with the methods of the first fitting path, or 307, as observed."""
    line, status, allow, location = answer
    method, _, path = line.partition(" ")
    assert resolve(method, path) is None
    assert redirect(path) == location
    if status != 307:
        assert set(allowed_methods(path)) == allow


def ask(url: str, line: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    method, _, path = line.partition(" ")
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


@pytest.mark.live
def test_the_running_server_describes_the_same_routes(agent_server: Any) -> None:
    """The checked-in list is the server's own."""
    _, _, body = ask(agent_server.url, "GET /openapi.json")
    paths = json.loads(body)["paths"]
    now = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert now == {line.strip() for line in DESCRIBED.split("\n") if line.strip()}


@pytest.mark.live
def test_the_running_server_answers_wrong_request_lines_so(agent_server: Any) -> None:
    """The checked-in answers are the server's own."""
    for line, status, allow, location in SERVER_ANSWERS:
        got, headers, _ = ask(agent_server.url, line)
        allowed = set(filter(None, headers.get("allow", "").replace(" ", "").split(",")))
        assert (got, allowed) == (status, allow), line
        assert (urlsplit(headers["location"]).path if "location" in headers else None) == location, line


def test_ids_spelled_otherwise() -> None:
    """Ids of threads and runs are told as the server knows them, and as the path spells them."""
    thread, run = "019f0000-0000-7000-8000-00000000000a", "019f0000-0000-7000-8000-00000000000b"
    path = f"/threads/{thread.replace('-', '')}/runs/%7B{run.upper()}%7D"
    found = resolve("GET", path)
    assert found is not None
    assert found.params == {"thread_id": thread, "run_id": run}
    assert found.given == {"thread_id": thread.replace("-", ""), "run_id": f"{{{run.upper()}}}"}
    assert found.is_respelled
    plain = resolve("GET", f"/threads/{thread}/state/{run.upper()}")
    assert plain is not None
    assert plain.params["checkpoint_id"] == run.upper()
    assert not plain.is_respelled
