"""File first, then the client: what waits for the cassette's flush, and happens right after it.

Knows no sockets and no files: it is given the functions it calls. One rule: no action runs before everything appended
up to then is in the file, and actions run in the order in which they were given.

A flush costs a write to the file, and waiting for others to share it costs a turn of the event loop. So a read that
comes alone is flushed at once, in the callback that received it; one that comes right after a flush is likely one of
many, and waits for the end of the turn: a hundred streams that each got an event then cost one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from graphtape.cassettes.errors import CassetteError

ALONE_NS = 50_000
"""What comes sooner than this after a flush waits for company: about an event's worth of a busy recorder."""


class FlushTurn:
    """Collects actions, flushes, runs them.

    Args:
        flush: brings all that was appended into the file; raises `CassetteError` if nothing may pass unrecorded.
        failed: told of that error, each time.
        now_ns: the time, of whatever zero.
        flushed: what can wait until the clients have their bytes; called after each flush and its actions.

    Attributes:
        add: `add(action)` runs `action` once all that was captured before is in the file, after the next `go` or
            `settle`.
    """

    def __init__(
        self,
        flush: Callable[[], None],
        failed: Callable[[CassetteError], None],
        now_ns: Callable[[], int],
        *,
        flushed: Callable[[], None] | None = None,
    ) -> None:
        self._flush = flush
        self._failed = failed
        self._now_ns = now_ns
        self._flushed = flushed
        self._actions: list[Callable[[], None]] = []
        self.add: Callable[[Callable[[], None]], None] = self._actions.append
        self._flushed_ns = now_ns() - ALONE_NS
        self._is_scheduled = False
        self._is_running = False

    def go(self) -> None:
        """Flush and run what was added: now if nothing was flushed just before, else at the end of this turn."""
        if not self._is_scheduled:
            now_ns = self._now_ns()
            if now_ns - self._flushed_ns >= ALONE_NS and not self._is_running:
                self._run(now_ns)
            else:
                self._is_scheduled = True
                asyncio.get_running_loop().call_soon(self._end_of_turn)

    def then(self, action: Callable[[], None]) -> None:
        """Add one action, and go."""
        self._actions.append(action)
        self.go()

    def settle(self) -> None:
        """Bring all that was captured into the file now, and run every action given so far.

        Raises:
            CassetteError: the file could not be written, and the actions were dropped.
        """
        if (error := self.run()) is not None:
            raise error

    def run(self) -> CassetteError | None:
        """As `settle`, for those to whom an error is none of their business: it is returned."""
        return self._run(self._now_ns())

    def _run(self, now_ns: int) -> CassetteError | None:
        self._flushed_ns = now_ns
        actions = self._actions.copy()
        self._actions.clear()
        try:
            self._flush()
        except CassetteError as error:
            self._failed(error)
            return error
        self._is_running = True
        for action in actions:
            action()
        self._is_running = False
        if self._flushed is not None:
            self._flushed()
        return None

    def _end_of_turn(self) -> None:
        self._is_scheduled = False
        self.run()
