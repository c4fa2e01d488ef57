"""Tests of `graphtape.cassettes.clock`."""

from __future__ import annotations

import asyncio
import time

from graphtape.cassettes.clock import FakeClock, SystemClock


async def test_system_clock_sleeps_until() -> None:
    """Returns not before the due time, and at once if that is past."""
    clock = SystemClock()
    due_ns = clock.now_ns() + 2_000_000
    await clock.sleep_until(due_ns)
    assert clock.now_ns() >= due_ns
    await clock.sleep_until(0)


def test_system_clock_reads() -> None:
    """Monotonic, and wall time in nanoseconds."""
    clock = SystemClock()
    assert clock.now_ns() <= clock.now_ns()
    assert abs(clock.unix_ns() - time.time_ns()) < 10**9


async def test_fake_clock_jumps() -> None:
    """With autojump a sleep moves the clock, never back, and is noted."""
    clock = FakeClock(100)
    await clock.sleep_until(500)
    await clock.sleep_until(300)
    assert clock.now_ns() == 500
    assert clock.slept == [500, 300]
    assert clock.unix_ns() == 1_700_000_000_000_000_500


async def test_fake_clock_that_is_driven() -> None:
    """Without autojump sleepers wait for `advance`, and only those that are due wake."""
    clock = FakeClock(autojump=False)
    woken: list[int] = []

    async def sleeper(due_ns: int) -> None:
        await clock.sleep_until(due_ns)
        woken.append(due_ns)

    tasks = [asyncio.create_task(sleeper(due_ns)) for due_ns in (30, 10, 20)]
    await asyncio.sleep(0)
    clock.advance(20)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == [10, 20]
    clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken == [10, 20, 30]
    await clock.sleep_until(5)


async def test_cancelled_sleeper() -> None:
    """A sleeper that was cancelled is forgotten."""
    clock = FakeClock(autojump=False)
    task = asyncio.create_task(clock.sleep_until(10))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    clock.advance(5)
    clock.advance(50)
