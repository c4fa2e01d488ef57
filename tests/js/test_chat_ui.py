"""The calls of agent-chat-ui, from the page itself and through its Next.js route, which drops the content-type."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from graphtape.replayer import serve

if TYPE_CHECKING:
    from pathlib import Path

    from graphtape.cassettes.samples.agent_server import AgentServer

# The first of them installs the packages.
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

CONTENT_TYPES = ("application/json", "text/plain;charset=UTF-8")
CONVERSATIONS = ("chat", "decide", "resolve", "stop")

Talks = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="session")
def recorded(
    agent_server: AgentServer,
    tmp_path_factory: pytest.TempPathFactory,
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
    start_recorder: Callable[..., Any],
) -> tuple[Mapping[str, Path], Talks]:
    """The conversations of each kind, at once, each kind recorded into a cassette of its own."""
    folder = tmp_path_factory.mktemp("chat-ui")
    recorders = {
        kind: start_recorder(agent_server.url, folder / f"{number}.tape")
        for number, kind in enumerate(CONTENT_TYPES)
    }
    started = {kind: start_script("chat_ui.mjs", recorders[kind].url, kind) for kind in CONTENT_TYPES}
    talks = {kind: result_of(script) for kind, script in started.items()}
    for recorder in recorders.values():
        assert recorder.stop() == 0
    return {kind: recorder.cassette for kind, recorder in recorders.items()}, talks


@pytest.fixture(scope="session")
def replayed(
    recorded: tuple[Mapping[str, Path], Talks],
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
) -> Talks:
    """The same, from the mock, at the recorded speed: one of them stops in the midst of a run."""
    cassettes, _ = recorded
    with ExitStack() as stack:
        started = {}
        for kind, cassette in cassettes.items():
            mock = stack.enter_context(serve([cassette], speed="1"))
            started[kind] = start_script("chat_ui.mjs", mock.url, kind)
        return {kind: result_of(script) for kind, script in started.items()}


@pytest.mark.parametrize(("kind", "conversation"), list(itertools.product(CONTENT_TYPES, CONVERSATIONS)))
def test_conversations_equal(
    kind: str,
    conversation: str,
    recorded: tuple[Mapping[str, Path], Talks],
    replayed: Talks,
    assert_same: Callable[[Any, Any], None],
) -> None:
    """Every answer of every call is the same, ids renamed."""
    assert_same(replayed[kind][conversation], recorded[1][kind][conversation])


def _fields(url: str, method: str, path: str, headers: Mapping[str, str], body: str = "") -> tuple[int, Any]:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    try:
        connection.request(method, path, body=body or None, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


def _exposed(url: str, origin: str) -> set[str]:
    status, headers = _fields(url, "POST", "/threads", {"origin": origin}, "{}")
    assert status == 200
    assert headers["access-control-allow-origin"] in ("*", origin)
    return {name.strip().lower() for name in headers["access-control-expose-headers"].split(",")}


def test_what_a_page_may_read(agent_server: AgentServer, recorded: tuple[Mapping[str, Path], Talks]) -> None:
    """A page of another loopback port reads exactly the headers that the server exposes; `Location` only on demand."""
    cassette = recorded[0][CONTENT_TYPES[0]]
    page = "http://localhost:3000"
    with serve([cassette]) as mock, serve([cassette], expose_location=True) as open_mock:
        assert _exposed(mock.url, page) == _exposed(agent_server.url, page)
        assert "location" not in _exposed(mock.url, page)
        assert _exposed(open_mock.url, page) == {*_exposed(mock.url, page), "location"}


def test_preflight(agent_server: AgentServer, recorded: tuple[Mapping[str, Path], Talks]) -> None:
    """What a browser asks before it sends JSON with a key is granted as by the server."""
    asked = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key,last-event-id",
    }
    with serve([recorded[0][CONTENT_TYPES[0]]]) as mock:
        answers = [_fields(url, "OPTIONS", "/runs/stream", asked) for url in (agent_server.url, mock.url)]
    (server_status, server), (mock_status, mocked) = answers
    assert mock_status == server_status == 200
    for name in ("access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"):
        assert mocked[name] == server[name]


def test_page_of_a_stranger(recorded: tuple[Mapping[str, Path], Talks]) -> None:
    """A page of a foreign origin starts nothing, unless the user names it."""
    cassette, stranger = recorded[0][CONTENT_TYPES[0]], "https://chat.example.com"
    with serve([cassette]) as mock, serve([cassette], cors_origins=[stranger]) as open_mock:
        status, headers = _fields(mock.url, "POST", "/threads", {"origin": stranger}, "{}")
        assert status == 403
        assert "access-control-allow-origin" not in headers
        assert "content-location" in _exposed(open_mock.url, stranger)
