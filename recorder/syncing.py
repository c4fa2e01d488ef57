"""Against power loss: what was written is on the disk within an interval, asked for by a thread of its own.

Knows no files and no event loop: it is given the function that syncs. One rule: whoever writes never waits for the
disk, and pays for the sync with a look at one flag.

A task that runs each sync in a pool of threads costs a future, two wake-ups of the loop, and the pool's locks ten times
per second; at fifty events per second that was a third of all the recorder did.
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
        self._stopping = threading.Event()
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
        self._stopping.set()
        self._touched.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._is_dirty or self._wait_for_touch():
            if self._stopping.wait(self._interval_s):
                return
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
        if not self._is_dirty and not self._stopping.is_set():
            self._touched.wait()
        self._is_asleep = False
        return not self._stopping.is_set()
