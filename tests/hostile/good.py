"""The streams that must not notice, and what else a server owes after an attack.

One rule: a good stream is compared byte for byte, and the server is looked at from outside: its answers, its memory,
its open files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from graphtape.bench.servers import Server
from graphtape.tests.hostile.clients import connected

T = TypeVar("T")
STREAMS = 10


@dataclass
class Victim:
    """A server under attack.

    Args:
        server: its process.
        request: asks for a good stream, on a connection that closes.
        body: what that has.
    """

    server: Server
    request: bytes
    body: bytes
    files_at_start: int = field(init=False)

    def __post_init__(self) -> None:
        self.files_at_start = self.files()

    async def stream(self) -> None:
        """One good stream.

        Raises:
            AssertionError: it is not what it has to be.
        """
        async with connected(self.server.port) as (reader, writer), asyncio.timeout(60):
            writer.write(self.request)
            got = await reader.read(1 << 20)
            while piece := await reader.read(1 << 20):
                got += piece
        head, _, rest = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        assert unchunked(rest) == (self.body, True)

    async def beside(self, attack: Awaitable[T]) -> T:
        """Good streams, again and again, until the attack is over; then one more."""
        task = asyncio.ensure_future(attack)
        try:
            while True:
                last = task.done()
                await asyncio.gather(*(self.stream() for _ in range(1 if last else STREAMS)))
                if last:
                    return await task
        finally:
            task.cancel()

    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))

    async def settled(self, files: int, within_s: float = 15) -> None:
        """Wait until it has no more files open than before.

        Raises:
            TimeoutError: it keeps some.
        """
        async with asyncio.timeout(within_s):
            while self.files() > files:  # noqa: ASYNC110 - another process tells nobody when it closes a file
                await asyncio.sleep(0.05)

    def forget_peak(self) -> int:
        """Begin to watch its memory; returns what it holds now."""
        Path(f"/proc/{self.server.process.pid}/clear_refs").write_text("5")
        return self.server.memory_bytes()


def unchunked(body: bytes) -> tuple[bytes, bool]:
    """The data of a chunked body, and whether it has its end."""
    data, at = bytearray(), 0
    while at < len(body):
        line = body[at : at + 20].partition(b"\r\n")[0]
        size = int(line, 16)
        at += len(line) + 2
        if not size:
            return bytes(data), body[at:] == b"\r\n"
        data += body[at : at + size]
        at += size + 2
    return bytes(data), False


def received(response: bytes) -> tuple[int, bytes, bytes, bool]:
    """(status, head, body, whether it looks whole) of all that came on a connection."""
    head, end, rest = response.partition(b"\r\n\r\n")
    status = int(head[9:12]) if end and head.startswith(b"HTTP/1.") else 0
    fields = {}
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        fields[name] = value.strip()
    if fields.get(b"transfer-encoding") == b"chunked":
        return status, head, *unchunked(rest)
    return status, head, rest, fields.get(b"content-length") == b"%d" % len(rest)
