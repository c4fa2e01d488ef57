"""Against power loss: what was written is on the disk within an interval, asked for by a thread of its own.

Knows no files and no event loop: it is given the function that syncs. One rule: whoever writes never waits for the
disk, and pays for the sync with a look at one flag.

A task that runs each sync in a pool of threads costs a future, two wake-ups of the loop, and the pool's locks ten times
per second; at fifty events per second that was a third of all the recorder did. `threading.Event.wait` is a condition
written in Python, and took half of what was left: a lock that is waited for is one call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from graphtape.cassettes.errors import CassetteError


class DiskSync:
    """Calls `sync` within `interval_s` of a `touch`, in its own thread, until the first error.

    Args:
        sync: asks the disk to keep what is in the file; raises `CassetteError` if it refuses.
        interval_s: seconds between what was written first and the sync that covers it.
        failed: told of the error, in that thread.
    """

    def __init__(
        self, sync: Callable[[], None], interval_s: float, failed: Callable[[CassetteError], object]
    ) -> None:
        self._sync = sync
        self._interval_s = interval_s
        self._failed = failed
        self._is_dirty = False
        self._is_asleep = False
        self._touched = threading.Event()
        self._stopping = threading.Lock()  # held until `stop`
        self._stopping.acquire()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="graphtape sync", daemon=True)

    def start(self) -> None:
        """Begin to watch for touches."""
        self._thread.start()

    def touch(self) -> None:
        """Something was written."""
        self._is_dirty = True
        if self._is_asleep:  # only when nothing was written for a whole interval
            self._is_asleep = False
            self._touched.set()

    def stop(self) -> None:
        """End the thread, and wait for the sync that it is in."""
        if not self._is_over:
            self._is_over = True
            self._stopping.release()
        self._touched.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._wait_for_touch():
            # Awake until nothing was written for a whole interval: falling asleep and being woken costs more.
            while not self._stopping.acquire(timeout=self._interval_s) and self._is_dirty:
                # Before the sync, not after it: what is written meanwhile is for the next one.
                self._is_dirty = False
                try:
                    self._sync()
                except CassetteError as error:
                    self._failed(error)
                    return

    def _wait_for_touch(self) -> bool:
        """True once something was written; False if it is over."""
        self._touched.clear()
        self._is_asleep = True
        # A touch between the caller's look at the flag and here has set nothing: look again.
        if not self._is_dirty and not self._is_over:
            self._touched.wait()
        self._is_asleep = False
        return not self._is_over
