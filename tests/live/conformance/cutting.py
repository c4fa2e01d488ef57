"""A proxy that breaks event streams where it is told, while the server behind it goes on undisturbed.

Knows sockets, HTTP chunks and nothing of runs, nor how the mock cuts. One rule: only responses that are event streams
are cut, each by the next of the cuts; all else passes byte by byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Cut:
    """Break one response.

    Args:
        after: behind so many events; None for behind the last.
        inside: in the middle of the event that follows.
        clean: end the response as if it were whole, and leave the connection to the client.
    """

    after: int | None
    inside: bool = False
    clean: bool = False


@dataclass(slots=True)
class CuttingProxy:
    """In front of one server; closes each connection after its response.

    Args:
        upstream: the server.
        cuts: of the first streams, in order; None leaves one whole.
        again: cut all later streams like the last of these.
        gate: held from a POST that is answered by a stream to the end of that stream on the server's side.
    """

    upstream: str
    cuts: Sequence[Cut | None]
    again: bool = False
    gate: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    url: str = ""
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
        await self.rest()

    async def rest(self) -> None:
        """Wait until the server has ended by itself what was cut."""
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
        starts = lines[0].startswith("POST ") and lines[0].split(" ")[1].endswith("/stream")
        # One response a connection: then the end of one is the end of the other.
        kept = [line for line in lines if line and not line.lower().startswith(("connection:", "host:"))]
        address = urlsplit(self.upstream)
        host = f"host: {address.hostname}:{address.port}"
        onward = "\r\n".join([*kept, host, "connection: close", "", ""]).encode("latin-1") + body
        done = asyncio.Event()
        exchange = asyncio.create_task(self._exchange(onward, writer, done, starts=starts))
        self._rests.append(exchange)
        await done.wait()

    async def _exchange(
        self, onward: bytes, sink: asyncio.StreamWriter, done: asyncio.Event, *, starts: bool
    ) -> None:
        """One exchange with the server, to its end; `done` says that the client's side of it is over."""
        address = urlsplit(self.upstream)
        try:
            async with self.gate if starts else nullcontext():
                source, to_server = await asyncio.open_connection(
                    address.hostname, address.port, limit=1 << 24
                )
                to_server.write(onward)
                answer = await source.readuntil(b"\r\n\r\n")
                if b"text/event-stream" in answer:
                    cut = self._next_cut()
                    if cut is not None and not cut.clean:
                        # Node takes the end of such a connection for the end of the response, whatever is missing.
                        answer = re.sub(rb"(?i)\r\nconnection: close", b"", answer)
                    sink.write(answer)
                    await self._stream(source, sink, cut, done)
                else:
                    sink.write(answer)
                    while data := await source.read(65536):
                        sink.write(data)
                    await sink.drain()
                to_server.close()
        finally:
            done.set()

    def _next_cut(self) -> Cut | None:
        number, self._streams = self._streams, self._streams + 1
        if number < len(self.cuts):
            return self.cuts[number]
        return self.cuts[-1] if self.again else None

    async def _stream(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, cut: Cut | None, done: asyncio.Event
    ) -> None:
        """Pass the stream until it is cut, then read on: the server is not to notice."""
        passed = 0
        if cut is not None and cut.after == 0 and not cut.inside:
            self._end(sink, cut, done)
        async for block in _blocks(source):
            if done.is_set():
                continue
            is_event = not block.startswith(b":")
            if cut is not None and is_event and cut.inside and cut.after == passed:
                half = block[: len(block) // 2]
                sink.write(_as_chunk(half) if cut.clean else b"%x\r\n%s" % (len(block), half))
                self._end(sink, cut, done)
                continue
            with suppress(ConnectionError):
                sink.write(_as_chunk(block))
                await sink.drain()
            passed += is_event
            if cut is not None and cut.after == passed and not cut.inside:
                # At once, not when the next one comes.
                self._end(sink, cut, done)
        if cut is not None and cut.after is None:
            self._end(sink, cut, done)
        elif not done.is_set():
            with suppress(ConnectionError):
                sink.write(b"0\r\n\r\n")
                await sink.drain()

    def _end(self, sink: asyncio.StreamWriter, cut: Cut, done: asyncio.Event) -> None:
        if cut.clean:
            sink.write(b"0\r\n\r\n")
        # What was written goes out first.
        sink.close()
        done.set()


def _as_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _blocks(source: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The events and comments of a chunked body; a relay between may put several into one chunk."""
    data, size = b"", -1
    while size != 0:
        size = int(await source.readline(), 16)
        data += await source.readexactly(size)
        await source.readexactly(2)
        *blocks, data = data.split(b"\r\n\r\n")
        for block in blocks:
            yield block + b"\r\n\r\n"
