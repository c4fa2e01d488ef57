"""The Python SDK behind a connection that breaks: what it ends up with on the mock and on the real server."""

from __future__ import annotations

import asyncio
import itertools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import pytest
from langgraph_sdk import get_client, get_sync_client

from graphtape.cassettes.writer import CassetteWriter
from graphtape.protocol.sse import Decoder
from graphtape.recorder import Recorder
from graphtape.replayer import serve
from graphtape.tests.live.conformance.comparing import Judgement, Verdict
from graphtape.tests.live.conformance.cutting import Cut, CuttingProxy
from graphtape.tests.live.conformance.joins import body_of
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.staging import new_thread
from graphtape.tests.live.conformance.wire import Wire

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"
MATRIX = "Reconnection of the Python SDK"
EVERYTHING = tuple(itertools.product(("tokens", "ask", "failing"), ("async", "sync"), ("recorded", "unique")))
REPRESENTATIVE = (("tokens", "async", "unique"), ("ask", "sync", "recorded"))
Part = tuple[str, Any, str | None]
Ids = Literal["recorded", "unique"]


MODES = {
    "tokens": ["messages-tuple", "updates"],
    "ask": ["values", "updates"],
    "failing": ["values", "updates", "tasks"],
    "slow": ["custom", "values", "updates"],
}


def body(graph: str, *, resumable: bool) -> dict[str, Any]:
    return body_of(graph, resumable=resumable, stream_mode=MODES[graph])


def options(graph: str, *, resumable: bool) -> dict[str, Any]:
    return {name: value for name, value in body(graph, resumable=resumable).items() if name != "assistant_id"}


async def stream_async(url: str, graph: str, *, resumable: bool) -> list[Part]:
    client = get_client(url=url)
    thread = await client.threads.create()
    parts = client.runs.stream(thread["thread_id"], graph, **options(graph, resumable=resumable))
    seen = [(part.event, part.data, part.id) async for part in parts]
    await client.aclose()
    return seen


def stream_sync(url: str, graph: str, *, resumable: bool) -> list[Part]:
    with get_sync_client(url=url) as client:
        thread = client.threads.create()
        parts = client.runs.stream(thread["thread_id"], graph, **options(graph, resumable=resumable))
        return [(part.event, part.data, part.id) for part in parts]


async def drilled(
    upstream: str, graph: str, cuts: Sequence[Cut], *, sync: bool = False, resumable: bool = True
) -> tuple[list[Part], list[Part], CuttingProxy]:
    """(what the client ended up with, what the server meant to send, the proxy)."""
    async with CuttingProxy(upstream, cuts) as proxy:
        with warnings.catch_warnings():
            # The SDK warns that a run without ids may lose events; here that is looked at.
            warnings.simplefilter("ignore")
            if sync:
                got = await asyncio.to_thread(stream_sync, proxy.url, graph, resumable=resumable)
            else:
                got = await stream_async(proxy.url, graph, resumable=resumable)
        await proxy.rest()
    return got, parts_of(b"".join(proxy.meant)), proxy


def parts_of(body: bytes) -> list[Part]:
    return [(b.name or "", orjson.loads(b.data or b"null"), b.id) for b in Decoder().feed(body) if b.is_event]


def expected(whole: list[Part], cuts: Sequence[Cut], ids: Ids) -> list[Part]:
    """What a client has after these cuts of a resumable run that is over when it comes back."""
    got = whole[: cuts[0].after]
    for number in range(len(cuts)):
        if not got:
            # Without an id the client asks for nothing that was: the run is over, and nothing comes.
            return []
        cursor = got[-1][2] or ""
        if ids == "unique":
            rest = whole[whole.index(got[-1]) + 1 :]
        else:
            rest = [part for part in whole if (part[2] or "") > cursor]
        rest = [part for part in rest if part[0] != "error"]
        later = cuts[number + 1] if number + 1 < len(cuts) else None
        got = got + (rest if later is None else rest[: later.after])
    return got


