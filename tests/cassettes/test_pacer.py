"""One timer for all that waits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from graphtape.cassettes import pacer as pacer_module
from graphtape.cassettes.clock import SystemClock
from graphtape.cassettes.pacer import Alarm, KernelAlarm, LoopAlarm, Pacer, best_alarm


class Bell:
    """An alarm that the test rings, and the clock beside it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.due_ns: int | None = None
        self.set_times: list[int] = []
        self.made = 0

    def __call__(self, _: Any, ring: Callable[[], None]) -> Alarm:
        self.made += 1
        self._ring = ring
        return self

    def set(self, due_ns: int, now_ns: int) -> None:
        assert now_ns == self.now_ns
        self.due_ns = due_ns
        self.set_times.append(due_ns)

    def close(self) -> None:
        self.due_ns = None

    def ring_at(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self._ring()

    def ring_until(self, end_ns: int) -> None:
        """Ring whenever it should until then."""
        while self.due_ns is not None and self.due_ns <= end_ns:
            self.ring_at(max(self.due_ns, self.now_ns))


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def pacer(bell: Bell) -> Pacer:
    loop: Any = None
    return Pacer(loop, lambda: bell.now_ns, bell)


def test_steps_in_the_order_of_their_times(pacer: Pacer, bell: Bell) -> None:
    """What is due first comes first, and of what is due at once what was said first."""
    seen: list[str] = []
    for name, due_ns in (("c", 30), ("a", 10), ("b1", 20), ("b2", 20)):
        pacer.call_at(due_ns, lambda _, name=name: seen.append(name))  # type: ignore[misc]
    assert bell.due_ns == 10
    bell.ring_at(20)
    assert seen == ["a", "b1", "b2"]
    assert bell.due_ns == 30
    bell.ring_at(31)
    assert seen == ["a", "b1", "b2", "c"]
    assert bell.due_ns is None


def test_step_that_comes_again(pacer: Pacer, bell: Bell) -> None:
    """A step says when it is due again; it is told the time."""
    seen: list[int] = []

    def step(now_ns: int) -> int | None:
        seen.append(now_ns)
        return now_ns + 10 if now_ns < 30 else None

    pacer.call_at(5, step)
    bell.ring_until(1000)
    assert seen == [5, 15, 25, 35]
    assert bell.due_ns is None


def test_step_that_is_always_due(pacer: Pacer, bell: Bell) -> None:
    """It has one step each time the alarm rings, so that the loop has its turns."""
    seen: list[int] = []
    pacer.call_at(5, lambda now_ns: seen.append(now_ns) or now_ns)  # type: ignore[func-returns-value]
    bell.ring_at(7)
    assert (seen, bell.due_ns) == ([7], 7)


def test_cancelled(pacer: Pacer, bell: Bell) -> None:
    """A cancelled timer never steps, also if a step that is due with it cancels it; nothing is left then."""
    seen: list[str] = []
    other = pacer.call_at(20, lambda _: seen.append("other"))
    pacer.call_at(10, lambda _: other.cancel())
    third = pacer.call_at(30, lambda _: seen.append("third"))
    bell.ring_at(25)
    assert bell.due_ns == 30
    third.cancel()
    third.cancel()
    assert not seen
    assert bell.due_ns is None
    pacer.call_at(40, lambda _: seen.append("last"))
    bell.ring_until(50)
    assert (seen, bell.made) == (["last"], 2)


def test_cancels_itself(pacer: Pacer, bell: Bell) -> None:
    """A step may cancel its own timer, whatever it says then."""
    timer = pacer.call_at(10, lambda now_ns: timer.cancel() or now_ns + 1)  # type: ignore[func-returns-value]
    bell.ring_until(100)
    assert (bell.due_ns, bell.now_ns) == (None, 10)


def test_step_that_fails(pacer: Pacer, bell: Bell) -> None:
    """The loop is told; the others keep their times."""
    seen: list[int] = []
    pacer.call_at(10, lambda _: 1 // 0)
    pacer.call_at(10, seen.append)
    with pytest.raises(ZeroDivisionError):
        bell.ring_at(10)
    bell.ring_until(20)
    assert (seen, bell.due_ns) == ([10], None)


def test_earlier_timer_while_another_waits(pacer: Pacer, bell: Bell) -> None:
    """The alarm is set for the first of all, and not again for a later one."""
    for due_ns in (30, 50, 10):
        pacer.call_at(due_ns, lambda _: None)
    assert bell.set_times == [30, 10]


def test_forgotten_timers_do_not_pile_up(pacer: Pacer, bell: Bell) -> None:
    """Of timers that are cancelled before their time only a few are kept."""
    pacer.call_at(10, lambda _: None)
    for _ in range(5000):
        pacer.call_at(1000, lambda _: None).cancel()
    assert len(pacer._heap) < 100
    bell.ring_until(10)
    assert bell.due_ns is None


@pytest.mark.parametrize(("gap_ns", "busy"), [(1_000_000, False), (50_000, True)])
def test_slack_only_when_much_is_due(pacer: Pacer, bell: Bell, gap_ns: int, busy: bool) -> None:
    """Few events each have their own alarm; many share one, and a quiet second later they have their own again."""
    late: list[int] = []
    due_ns = gap_ns

    def step(now_ns: int) -> int | None:
        nonlocal due_ns
        while due_ns <= now_ns:
            late.append(now_ns - due_ns)
            due_ns += gap_ns
        return due_ns if len(late) < 50_000 else None

    pacer.call_at(gap_ns, step)
    bell.ring_until(10**12)
    assert (max(late) > 0) is busy
    assert max(late) <= pacer_module._SLACK_NS
    for _ in range(2):
        pacer.call_at(bell.now_ns + 10**9, lambda _: None)
        bell.ring_until(bell.now_ns + 10**9)
    assert bell.set_times[-1] == bell.now_ns


@pytest.mark.parametrize("alarm", [LoopAlarm, KernelAlarm, best_alarm])
async def test_alarms(alarm: Any) -> None:
    """Each alarm of this machine rings not before it is due; when nothing waits, its descriptor is gone."""
    if alarm is KernelAlarm and sys.platform != "linux":
        pytest.skip("only Linux has timer descriptors")
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop, clock.now_ns, alarm)
    before = len(os.listdir("/dev/fd"))
    done = loop.create_future()
    started_ns = clock.now_ns()
    late: list[int] = []

    def step(now_ns: int) -> int | None:
        late.append(now_ns - started_ns - 1_000_000 * len(late))
        if len(late) < 5:
            return started_ns + 1_000_000 * len(late)
        done.set_result(None)
        return None

    pacer.call_at(started_ns, step)
    await done
    assert min(late) >= 0
    assert len(os.listdir("/dev/fd")) == before


async def test_loop_that_watches_no_descriptors() -> None:
    """There it is the loop's own timer."""

    class Poor:
        def add_reader(self, *_: object) -> None:
            raise NotImplementedError

    before = len(os.listdir("/dev/fd"))
    loop: Any = Poor()
    assert isinstance(best_alarm(loop, lambda: None), LoopAlarm)
    assert len(os.listdir("/dev/fd")) == before
