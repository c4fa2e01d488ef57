"""Syncs in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from graphtape.cassettes.errors import CassetteError, CassetteWriteFailed
from graphtape.recorder.syncing import DiskSync

LONG_S = 30.0
"""Never reached: what is waited for comes at once, or the test fails."""


class Disk:
    """Counts syncs, and holds each until it is let go."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.errors: list[CassetteError] = []
        self.error: CassetteError | None = None
        self._began = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def sync(self) -> None:
        self.threads.append(threading.get_ident())
        self._began.release()
        assert self._go.acquire(timeout=LONG_S)
        if self.error is not None:
            raise self.error

    def began(self) -> None:
        """Return once the next sync has begun."""
        assert self._began.acquire(timeout=LONG_S)

    def let_go(self, count: int = 1) -> None:
        self._go.release(count)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def syncing(disk: Disk) -> Iterator[Any]:
    made: list[DiskSync] = []

    def make(interval_s: float = 0.0, *, stopping: Any = None, touched: Any = None) -> DiskSync:
        made.append(DiskSync(disk.sync, interval_s, disk.errors.append))
        if stopping is not None:
            made[-1]._stopping = stopping
        if touched is not None:
            made[-1]._touched = touched
        made[-1].start()
        return made[-1]

    yield make
    disk.let_go(9)
    for one in made:
        one.stop()


def test_a_touch_is_followed_by_a_sync(disk: Disk, syncing: Any) -> None:
    """In another thread; what is written during a sync gets the next, and nothing gets none."""
    sync = syncing()
    assert not disk.threads
    sync.touch()
    disk.began()
    sync.touch()
    disk.let_go()
    disk.began()
    disk.let_go()
    sync.stop()
    assert len(disk.threads) == 2
    assert threading.get_ident() not in disk.threads


def test_the_interval_lies_between_a_touch_and_its_sync(disk: Disk, syncing: Any) -> None:
    """So long, and no longer, may what was written be lost with the power."""
    waits: list[object] = []

    class Stopping:
        is_over = False

        def acquire(self, timeout: float) -> bool:
            waits.append(timeout)
            return self.is_over

        def release(self) -> None:
            self.is_over = True

    sync = syncing(0.25, stopping=Stopping())
    sync.touch()
    disk.began()
    assert waits == [0.25]


def test_a_touch_after_a_rest(disk: Disk, syncing: Any) -> None:
    """The thread that sleeps because nothing came is woken, again and again."""
    sync = syncing()
    for _ in range(50):
        sync.touch()
        disk.began()
        disk.let_go()
    sync.stop()
    assert len(disk.threads) == 50


def test_it_sleeps_only_when_nothing_came(disk: Disk, syncing: Any) -> None:
    """After a sync it stays awake for an interval: whoever writes at a pace wakes no thread."""
    waits: list[float] = []
    asleep = threading.Event()

    class Stopping:
        is_over = False

        def acquire(self, timeout: float) -> bool:
            waits.append(timeout)
            if len(waits) < 4:
                sync.touch()
            return self.is_over

        def release(self) -> None:
            self.is_over = True

    class Touched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            asleep.set()
            return super().wait(timeout)

    sync = syncing(0.25, stopping=Stopping(), touched=Touched())
    sync.touch()
    for _ in range(3):
        disk.began()
        asleep.clear()
        disk.let_go()
    assert asleep.wait(LONG_S)
    assert waits == [0.25] * 4
    assert len(disk.threads) == 3


def test_stop_does_not_wait_for_the_interval(disk: Disk, syncing: Any) -> None:
    """What was touched and is not due is left to whoever closes the file."""
    sync = syncing(LONG_S * 10)
    sync.touch()
    sync.stop()
    assert not disk.threads


def test_stop_waits_for_the_sync_under_way(disk: Disk, syncing: Any) -> None:
    """The file is not closed under it."""
    sync = syncing()
    sync.touch()
    disk.began()
    stopping = threading.Thread(target=sync.stop)
    stopping.start()
    stopping.join(0.01)
    assert stopping.is_alive()
    disk.let_go()
    stopping.join(LONG_S)
    assert not stopping.is_alive()


def test_an_error_is_told_once(disk: Disk, syncing: Any) -> None:
    """The first ends the syncing: nothing after it can be promised."""
    disk.error = CassetteWriteFailed("x.tape", "the disk did not take it")
    sync = syncing()
    sync.touch()
    disk.began()
    disk.let_go()
    sync._thread.join(LONG_S)
    sync.touch()
    sync.stop()
    assert disk.errors == [disk.error]
    assert len(disk.threads) == 1


def test_stop_before_start(disk: Disk) -> None:
    """A recorder that failed to start can be closed."""
    DiskSync(disk.sync, 0, disk.errors.append).stop()
