"""An HTTP client of sockets and nothing else, which leaves streams open while it asks for something else.

Knows HTTP/1 framing; nothing of runs. One rule: every byte is kept as it came, by HTTP chunk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from graphtape.protocol.sse import Block, Decoder
from graphtape.tests.live.conformance.stepping import SteppedClock

PATIENCE_S = 20.0
"""No answer of these tests takes longer; a heartbeat would hide that a read hangs."""
EVENT_PATIENCE_S = 12.0
"""No event of these graphs is longer in coming."""


@dataclass(slots=True)
class Answer:
    """One response, as far as it has come."""

    version: str = ""
    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    whole: bool = False
    """Ended as HTTP says it must, not by a broken connection."""
    left: bool = False
    """The client left before the end."""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_stream(self) -> bool:
        return "text/event-stream" in self.header("content-type")

    @property
    def blocks(self) -> list[Block]:
        """The body as server-sent events and comments."""
        decoder = Decoder()
        blocks = decoder.feed(self.body)
        rest = decoder.finish()
        return blocks if rest is None else [*blocks, rest]

    @property
    def events(self) -> list[Block]:
        return [block for block in self.blocks if block.is_event]

    def header(self, name: str) -> str:
        """The first field of that name, or the empty string."""
        return next((value for field_name, value in self.headers if field_name.lower() == name), "")


class Stream:
    """A response that is being read in the background."""

    def __init__(
        self,
        answer: Answer,
        task: asyncio.Task[None],
        changed: asyncio.Condition,
        passing: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.answer = answer
        self._task = task
        self._changed = changed
        self._passing = passing

    async def until(self, enough: Callable[[list[Block]], bool]) -> Answer:
        """Wait until the events so far are enough, or the response is over, or nothing comes any more."""
        with suppress(TimeoutError), self._passing():
            async with asyncio.timeout(EVENT_PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: self._task.done() or enough(self.answer.events))
        return self.answer

    async def events(self, count: int) -> Answer:
        """Wait for so many events."""
        return await self.until(lambda events: len(events) >= count)

    async def end(self) -> Answer:
        """Wait for the end of the response."""
        with self._passing():
            await asyncio.wait_for(asyncio.shield(self._task), PATIENCE_S)
        return self.answer

    async def leave(self) -> Answer:
        """Close the connection."""
        if not self._task.done():
            self.answer.left = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        return self.answer


def request_bytes(
    method: str,
    path: str,
    host: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """A request as it goes over the wire."""
    fields = {"host": host, "accept": "*/*"}
    if content is not None:
        fields |= {"content-type": "application/json", "content-length": str(len(content))}
    fields |= headers or {}
    head = f"{method} {path} {version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return head.encode() + b"\r\n" + (content or b"")


class Wire:
    """A client of one server; each request has a connection of its own.

    Args:
        clock: the server's, if it moves only while this client waits.
    """

    def __init__(self, url: str, clock: SteppedClock | None = None) -> None:
        address = urlsplit(url)
        self.host, self.port = address.hostname or "", address.port or 80
        self._clock = clock
        self._open: list[Stream] = []

    def passing(self) -> AbstractContextManager[None]:
        """Open while this client waits."""
        return nullcontext() if self._clock is None else self._clock.passing()

    async def pause(self, seconds: float) -> None:
        """Ask nothing for so long."""
        await (asyncio.sleep(seconds) if self._clock is None else self._clock.sleep(seconds))

    async def open(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = "HTTP/1.1",
    ) -> Stream:
        """Send a request and return when its head has come; the body is read meanwhile."""
        if body is not None:
            content = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(
            request_bytes(
                method, path, f"{self.host}:{self.port}", content=content, headers=headers, version=version
            )
        )
        answer = Answer()
        changed = asyncio.Condition()
        head = asyncio.Event()
        closing: list[asyncio.Task[None]] = []

        async def read() -> None:
            try:
                await read_head(reader, answer)
                head.set()
                async for chunk in read_chunks(reader, answer, method):
                    answer.chunks.append(chunk)
                    async with changed:
                        changed.notify_all()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                head.set()
                writer.close()
                closing.append(asyncio.create_task(told()))

        async def told() -> None:
            async with changed:
                changed.notify_all()

        stream = Stream(answer, asyncio.create_task(read()), changed, self.passing)
        self._open.append(stream)
        with self.passing():
            await asyncio.wait_for(head.wait(), PATIENCE_S)
        return stream

    async def ask(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        """Send a request and read its answer to the end."""
        stream = await self.open(method, path, body, **options)
        self._open.remove(stream)
        return await stream.end()

    async def close(self) -> None:
        """Leave whatever is still open."""
        for stream in self._open:
            await stream.leave()


async def read_head(reader: asyncio.StreamReader, answer: Answer) -> None:
    """Status line and headers."""
    line = (await reader.readline()).decode("latin-1").rstrip("\r\n")
    if not line:
        raise ConnectionError("no answer")
    answer.version, status, answer.reason = (*line.split(" ", 2), "")[:3]
    answer.status = int(status)
    while (line := (await reader.readline()).decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(": ")
        answer.headers.append((name, value))


async def read_chunks(reader: asyncio.StreamReader, answer: Answer, method: str) -> Any:
    """The body by HTTP chunks; notes in the answer whether it came whole."""
    if method == "HEAD" or answer.status in (204, 304):
        answer.whole = True
    elif answer.header("transfer-encoding") == "chunked":
        while size_line := await reader.readline():
            size = int(size_line, 16)
            data = await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
            if size == 0:
                answer.whole = True
                return
            yield data
    elif answer.header("content-length"):
        if length := int(answer.header("content-length")):
            yield await reader.readexactly(length)
        answer.whole = True
    else:
        while data := await reader.read(65536):
            yield data
        answer.whole = True
