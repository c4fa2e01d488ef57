"""Recorder and replayer under mixed load with faults, for an hour: `make soak`, or SECONDS=120 of it in the tests.

    python -m graphtape.tests.hostile.soak SECONDS

One load for both: good streams that are compared byte for byte, requests that no honest client sends, clients that
hold on, cut off, never read and leave, and an upstream that misbehaves. The load comes in rounds, and after each it
rests until nothing is open; what the servers hold then is what they keep, but for garbage that no collection has met (a
refused head of a megabyte leaves 2 MB of it in aiohttp) and free memory that glibc holds back: they let go of both
first. One rule: a server is looked at from outside (files, memory), and asked from inside for its tasks by a signal
that only this program answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphtape.bench.servers import Server, Servers
from graphtape.tests.hostile import clients, upstream
from graphtape.tests.hostile.clients import answer, connected
from graphtape.tests.hostile.good import Victim
from graphtape.tests.hostile.requests import GROUPS, get, post
from graphtape.tests.hostile.upstream import BEHAVIOURS, HostileUpstream

MEGABYTE = 1 << 20
SETTLED_S = 120.0
"""From then on memory is compared; before it, caches fill."""
GROWTH = 1.10
SHORT_GROWTH = 1.25
"""For a soak of minutes, which has a third of its time to settle."""
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_TELL_ROUNDS = 3
_SERVE = Path(__file__).with_name("soaked.py")


def main() -> int:
    """Exit status 1 on a leak, or on a good stream that was harmed."""
    seconds = float(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(soak(Path(folder), seconds))


@dataclass
class Watched:
    """One server, and what it held when it rested."""

    name: str
    victim: Victim
    tasks_file: Path
    settled_s: float
    tasks_at_start: int = 0
    memory: list[tuple[float, int]] = field(default_factory=list)
    tasks: int = 0
    files: int = 0

    def count_tasks(self) -> int:
        """Ask the process how many tasks its loop has."""
        self.tasks_file.unlink(missing_ok=True)
        os.kill(self.victim.server.process.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                return int(json.loads(self.tasks_file.read_text()))
            time.sleep(0.01)
        raise RuntimeError(f"the {self.name} does not say how many tasks it has")

    async def rest(self, elapsed_s: float) -> None:
        """Wait until nothing is open, and note what it holds."""
        with contextlib.suppress(TimeoutError):
            await self.victim.settled(self.victim.files_at_start, 15)
        self.files = self.victim.files()
        self.tasks = self.count_tasks()
        self.memory.append((elapsed_s, self.victim.server.memory_bytes()))

    def growth(self) -> float:
        """The memory at the end over that when it had settled, in medians of up to five rests."""
        settled = [held for at, held in self.memory if at >= self.settled_s]
        if not settled:
            return 1.0
        some = max(min(5, len(settled) // 2), 1)
        return statistics.median(settled[-some:]) / statistics.median(settled[:some])

    def leaks(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if self.files > self.victim.files_at_start:
            found.append(f"{self.name}: {self.files} open files, {self.victim.files_at_start} at the start")
        if self.tasks > self.tasks_at_start:
            found.append(f"{self.name}: {self.tasks} tasks, {self.tasks_at_start} at the start")
        if self.growth() > (GROWTH if self.settled_s == SETTLED_S else SHORT_GROWTH):
            found.append(f"{self.name}: {self.growth():.2f} times the memory of when it had settled")
        return found

    def __str__(self) -> str:
        first, last = self.memory[0][1], self.memory[-1][1]
        return (
            f"{self.name}: files {self.victim.files_at_start} -> {self.files}, tasks {self.tasks_at_start} -> "
            f"{self.tasks}, memory {first / 1e6:.0f} -> {last / 1e6:.0f} MB ({self.growth():.3f} of when it settled)"
        )


def does(name: str) -> bytes:
    """The request for a behaviour of the upstream."""
    return post(b'{"assistant_id":"agent","input":{"does":"%b"}}' % name.encode())


async def partly(port: int, request: bytes, most: int = 4 * MEGABYTE, within_s: float = 4) -> None:
    """Ask, read so much at most, for so long at most, and leave."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with connected(port) as (reader, writer), asyncio.timeout(within_s):
            writer.write(request)
            got = 0
            while got < most and (piece := await reader.read(MEGABYTE)):
                got += len(piece)


