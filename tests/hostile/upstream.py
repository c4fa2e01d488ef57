"""An upstream that does to a recorder what no server should, on a thread of its own.

`POST /runs/stream` with `{"input": {"does": NAME}}` gets the behaviour of that name; `/good` is the stream that must
not notice; anything else is answered with 200. One rule: it keeps the head of every request, so that a test can say
what reached it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

MEGABYTE = 1 << 20
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = SSE + b"transfer-encoding: chunked\r\n\r\n"
WHOLE, BROKEN, EITHER = "whole", "broken", "either"
GOOD_EVENTS = 15
GOOD_EVERY_S = 0.015


def chunk(data: bytes) -> bytes:
    """An HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: bytes, name: bytes = b"values") -> bytes:
    """An event as the Agent Server writes it."""
    return b"event: " + name + b"\r\ndata: " + data + b"\r\n\r\n"


BEGIN = chunk(event(b'{"run_id":"01a1fc09-c05f-771c-ad40-fff84ff1ee77","attempt":1}', b"metadata"))
END = b"0\r\n\r\n"
GOOD = b"".join(event(b'{"n":%d}' % number) for number in range(GOOD_EVENTS))
"""The body of a good stream."""


class Line:
    """A connection as behaviours see it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        while await self._reader.read(65536):
            pass

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@dataclass(frozen=True)
class Behaviour:
    """What the upstream does, and what a client of the recorder must see of it.

    Args:
        sends: bytes, after which the connection closes, or a function of the connection.
        statuses: the answer's.
        body: whether the answer looks whole.
        data: the body's bytes, if they are known.
        stays: the connection is not closed after `sends`.
        leave: it has no end: the client leaves, after two seconds or 100 MB.
    """

    sends: bytes | Callable[[Line], Awaitable[None]]
    statuses: frozenset[int] = frozenset({200})
    body: str = WHOLE
    data: bytes | None = None
    stays: bool = False
    leave: bool = False


FAILED = frozenset({502, 504})


async def _never(line: Line) -> None:
    await line.gone()


async def _endless_informational(line: Line) -> None:
    while True:
        await line.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 100)


async def _endless_head(line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await line.send(b"x-a: b\r\n" * 1000)


async def _endless_header(line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nx-a: ")
    while True:
        await line.send(b"b" * 65536)


async def _endless_chunk_size(line: Line) -> None:
    await line.send(CHUNKED)
    while True:
        await line.send(b"0" * 65536)


async def _slow(line: Line) -> None:
    for byte in CHUNKED + BEGIN + chunk(event(b'{"slow":true}')) + END:
        await line.send(bytes([byte]))
        await asyncio.sleep(0.001)


async def _reset(line: Line) -> None:
    await line.send(CHUNKED + BEGIN + chunk(b"event: val"))
    await asyncio.sleep(0.1)
    line.reset()


async def _late_second_answer(line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    await asyncio.sleep(0.05)
    await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
    await line.gone()


async def _endless_stream(line: Line) -> None:
    await line.send(CHUNKED + BEGIN)
    piece = chunk(event(b'{"x":"' + b"x" * 500 + b'"}') * 50)
    while True:
        await line.send(piece)


async def _large_event(line: Line) -> None:
    await line.send(CHUNKED + BEGIN + chunk(b'event: values\r\ndata: {"x":"'))
    for _ in range(200):
        await line.send(chunk(b"x" * (MEGABYTE // 4)))
    await line.send(chunk(b'"}\r\n\r\n') + END)


async def _endless_line(line: Line) -> None:
    await line.send(CHUNKED + BEGIN + chunk(b"data: "))
    for _ in range(400):
        await line.send(chunk(b"x" * (MEGABYTE // 4)))
    await line.send(END)


def _sized(body: bytes, fields: bytes = b"", length: bytes | None = None, status: bytes = b"200 OK") -> bytes:
    size = b"%d" % len(body) if length is None else length
    return b"HTTP/1.1 " + status + b"\r\n" + fields + b"content-length: " + size + b"\r\n\r\n" + body


BAD_UTF8 = (
    event(b'{"x":"\xff\xfe\xc3"}') + event(b'{"x":"\xed\xa0\x80"}', b"va\xffues") + b": \xff\xfe\r\n\r\n"
)
BOMB = gzip.compress(b"0" * (20 * MEGABYTE))

BEHAVIOURS: dict[str, Behaviour] = {
    "garbage": Behaviour(b"\x00\x01\x02garbage\r\n\r\n" * 100, FAILED),
    "another protocol": Behaviour(b"SSH-2.0-OpenSSH_9.6\r\n", FAILED),
    "nothing, for ever": Behaviour(_never, FAILED),
    "nothing, and closes": Behaviour(b"", FAILED),
    "half a head": Behaviour(b"HTTP/1.1 200 OK\r\ncontent-type: text", FAILED),
    "a head without end": Behaviour(_endless_head, FAILED),
    "a header without end": Behaviour(_endless_header, FAILED),
    "103 for ever": Behaviour(_endless_informational, FAILED),
    "10,000 headers": Behaviour(_sized(b"{}", b"x-a: b\r\n" * 10_000), FAILED),
    "a header of a megabyte": Behaviour(_sized(b"{}", b"x-a: " + b"b" * MEGABYTE + b"\r\n"), FAILED),
    "a status of four digits": Behaviour(_sized(b"{}", status=b"2000 OK"), FAILED),
    "a status that is no number": Behaviour(_sized(b"{}", status=b"two hundred"), FAILED),
    "switches protocols": Behaviour(
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", FAILED | {101}, EITHER
    ),
    "two answers at once": Behaviour(_sized(b"ok") + _sized(b"evil"), data=b"ok", stays=True),
    "a second answer later": Behaviour(_late_second_answer, data=b"ok"),
    "more than its length": Behaviour(
        _sized(b"ok and evil", length=b"2"), FAILED | {200}, EITHER, stays=True
    ),
    "less than its length": Behaviour(_sized(b"ok", length=b"20"), body=BROKEN, data=b"ok"),
    "two lengths": Behaviour(_sized(b"ok", b"content-length: 3\r\n"), FAILED),
    "a negative length": Behaviour(_sized(b"ok", length=b"-2"), FAILED),
    "a length of thirty digits": Behaviour(_sized(b"ok", length=b"9" * 30), FAILED | {200}, EITHER),
    "length and chunks": Behaviour(
        _sized(chunk(b"ok") + END, b"transfer-encoding: chunked\r\n"), FAILED | {200}, EITHER
    ),
    "CR in a header": Behaviour(_sized(b"ok", b"x-a: a\revil: 1\r\n"), FAILED | {200}, EITHER),
    "LF in a header": Behaviour(_sized(b"ok", b"x-a: a\nother: 1\r\n"), FAILED | {200}, EITHER),
    "NUL in a header": Behaviour(_sized(b"ok", b"x-a: a\0b\r\n"), FAILED | {200}, EITHER),
    "a folded header": Behaviour(_sized(b"ok", b"x-a: a\r\n evil: 1\r\n"), FAILED | {200}, EITHER),
    "a header that is no UTF-8": Behaviour(_sized(b"ok", b"x-a: \xff\xfe\x80\r\n"), data=b"ok"),
    "a chunk size that is none": Behaviour(CHUNKED + BEGIN + b"zz\r\nx\r\n", FAILED | {200}, BROKEN),
    "a negative chunk size": Behaviour(CHUNKED + BEGIN + b"-5\r\nx\r\n", FAILED | {200}, BROKEN),
    "a chunk of 2^120 bytes": Behaviour(CHUNKED + BEGIN + b"F" * 30 + b"\r\nx", FAILED | {200}, BROKEN),
    "a chunk longer than it says": Behaviour(CHUNKED + BEGIN + b"2\r\nxyz\r\n" + END, FAILED | {200}, BROKEN),
    "a chunk size without end": Behaviour(_endless_chunk_size, body=EITHER, leave=True),
    "chunks without an end": Behaviour(CHUNKED + BEGIN + chunk(event(b"{}")), body=BROKEN),
    "a reset inside an event": Behaviour(_reset, body=BROKEN),
    "byte by byte": Behaviour(_slow),
    "broken UTF-8": Behaviour(CHUNKED + BEGIN + chunk(BAD_UTF8) + END),
    "compression that it is not": Behaviour(
        _sized(b"not gzip", b"content-encoding: gzip\r\n"), data=b"not gzip"
    ),
    "a compression bomb": Behaviour(_sized(BOMB, b"content-encoding: gzip\r\n"), data=BOMB),
    "a compressed stream that is none": Behaviour(
        SSE + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(event(b"{}")) + END
    ),
    "JSON that is none": Behaviour(_sized(b'{"a":', b"content-type: application/json\r\n"), data=b'{"a":'),
    "JSON 100,000 deep": Behaviour(
        _sized(b"[" * 100_000, b"content-type: application/json\r\n"), data=b"[" * 100_000
    ),
    "events 100,000 deep": Behaviour(CHUNKED + BEGIN + chunk(event(b"[" * 100_000 + b"]" * 100_000)) + END),
    "events whose data is no JSON": Behaviour(
        CHUNKED + BEGIN + chunk(event(b"{") + event(b"") + event(b"NaN")) + END
    ),
    "an event of 50 MB": Behaviour(_large_event),
    "a line of 100 MB": Behaviour(_endless_line),
    "20,000 empty events": Behaviour(CHUNKED + BEGIN + chunk(b"data:\n\n" * 20_000) + END),
    "20,000 chunks of a byte": Behaviour(
        CHUNKED + BEGIN + b"".join(chunk(b":") for _ in range(20_000)) + chunk(b"\n\n") + END
    ),
    "a stream without end": Behaviour(_endless_stream, body=EITHER, leave=True),
}


@dataclass
class HostileUpstream:
    """The server; `with HostileUpstream() as upstream:` for as long as it is wanted."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    """Of all requests, as they came."""
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def targets(self) -> set[str]:
        """What was asked for."""
        return {head.split(b" ", 2)[1].decode("utf-8", "surrogateescape") for head in self.heads}

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=MEGABYTE, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        try:
            while await self._request(reader, line):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the recorder has left, or a client of it has
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _request(self, reader: asyncio.StreamReader, line: Line) -> bool:
        """Answer one request; false when the connection is done."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        target = head.split(b" ", 2)[1]
        fields = dict(part.lower().split(b":", 1) for part in head.split(b"\r\n")[1:] if b":" in part)
        body = await _body(reader, fields)
        if target == b"/good":
            await line.send(CHUNKED)
            for number in range(GOOD_EVENTS):
                await asyncio.sleep(GOOD_EVERY_S)
                await line.send(chunk(event(b'{"n":%d}' % number)))
            await line.send(END)
            return True
        if target == b"/endless":
            await _endless_stream(line)
        behaviour = _behaviour(body)
        if behaviour is None:
            await line.send(_sized(b'{"ok":true}', b"content-type: application/json\r\n"))
            return True
        if not isinstance(behaviour.sends, bytes):
            await behaviour.sends(line)
            return True
        await line.send(behaviour.sends)
        return behaviour.stays


def _behaviour(body: bytes) -> Behaviour | None:
    try:
        return BEHAVIOURS[json.loads(body)["input"]["does"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


async def _body(reader: asyncio.StreamReader, fields: dict[bytes, bytes]) -> bytes:
    """The request body; of a large one the beginning."""
    kept = bytearray()
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            kept += (await _exactly(reader, size))[: MEGABYTE - len(kept)]
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    else:
        kept += await _exactly(reader, int(fields.get(b"content-length", b"0")))
    return bytes(kept)


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    kept = bytearray()
    while size:
        data = await reader.read(min(size, 65536))
        if not data:
            raise ConnectionError("the request broke off")
        size -= len(data)
        if len(kept) < MEGABYTE:
            kept += data
    return bytes(kept)
