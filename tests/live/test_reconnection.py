"""The Python SDK behind connections that break: on the mock what it has on the server, and with unique ids all."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client

from graphtape.tests.live.conformance import drill
from graphtape.tests.live.conformance.drill import Ask, Seen

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"
VERSION = importlib.metadata.version("langgraph-sdk")


class Log:
    """What a client asked for, in order."""

    def __init__(self) -> None:
        self.lines: list[list[Any]] = []

    def asks(self, request: httpx.Request) -> None:
        cursor = request.headers.get("last-event-id")
        line = [request.method, request.url.raw_path.decode(), cursor, None]
        request.extensions["line"] = line
        self.lines.append(line)

    def got(self, response: httpx.Response) -> None:
        response.request.extensions["line"][3] = response.status_code

    async def asks_async(self, request: httpx.Request) -> None:
        self.asks(request)

    async def got_async(self, response: httpx.Response) -> None:
        self.got(response)


def thrown(error: Exception) -> dict[str, str]:
    return {"thrown": type(error).__name__, "message": str(error)}


class AsyncClient:
    """`get_client`."""

    name = f"Python {VERSION}, async"
    comes_back = confirms = True

    async def run(self, asks: Sequence[Ask]) -> list[Seen]:
        return list(await asyncio.gather(*map(self._run, asks)))

    async def _run(self, ask: Ask) -> Seen:
        log, parts = Log(), list[Any]()
        async with get_client(url=ask.url) as client:
            client.http.client.event_hooks = {"request": [log.asks_async], "response": [log.got_async]}
            thread = await client.threads.create()
            try:
                async for part in client.runs.stream(thread["thread_id"], ask.graph, **ask.body):
                    parts.append([part.event, part.data, part.id])
            except Exception as error:
                parts.append(thrown(error))
        return Seen(parts, log.lines)


class SyncClient:
    """`get_sync_client`, in as many threads as there are conversations."""

    name = f"Python {VERSION}, sync"
    comes_back = confirms = True

    async def run(self, asks: Sequence[Ask]) -> list[Seen]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=len(asks)) as threads:
            return list(
                await asyncio.gather(*(loop.run_in_executor(threads, self._run, ask) for ask in asks))
            )

    def _run(self, ask: Ask) -> Seen:
        log, parts = Log(), list[Any]()
        with get_sync_client(url=ask.url) as client:
            client.http.client.event_hooks = {"request": [log.asks], "response": [log.got]}
            thread = client.threads.create()
            try:
                for part in client.runs.stream(thread["thread_id"], ask.graph, **ask.body):
                    parts.append([part.event, part.data, part.id])
            except Exception as error:
                parts.append(thrown(error))
        return Seen(parts, log.lines)


CLIENTS: tuple[drill.Client, ...] = (AsyncClient(), SyncClient())


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK comes back after a second, and draws up to a quarter of one more by lot: here none."""
    monkeypatch.setattr("langgraph_sdk._shared.utilities.random", SimpleNamespace(uniform=lambda low, _: low))
    with warnings.catch_warnings():
        # It warns that a run without ids may lose events; here that is looked at.
        warnings.simplefilter("ignore")
        yield


@pytest.mark.timeout(900 if FULL else 120)
async def test_broken_connections(agent_server: AgentServer, tmp_path: Path) -> None:
    """Wherever a connection breaks, the client asks for and gets on the mock exactly what it does on the server."""
    wrong = await drill.all_beside_server(agent_server.url, CLIENTS, tmp_path, full=FULL)
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(900 if FULL else 120)
async def test_unique_ids(agent_server: AgentServer, tmp_path: Path) -> None:
    """Wherever a connection breaks, a resumable run with unique ids loses no event and has none twice."""
    wrong = await drill.all_unique(agent_server.url, CLIENTS, tmp_path, full=FULL)
    assert not wrong, "\n".join(wrong)
