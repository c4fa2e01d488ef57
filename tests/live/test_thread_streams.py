"""Streams of a thread on the real server and on the mock: spellings, resume points, runs that come and end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphtape.tests.live.conformance import threads
from graphtape.tests.live.conformance.deviations import unexpected
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.staging import Case, play_all

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"

SCRIPTS = {
    "live": threads.live,
    "refused": threads.refused,
    "after the runs": threads.replayed(""),
    "after the runs, lifecycle": threads.replayed("?stream_modes=lifecycle"),
    "after the runs, state_update": threads.replayed("?stream_modes=state_update"),
    "the state is written": threads.state_updates,
    "runs nobody streamed": threads.several_endings,
}
USUAL = ("live", "refused", "after the runs", "the state is written")


def cases() -> list[Case]:
    out = []
    for recorded in (False, True):
        tail = ", recorded" if recorded else ""
        for speed in ("max", "1"):
            how = {"probes_recorded": recorded, "speed": speed}
            for name, script in SCRIPTS.items():
                few = not recorded and speed == "max" and name in USUAL
                out.append(Case(f"{name}, speed {speed}{tail}", script, how, few))
        how = {"probes_recorded": recorded}
        out.append(Case(f"attached mid-run{tail}", threads.attached_mid_run, how, recorded))
    return out


@pytest.mark.timeout(900 if FULL else 120)
async def test_every_thread_stream_is_what_the_server_sends(
    agent_server: AgentServer, tmp_path: Path
) -> None:
    """No stream of a thread differs, whatever it asks for and whenever it is opened."""
    matrix = REPORT.matrix("Thread streams")
    chosen = [case for case in cases() if FULL or case.representative]
    await play_all(matrix, agent_server.url, chosen, tmp_path)
    print("\n".join(matrix.lines()))
    assert not unexpected(matrix)
