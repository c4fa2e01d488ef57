"""Clients that hold on, cut off, push too much and never read; each takes an open server and leaves it to recover.

Knows sockets; nothing of recorder and replayer. One rule: what a client here opens it closes before it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager

from graphtape.tests.hostile.requests import CLOSE, HOST, RUN, Row, post

ANSWER_S = 30.0
MEGABYTE = 1 << 20


@asynccontextmanager
async def connected(
    port: int, *, receive_bytes: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, gone at the end without goodbyes."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=MEGABYTE)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(port: int, data: bytes) -> bytes:
    """What comes back for these bytes, until the server closes; b"" if it just closes."""
    got = bytearray()
    async with connected(port) as (reader, writer), asyncio.timeout(ANSWER_S):
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            while piece := await reader.read(MEGABYTE):
                got += piece
    return bytes(got)


def status(response: bytes) -> int:
    """The status of a response, 0 for none."""
    return int(response[9:12]) if response.startswith(b"HTTP/1.") else 0


async def wrong_answers(
    port: int, rows: Iterable[Row], right: Callable[[Row], Collection[int]]
) -> dict[str, bytes]:
    """Send each request; by name, the beginning of the answers that are not right, or hold a header of the attacker.

    Args:
        rows: the requests.
        right: the statuses that are right for a request.
    """
    wrong: dict[str, bytes] = {}
    for row in rows:
        got = await answer(port, row.data)
        if status(got) not in right(row) or b"\nevil: 1" in got.partition(b"\r\n\r\n")[0].lower():
            wrong[row.name] = got[:500]
    return wrong


# --- the table: name -> what the client does, on a port ---


async def idle(port: int) -> None:
    """A thousand connections on which nothing is said."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(1000):
            await stack.enter_async_context(connected(port))
        await asyncio.sleep(1.0)


async def idle_after_a_request(port: int) -> None:
    """A thousand connections, each kept after one answer."""
    request = b"GET /info HTTP/1.1\r\n" + HOST + b"\r\n"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(1000):
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(request)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)
        await asyncio.sleep(0.5)


async def slow_heads(port: int) -> None:
    """Two hundred heads that come byte by byte and never end."""
    head = b"POST /runs/stream HTTP/1.1\r\n" + HOST + b"X-Slow: " + b"a" * 1000

    async def one() -> None:
        async with connected(port) as (_, writer):
            for at in range(30):
                writer.write(head[at * 3 : at * 3 + 3])
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(200)))


async def slow_bodies(port: int) -> None:
    """A hundred bodies that come byte by byte and never end."""

    async def one() -> None:
        async with connected(port) as (_, writer):
            writer.write(b"POST /runs/stream HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n")
            for at in range(30):
                writer.write(RUN[at : at + 1])
                await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(100)))


async def never_read(port: int, request: bytes, count: int = 10) -> None:
    """Ten clients that ask for much and read nothing of it."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await stack.enter_async_context(connected(port, receive_bytes=4096))
            writer.write(request)
        await asyncio.sleep(1.5)


async def cut_anywhere(port: int, request: bytes = post(RUN)) -> None:
    """A request cut at every byte, by a goodbye or by a reset."""
    for cut in range(len(request)):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request[:cut])
        if cut % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        if cut % 20 == 0:
            await asyncio.sleep(0)


async def cut_chunked(port: int) -> None:
    """The same in chunks."""
    half = len(RUN) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (RUN[:half], RUN[half:], b""))
    head = b"POST /runs/stream HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    await cut_anywhere(port, head + chunks)


async def leave_the_answer(port: int, request: bytes) -> None:
    """A hundred clients that leave inside the answer, by a reset, ten at a time."""

    async def one() -> None:
        async with connected(port) as (reader, writer):
            writer.write(request)
            await asyncio.wait_for(reader.read(100), ANSWER_S)

    for _ in range(10):
        await asyncio.gather(*(one() for _ in range(10)))


async def _upload(port: int, fields: bytes, pieces: AsyncIterator[bytes]) -> int:
    """Send a body for as long as the server takes it; returns the status of the answer."""
    async with connected(port) as (reader, writer), asyncio.timeout(60):
        writer.write(b"POST /upload HTTP/1.1\r\n" + HOST + CLOSE + fields + b"\r\n")
        with contextlib.suppress(ConnectionError):
            async for piece in pieces:
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            return status(await reader.read(MEGABYTE))
    return 0


async def _zeros(count: int, *, chunked: bool) -> AsyncIterator[bytes]:
    piece = b"0" * (256 << 10)
    for _ in range(count // len(piece)):
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


async def large_body(port: int) -> int:
    """A body of 100 MB, with its length; returns the status."""
    fields = b"Content-Length: %d\r\nContent-Type: application/json\r\n" % (100 * MEGABYTE)
    return await _upload(port, fields, _zeros(100 * MEGABYTE, chunked=False))


async def large_chunked_body(port: int) -> int:
    """A body of 100 MB in chunks; returns the status."""
    return await _upload(port, b"Transfer-Encoding: chunked\r\n", _zeros(100 * MEGABYTE, chunked=True))


async def promised_bodies(port: int) -> None:
    """A hundred bodies of 60 MB that are promised and not sent."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            _, writer = await stack.enter_async_context(connected(port))
            writer.write(b"POST /runs/stream HTTP/1.1\r\n" + HOST + b"Content-Length: 60000000\r\n\r\n{")
        await asyncio.sleep(1.0)


HOLDING: dict[str, Callable[[int], Awaitable[None]]] = {
    "1,000 idle connections": idle,
    "1,000 kept connections": idle_after_a_request,
    "slow headers": slow_heads,
    "slow bodies": slow_bodies,
    "bodies that are only promised": promised_bodies,
    "requests cut at every byte": cut_anywhere,
    "chunked requests cut at every byte": cut_chunked,
}
