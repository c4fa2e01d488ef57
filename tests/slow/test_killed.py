"""The recorder killed, and its disk full, while twenty streams pass: nothing that a client received is lost.

`GRAPHTAPE_KILLS` says how often the recorder is killed (3).
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from graphtape.cassettes import Cassette, CassetteWriter
from graphtape.cassettes.streams import iter_blocks

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("GRAPHTAPE_KILLS", "3"))
STREAMS = 20
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000000000\r\n\r\n"


async def stream_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that sends numbered events of many sizes until nobody reads."""
    try:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        chance = random.Random(target)
        writer.write(HEAD)
        number = 0
        while True:
            number += 1
            filler = b"x" * chance.choice((5, 50, 500, 5000))
            writer.write(
                b'event: values\r\ndata: {"n":%d,"of":"%b","x":"%b"}\r\n\r\n' % (number, target, filler)
            )
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class Client:
    """Reads one stream for as long as it goes."""

    def __init__(self, number: int) -> None:
        self.target = f"/stream/{number}"
        self.received = bytearray()

    async def run(self, port: int, told: Callable[[int], None]) -> None:
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


@asynccontextmanager
async def recording(
    tape: Path, *options: str, file_limit: int | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A recorder in its own process, before an upstream in this one."""
    server = await asyncio.start_server(stream_for_ever, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "graphtape.cli", "record", f"http://127.0.0.1:{port}", "-o", str(tape),
        "--port", "0", "--append", "--quiet", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=limit,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield process, int(line.rstrip().rpartition(b":")[2])
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        server.close()


async def read_until(clients: list[Client], port: int, enough: int, stop: Callable[[], None]) -> None:
    """Let the clients read; call `stop` once they have `enough` bytes together, and wait for their ends."""
    total = 0
    stopped = False

    def told(count: int) -> None:
        nonlocal total, stopped
        total += count
        if total >= enough and not stopped:
            stopped = True
            stop()

    await asyncio.wait_for(asyncio.gather(*(client.run(port, told) for client in clients)), 60)


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After each `kill -9` the file has every byte that a client received, says what is unfinished, and goes on."""
    tape = tmp_path / "killed.tape"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    exchanges = 0
    for round_ in range(KILLS):
        where = f"seed {seed}, round {round_ + 1}"
        clients = [Client(number) for number in range(STREAMS)]
        async with recording(tape) as (process, port):
            enough = int(10 ** chance.uniform(0, 6.5))
            await read_until(clients, port, enough, lambda: process.send_signal(signal.SIGKILL))
        with Cassette.open(tape) as cassette:
            assert not cassette.finished, where
            recorded = {}
            for number in range(exchanges + 1, len(cassette.exchanges) + 1):
                exchange = cassette.exchange(number)
                recorded[exchange.request.target] = exchange.body
                numbers = [block.block.data for block in iter_blocks(exchange) if block.block.is_event]
                assert all(
                    data is not None and data.startswith(b'{"n":%d,' % at)
                    for at, data in enumerate(numbers, 1)
                ), where
            for client in clients:
                assert recorded.get(client.target, b"").startswith(client.body), f"{where}, {client.target}"
            report = cassette.check()
            exchanges = len(cassette.exchanges)
            assert report.exchanges == exchanges
            assert set(range(exchanges - len(recorded) + 1, exchanges + 1)) <= set(report.unfinished), where
        if tape.stat().st_size > 64 << 20:
            tape.unlink()
            exchanges = 0
    with CassetteWriter.append_to(tape) as writer:
        assert writer.exchange_count == exchanges


@pytest.mark.parametrize("policy", ["stop", "pass"])
async def test_disk_full(tmp_path: Path, policy: str) -> None:
    """When nothing more can be written, traffic stops, or goes on unrecorded; the file is a good prefix."""
    tape = tmp_path / "full.tape"
    clients = [Client(number) for number in range(STREAMS)]
    async with recording(tape, "--on-write-error", policy, file_limit=100_000) as (process, port):
        # What passes is far more than fits: with `stop` the recorder ends before this many bytes are there.
        await read_until(clients, port, 60_000_000, lambda: process.send_signal(signal.SIGTERM))
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"write failed" in said
    assert tape.stat().st_size <= 100_000
    total = 0
    with Cassette.open(tape) as cassette:
        cassette.check()
        exchanges = [cassette.exchange(at) for at in range(1, len(cassette.exchanges) + 1)]
        recorded = {exchange.request.target: exchange.body for exchange in exchanges}
        for client in clients:
            body = recorded.get(client.target, b"")
            total += len(client.body)
            if client.received.startswith(b"HTTP/1.1 500 "):
                assert policy == "stop", "the recorder's own answer, once it cannot write"
            elif policy == "stop":
                assert body.startswith(client.body), client.target
            else:
                assert client.body.startswith(body), client.target
    assert (total < 60_000_000) == (policy == "stop")
