"""Running a server from the command line: the event loop, the signals, a clean stop.

Knows the two `run` coroutines, no click. Its one rule: SIGINT and SIGTERM are requests to stop, and the server decides
what stopping means; only a second signal interrupts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

Serve = Callable[[asyncio.Event], Coroutine[Any, Any, object]]
"""Serves until the event is set."""


def run_until_stopped(serve: Serve) -> None:
    """Run a server on a fresh event loop (uvloop where it is installed) until a signal stops it.

    Raises:
        KeyboardInterrupt: a second signal came while the server was stopping.
    """
    keep_memory_steady()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_until_signal(serve))


YOUNG_OBJECTS = 10_000
"""So many more objects made than freed start a collection of the young ones, in a server: the 700 that Python takes
are one exchange's worth, and every tenth of those walks what a hundred open streams hold."""


OLDER_AFTER = 3
"""Every third collection is of what is older too: with the modules out of it, that is no more than the open streams.
At Python's 10, what aiohttp makes of a refused head of a megabyte (2 MB that only a collection finds) waited for half
an hour."""


def spare_the_collector() -> None:
    """Let the garbage collector pass over what lives as long as the process; called once, when a server listens.

    The modules, classes and tables of a server are some hundred thousand objects that a full collection would walk
    in 30 ms in which no stream gets its events. Servers make little cyclic garbage, and what they make is still found.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, OLDER_AFTER, OLDER_AFTER)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE_BYTES = 1 << 20
"""A block of this size gets pages of its own, which go back to the system when it is freed."""


def keep_memory_steady() -> None:
    """Let large bodies leave no holes behind; called once, before a server begins.

    By default glibc raises the size from which a block gets its own pages to that of the largest which was freed, up
    to 32 MB. From then on bodies of megabytes lie between small objects that outlive them: in an hour of mixed load
    that took a fifth more memory than what was in use. Other allocators are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BYTES)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, or None (asyncio's own) where it is not installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_signal(serve: Serve) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask_to_stop() -> None:
        stop.set()
        # The next one acts as if we had never listened.
        for number in signals:
            loop.remove_signal_handler(number)

    # Windows has no loop signal handlers: Ctrl-C cancels the main task there.
    with contextlib.suppress(NotImplementedError):
        for number in signals:
            loop.add_signal_handler(number, ask_to_stop)
    await serve(stop)


def record_until_stopped(
    upstream: str, output: str, *, announce: Callable[[str], None], quiet: bool, **options: Any
) -> None:
    """`graphtape record`: see `graphtape.recorder.record` for the options."""
    from graphtape.recorder import record  # noqa: PLC0415

    def listening(line: str) -> None:
        spare_the_collector()
        announce(line)

    async def serve(stop: asyncio.Event) -> None:
        progress = None if quiet else sys.stderr
        await record(upstream, output, announce=listening, progress=progress, stop=stop, **options)

    run_until_stopped(serve)


def replay_until_stopped(
    paths: Sequence[str], *, host: str, announce: Callable[[str], None], quiet: bool, **options: Any
) -> None:
    """`graphtape replay`: see `graphtape.replayer.run` for the options."""
    from graphtape.protocol.access import is_loopback_host  # noqa: PLC0415
    from graphtape.replayer import run  # noqa: PLC0415

    def listening(line: str) -> None:
        if not is_loopback_host(host) and not quiet:
            warning = f"{host} is not a loopback address: whoever reaches this machine can read the cassettes"
            print(f"graphtape: {warning}", file=sys.stderr, flush=True)
        announce(line)

    async def serve(stop: asyncio.Event) -> None:
        await run(
            paths, host=host, announce=listening, log=None if quiet else sys.stderr, stop=stop, **options
        )

    run_until_stopped(serve)
