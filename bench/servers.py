"""Starts what is measured and what it is compared with, each a process of its own, and reads what it costs.

Knows command lines and /proc; not what is measured. One rule: whatever is started here is stopped here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from graphtape.bench.build import built

REFERENCES = Path(__file__).parent / "references"
_READY_S = 60.0
_LISTENING = re.compile(r"listening (?:on http://\S+?:)?(\d+)")


class Unavailable(Exception):
    """A reference that this machine does not have; the row goes without it and says so."""


class ServerFailed(Exception):
    """A process that is measured did not start, or died."""


@dataclass
class Server:
    """A running process that listens on loopback.

    Attributes:
        ready_s: from the start of the process until it listened.
    """

    name: str
    process: subprocess.Popen[str]
    port: int
    ready_s: float
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_ns(self) -> int:
        """Processor time of all its threads so far, to the nanosecond where the kernel tells."""
        folder = Path(f"/proc/{self.process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in folder.iterdir())

    def memory_bytes(self) -> int:
        """What it holds now (VmRSS)."""
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        """The most it has held (VmHWM)."""
        return self._status("VmHWM")

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise ServerFailed(f"{self.name}: the kernel does not tell {field}")

    def stop(self) -> None:
        """As Ctrl-C does; then for good."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Servers:
    """Where servers are started.

    Args:
        folder: for their logs and files; belongs to this run.
        references_venv: where mitmproxy and mcap are installed, if they are.
    """

    folder: Path
    references_venv: Path | None = None

    def source(self) -> Server:
        """The upstream of all recording rows (source.c)."""
        return self._start("source", [str(built("source"))])

    def recorder(self, upstream: str, tape: Path, *options: str) -> Server:
        command = [*_graphtape(), "record", upstream, "-o", str(tape), "--port", "0", *options]
        return self._start("graphtape record", command)

    def replayer(self, tape: Path, speed: str = "1") -> Server:
        command = [*_graphtape(), "replay", str(tape), "--port", "0", "--speed", speed]
        return self._start("graphtape replay", command)

    def reference(self, name: str, *arguments: str | Path) -> Server:
        """One of bench/references, by the name of its file."""
        command = [sys.executable, str(REFERENCES / f"{name}.py"), *map(str, arguments)]
        return self._start(name, command)

    def nginx(self, upstream: Server) -> Server:
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            raise Unavailable("nginx is not installed (apt-get install nginx-light)")
        port = _free_port()
        config = self.folder / "nginx.conf"
        text = (REFERENCES / "nginx.conf").read_text()
        for name, value in {"FOLDER": self.folder, "PORT": port, "UPSTREAM_PORT": upstream.port}.items():
            text = text.replace(f"@{name}@", str(value))
        config.write_text(text)
        command = [program, "-c", str(config), "-p", str(self.folder), "-e", "stderr"]
        return self._start("nginx", command, port=port)

    def mitmproxy(self, upstream: Server, flows: Path) -> Server:
        program = shutil.which("mitmdump", path=self._bin())
        if program is None:
            raise Unavailable("mitmproxy is not installed (python -m bench setup)")
        port = _free_port()
        command = [program, "--quiet", "--mode", f"reverse:{upstream.url}", "--listen-host", "127.0.0.1"]
        command += ["--listen-port", str(port), "--set", "stream_large_bodies=1"]
        command += ["--set", "store_streamed_bodies=true", "--save-stream-file", str(flows)]
        command += ["--set", f"confdir={self.folder / 'mitmproxy'}", "--set", "termlog_verbosity=error"]
        return self._start("mitmproxy", command, port=port)

    def mcap_python(self) -> str:
        """The interpreter that has mcap."""
        candidates = [sys.executable]
        if self.references_venv is not None:
            candidates.append(str(self.references_venv / "bin" / "python"))
        for python in candidates:
            probe = [python, "-c", "import mcap, msgpack, zstandard"]
            with contextlib.suppress(OSError):
                if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                    return python
        raise Unavailable("mcap is not installed (python -m bench setup)")

    def _bin(self) -> str:
        path = os.environ.get("PATH", "")
        return path if self.references_venv is None else f"{self.references_venv / 'bin'}:{path}"

    def _start(self, name: str, command: Sequence[str], *, port: int | None = None) -> Server:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        started = time.perf_counter()
        with log.open("a") as stderr:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL, text=True
            )
        try:
            found = _announced(process) if port is None else _accepts(process, port)
        except ServerFailed as error:
            process.kill()
            process.wait()
            told = log.read_text()[-2000:]
            raise ServerFailed(f"{name}: {error}\n{told}") from None
        return Server(name, process, found, time.perf_counter() - started, log)


def _graphtape() -> list[str]:
    return [sys.executable, "-m", "graphtape.cli"]


def _announced(process: subprocess.Popen[str]) -> int:
    """The port that the process prints when it listens."""
    stdout: IO[str] = process.stdout  # type: ignore[assignment]
    for line in stdout:
        if found := _LISTENING.search(line):
            return int(found[1])
    raise ServerFailed("it ended before it listened")


def _accepts(process: subprocess.Popen[str], port: int) -> int:
    """For programs that do not say when they are ready."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return port
        time.sleep(0.02)
    raise ServerFailed("it did not come to listen")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
