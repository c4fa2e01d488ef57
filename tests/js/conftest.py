"""What the tests of the JavaScript clients share: npm packages, node scripts, recorders, comparable transcripts.

The packages are installed when a test first asks for them. Without Node 20 these tests fail, and say so.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STAMP = HERE / "node_modules" / ".graphtape-stamp"
READY = "graphtape: listening on "
INSTALL_TIMEOUT_S = 200
# UUIDs, ids of 32 digits, event ids, and times: equal after a consistent renaming is equal.
_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
    r"|(?<!\d)1[789]\d{11}(?:-\d+)?(?!\d)|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)"
)


def _installed() -> str:
    """The state of `node_modules` that the lock file asks for."""
    files = ("package.json", "package-lock.json", ".npmrc")
    return hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in files)).hexdigest()


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node 20 or later, with the packages of `package-lock.json` installed."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.fail("the JavaScript clients need Node 20 or later with npm, and there is none here")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        pytest.fail(f"the JavaScript clients need Node 20 or later, and this is {version}")
    if not STAMP.exists() or STAMP.read_text(encoding="utf-8") != _installed():
        command = [npm, "ci", "--no-progress"]
        try:
            done = subprocess.run(
                command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.fail(f"npm ci in {HERE} took more than {INSTALL_TIMEOUT_S} s; is the registry reachable?")
        if done.returncode != 0:
            pytest.fail(f"npm ci in {HERE} failed:\n{done.stderr or done.stdout}")
        STAMP.write_text(_installed(), encoding="utf-8")
    return found


@pytest.fixture(scope="session")
def start_script(node: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script of this folder; its stdout is to be one JSON document."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [node, "--no-warnings", str(HERE / script), *arguments],
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    # Those that a failure left behind.
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def result_of() -> Callable[[subprocess.Popen[str]], Any]:
    """What a started script printed, when it has ended."""

    def result(process: subprocess.Popen[str], timeout: float = 60) -> Any:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{process.args!r} did not end in {timeout} s; it said:\n{err[-3000:]}")
        if process.returncode != 0:
            pytest.fail(f"{process.args!r} failed:\n{err[-3000:]}", pytrace=False)
        return json.loads(out)

    return result


class Recorder:
    """`graphtape record` as a user runs it, in a process of its own."""

    def __init__(self, upstream: str, cassette: Path, *options: str) -> None:
        self.cassette = cassette
        command = [
            sys.executable,
            "-m",
            "graphtape.cli",
            "record",
            upstream,
            "-o",
            str(cassette),
            "--port",
            "0",
        ]
        with cassette.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._url = ""

    @property
    def url(self) -> str:
        """Its address, as soon as it listens."""
        if not self._url:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line.startswith(READY), self.cassette.with_suffix(".log").read_text(encoding="utf-8")
            self._url = line.removeprefix(READY).strip()
        return self._url

    def stop(self) -> int:
        """Its exit status after a SIGINT."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=30)
        return self._process.returncode


@pytest.fixture(scope="session")
def start_recorder() -> Iterator[Callable[..., Recorder]]:
    """Start `graphtape record UPSTREAM -o CASSETTE`; stopped at the end if the test has not."""
    started: list[Recorder] = []

    def start(upstream: str, cassette: Path, *options: str) -> Recorder:
        started.append(Recorder(upstream, cassette, *options))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def _renamed(value: Any, names: dict[str, str]) -> Any:
    match value:
        case str():
            return _ID.sub(lambda found: names.setdefault(found[0], f"<{len(names)}>"), value)
        case dict():
            return {_renamed(key, names): _renamed(each, names) for key, each in value.items()}
        case list():
            return [_renamed(each, names) for each in value]
        case int() if value > 1_700_000_000_000:
            return names.setdefault(str(value), f"<{len(names)}>")
        case _:
            return value


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Any, Any], None]:
    """Fail unless two documents are the same, with every id and time replaced by the number of its first appearance."""

    def check(now: Any, was: Any) -> None:
        shapes = [json.dumps(_renamed(each, {}), indent=1, ensure_ascii=False) for each in (was, now)]
        was_lines, now_lines = (shape.splitlines() for shape in shapes)
        differing = list(difflib.unified_diff(was_lines, now_lines, "real server", "mock", lineterm="", n=5))
        if differing:
            pytest.fail("\n".join(line[:200] for line in differing[:60]), pytrace=False)

    return check
