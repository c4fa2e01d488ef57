"""A clock for the mock that stands still unless the script waits: what it looks at is then the same every time.

Knows the event loop; nothing of HTTP. One rule: time moves only to the next moment that something is due, and only when
all that was due before has reached everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

_TURNS = 20
"""Turns of the loop in which a chunk gets from the mock's handler to the script that waits for it: some six."""


class SteppedClock:
    """The clock of one mock and of the script that talks to it, in one event loop."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []
        self._waits = 0
        self._stirred = False
        self._steps: asyncio.Task[None] | None = None

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self._now_ns

    async def sleep_until(self, due_ns: int) -> None:
        if due_ns > self._now_ns:
            sleeper = asyncio.get_running_loop().create_future()
            self._sleepers.append((due_ns, sleeper))
            await sleeper

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, each moment in its order."""
        with self.passing():
            await self.sleep_until(self._now_ns + int(seconds * 1e9))

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Time moves as long as this is open."""
        self._waits += 1
        self._stirred = True
        if self._steps is None or self._steps.done():
            self._steps = asyncio.create_task(self._step())
        try:
            yield
        finally:
            self._waits -= 1

    async def _step(self) -> None:
        while self._waits:
            self._stirred = False
            await _settled()
            if not self._waits or self._stirred:
                continue
            self._sleepers = [(due_ns, sleeper) for due_ns, sleeper in self._sleepers if not sleeper.done()]
            if self._sleepers:
                self._now_ns = min(due_ns for due_ns, _ in self._sleepers)
                for due_ns, sleeper in self._sleepers:
                    if due_ns <= self._now_ns:
                        sleeper.set_result(None)


async def _settled() -> None:
    """Return when everything that was ready has run, also what came over loopback sockets meanwhile."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    for _ in range(_TURNS):
        await asyncio.sleep(0)
