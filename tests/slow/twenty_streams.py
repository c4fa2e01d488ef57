"""Twenty numbered streams through a recorder that runs in a process of its own.

One rule: the client keeps exactly the bytes it received, so that they can be looked for in the file.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

STREAMS = 20
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000000000\r\n\r\n"


async def _stream_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace_s: float) -> None:
    """An upstream that sends numbered events of many sizes until nobody reads."""
    try:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        chance = random.Random(target)
        writer.write(_HEAD)
        number = 0
        while True:
            number += 1
            filler = b"x" * chance.choice((5, 50, 500, 5000))
            writer.write(
                b'event: values\r\ndata: {"n":%d,"of":"%b","x":"%b"}\r\n\r\n' % (number, target, filler)
            )
            await writer.drain()
            if pace_s:
                await asyncio.sleep(pace_s * chance.random() * 2)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class Client:
    """Reads one stream for as long as it goes."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.received = bytearray()

    async def run(self, port: int, told: Callable[[int], None] = lambda _: None) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {self.target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            while data := await reader.read(65536):
                self.received += data
                told(len(data))
            writer.close()
        except ConnectionError:
            pass

    @property
    def body(self) -> bytes:
        return bytes(self.received).partition(b"\r\n\r\n")[2]


def clients(round_: int = 0) -> list[Client]:
    """One for each stream; no two rounds ask for the same."""
    return [Client(f"/stream/{round_}/{number}") for number in range(STREAMS)]


@asynccontextmanager
async def listening(
    command: Sequence[str], preexec: Callable[[], None] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """One of our servers in its own process, and the port that it says it listens on."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=preexec
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        if not line:
            raise AssertionError((await process.communicate())[1].decode())
        yield process, int(line.rstrip().rpartition(b":")[2])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def recording(
    tape: Path,
    *options: str,
    program: Sequence[str] = (sys.executable, "-m", "graphtape.cli"),
    preexec: Callable[[], None] | None = None,
    pace_s: float = 0,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A recorder in its own process, before an upstream in this one.

    Args:
        program: what comes before `record`.
        preexec: called in the recorder's process before it is that.
        pace_s: between two events of a stream, in the mean; as fast as they are read without it.
    """
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_stream_for_ever(reader, writer, pace_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    command = [*program, "record", upstream, "-o", str(tape), "--port", "0", "--append", "--quiet", *options]
    try:
        async with listening(command, preexec) as found:
            yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_until(
    readers: list[Client], port: int, enough: int, stop: Callable[[], None], within_s: float = 60
) -> None:
    """Let the clients read; call `stop` once they have `enough` bytes together, and wait for their ends."""
    total = 0
    stopped = False

    def told(count: int) -> None:
        nonlocal total, stopped
        total += count
        if total >= enough and not stopped:
            stopped = True
            stop()

    await asyncio.wait_for(asyncio.gather(*(reader.run(port, told) for reader in readers)), within_s)
