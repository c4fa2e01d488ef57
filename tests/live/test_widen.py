"""`--widen` against the real Agent Server: each conversation is held with the server itself and through the recorder.

Whatever a client asks, and of whatever endpoint, both must answer the same: events in the same order, ids where the
server has them, run objects that show what the client asked. Ids are compared by a consistent mapping, times are left
out; message ids that the server makes depend on the modes asked and are masked.

A representative set runs by default; `GRAPHTAPE_FULL=1` runs more graphs.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from graphtape.cassettes.reader import Cassette
from graphtape.protocol.sse import Block, Decoder
from graphtape.replayer import serve

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer
    from graphtape.tests.live.conftest import Recorder

    StartRecorder = Callable[..., Recorder]

UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
)
TIMES = re.compile(
    r'("(?:timestamp|created_at|updated_at|state_updated_at)":)"[^"]*"|("__request_start_time_ms__":)\d+'
)
WIDE = ("values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints")

FULL = os.environ.get("GRAPHTAPE_FULL") == "1"

GRAPHS = "nested tools hitl_nested err_nested func_sub".split()
FOLLOWED = "hitl_nested tools".split()
if FULL:
    GRAPHS += (
        "invoked levels odd_unicode ask_twice failing blocks fanout3 cmdg otherkey outschema handoff".split()
    )
    FOLLOWED += "nested ask_twice failing invoked func_sub burst".split()
REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"stream_mode": "messages-tuple"},
    {"stream_mode": "messages", "stream_resumable": True},
    {"stream_mode": ["messages", "updates"], "stream_subgraphs": True},
    {"stream_mode": ["values", "messages-tuple", "custom"], "stream_resumable": True},
    {"stream_mode": ["updates", "debug"], "stream_subgraphs": True, "stream_resumable": True},
    {"stream_mode": ["events"]},
    {"stream_mode": ["tasks", "checkpoints", "tasks"]},
)


@dataclass(slots=True)
class Heard:
    """What one conversation was told, in words that can be compared."""

    lines: list[str] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, text: str) -> None:
        plain = TIMES.sub(lambda found: (found[1] or found[2]) + "0", text)
        mapped = UUID.sub(lambda found: self.numbers.setdefault(found[0], f"<{len(self.numbers)}>"), plain)
        self.lines.append(f"{what} {mapped}")


def masked(value: Any) -> Any:
    """A value in which every message id made by the server (or left null) is masked."""
    if isinstance(value, list):
        return [masked(part) for part in value]
    if isinstance(value, dict):
        parts = {
            ("~" if key.startswith("lc_run--") or UUID.fullmatch(key) else key): masked(part)
            for key, part in value.items()
        }
        if {"content", "type", "id"} <= value.keys():
            made = value["id"] is None or value["id"].startswith("lc_run--") or UUID.fullmatch(value["id"])
            parts["id"] = "~" if made else value["id"]
        return parts
    return value


def blocks(chunks: Iterable[bytes]) -> list[Block]:
    decoder = Decoder()
    return [block for chunk in chunks for block in decoder.feed(chunk)]


class Client:
    """Talks to one server and writes down what it hears.

    Args:
        mask: leave message ids out.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, *, mask: bool) -> None:
        self._http, self._url, self._mask = http, url, mask
        self.heard = Heard()

    def beside(self) -> Client:
        """Another client of the same server, whose words are kept apart for now."""
        other = Client(self._http, self._url, mask=self._mask)
        other.heard.numbers = dict(self.heard.numbers)
        return other

    def _text(self, data: bytes) -> str:
        if not self._mask:
            return data.decode()
        return orjson.dumps(masked(orjson.loads(data))).decode()

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        async with self._http.request(method, self._url + path, json=body) as answer:
            data = await answer.read()
            self.heard.add(f"{method} {path.count('/')} {answer.status}", self._text(data))
            return orjson.loads(data)

    async def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        cursor: str | None = None,
        until: Callable[[Block], bool] = lambda block: False,
        quiet: bool = False,
    ) -> tuple[str, list[Block]]:
        """The run id of the `content-location`, and the events, each in a chunk of its own."""
        headers = {} if cursor is None else {"last-event-id": cursor}
        events: list[Block] = []
        async with self._http.request(method, self._url + path, json=body, headers=headers) as answer:
            names = [name.lower() for name in answer.headers if name.lower() != "connection"]
            async for chunk in whole_chunks(answer):
                (block,) = blocks([chunk])
                assert block.is_event or block.is_comment
                if block.is_event:
                    events.append(block)
                if until(block):
                    break
        if not quiet:
            self.heard.add(f"{method} {answer.status}", " ".join(names))
        for event in events:
            if not quiet:
                has_id = "id" if event.id is not None else "no id"
                self.heard.add(f"event {has_id}", f"{event.name} {self._text(event.data or b'')}")
        return answer.headers.get("content-location", "").rpartition("/")[2], events


