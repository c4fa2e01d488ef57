"""A proxy that breaks event streams where it is told, and keeps what the server meant to send.

Knows sockets, HTTP chunks and nothing of runs. One rule: only responses that are event streams are cut, each by the
next of the cuts; all else passes byte by byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection after this many events, or in the middle of the next one."""

    after: int
    inside: bool = False


@dataclass(slots=True)
class CuttingProxy:
    """In front of one server; closes each connection after its response."""

    upstream: str
    cuts: Sequence[Cut]
    url: str = ""
    meant: list[bytes] = field(default_factory=list)
    """What the server sent of the first event stream, to its own end, whatever was cut of it."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(method, Last-Event-ID) of each request that was answered by a stream."""
    _streams: int = 0
    _server: asyncio.Server | None = None
    _rests: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._rests, return_exceptions=True)

    async def rest(self) -> None:
        """Wait until the server has ended the first stream by itself."""
        await asyncio.gather(*self._rests, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._pass(reader, writer)
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().partition(": ")[::2] for line in lines[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        address = urlsplit(self.upstream)
        from_server, to_server = await asyncio.open_connection(address.hostname, address.port, limit=1 << 24)
        # One response a connection: then the end of one is the end of the other.
        kept = [line for line in lines if line and not line.lower().startswith(("connection:", "host:"))]
        host = f"host: {address.hostname}:{address.port}"
        to_server.write("\r\n".join([*kept, host, "connection: close", "", ""]).encode("latin-1") + body)
        answer = await from_server.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if b"text/event-stream" not in answer:
            while data := await from_server.read(65536):
                writer.write(data)
            await writer.drain()
            to_server.close()
            return
        self.asked.append((lines[0].split(" ")[0], fields.get("last-event-id", "")))
        number, self._streams = self._streams, self._streams + 1
        cut = self.cuts[number] if number < len(self.cuts) else None
        await self._stream(from_server, writer, cut, keep=number == 0)
        if cut is None:
            to_server.close()
        else:
            writer.transport.abort() if cut.inside else writer.close()
            # The server is read on: what it meant to send is the measure.
            self._rests.append(asyncio.create_task(self._drain(from_server, to_server, keep=number == 0)))

    async def _stream(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, cut: Cut | None, *, keep: bool
    ) -> None:
        passed = 0
        while cut is None or passed < cut.after:
            size, chunk = await _chunk(source)
            if keep:
                self.meant.append(chunk)
            sink.write(b"%x\r\n%s\r\n" % (size, chunk))
            await sink.drain()
            if size == 0:
                return
            passed += not chunk.startswith(b":")
        if cut.inside:
            size, chunk = await _chunk(source)
            if keep:
                self.meant.append(chunk)
            sink.write(b"%x\r\n%s" % (size, chunk[: size // 2]))
            await sink.drain()
            await asyncio.sleep(0.02)

    async def _drain(self, source: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> None:
        size = -1
        with suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while size != 0:
                size, chunk = await _chunk(source)
                if keep:
                    self.meant.append(chunk)
        writer.close()


async def _chunk(source: asyncio.StreamReader) -> tuple[int, bytes]:
    size = int(await source.readline(), 16)
    chunk = await source.readexactly(size)
    await source.readexactly(2)
    return size, chunk
