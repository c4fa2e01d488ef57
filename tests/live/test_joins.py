"""Joins of a run on the real server and on the mock: every row and column, and every cut of a stream."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from graphtape.cassettes.writer import CassetteWriter
from graphtape.recorder import Recorder
from graphtape.replayer import serve
from graphtape.tests.live.conformance import joins
from graphtape.tests.live.conformance.deviations import unexpected
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.staging import Case, new_thread, play_all, run_of
from graphtape.tests.live.conformance.wire import Answer, Wire

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"
YES_NO = {True: "resumable", False: "not resumable"}


def cases() -> list[Case]:
    out = []
    for recorded in (False, True):
        how = {"probes_recorded": recorded}
        tail = ", joins recorded" if recorded else ""
        few = not recorded
        for resumable, kind in YES_NO.items():
            out.append(Case(f"running, {kind}{tail}", joins.running(resumable=resumable), how, few))
            for graph in joins.MODES_OF:
                usual = graph in ("levels", "failing") and few and resumable
                script = joins.finished(graph, resumable=resumable)
                out.append(Case(f"finished {graph}, {kind}{tail}", script, how | {"speed": "max"}, usual))
        out.append(Case(f"no such run{tail}", joins.no_run, how, few))
        for flag in (*joins.TRUE, "false", "0", "True", ""):
            usual = flag == "true" and few
            out.append(Case(f"cancel_on_disconnect={flag}{tail}", joins.cancelling(flag), how, usual))
        out.append(Case(f"pending run{tail}", joins.pending, how, recorded))
        out.append(Case(f"run that nobody streamed{tail}", joins.created, how, few))
    return out


@pytest.mark.timeout(900 if FULL else 120)
async def test_every_join_is_what_the_server_sends(agent_server: AgentServer, tmp_path: Path) -> None:
    """No join differs, running or finished, whatever Last-Event-ID and stream_mode say, recorded or not."""
    matrix = REPORT.matrix("Joins")
    chosen = [case for case in cases() if FULL or case.representative]
    await play_all(matrix, agent_server.url, chosen, tmp_path)
    print("\n".join(matrix.lines()))
    assert not unexpected(matrix)


# --- every cut of a stream ---

GRAPHS_TO_CUT = ("levels", "burst", "failing", "ask")
Event = tuple[str | None, bytes | None, str | None]


def events_of(answer: Answer) -> list[Event]:
    return [(block.name, block.data, block.id) for block in answer.events]


@pytest.fixture(scope="module")
def recorded_runs(
    agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, list[Event]]]:
    """A cassette of resumable runs, and their events."""
    tape = tmp_path_factory.mktemp("cuts") / "runs.tape"
    seen: dict[str, list[Event]] = {}

    async def record() -> None:
        async with Recorder(agent_server.url, CassetteWriter.create(tape)) as recorder:
            wire = Wire(recorder.url)
            for graph in GRAPHS_TO_CUT:
                thread = await new_thread(wire)
                body = joins.body_of(graph, resumable=True)
                seen[graph] = events_of(await wire.ask("POST", f"/threads/{thread}/runs/stream", body))

    asyncio.run(record())
    return tape, seen


async def cuts_of(url: str, graph: str, every: int = 1) -> list[tuple[list[Event], str, list[Event]]]:
    """(the whole, an event's id, what a join after it gives) for the events of a new run."""
    wire = Wire(url)
    thread = await new_thread(wire)
    post = await wire.ask("POST", f"/threads/{thread}/runs/stream", joins.body_of(graph, resumable=True))
    whole = events_of(post)
    path = f"/threads/{thread}/runs/{run_of(post)}/stream"
    out = []
    for _, _, event_id in whole[::every]:
        assert event_id
        answer = await wire.ask("GET", path, headers={"last-event-id": event_id})
        out.append((whole, event_id, events_of(answer)))
    return out


def by_string(whole: list[Event], event_id: str) -> list[Event]:
    """What the server gives: stored events whose id is a greater string."""
    return [event for event in whole if (event[2] or "") > event_id and event[0] != "error"]


@pytest.mark.parametrize("graph", GRAPHS_TO_CUT)
@pytest.mark.parametrize("ids", ["recorded", "unique"])
async def test_every_cut_of_a_recorded_stream(
    graph: str, ids: Literal["recorded", "unique"], recorded_runs: tuple[Path, dict[str, list[Event]]]
) -> None:
    """What came before plus the join is the whole (unique ids), or what a comparison of strings gives (recorded)."""
    tape, seen = recorded_runs
    async with serve(tape, speed="max", ids=ids) as mock:
        cuts = await cuts_of(mock.url, graph)
    assert [(name, data) for name, data, _ in cuts[0][0]] != []
    assert len(cuts) == len(seen[graph])
    for number, (whole, event_id, rest) in enumerate(cuts):
        if ids == "recorded":
            assert rest == by_string(whole, event_id), event_id
        else:
            stored = [event for event in whole[number + 1 :] if event[0] != "error"]
            assert rest == stored, event_id


async def test_cuts_on_the_server_lose_by_strings(agent_server: AgentServer) -> None:
    """The real server resumes by comparing strings: events that share an id with the last one seen are lost."""
    for graph, every in (("levels", 3), ("burst", 15)):
        for whole, event_id, rest in await cuts_of(agent_server.url, graph, every):
            assert rest == by_string(whole, event_id), (graph, event_id)


async def test_cut_while_the_run_goes_on(agent_server: AgentServer, tmp_path: Path) -> None:
    """Readers that resume a running stream after each of its first events get the rest, nothing twice."""

    async def resumed(url: str, **_: object) -> list[bool]:
        wire = Wire(url)
        thread = await new_thread(wire)
        body = joins.body_of("slow", resumable=True)
        post = await wire.open("POST", f"/threads/{thread}/runs/stream", body)
        first = (await post.events(7)).events[:7]
        path = f"/threads/{thread}/runs/{run_of(post.answer)}/stream"
        rests = [await wire.open("GET", path, headers={"last-event-id": block.id or ""}) for block in first]
        whole = events_of(await post.end())
        return [
            events_of(await rest.end()) == by_string(whole, block.id or "")
            for block, rest in zip(first, rests, strict=True)
        ]

    tape = tmp_path / "slow.tape"
    async with Recorder(agent_server.url, CassetteWriter.create(tape)) as recorder:
        assert all(await resumed(recorder.url))
    for ids in ("recorded", "unique"):
        async with serve(tape, speed="1", ids=ids) as mock:
            assert all(await resumed(mock.url))