def faults(chance: random.Random) -> list[Callable[[int], Awaitable[object]]]:
    """One round's: some of each table."""
    rows = chance.sample([row for group in GROUPS.values() for row in group], 10)
    names = chance.sample(sorted(set(BEHAVIOURS) - {"an event of 50 MB", "a line of 100 MB"}), 6)
    holding = chance.choice(
        [clients.slow_heads, clients.slow_bodies, clients.cut_anywhere, clients.promised_bodies]
    )
    return [
        *((lambda port, row=row: answer(port, row.data)) for row in rows),
        *((lambda port, name=name: partly(port, does(name))) for name in names),
        lambda port: clients.never_read(port, ENDLESS, 3),
        lambda port: partly(port, ENDLESS),
        holding,
    ]


async def soak(folder: Path, seconds: float) -> int:
    """Run, report, judge."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"soak: {seconds:.0f} s, seed {seed}", flush=True)
    with HostileUpstream() as source:
        tape = await first_tape(folder, source)
        servers = TaskCounting(folder)
        with (
            servers.recorder(
                source.url, folder / "soaked.tape", "--quiet", "--upstream-timeout", "2"
            ) as recorder,
            servers.replayer(tape) as replayer,
        ):
            watched = [
                Watched(
                    name,
                    Victim(server, get(b"/good"), upstream.GOOD),
                    tasks_file(folder, command),
                    min(SETTLED_S, seconds / 3),
                )
                for name, server, command in (
                    ("recorder", recorder, "record"),
                    ("replayer", replayer, "replay"),
                )
            ]
            for one in watched:
                one.tasks_at_start = one.count_tasks()
            # Whatever is made once and kept is made now: the rounds draw from these, and some come late.
            for one in watched:
                await asyncio.gather(*(partly(one.victim.server.port, does(name)) for name in BEHAVIOURS))
                await partly(one.victim.server.port, ENDLESS)
            began, rounds = time.monotonic(), 0
            while (elapsed_s := time.monotonic() - began) < seconds or rounds < 12:
                await asyncio.gather(*(loaded(one.victim, faults(chance)) for one in watched))
                rounds += 1
                source.heads.clear()
                for one in watched:
                    await one.rest(elapsed_s)
                if rounds % _TELL_ROUNDS == 0:
                    print("\n".join(f"  {elapsed_s:5.0f} s  {one}" for one in watched), flush=True)
            leaks = [leak for one in watched for leak in one.leaks()]
            leaks += [
                f"{one.name}: it died" for one in watched if one.victim.server.process.poll() is not None
            ]
    print(f"soak: {rounds} rounds in {time.monotonic() - began:.0f} s")
    print("\n".join(f"  {one}" for one in watched))
    print("\n".join(f"soak: LEAK {leak}" for leak in leaks) or "soak: nothing piled up")
    return 1 if leaks else 0


async def loaded(victim: Victim, attacks: list[Callable[[int], Awaitable[object]]]) -> None:
    """Good streams beside all the attacks at once; what attackers themselves run into is theirs."""

    async def all_at_once() -> None:
        await asyncio.gather(*(one(victim.server.port) for one in attacks), return_exceptions=True)

    await victim.beside(all_at_once())


async def first_tape(folder: Path, source: HostileUpstream) -> Path:
    """What the replayer plays: a good stream, and every behaviour."""
    made = folder / "played.tape"
    with Servers(folder).recorder(source.url, made, "--quiet", "--upstream-timeout", "2") as server:
        await answer(server.port, get(b"/good"))
        await answer(server.port, get(b"/info"))
        await asyncio.gather(*(partly(server.port, does(name)) for name in BEHAVIOURS))
        await partly(server.port, ENDLESS)
    return made


def tasks_file(folder: Path, command: str) -> Path:
    """Where a server writes how many tasks it has."""
    return folder / f"{command}.tasks"


class TaskCounting(Servers):
    """Servers that say how many tasks they have, when they get SIGUSR1."""

    def _start(self, name: str, command: Sequence[str], *, port: int | None = None) -> Server:
        _, _, _, *arguments = command  # python -m graphtape.cli
        file = tasks_file(self.folder, arguments[0])
        return super()._start(name, [sys.executable, str(_SERVE), str(file), *arguments], port=port)


if __name__ == "__main__":
    sys.exit(main())