@pytest.fixture(scope="module")
def tape(agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short runs of several graphs, recorded once."""
    path = tmp_path_factory.mktemp("reconnection") / "runs.tape"

    async def record() -> None:
        async with Recorder(agent_server.url, CassetteWriter.create(path)) as recorder:
            wire = Wire(recorder.url)

            async def one(graph: str, resumable: bool) -> None:
                thread = await new_thread(wire)
                asked = body(graph, resumable=resumable)
                await wire.ask("POST", f"/threads/{thread}/runs/stream", asked)

            await asyncio.gather(*(one(graph, resumable) for graph in MODES for resumable in (True, False)))

    asyncio.run(record())
    return path


def enter(group: str, name: str, *, right: bool, detail: str = "") -> None:
    verdict = Verdict.EQUAL if right else Verdict.WRONG
    REPORT.matrix(MATRIX).add(group, name, Judgement(verdict, "" if right else detail))


def lengths(got: list[Part], wanted: list[Part]) -> str:
    return f"{len(got)} events, {len(wanted)} expected"


@pytest.mark.parametrize(("graph", "client", "ids"), EVERYTHING if FULL else REPRESENTATIVE)
async def test_every_cut_of_a_stream(graph: str, ids: Ids, client: str, tape: Path) -> None:
    """After every event and inside every event: nothing lost and nothing twice, or what comparing strings loses."""
    gate = asyncio.Semaphore(8)
    async with serve(tape, speed="max", ids=ids) as mock:
        whole, _, _ = await drilled(mock.url, graph, ())
        plans = [[Cut(n)] for n in range(len(whole) + 1)]
        plans += [[Cut(n, inside=True)] for n in range(len(whole))]
        plans += [[Cut(n), Cut(1)] for n in range(1, len(whole) - 2)]

        async def one(cuts: list[Cut]) -> str:
            async with gate:
                got, meant, _ = await drilled(mock.url, graph, cuts, sync=client == "sync")
            wanted = expected(meant, cuts, ids)
            if ids == "unique" and cuts[0].after:
                stored = [part for n, part in enumerate(meant) if part[0] != "error" or n < cuts[0].after]
                assert wanted == stored
            name = " then ".join(f"{'inside' if cut.inside else 'after'} {cut.after}" for cut in cuts)
            enter(f"{graph}, {ids} ids, {client}", name, right=got == wanted, detail=lengths(got, wanted))
            return "" if got == wanted else f"{name}: {lengths(got, wanted)}"

        wrong = [each for each in await asyncio.gather(*map(one, plans)) if each]
    assert not wrong


async def test_cuts_of_a_running_run(agent_server: AgentServer, tape: Path) -> None:
    """The same cuts of a run that goes on meanwhile, on the server and on the mock: each loses only by its strings."""
    plans = [[Cut(3)], [Cut(6, inside=True)], [Cut(2), Cut(2)], [Cut(5), Cut(1)]]

    async def drill(where: str, url: str, ids: Ids, client: str, cuts: list[Cut]) -> None:
        got, meant, proxy = await drilled(url, "slow", cuts, sync=client == "sync")
        wanted = expected(meant, cuts, ids)
        assert [method for method, _ in proxy.asked] == ["POST"] + ["GET"] * len(cuts)
        name = " then ".join(str(cut.after) for cut in cuts)
        group = f"slow, running, {ids} ids, {where}, {client}"
        enter(group, f"after {name}", right=got == wanted, detail=lengths(got, wanted))
        assert got == wanted, (where, ids, cuts)

    async with serve(tape, speed="1") as recorded, serve(tape, speed="1", ids="unique") as unique:
        places: list[tuple[str, str, Ids]] = [
            ("server", agent_server.url, "recorded"),
            ("mock", recorded.url, "recorded"),
            ("mock", unique.url, "unique"),
        ]
        for client in ("async", "sync"):
            some = plans if FULL or client == "async" else plans[:2]
            await asyncio.gather(*(drill(*place, client, cuts) for place in places for cuts in some))


async def test_cuts_of_a_run_that_is_not_resumable(agent_server: AgentServer, tape: Path) -> None:
    """Without ids the reader goes on with what comes when it is back; the mock loses as much as the server."""
    lost: dict[str, int] = {}
    async with serve(tape, speed="1") as mock:
        for where, url in (("server", agent_server.url), ("mock", mock.url)):
            got, meant, _ = await drilled(url, "slow", [Cut(3)], resumable=False)
            assert all(event_id is None for _, _, event_id in got)
            assert got[:3] == meant[:3]
            rest = got[3:]
            assert rest == meant[len(meant) - len(rest) :]
            lost[where] = len(meant) - len(got)
    # A second of a stream with five events a second, and up to a quarter of a second that the SDK draws by lot.
    right = abs(lost["server"] - lost["mock"]) <= 2 and lost["mock"] >= 4
    enter("slow, running, not resumable", "after 3", right=right, detail=f"lost {lost}")
    assert right, lost


async def test_cuts_on_the_server_when_the_run_is_over(agent_server: AgentServer, tape: Path) -> None:
    """A sample of the drill on the real server, whose short runs are over before the reader is back."""
    for graph, client in (("tokens", "async"), ("ask", "sync"), ("failing", "async")):
        plans = [[Cut(0)], [Cut(1)], [Cut(3, inside=True)], [Cut(4)], [Cut(2), Cut(1)]]
        drills = [drilled(agent_server.url, graph, cuts, sync=client == "sync") for cuts in plans]
        for cuts, (got, meant, _) in zip(plans, await asyncio.gather(*drills), strict=True):
            wanted = expected(meant, cuts, "recorded")
            name = " then ".join(f"{'inside' if cut.inside else 'after'} {cut.after}" for cut in cuts)
            enter(f"{graph}, server, {client}", name, right=got == wanted, detail=lengths(got, wanted))
            assert got == wanted, (graph, cuts)
