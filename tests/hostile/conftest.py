"""The soak runs beside all other tests of the session, and is judged behind the last of them.

One rule: it gives way to the tests that it runs beside, which have priority on the processor.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_SECONDS = 120
_NICE = "10"
_RUNNING = pytest.StashKey[subprocess.Popen[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for the soak comes last."""
    items.sort(key=_waits)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start it, if it is going to be judged."""
    if any(map(_waits, session.items)) and not session.config.option.collectonly:
        command = ["nice", "-n", _NICE, sys.executable, "-m", "graphtape.tests.hostile.soak", str(_SECONDS)]
        # It says some lines a minute: a pipe holds that until somebody reads it.
        session.config.stash[_RUNNING] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Whatever ends the session ends it too."""
    process = config.stash.get(_RUNNING, None)
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def soak_verdict(pytestconfig: pytest.Config) -> tuple[int, str]:
    """(exit status, what it said) of the soak, once it has ended."""
    process = pytestconfig.stash[_RUNNING]
    said, _ = process.communicate()
    return process.returncode, said


def _waits(item: pytest.Item) -> bool:
    return "soak_verdict" in getattr(item, "fixturenames", ())
