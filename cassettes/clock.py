"""The one place that reads a clock or sleeps.

Everything else takes a `Clock`. Times are integer nanoseconds on a monotonic clock of unknown zero; only
`unix_ns` is wall time, and only the start of a recording stores it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from graphtape.cassettes.pacer import Pacer, Step, Timer


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

    def call_at(self, due_ns: int, step: Step) -> Timer:
        """Call `step` once `now_ns() >= due_ns`, and again when it says; never before this returns."""
        ...


class SystemClock:
    """The clock of this machine and the running event loop."""

    def __init__(self) -> None:
        self._pacer: Pacer | None = None

    now_ns = staticmethod(time.monotonic_ns)  # asked for each event: no function of ours around it

    def unix_ns(self) -> int:
        return time.time_ns()

    async def sleep_until(self, due_ns: int) -> None:
        if due_ns <= time.monotonic_ns():
            return
        await until_called(self, due_ns)

    def call_at(self, due_ns: int, step: Step) -> Timer:
        loop = asyncio.get_running_loop()
        if self._pacer is None or self._pacer.loop is not loop:
            self._pacer = Pacer(loop, time.monotonic_ns)
        return self._pacer.call_at(due_ns, step)


class FakeClock:
    """A clock for tests: it moves only when told, or, with `autojump`, straight to the next due time.

    Args:
        start_ns: the first value of `now_ns`.
        autojump: a sleep moves the clock to its due time and yields once, so tests never wait.
    """

    def __init__(self, start_ns: int = 0, *, autojump: bool = True) -> None:
        self._now_ns = start_ns
        self._autojump = autojump
        self._waiting: list[tuple[int, Timer]] = []
        self.slept: list[int] = []

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move the clock forward and wake whoever is due."""
        self._now_ns += by_ns
        waiting, self._waiting = sorted(self._waiting, key=lambda pair: pair[0]), []
        for due_ns, timer in waiting:
            if due_ns > self._now_ns:
                self._waiting.append((due_ns, timer))
            else:
                self._run(timer)

    async def sleep_until(self, due_ns: int) -> None:
        if self._autojump:
            self.slept.append(due_ns)
            self._now_ns = max(self._now_ns, due_ns)
            await asyncio.sleep(0)
        elif due_ns <= self._now_ns:
            self.slept.append(due_ns)
        else:
            await until_called(self, due_ns)

    def call_at(self, due_ns: int, step: Step) -> Timer:
        timer = Timer(step)
        self._wait(due_ns, timer)
        return timer

    def _wait(self, due_ns: int, timer: Timer) -> None:
        self.slept.append(due_ns)
        if self._autojump:
            self._now_ns = max(self._now_ns, due_ns)
        if due_ns <= self._now_ns:
            asyncio.get_running_loop().call_soon(self._run, timer)
        else:
            self._waiting.append((due_ns, timer))

    def _run(self, timer: Timer) -> None:
        due_ns = timer.run(self._now_ns)
        if due_ns is not None:
            self._wait(due_ns, timer)


async def until_called(clock: Clock, due_ns: int) -> None:
    """Wait for what `call_at` calls: how a clock that can call lets coroutines sleep."""
    woken = asyncio.get_running_loop().create_future()
    timer = clock.call_at(due_ns, lambda _: None if woken.done() else woken.set_result(None))
    try:
        await woken
    finally:
        timer.cancel()
