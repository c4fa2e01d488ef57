"""The one place that reads a clock or sleeps.

Everything else takes a `Clock`. Times are integer nanoseconds on a monotonic clock of unknown zero; only
`unix_ns` is wall time, and only the start of a recording stores it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now_ns(self) -> int:
        """The current time, in nanoseconds since an arbitrary zero."""
        ...

    def unix_ns(self) -> int:
        """The wall clock, in nanoseconds since 1970; kept only as the start of a recording."""
        ...

    async def sleep_until(self, due_ns: int) -> None:
        """Return once `now_ns() >= due_ns`; at once if that is already so."""
        ...


class SystemClock:
    """The clock of this machine and the running event loop."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        return time.time_ns()

    async def sleep_until(self, due_ns: int) -> None:
        # Loop timers round to milliseconds and may fire early: wait again for what is left.
        while (left := due_ns - time.monotonic_ns()) > 0:
            await asyncio.sleep(left / 1e9)


class FakeClock:
    """A clock for tests: it moves only when told, or, with `autojump`, straight to the next due time.

    Args:
        start_ns: the first value of `now_ns`.
        autojump: a sleep moves the clock to its due time and yields once, so tests never wait.
    """

    def __init__(self, start_ns: int = 0, *, autojump: bool = True) -> None:
        self._now_ns = start_ns
        self._autojump = autojump
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.slept: list[int] = []

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move the clock forward and wake whoever is due."""
        self._now_ns += by_ns
        still: list[tuple[int, asyncio.Future[None]]] = []
        for due_ns, future in sorted(self._waiting, key=lambda pair: pair[0]):
            if due_ns <= self._now_ns and not future.done():
                future.set_result(None)
            elif not future.done():
                still.append((due_ns, future))
        self._waiting = still

    async def sleep_until(self, due_ns: int) -> None:
        self.slept.append(due_ns)
        if self._autojump:
            self._now_ns = max(self._now_ns, due_ns)
            await asyncio.sleep(0)
        elif due_ns > self._now_ns:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append((due_ns, future))
            await future
