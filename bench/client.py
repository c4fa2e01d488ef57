"""Runs the measuring client (client.c) and reads what it says.

One rule: a run in which an event was lost, came twice or out of order is no measurement but a failure.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphtape.bench.build import built
from graphtape.bench.servers import Server


class Incorrect(Exception):
    """A stream was not what it had to be."""


@dataclass(frozen=True)
class Load:
    """What the client does.

    Args:
        request: the file with the request's bytes.
        streams: at once.
        total: in all, one after another in `streams` places; 0 is as many as `streams`.
        spread_ms: over which the first ones open.
        events: that each stream must have; None for streams that are left.
        seconds: after which all are left; 0 waits for their ends.
        quiet_s: at the start, without statistics.
    """

    request: Path
    streams: int = 1
    total: int = 0
    spread_ms: float = 0
    events: int | None = None
    seconds: float = 0
    quiet_s: float = 0

    def arguments(self, server: Server) -> list[str]:
        options = [
            "-n",
            self.streams,
            "-t",
            self.total,
            "-s",
            self.spread_ms,
            "-d",
            self.seconds,
            "-w",
            self.quiet_s,
        ]
        if self.events is not None:
            options += ["-e", self.events]
        return [str(built("client")), *map(str, options), "127.0.0.1", str(server.port), str(self.request)]


@dataclass(frozen=True)
class Outcome:
    """What came of it; all times in nanoseconds.

    Args:
        numbers: the client's document: counts, and histograms by name and quantile.
        cpu_ns: what the server used meanwhile.
        steady_cpu_us: of that per event, from the moment when all streams were open.
        memory_bytes: what the server held while all streams were open.
    """

    numbers: dict[str, Any]
    cpu_ns: int
    steady_cpu_us: float
    memory_bytes: int

    @property
    def events(self) -> int:
        return int(self.numbers["events"])

    @property
    def wall_ns(self) -> int:
        return int(self.numbers["wall_ns"])

    @property
    def events_per_s(self) -> float:
        return self.events / self.wall_ns * 1e9

    @property
    def cpu_us_per_event(self) -> float:
        return self.cpu_ns / max(1, self.events) / 1e3

    def quantile(self, what: str, which: str) -> float:
        """E.g. `quantile("latency", "p99")`, in nanoseconds."""
        return float(self.numbers[f"{what}_ns"][which])


def run(server: Server, load: Load) -> Outcome:
    """Put the load on the server and wait for its end.

    Raises:
        Incorrect: something was lost, twice, out of order, refused or broken.
    """
    before_ns = server.cpu_ns()
    process = subprocess.Popen(
        load.arguments(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    memory = opening_events = 0
    opened_ns = before_ns
    answer = ""
    for line in process.stdout:
        if line.startswith("{"):
            answer = line
        elif line.startswith("open"):
            memory, opened_ns, opening_events = server.memory_bytes(), server.cpu_ns(), int(line.split()[1])
    _, told = process.communicate()
    after_ns = server.cpu_ns()
    if process.returncode or not answer:
        raise Incorrect(f"{server.name}: the client ended with {process.returncode}: {told}")
    numbers = json.loads(answer)
    wrong = {
        name: numbers[name]
        for name in ("lost", "duplicated", "reordered", "refused", "broken")
        if numbers[name]
    }
    if wrong or numbers["started"] < load.streams:
        raise Incorrect(f"{server.name}: {wrong or 'not every stream had an event'}: {load} {told}")
    steady_us = (after_ns - opened_ns) / max(1, numbers["events"] - opening_events) / 1e3
    return Outcome(numbers, after_ns - before_ns, steady_us, memory)
