"""Runs `graphtape` on a disk that is watched, slow or failing: `failing_disk.py '{"error": "ENOSPC", ...}' record ...`.

What the program asks of the disk goes through `os`. Here its calls for cassettes are noted down, made slow, or fail,
before the program is imported; nothing else of it changes. So this works for any user on any machine, where a small
file system, ptrace or a preloaded library may not be allowed. One rule: a call that does not fail does what it always
does.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

CLOSED = "closed"
"""Instead of the name of an error: the descriptor is closed under the program, which then gets what that gives."""


@dataclass(frozen=True)
class Disk:
    """What the disk does.

    Args:
        error: the name of an `errno`, or `CLOSED`: what happens to writes once `room_bytes` are in the file.
        room_bytes: how much can be written; a write that would exceed it is cut short first, as real disks do.
        sync_error: the name of an `errno`: what every sync gets.
        sync_s: how much longer a sync takes.
        trace: a file that gets one line of JSON for each call, see `Call`.
    """

    error: str = ""
    room_bytes: int = 0
    sync_error: str = ""
    sync_s: float = 0
    trace: str = ""

    def command(self, *arguments: str) -> list[str]:
        """The command line of `graphtape ARGUMENTS` on this disk."""
        return [sys.executable, __file__, json.dumps(asdict(self)), *arguments]


class Call(NamedTuple):
    """One call: what, when it began and ended (monotonic ns), on which thread."""

    name: str
    began_ns: int
    ended_ns: int
    thread: int


def read_trace(path: Path) -> list[Call]:
    """The calls, in the order in which they ended."""
    return [Call(*json.loads(line)) for line in path.read_text().splitlines()]


class _Watched:
    """The calls of `os` that write, for cassettes."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._cassettes: set[int] = set()
        self._written = 0
        self._trace = os.open(disk.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if disk.trace else -1
        self._really_write = os.write
        really_open = os.open

        def open_(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            fd = really_open(path, flags, *rest, **options)
            self._cassettes.discard(fd)
            if os.fspath(path).endswith(".tape") and flags & (os.O_RDWR | os.O_WRONLY):
                self._cassettes.add(fd)
            return fd

        os.open = open_
        os.write = self._watch("write", os.write, self._write)
        for name in ("writev", "pwrite"):
            setattr(os, name, self._watch("write", getattr(os, name), self._write_otherwise))
        for name in ("fdatasync", "fsync"):
            setattr(os, name, self._watch("sync", getattr(os, name), self._sync))

    def _watch(self, name: str, really: Callable[..., Any], do: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: int, *arguments: Any) -> Any:
            if fd not in self._cassettes:
                return really(fd, *arguments)
            began_ns = time.monotonic_ns()
            try:
                return do(really, fd, *arguments)
            finally:
                self._note(Call(name, began_ns, time.monotonic_ns(), threading.get_ident()))

        return call

    def _note(self, call: Call) -> None:
        if self._trace >= 0:
            self._really_write(self._trace, json.dumps(call).encode() + b"\n")

    def _write(self, really: Callable[..., int], fd: int, data: bytes) -> int:
        if self._disk.error:
            room = self._disk.room_bytes - self._written
            if room <= 0:
                self._fail(fd, self._disk.error)
            data = data[:room] if room > 0 else data
        done = really(fd, data)
        self._written += done
        return done

    def _write_otherwise(self, really: Callable[..., int], fd: int, *arguments: Any) -> int:
        if self._disk.error and self._written >= self._disk.room_bytes:
            self._fail(fd, self._disk.error)
        done = really(fd, *arguments)
        self._written += done
        return done

    def _sync(self, really: Callable[[int], None], fd: int) -> None:
        time.sleep(self._disk.sync_s)
        if self._disk.sync_error:
            self._fail(fd, self._disk.sync_error)
        really(fd)

    def _fail(self, fd: int, error: str) -> None:
        if error == CLOSED:
            os.close(fd)
            self._cassettes.discard(fd)
        else:
            number = getattr(errno, error)
            raise OSError(number, os.strerror(number))


def main() -> None:
    """Run `graphtape` with the arguments behind the first."""
    _Watched(Disk(**json.loads(sys.argv.pop(1))))

    from graphtape.cli import main as graphtape

    graphtape()


if __name__ == "__main__":
    main()