async def whole_chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The HTTP chunks of a body."""
    held = b""
    async for data, ends in answer.content.iter_chunks():
        held += data
        if ends and held:
            yield held
            held = b""


async def hold(client: Client, graph: str, request: dict[str, Any]) -> None:
    """One conversation: a stream, everything about it that can be asked, and the same again after an interrupt."""
    message = [{"role": "user", "content": "hi there", "id": "user-1"}]
    starts: list[dict[str, Any]] = [{"input": {"messages": message}}]
    if graph.startswith("hitl"):
        starts.append({"command": {"resume": "yes"}})
    thread = (await client.json("POST", "/threads", {}))["thread_id"]
    for start in starts:
        run, events = await client.stream(
            "POST", f"/threads/{thread}/runs/stream", {"assistant_id": graph, **request, **start}
        )
        await client.json("GET", f"/threads/{thread}/runs/{run}")
        await client.json("GET", f"/threads/{thread}/state")
        await client.stream("GET", f"/threads/{thread}/runs/{run}/stream", cursor="-1")
        await client.stream("GET", f"/threads/{thread}/runs/{run}/stream?stream_mode=messages", cursor="-")
        if events[0].id is not None:
            await client.stream("GET", f"/threads/{thread}/runs/{run}/stream", cursor=events[0].id)
            both = '?stream_mode=["values","metadata"]'
            await client.stream("GET", f"/threads/{thread}/runs/{run}/stream{both}", cursor="0")
    await client.json("GET", f"/threads/{thread}/runs")
    await client.json("GET", f"/threads/{thread}/runs?select=kwargs")
    if graph != "err_nested":
        # The values of a thread whose run failed are those of the last checkpoint that its stream showed; with
        # subgraphs, one of an inner level. That is the server's, and widening changes it.
        await client.json("GET", f"/threads/{thread}")
    await client.json("POST", f"/threads/{thread}/history", {"limit": 20})
    if request.get("stream_resumable"):
        ends = iter(range(len(starts) - 1, -1, -1))
        await client.stream(
            "GET",
            f"/threads/{thread}/stream",
            cursor="-",
            until=lambda block: b"run_done" in (block.data or b"") and next(ends) == 0,
        )


async def follow(client: Client, graph: str, request: dict[str, Any]) -> None:
    """A run that is followed by others than who started it: joins and the thread's stream, all from its start."""
    body = {
        "assistant_id": graph,
        "input": {"messages": [{"role": "user", "content": "hi", "id": "u"}]},
        **request,
    }
    thread = (await client.json("POST", "/threads", {}))["thread_id"]
    joined, filtered, waited, watched = (client.beside() for _ in range(4))
    watching = asyncio.create_task(
        watched.stream(
            "GET", f"/threads/{thread}/stream", until=lambda block: b"run_done" in (block.data or b"")
        )
    )
    # A run that has not begun yet: whoever joins it now sees all of it.
    run = (await client.json("POST", f"/threads/{thread}/runs", {**body, "after_seconds": 1}))["run_id"]
    path = f"/threads/{thread}/runs/{run}"
    await asyncio.gather(
        joined.stream("GET", f"{path}/stream"),
        filtered.stream("GET", f"{path}/stream?stream_mode=messages", cursor="0"),
        waited.json("GET", f"{path}/join"),
        watching,
    )
    for other in (joined, filtered, waited, watched):
        client.heard.lines += other.heard.lines
    await client.json("GET", path)
    await client.json("GET", f"{path}/join")
    await client.stream("POST", "/runs/stream", body)
    await client.json("POST", "/runs", body)
    await client.json("POST", f"/threads/{thread}/runs/wait", {**body, "input": {"messages": []}})
    for wrong in ("bogus", None, ["values", 1]):
        await client.json("POST", f"/threads/{thread}/runs/stream", {**body, "stream_mode": wrong})
    await client.json("POST", f"/threads/{thread}/runs/stream", {"assistant_id": "nope", **request})


