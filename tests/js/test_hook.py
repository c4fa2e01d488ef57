"""`useStream` on a page: what it shows on the mock is what it showed on the real server, and it asks the same."""

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

VERSIONS = ("0.1.10", "1.8.10", "1.15.0")
SCENARIOS = ("conversation", "branches", "interrupt", "rejoin", "stop", "failure")

Pages = Mapping[str, Any]


@pytest.fixture(scope="session")
def recorded(
    agent_server: AgentServer,
    tmp_path_factory: pytest.TempPathFactory,
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
    start_recorder: Callable[..., Any],
) -> Mapping[str, tuple[Path, Pages]]:
    """Per version: the cassette, and what the pages showed while it was recorded."""
    folder = tmp_path_factory.mktemp("hook")
    recorders = {each: start_recorder(agent_server.url, folder / f"{each}.tape") for each in VERSIONS}
    started = {each: start_script("hook.mjs", f"sdk-{each}", recorders[each].url) for each in VERSIONS}
    shown = {each: result_of(script) for each, script in started.items()}
    for recorder in recorders.values():
        assert recorder.stop() == 0
    return {each: (recorders[each].cassette, shown[each]) for each in VERSIONS}


@pytest.fixture(scope="session")
def replayed(
    recorded: Mapping[str, tuple[Path, Pages]],
    start_script: Callable[..., Any],
    result_of: Callable[..., Any],
) -> Mapping[str, Pages]:
    """The same pages, at the recorded speed: what they do in the midst of a run depends on it."""
    mocks = {each: serve([cassette], speed="1") for each, (cassette, _) in recorded.items()}
    started = {}
    try:
        for each, mock in mocks.items():
            started[each] = start_script("hook.mjs", f"sdk-{each}", mock.__enter__().url)
        return {each: result_of(script) for each, script in started.items()}
    finally:
        for each in started:
            mocks[each].__exit__(None, None, None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pages_equal(
    scenario: str,
    version: str,
    recorded: Mapping[str, tuple[Path, Pages]],
    replayed: Mapping[str, Pages],
    shape_of: Callable[[Any], Any],
) -> None:
    """Messages, values, interrupts, errors, history, branches and requests are the same, ids renamed."""
    was, now = recorded[version][1][scenario], replayed[version][scenario]
    assert isinstance(was, list), was
    assert json.dumps(shape_of(now), indent=1) == json.dumps(shape_of(was), indent=1)
