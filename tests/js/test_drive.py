"""Four versions of the JavaScript SDK: what they see of the mock is what they saw of the real server."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from graphtape.replayer import serve

if TYPE_CHECKING:
    from pathlib import Path

    from graphtape.cassettes.samples.agent_server import AgentServer

# The first of them installs the packages.
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

VERSIONS = ("0.1.10", "1.8.10", "1.11.0", "1.15.0")
SCENARIOS = (
    "modes",
    "odd",
    "stateless",
    "wait",
    "join",
    "burst",
    "thread",
    "cancel",
    "reads",
    "assistants",
    "store",
    "interrupt",
    "error",
    "refusals",
)
# What a client does in the midst of a stream depends on time, and `max` has none.
TIMED = {("max", "join"), ("max", "cancel")}
# Which versions are replayed at which speed.
SPEEDS = {"1": VERSIONS, "max": ("0.1.10", "1.15.0")}

Transcripts = Mapping[str, Any]


@pytest.fixture(scope="session")
def recorded(
    agent_server: AgentServer,
    tmp_path_factory: pytest.TempPathFactory,
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
    start_recorder: Callable[..., Any],
) -> Mapping[str, tuple[Path, Transcripts]]:
    """Per version: the cassette, and what the client saw while it was recorded from the real server."""
    folder = tmp_path_factory.mktemp("drive")
    recorders = {each: start_recorder(agent_server.url, folder / f"{each}.tape") for each in VERSIONS}
    done: dict[str, Any] = {}
    # Two at once: as many as small machines have cores.
    for some in (VERSIONS[:2], VERSIONS[2:]):
        drives = {
            each: start_script("drive.mjs", f"sdk-{each}", recorders[each].url, _tag(each)) for each in some
        }
        done |= {each: result_of(drive) for each, drive in drives.items()}
    for recorder in recorders.values():
        assert recorder.stop() == 0
    return {each: (recorders[each].cassette, seen) for each, seen in done.items()}


def _tag(version: str) -> str:
    return f"drive-{version.replace('.', '-')}"


@pytest.fixture(scope="session")
def replayed(
    recorded: Mapping[str, tuple[Path, Transcripts]],
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
) -> Callable[[str], Mapping[str, Transcripts]]:
    """The same drives at a speed, each answered by the mock alone."""

    @functools.cache
    def at(speed: str) -> Mapping[str, Transcripts]:
        with ExitStack() as stack:
            started = {}
            for version in SPEEDS[speed]:
                mock = stack.enter_context(serve([recorded[version][0]], speed=speed))
                asked = [each for each in SCENARIOS if (speed, each) not in TIMED]
                started[version] = start_script(
                    "drive.mjs", f"sdk-{version}", mock.url, _tag(version), *asked
                )
            return {version: result_of(script) for version, script in started.items()}

    return at


def cells() -> Iterator[tuple[str, str, str]]:
    """Speed, version and scenario of every comparison."""
    for speed, versions in SPEEDS.items():
        for version, scenario in itertools.product(versions, SCENARIOS):
            if (speed, scenario) not in TIMED:
                yield speed, version, scenario


@pytest.mark.parametrize(("speed", "version", "scenario"), list(cells()))
def test_transcripts_equal(  # noqa: PLR0917 - the cell, and fixtures
    speed: str,
    version: str,
    scenario: str,
    recorded: Mapping[str, tuple[Path, Transcripts]],
    replayed: Callable[[str], Mapping[str, Transcripts]],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """Answers, parts, ids and errors are those of the real server, ids renamed."""
    was = recorded[version][1][scenario]
    assert isinstance(was, list), was
    assert_same(replayed(speed)[version][scenario], was)
