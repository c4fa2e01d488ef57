"""`useStream` on a page: what it shows on the mock is what it showed on the real server, and it asks the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from graphtape.replayer import serve

if TYPE_CHECKING:
    from pathlib import Path

    from graphtape.cassettes.samples.agent_server import AgentServer

# The first of them installs the packages.
pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

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
    with ExitStack() as stack:
        started = {}
        for each, (cassette, _) in recorded.items():
            mock = stack.enter_context(serve([cassette], speed="1"))
            started[each] = start_script("hook.mjs", f"sdk-{each}", mock.url)
        return {each: result_of(script) for each, script in started.items()}


@pytest.mark.parametrize(("version", "scenario"), list(itertools.product(VERSIONS, SCENARIOS)))
def test_pages_equal(
    version: str,
    scenario: str,
    recorded: Mapping[str, tuple[Path, Pages]],
    replayed: Mapping[str, Pages],
    assert_same: Callable[[Any, Any], None],
) -> None:
    """Messages, values, interrupts, errors, history, branches and requests are the same, ids renamed."""
    was = recorded[version][1][scenario]
    assert isinstance(was, list), was
    assert_same(replayed[version][scenario], was)
