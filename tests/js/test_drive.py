"""Four versions of the JavaScript SDK: what they see of the mock is what they saw of the real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from graphtape.replayer import serve

if TYPE_CHECKING:
    from pathlib import Path

    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = pytest.mark.live

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
TIMED = {"join", "cancel"}

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
    done = {}
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


@pytest.fixture(scope="session", params=("1", "max"))
def speed(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def replayed(
    speed: str,
    recorded: Mapping[str, tuple[Path, Transcripts]],
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
) -> Mapping[str, Transcripts]:
    """The same drives, each answered by the mock alone."""
    asked = [each for each in SCENARIOS if speed == "1" or each not in TIMED]
    seen = {}
    for version, (cassette, _) in recorded.items():
        with serve([cassette], speed=speed) as mock:
            seen[version] = result_of(
                start_script("drive.mjs", f"sdk-{version}", mock.url, _tag(version), *asked)
            )
    return seen


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_transcripts_equal(
    scenario: str,
    version: str,
    speed: str,
    recorded: Mapping[str, tuple[Path, Transcripts]],
    replayed: Mapping[str, Transcripts],
    shape_of: Callable[[Any], Any],
) -> None:
    """Answers, parts, ids and errors are those of the real server, ids renamed."""
    if speed == "max" and scenario in TIMED:
        pytest.skip("needs time")
    was, now = recorded[version][1][scenario], replayed[version][scenario]
    assert isinstance(was, list), was
    assert json.dumps(shape_of(now), indent=1) == json.dumps(shape_of(was), indent=1)
