"""The recorder killed while twenty streams pass: nothing that a client received is lost, and the file replays.

`GRAPHTAPE_KILLS` says how often the recorder is killed (3).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from graphtape.cassettes import Cassette, CassetteWriter
from graphtape.cassettes.streams import iter_blocks
from graphtape.tests.slow.twenty_streams import Client, clients, listening, read_until, recording

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("GRAPHTAPE_KILLS", "3"))


@pytest.mark.timeout(60 + 15 * KILLS)
async def test_killed_at_any_moment(tmp_path: Path) -> None:
    """After each `kill -9` the file has all that clients received, opens at once, names what broke, and replays."""
    tape = tmp_path / "killed.tape"
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    exchanges = 0
    for round_ in range(KILLS):
        where = f"seed {seed}, round {round_ + 1}"
        readers = clients(round_)
        async with recording(tape) as (process, port):
            enough = int(10 ** chance.uniform(0, 6.5))
            await read_until(readers, port, enough, lambda: process.send_signal(signal.SIGKILL))
        before = time.process_time()
        with Cassette.open(tape) as cassette:
            # How fast is the bench's business (F3); here, that no machine needs long for a file of some megabytes.
            assert time.process_time() - before < 2 + tape.stat().st_size / 2.5e6, where
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
            for reader in readers:
                assert recorded.get(reader.target, b"").startswith(reader.body), f"{where}, {reader.target}"
            report = cassette.check()
            exchanges = len(cassette.exchanges)
            assert report.exchanges == exchanges
            assert set(range(exchanges - len(recorded) + 1, exchanges + 1)) <= set(report.unfinished), where
        await replays(tape, recorded, where)
        if tape.stat().st_size > 64 << 20:
            tape.unlink()
            exchanges = 0
    with CassetteWriter.append_to(tape) as writer:
        assert writer.exchange_count == exchanges


async def replays(tape: Path, recorded: dict[str, bytes], where: str) -> None:
    """A replay of the killed file plays what the longest and the shortest stream have, and breaks there."""
    begun = {target: body for target, body in recorded.items() if body}
    if not begun:
        return  # killed before any upstream had sent a byte
    command = [sys.executable, "-m", "graphtape.cli", "replay", str(tape), "--port", "0", "--quiet"]
    async with listening([*command, "--speed", "max"]) as (_, port):
        for choose in (max, min):
            target = choose(begun, key=lambda target: len(begun[target]))
            reader = Client(target)
            await reader.run(port)
            assert reader.received.startswith(b"HTTP/1.1 200 OK\r\n"), f"{where}, {target}"
            # The length that the head promises is what makes this end a break.
            assert reader.body == begun[target], f"{where}, {target}"
