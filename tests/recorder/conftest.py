"""A scripted upstream and a client, both on raw sockets, and recorders between them. Nothing sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.writer import CassetteWriter
from graphtape.recorder import Recorder

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection on the upstream's side, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request head, and its body if it has a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return head + await self.reader.readexactly(int(value))
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    async def gone(self) -> None:
        """Return when the recorder has closed this connection."""
        while True:
            try:
                if not await self.reader.read(65536):
                    return
            except ConnectionError:
                return


class ScriptedUpstream:
    """Runs `script` for each connection; keeps what scripts raised."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.failures: list[BaseException] = []
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()


class Client:
    """A raw client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def until(self, mark: bytes) -> bytes:
        return await self.reader.readuntil(mark)

    async def rest(self) -> bytes:
        """All that comes until the connection ends."""
        return await self.reader.read()

    async def chunked(self) -> bytes:
        """A whole chunked body, decoded."""
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def exactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


class Rig:
    """A recorder in front of a scripted upstream."""

    def __init__(self, recorder: Recorder, upstream: ScriptedUpstream, path: Path, clock: FakeClock) -> None:
        self.recorder = recorder
        self.upstream = upstream
        self.path = path
        self.clock = clock
        self._clients: list[Client] = []

    @property
    def host(self) -> str:
        return self.recorder.url.partition("://")[2]

    async def client(self) -> Client:
        host, _, port = self.host.rpartition(":")
        client = Client(*await asyncio.open_connection(host, int(port), limit=2**20))
        self._clients.append(client)
        return client

    async def get(self, target: str = "/", *headers: str, method: str = "GET") -> Client:
        client = await self.client()
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", *headers, "", ""]
        await client.send("\r\n".join(lines).encode())
        return client

    async def ended(self, count: int = 1) -> None:
        """Return when `count` exchanges have ended."""
        tally = self.recorder.capture.tally
        while sum(tally.endings.values()) < count:  # noqa: ASYNC110 - the recorder offers no event to wait for
            await asyncio.sleep(0)

    def close_clients(self) -> None:
        for client in self._clients:
            client.abort()


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    """`async with rig(script, **recorder_options) as r`: the cassette is at `r.path` afterwards."""

    numbers = count(1)

    @asynccontextmanager
    async def make(
        script: Script,
        *,
        userinfo: str = "",
        prefix: str = "",
        wrap: Any = lambda writer: writer,
        **options: Any,
    ) -> AsyncIterator[Rig]:
        upstream = ScriptedUpstream(script)
        await upstream.start()
        clock = FakeClock(autojump=False)
        path = tmp_path / f"test-{next(numbers)}.tape"
        options.setdefault("clock", clock)
        url = options.pop("url", None) or f"http://{userinfo}127.0.0.1:{upstream.port}{prefix}"
        recorder = Recorder(
            url, lambda: wrap(CassetteWriter.create(path, overwrite=True)), path=str(path), **options
        )
        made = None
        try:
            async with recorder:
                made = Rig(recorder, upstream, path, clock)
                yield made
        finally:
            if made is not None:
                made.close_clients()
            await upstream.stop()
        assert upstream.failures == []

    return make


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Cassette]]:
    """Opens cassettes and closes them at the test's end."""
    held: list[Cassette] = []

    def open_one(path: Path) -> Cassette:
        held.append(Cassette.open(path))
        return held[-1]

    yield open_one
    for cassette in held:
        cassette.close()


@pytest.fixture
def answering() -> Callable[..., Script]:
    """A script that answers every request of a connection with the same bytes; `seen` collects the requests."""

    def make(response: bytes, seen: list[bytes] | None = None) -> Script:
        async def script(peer: Peer) -> None:
            while True:
                request = await peer.request()
                if seen is not None:
                    seen.append(request)
                await peer.send(response)

        return script

    return make
