"""Starts the real Agent Server (`langgraph dev`) on loopback and stops it, for `make capture` and the live tests.

Knows nothing of cassettes. One rule: whatever was started is stopped, and a start that fails says why.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

START_TIMEOUT_S = 60.0

# No telemetry, no version check, no tracing: the server must not reach beyond this machine.
QUIET_ENVIRONMENT = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LOG_LEVEL": "WARNING",
    "LOG_COLOR": "false",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# Names that would make the server look for an account, or send traffic elsewhere.
DROPPED_PREFIXES = ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_", "OTEL_")


class AgentServerFailed(RuntimeError):
    """The real server did not start; the message holds the end of its log."""


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class AgentServer:
    """A running `langgraph dev`.

    Args:
        folder: an empty or prepared folder in which the server runs; it writes its own state there.
        graphs: graph name to `./file.py:variable`, relative to `folder`.
        port: where to listen; any free port if it is 0.
    """

    def __init__(self, folder: Path, graphs: Mapping[str, str], *, port: int = 0) -> None:
        self._folder = folder
        self._log = folder / "server.log"
        config = {"dependencies": ["."], "graphs": dict(graphs)}
        (folder / "langgraph.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED_PREFIXES)}
        command = [
            *(str(Path(sys.executable).parent / "langgraph"), "dev"),
            *("--no-browser", "--no-reload", "--n-jobs-per-worker", "8"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment | QUIET_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        tries = int(START_TIMEOUT_S / 0.1)
        for _ in range(tries):
            try:
                self._process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                pass
            else:
                raise AgentServerFailed(
                    f"langgraph dev ended with status {self._process.returncode}:\n{self.log_tail()}"
                )
            try:
                with urllib.request.urlopen(f"{self.url}/ok", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                continue
        raise AgentServerFailed(
            f"langgraph dev gave no answer in {START_TIMEOUT_S:.0f} s:\n{self.log_tail()}"
        )

    def log_tail(self) -> str:
        """The last lines the server wrote."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    def stop(self) -> None:
        """Stop the server and everything it started; may be called twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def __enter__(self) -> AgentServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