Conversation = Callable[[Client, str, dict[str, Any]], Awaitable[None]]


async def differences(  # noqa: PLR0917
    server: str,
    recorder: str,
    conversation: Conversation,
    graph: str,
    request: dict[str, Any],
    gate: asyncio.Semaphore,
) -> str:
    """What the two conversations differ in; empty if in nothing but message ids."""
    timeout = aiohttp.ClientTimeout(total=60)
    async with gate, aiohttp.ClientSession(timeout=timeout) as http:
        direct, narrowed = (Client(http, url, mask=True) for url in (server, recorder))
        await asyncio.gather(conversation(direct, graph, request), conversation(narrowed, graph, request))
    pairs = list(zip(direct.heard.lines, narrowed.heard.lines, strict=False))
    at = next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), len(pairs))
    if at == len(pairs) == len(direct.heard.lines) == len(narrowed.heard.lines):
        return ""
    return (
        f"{graph} {request}: line {at} of {len(direct.heard.lines)} and {len(narrowed.heard.lines)}\n"
        f"  server   {direct.heard.lines[at : at + 1]}\n  narrowed {narrowed.heard.lines[at : at + 1]}"
    )


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(600 if FULL else 120)
async def test_every_client_gets_what_it_asked(agent_server: AgentServer, recorder: StartRecorder) -> None:
    """Streams, joins, thread streams and run objects are those of the server itself."""
    widening = recorder(agent_server.url, "--widen")
    gate = asyncio.Semaphore(8)
    found = await asyncio.gather(
        *(
            differences(agent_server.url, widening.url, conversation, graph, request, gate)
            for conversation, graphs in ((hold, GRAPHS), (follow, FOLLOWED))
            for graph in graphs
            for request in REQUESTS
        )
    )
    wrong = [one for one in found if one]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(found)}", *wrong])


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_the_mock_answers_what_nobody_asked(agent_server: AgentServer, recorder: StartRecorder) -> None:
    """A cassette of a client that asked for little answers every other mode and level as the server does."""
    widening = recorder(agent_server.url, "--widen")
    answered = [request for request in REQUESTS if request.get("stream_mode") != ["events"]]
    gate = asyncio.Semaphore(6)
    timeout = aiohttp.ClientTimeout(total=60)
    graphs = ("nested", "tools", "invoked")

    async def ask(url: str, graph: str, request: dict[str, Any]) -> list[str]:
        async with gate, aiohttp.ClientSession(timeout=timeout) as http:
            client = Client(http, url, mask=True)
            message = [{"role": "user", "content": "hi there", "id": "user-1"}]
            body = {"assistant_id": graph, "input": {"messages": message}, **request}
            thread = (await client.json("POST", "/threads", {}))["thread_id"]
            await client.stream("POST", f"/threads/{thread}/runs/stream", body)
            return [line for line in client.heard.lines if line.startswith("event")]

    for graph in graphs:
        await ask(widening.url, graph, {})
    assert widening.end() == 0
    with Cassette.open(widening.cassette) as cassette:
        asked = [cassette.asked(number) for number in range(1, len(cassette.exchanges) + 1)]
        assert [one.body["stream_mode"] for one in asked if one is not None] == [None] * len(graphs)
    cells = [(graph, request) for graph in graphs for request in answered]
    truth = await asyncio.gather(*(ask(agent_server.url, graph, request) for graph, request in cells))
    with serve([widening.cassette], speed="max") as mock:
        found = [await ask(mock.url, graph, request) for graph, request in cells]
    wrong = [cell for cell, mine, theirs in zip(cells, found, truth, strict=True) if mine != theirs]
    assert not wrong
