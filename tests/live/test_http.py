"""HTTP as the server does it, byte by byte of the framing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphtape.tests.live.conformance import http
from graphtape.tests.live.conformance.deviations import unexpected
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.staging import Case, play_all

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"

SCRIPTS = {
    "frames and chunks": http.frames,
    "wrong methods": http.methods,
    "HEAD": http.heads,
    "connections": http.connections,
    "CORS": http.cors,
    "HTTP/1.0": http.http_1_0,
    "no HTTP": http.malformed,
}


def cases() -> list[Case]:
    out = [Case("heartbeats", http.heartbeats, {"speed": "1"}, True)]
    for speed in ("max", "1"):
        for name, script in SCRIPTS.items():
            out.append(Case(f"{name}, speed {speed}", script, {"speed": speed}, speed == "max"))
    return out


@pytest.mark.timeout(600 if FULL else 120)
async def test_every_head_and_frame_is_the_servers(agent_server: AgentServer, tmp_path: Path) -> None:
    """No header, chunk, line end or heartbeat differs."""
    matrix = REPORT.matrix("HTTP")
    chosen = [case for case in cases() if FULL or case.representative]
    await play_all(matrix, agent_server.url, chosen, tmp_path)
    print("\n".join(matrix.lines()))
    assert not unexpected(matrix)
