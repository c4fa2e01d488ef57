"""A server that is soaked: `graphtape` with an answer to SIGUSR1.

    python soaked.py FILE record|replay ARGUMENTS...

It writes into FILE how many tasks its loop has. One rule: nothing of the tests is imported, whose memory would count as
the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import signal
import sys
from pathlib import Path


def main() -> None:
    """As `graphtape`."""
    file = Path(sys.argv.pop(1))

    def tell(*_: object) -> None:
        """Runs between two byte codes of the main thread, in which the loop runs: the count is of one moment."""
        gc.collect()
        with contextlib.suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)
        file.write_text(str(len(asyncio.all_tasks())))

    signal.signal(signal.SIGUSR1, tell)

    from graphtape.cli import main as graphtape

    graphtape()


if __name__ == "__main__":
    main()
