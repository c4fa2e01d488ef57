"""Running the mock: on an address until told to stop, or around a test.

Knows aiohttp's runner, threads and event loops; nothing of requests. One rule: when it returns, nothing of it is left,
no thread, no socket, no open file.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO, Unpack

from aiohttp import web

from graphtape.protocol.errors import GraphtapeError
from graphtape.replayer.malformed import Runner
from graphtape.replayer.options import Log, ReplayChoices
from graphtape.replayer.server import Path, make_app

_SHUTDOWN_S = 0.05
"""How long a handler may take to notice that it was cancelled."""


class CannotListen(GraphtapeError):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, error: OSError | OverflowError) -> None:
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            text = (
                f"port {port} on {host} is in use; choose another with --port, or --port 0 for any free one"
            )
        elif number == errno.EACCES:
            text = f"port {port} on {host} needs more rights than this user has; choose one above 1023 with --port"
        elif isinstance(error, OverflowError):
            text = f"port {port} is no port; choose one from 0 to 65535 with --port"
        else:
            # The loop's words repeat the address as Python writes it.
            why = os.strerror(number) if number is not None and number > 0 else error.strerror or error
            text = f"cannot listen on {host}:{port}: {why}; give --host an address of this machine, e.g. 127.0.0.1"
        super().__init__(text)


async def _listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    """Start serving; returns the runner and the URL."""
    runner = Runner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise CannotListen(host, port, error) from None
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return runner, f"http://{shown}:{bound}"


class serve:  # noqa: N801 - read as a verb: `with serve("x.tape") as mock:`
    """A replay server for tests, as a context manager.

    `with serve(...)` runs it in a thread of its own, `async with serve(...)` in the running event loop.

    Args:
        paths: one cassette or several.
        port: 0 for any free one.
        log: called with one line per request, and first with one per cassette that is not whole (from the server's
            thread, under a plain `with`).
        choices: see `ReplayOptions`, e.g. `serve("chat.tape", speed="max")`.

    Attributes:
        url: where it listens, without a slash at the end; set while the context is open.

    Raises:
        CassetteError, UsageMistake: on entering, as `make_app`.
        CannotListen: on entering; the port is in use or may not be used.
    """

    url: str

    def __init__(
        self,
        paths: Path | Sequence[Path],
        *,
        port: int = 0,
        log: Log | None = None,
        **choices: Unpack[ReplayChoices],
    ) -> None:
        self._paths = paths
        self._port = port
        self._log = log
        self._choices = choices
        self._runner: web.AppRunner | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        app = make_app(self._paths, log=self._log, **self._choices)
        self._runner, self.url = await _listen(app, self._choices.get("host", "127.0.0.1"), self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def __enter__(self) -> Self:
        ready = threading.Event()
        failed: list[BaseException] = []

        async def live() -> None:
            self._stop = stop = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            try:
                async with self:
                    ready.set()
                    await stop.wait()
            except BaseException as error:
                failed.append(error)
                ready.set()

        # asyncio.run cleans up what a bare loop leaves: tasks, generators, the executor.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(live()), name="graphtape replay", daemon=True
        )
        self._thread.start()
        ready.wait()
        if failed:
            self._thread.join()
            raise failed.pop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop = self._thread = None


async def run(
    paths: Path | Sequence[Path],
    *,
    port: int = 2024,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    log: TextIO | None = None,
    **choices: Unpack[ReplayChoices],
) -> None:
    """Serve until `stop` is set; open streams are then broken, not ended.

    Args:
        announce: called once, with the line for stdout, when the server listens.
        log: gets those lines.
        choices: see `ReplayOptions`.

    Raises:
        CassetteError, UsageMistake, CannotListen: before anything is announced.
    """

    def write(line: str) -> None:
        print(f"graphtape: {line}", file=log, flush=True)

    app = make_app(paths, log=write if log is not None else None, **choices)
    runner, url = await _listen(app, choices.get("host", "127.0.0.1"), port)
    try:
        announce(f"graphtape: listening on {url}")
        await stop.wait()
    finally:
        await runner.cleanup()
