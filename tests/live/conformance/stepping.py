"""A clock for the mock that stands still unless the script waits: what it looks at is then the same every time.

Knows the event loop; nothing of HTTP. One rule: time moves only to the next moment that something is due, and only when
all that was due before has reached everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from graphtape.cassettes.clock import until_called
from graphtape.cassettes.pacer import Step, Timer

_ROUNDS = 6
"""Round trips before time moves: from a request on a new connection to the script that reads its answer are five."""


_PAUSE_S = 0.004
"""On a busy machine the kernel hands on what one connection brings later than what another does."""


class SteppedClock:
    """The clock of one mock and of the script that talks to it, in one event loop."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._waiting: list[tuple[int, Timer]] = []
        self._waits = 0
        self._stirred = False
        self._steps: asyncio.Task[None] | None = None
        self._echo: _Echo | None = None

    async def close(self) -> None:
        """Let nothing move any more."""
        if self._steps is not None:
            self._steps.cancel()
            await asyncio.gather(self._steps, return_exceptions=True)
        if self._echo is not None:
            await self._echo.close()

    def now_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return 1_700_000_000_000_000_000 + self._now_ns

    async def sleep_until(self, due_ns: int) -> None:
        if due_ns > self._now_ns:
            await until_called(self, due_ns)

    def call_at(self, due_ns: int, step: Step) -> Timer:
        timer = Timer(step)
        self._wait(due_ns, timer)
        return timer

    def _wait(self, due_ns: int, timer: Timer) -> None:
        if due_ns > self._now_ns:
            self._waiting.append((due_ns, timer))
        else:
            asyncio.get_running_loop().call_soon(self._run, timer)

    def _run(self, timer: Timer) -> None:
        due_ns = timer.run(self._now_ns)
        if due_ns is not None:
            self._wait(due_ns, timer)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass, each moment in its order."""
        with self.passing():
            await self.sleep_until(self._now_ns + int(seconds * 1e9))

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Time moves as long as this is open."""
        self._waits += 1
        self._stirred = True
        if self._steps is None or self._steps.done():
            self._steps = asyncio.create_task(self._step())
        try:
            yield
        finally:
            self._waits -= 1

    async def _step(self) -> None:
        if self._echo is None:
            self._echo = await _Echo.open()
        while self._waits:
            self._stirred = False
            await self._echo.settled()
            if not self._waits or self._stirred:
                continue
            waiting = [(due_ns, timer) for due_ns, timer in self._waiting if timer.step is not None]
            if waiting:
                self._now_ns = min(due_ns for due_ns, _ in waiting)
                self._waiting = [(due_ns, timer) for due_ns, timer in waiting if due_ns > self._now_ns]
                for due_ns, timer in waiting:
                    if due_ns <= self._now_ns:
                        self._run(timer)


class _Echo:
    """A connection of the loop with itself: what comes back over it has overtaken nothing that was sent before."""

    def __init__(
        self,
        server: asyncio.Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ended: asyncio.Event,
    ) -> None:
        self._server, self._reader, self._writer, self._ended = server, reader, writer, ended

    @classmethod
    async def open(cls) -> _Echo:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1):
                writer.write(data)
            writer.close()
            ended.set()

        ended = asyncio.Event()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        return cls(server, reader, writer, ended)

    async def settled(self) -> None:
        """Return when all that was sent has come, been read and been answered."""
        await asyncio.sleep(_PAUSE_S)
        for _ in range(_ROUNDS):
            self._writer.write(b".")
            await self._reader.readexactly(1)
            await asyncio.sleep(0)

    async def close(self) -> None:
        self._writer.close()
        await self._ended.wait()
        self._server.close()
        await self._server.wait_closed()
