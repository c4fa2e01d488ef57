"""The JavaScript SDKs behind connections that break: on the mock what they get of the server, with unique ids all."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphtape.tests.live.conformance import drill
from graphtape.tests.live.conformance.drill import Ask, Seen

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

FULL = os.environ.get("GRAPHTAPE_FULL") == "1"
# The first of them installs the packages.
pytestmark = [pytest.mark.live, pytest.mark.timeout(1200 if FULL else 300)]
SCRIPT = Path(__file__).with_name("reconnect.mjs")


@dataclass(frozen=True, slots=True)
class Sdk:
    """One version of `@langchain/langgraph-sdk`."""

    node: str
    version: str
    comes_back: bool = True
    confirms: bool = False

    @property
    def name(self) -> str:
        return f"JavaScript {self.version}"

    async def run(self, asks: Sequence[Ask]) -> list[Seen]:
        process = await asyncio.create_subprocess_exec(
            *(self.node, "--no-warnings", str(SCRIPT), f"sdk-{self.version}"),
            cwd=SCRIPT.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await process.communicate(json.dumps([asdict(ask) for ask in asks]).encode())
        except asyncio.CancelledError:
            process.kill()
            raise
        assert process.returncode == 0
        return [Seen(**each) for each in json.loads(out)]


@pytest.fixture(scope="module")
def sdks(node: str) -> tuple[Sdk, ...]:
    return (
        Sdk(node, "0.1.10", comes_back=False),
        Sdk(node, "1.8.10"),
        Sdk(node, "1.11.0"),
        Sdk(node, "1.15.0", confirms=True),
        Sdk(node, "2.0.0"),
    )


async def test_broken_connections(agent_server: AgentServer, sdks: tuple[Sdk, ...], tmp_path: Path) -> None:
    """Wherever a connection breaks, the client asks for and gets on the mock exactly what it does on the server."""
    wrong = await drill.all_beside_server(agent_server.url, sdks, tmp_path, full=FULL)
    assert not wrong, "\n".join(wrong)


async def test_unique_ids(agent_server: AgentServer, sdks: tuple[Sdk, ...], tmp_path: Path) -> None:
    """Wherever a connection breaks, a resumable run with unique ids loses no event and has none twice."""
    wrong = await drill.all_unique(agent_server.url, sdks, tmp_path, full=FULL)
    assert not wrong, "\n".join(wrong)
