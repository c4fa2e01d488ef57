"""File first, then the client: what waits for the cassette's flush, and happens right after it.

All that is captured in one turn of the event loop shares one flush: a hundred streams that each got an event cost
one write to the file. Knows no sockets and no files: it is given the functions it calls. One rule: no action
runs before everything appended up to then is in the file, and actions run in the order in which they were given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from graphtape.cassettes.errors import CassetteError


class FlushTurn:
    """Collects actions, flushes once, runs them.

    Args:
        flush: brings all that was appended into the file; raises `CassetteError` if nothing may pass unrecorded.
        failed: told of that error, each time.
    """

    def __init__(self, flush: Callable[[], None], failed: Callable[[CassetteError], None]) -> None:
        self._flush = flush
        self._failed = failed
        self._actions: list[Callable[[], None]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._handle: asyncio.Handle | None = None

    def then(self, action: Callable[[], None]) -> None:
        """Run `action` once all that was captured before is in the file; drop it if that fails."""
        self._actions.append(action)
        self._schedule()

    async def settled(self) -> None:
        """Return once all that was captured is in the file and every action given so far has run.

        Raises:
            CassetteError: the file could not be written, and the actions were dropped.
        """
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._schedule()
        await waiter

    def run(self) -> None:
        """Do now what the end of this turn would do; also for whoever cannot wait, being cancelled."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        actions, self._actions = self._actions, []
        waiters, self._waiters = self._waiters, []
        try:
            self._flush()
        except CassetteError as error:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            self._failed(error)
            return
        for action in actions:
            action()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _schedule(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self.run)
