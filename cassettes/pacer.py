"""One timer for all that waits in an event loop: a heap of due times, and one alarm for the first of them.

Told the time, never reads a clock. Timers of event loops round to milliseconds, and one for each of a thousand streams
costs more than what the streams send; so on Linux the alarm is a timer descriptor of the kernel, which rings to the
microsecond. One rule: when nothing waits, nothing is left: no descriptor, no reader, no handle.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

Step = Callable[[int], int | None]
"""What is done when it is due: called with the time in nanoseconds, gives the next due time, or None for no more."""

_SLACK_NS = 500_000
"""When much is due in little time, the alarm rings no sooner than this after it rang: what falls due meanwhile shares
one turn of the loop."""
_WINDOW_NS = 100_000_000
_BUSY_STEPS = 400
"""Much: this many steps in a window. Below it every step has its own alarm."""

_FORGOTTEN_KEPT = 64
"""Cancelled timers stay in the heap until it is worth cleaning."""


class Timer:
    """Something that waits for its time.

    Args:
        step: what is done then.
        forget: called when it is cancelled.
    """

    __slots__ = ("_forget", "step")

    def __init__(self, step: Step, forget: Callable[[], None] | None = None) -> None:
        self.step: Step | None = step
        self._forget = forget

    def cancel(self) -> None:
        """Never call `step` again; harmless when it waits no longer."""
        if self.step is not None:
            self.step = None
            if self._forget is not None:
                self._forget()

    def run(self, now_ns: int) -> int | None:
        """Do the step; gives when it is due again, None if it waits no longer."""
        if self.step is None:
            return None
        due_ns = None
        try:
            due_ns = self.step(now_ns)
        finally:
            if due_ns is None:
                self.cancel()
        return None if self.step is None else due_ns


class Alarm(Protocol):
    """Rings once, at or after the time that was set last."""

    def set(self, due_ns: int, now_ns: int) -> None: ...

    def close(self) -> None: ...


class Pacer:
    """Calls steps when they are due; for one event loop.

    Args:
        loop: the running loop.
        now_ns: the clock, monotonic as the kernel's.
        alarm: made when the first timer comes, called with the loop and what to ring.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        now_ns: Callable[[], int],
        alarm: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm] | None = None,
    ) -> None:
        self.loop = loop
        self._now_ns = now_ns
        self._new_alarm = alarm or best_alarm
        self._alarm: Alarm | None = None
        self._set_ns = 0
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._waiting = 0
        self._forget = self._forgotten
        self._slack_ns = 0
        self._window_ns = 0
        self._steps = 0

    def call_at(self, due_ns: int, step: Step) -> Timer:
        """Call `step` when it is due, and again when it says; in a later turn of the loop, also if it is due now."""
        timer = Timer(step, self._forget)
        self._waiting += 1
        self._push(due_ns, timer)
        if self._alarm is None:
            self._alarm = self._new_alarm(self.loop, self._ring)
            self._set(due_ns, self._now_ns())
        elif due_ns < self._set_ns:
            self._set(due_ns, self._now_ns())
        return timer

    def _push(self, due_ns: int, timer: Timer) -> None:
        self._order += 1  # what is due at the same time comes in the order in which it was said
        heappush(self._heap, (due_ns, self._order, timer))

    def _set(self, due_ns: int, now_ns: int) -> None:
        assert self._alarm is not None
        self._set_ns = due_ns
        self._alarm.set(due_ns, now_ns)

    def _ring(self) -> None:
        heap, now_ns = self._heap, self._now_ns()
        again: list[tuple[int, Timer]] = []
        try:
            while heap and heap[0][0] <= now_ns:
                timer = heappop(heap)[2]
                due_ns = timer.run(now_ns)
                self._steps += 1
                if due_ns is not None:
                    again.append((due_ns, timer))
        finally:
            # Only now, so that what is always due again leaves the loop its turns.
            for due_ns, timer in again:
                self._push(due_ns, timer)
            if heap and self._alarm is not None:
                self._set(max(heap[0][0], now_ns + self._slack(now_ns)), now_ns)

    def _slack(self, now_ns: int) -> int:
        if now_ns - self._window_ns >= _WINDOW_NS:
            self._slack_ns = _SLACK_NS if self._steps >= _BUSY_STEPS else 0
            self._window_ns, self._steps = now_ns, 0
        return self._slack_ns

    def _forgotten(self) -> None:
        self._waiting -= 1
        if not self._waiting and self._alarm is not None:
            self._heap.clear()
            self._alarm.close()
            self._alarm = None
        elif len(self._heap) > 2 * self._waiting + _FORGOTTEN_KEPT:
            self._heap[:] = [entry for entry in self._heap if entry[2].step is not None]
            heapify(self._heap)


class LoopAlarm:
    """An alarm of the event loop: rounded to milliseconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int, now_ns: int) -> None:
        self.close()
        self._handle = self._loop.call_later(max(due_ns - now_ns, 0) / 1e9, self._ring)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class KernelAlarm:
    """A timer descriptor (Linux: man 2 timerfd_create) that the loop watches.

    Raises:
        OSError: there is no descriptor for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        import ctypes  # noqa: PLC0415 - only a replay at a pace needs it, and it takes milliseconds

        libc: Any = ctypes.CDLL(None, use_errno=True)
        # struct itimerspec: interval and first expiry, each in seconds and nanoseconds.
        self._spec = (ctypes.c_long * 4)()
        self._spec_ref = ctypes.byref(self._spec)
        self._settime = libc.timerfd_settime
        self._descriptor = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        try:
            loop.add_reader(self._descriptor, ring)
        except BaseException:
            os.close(self._descriptor)
            raise

    def set(self, due_ns: int, now_ns: int) -> None:
        # Setting it makes it unreadable until it rings again: there is no need to read it. Zero would switch it off.
        self._spec[2], self._spec[3] = divmod(max(due_ns, 1), 1_000_000_000)
        self._settime(self._descriptor, _TFD_TIMER_ABSTIME, self._spec_ref, None)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1


def best_alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The most exact alarm that there is here."""
    if sys.platform == "linux":
        try:
            return KernelAlarm(loop, ring)
        except (OSError, AttributeError, NotImplementedError):
            pass  # no descriptor left, another libc, or a loop that watches none
    return LoopAlarm(loop, ring)
