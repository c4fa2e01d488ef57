"""How much a hundred good streams notice of hostile clients: `make hostile`.

Rounds of A (a hundred good streams alone) and B (the same beside attackers), interleaved, for recorder and replayer.
The attackers stand for other machines: a process of the lowest priority. Judged is the p99 of the gaps between two
events, or rather of how far they are from what was sent or recorded, which is less forgiving: B over A within a round,
in the median of the rounds, at most twice. One rule: a stream that loses, repeats or
reorders an event fails the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphtape.bench.client import Load, Outcome, run
from graphtape.bench.measuring import format_ns
from graphtape.bench.servers import Server, Servers
from graphtape.bench.tapes import get_request, replay_tape
from graphtape.tests.hostile import clients
from graphtape.tests.hostile.clients import answer
from graphtape.tests.hostile.requests import GROUPS

STREAMS = 100
RATE = 20
SECONDS = 6.0
MOST = 2.0


async def attack(port: int, request: bytes) -> None:
    """Attack for ever: one of each kind at a time."""
    chance = random.Random(4)
    rows = [row for group in GROUPS.values() for row in group]

    async def requests() -> None:
        while True:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await answer(port, chance.choice(rows).data)

    async def holding() -> None:
        while True:
            for one in (clients.slow_heads, clients.cut_anywhere, clients.promised_bodies, clients.idle):
                await one(port)

    async def reading() -> None:
        while True:
            await clients.never_read(port, request)
            await clients.leave_the_answer(port, request)

    async def uploads() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await clients.large_body(port)

    await asyncio.gather(requests(), holding(), reading(), uploads())


@contextmanager
def attackers(server: Server, request: Path) -> Iterator[None]:
    """The attackers' process."""
    command = [sys.executable, "-m", "graphtape.tests.hostile", str(server.port), str(request)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        died = process.poll() is not None
        process.kill()
        process.communicate()
        if died:
            raise RuntimeError("the attackers ended early")


def compare(name: str, server: Server, request: Path, rounds: int) -> bool:
    """Measure A B A B ...; print what came of it, and say whether it holds."""
    load = Load(request, streams=STREAMS, spread_ms=500, seconds=SECONDS, quiet_s=1.0)
    ratios: list[float] = []
    shown: list[tuple[Outcome, Outcome]] = []
    for _ in range(rounds):
        alone = run(server, load)
        with attackers(server, request):
            beside = run(server, load)
        ratios.append(beside.quantile("gap", "p99") / alone.quantile("gap", "p99"))
        shown.append((alone, beside))
    ratio = statistics.median(ratios)

    def middle(side: int) -> str:
        return format_ns(statistics.median(pair[side].quantile("gap", "p99") for pair in shown))

    print(
        f"{name}: p99 gap error of {STREAMS} streams {middle(0)} alone, {middle(1)} beside attackers: "
        f"{ratio:.2f} x ({min(ratios):.2f} to {max(ratios):.2f}), at most {MOST:g}; "
        f"memory at most {server.peak_bytes() / 1e6:.0f} MB",
        flush=True,
    )
    return ratio <= MOST


def main(rounds: int) -> int:
    """Exit status 1 if the good streams noticed too much."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        servers = Servers(folder)
        request = get_request(folder, events=0, rate=RATE)
        with (
            servers.source() as source,
            servers.recorder(source.url, folder / "x.tape", "--quiet") as recorder,
        ):
            holds = compare("recorder", recorder, request, rounds)
        tape = replay_tape(folder, "hostile", events=int(RATE * SECONDS * 2), rate=RATE)
        with servers.replayer(tape.tape) as replayer:
            return 0 if compare("replayer", replayer, tape.request, rounds) and holds else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        os.nice(19)
        print("attacking", flush=True)
        asyncio.run(attack(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
    else:
        sys.exit(main(int(sys.argv[1])))
