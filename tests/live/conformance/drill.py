"""The drill: connections that break, and what the real clients make of it on the server and on the mock.

Knows clients only as something that asks and tells what it saw. One rule: the mock gets the very run that the client
was drilled with, recorded behind the breaking proxy, and breaks it by its own option: both transcripts must be the
same, to the ids, the requests made and the words of the errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from graphtape.cassettes.writer import CassetteWriter
from graphtape.recorder import Recorder
from graphtape.replayer import serve
from graphtape.tests.live.conformance.breaks import (
    ASKED,
    DIFFERENTIAL,
    DIFFERENTIAL_SAMPLE,
    EVENTS,
    UNIQUE,
    UNIQUE_SAMPLE,
    Case,
)
from graphtape.tests.live.conformance.comparing import Judgement, Verdict
from graphtape.tests.live.conformance.cutting import CuttingProxy
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.wire import Wire

AT_ONCE = 8
"""Runs in flight on the server: as many as it has workers."""
BATCH = 24
"""Cases of a client that are drilled together."""
NO_SYNC_S = 3600.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One conversation: a thread, and a run streamed in it. Names are those of the HTTP body."""

    url: str
    graph: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client was given, and what it asked for."""

    parts: list[Any]
    """[event, data, id] of each event; {"thrown": name, "message": text} of an error, the last."""
    asked: list[Any]
    """[method, path, Last-Event-ID, status] of each request; the status is null without an answer."""

    @property
    def given(self) -> list[Any]:
        """The events."""
        return [part for part in self.parts if isinstance(part, list)]


class Client(Protocol):
    """A version of an SDK."""

    @property
    def name(self) -> str:
        """With its version."""
        ...

    @property
    def comes_back(self) -> bool:
        """It reconnects when a connection breaks."""
        ...

    @property
    def confirms(self) -> bool:
        """At a clean end it asks whether the run is over."""
        ...

    async def run(self, asks: Sequence[Ask]) -> list[Seen]:
        """All conversations at once."""
        ...


def ask_of(url: str, case: Case) -> Ask:
    return Ask(url, case.graph, {**ASKED[case.graph], "stream_resumable": case.resumable})


# --- the same run on the server and on the mock ---


async def beside_server(
    server: str, client: Client, cases: Sequence[Case], folder: Path, gate: asyncio.Semaphore
) -> list[Judgement]:
    """Each case on the server, behind a proxy that breaks it, then on the mock, which breaks it by itself.

    A case that differs is drilled again, alone, up to three times: where a reader without an id comes back is a matter
    of milliseconds, above all behind the head, when the server's queue takes as long as the reader stays away.
    """
    judged = await _beside_server(server, client, cases, folder, gate)
    for number, case in enumerate(cases):
        for attempt in range(3):
            if judged[number].verdict is not Verdict.WRONG:
                break
            again = folder / f"again-{number}-{attempt}"
            again.mkdir()
            (judged[number],) = await _beside_server(server, client, [case], again, gate)
    return judged


async def _beside_server(
    server: str, client: Client, cases: Sequence[Case], folder: Path, gate: asyncio.Semaphore
) -> list[Judgement]:
    tapes = [folder / f"{number}.tape" for number in range(len(cases))]
    async with AsyncExitStack() as stack:
        asks: list[Ask] = []
        for case, tape in zip(cases, tapes, strict=True):
            recorder = Recorder(server, CassetteWriter.create(tape), sync_interval=NO_SYNC_S)
            await stack.enter_async_context(recorder)
            proxy = CuttingProxy(recorder.url, case.cuts, case.again, gate)
            asks.append(ask_of((await stack.enter_async_context(proxy)).url, case))
        on_server = await client.run(asks)
    async with AsyncExitStack() as stack:
        asks = []
        for case, tape in zip(cases, tapes, strict=True):
            mock = await stack.enter_async_context(serve(tape, speed="1", match="strict", **case.choices))
            asks.append(ask_of(mock.url, case))
        on_mock = await client.run(asks)
    return [judge(theirs, ours, case) for case, theirs, ours in zip(cases, on_server, on_mock, strict=True)]


def judge(server: Seen, mock: Seen, case: Case) -> Judgement:
    """Whether two transcripts are the same, and whether the drill was one."""
    if server != mock:
        return Judgement(Verdict.WRONG, difference(server, mock))
    whole = EVENTS[case.graph]
    if (case.kept is None or case.kept <= whole) and len(server.given) > whole:
        return Judgement(Verdict.WRONG, f"{len(server.given)} events of {whole}")
    return Judgement(Verdict.EQUAL)


def difference(server: Seen, mock: Seen) -> str:
    """Where two transcripts part."""
    for what, theirs, ours in (("part", server.parts, mock.parts), ("request", server.asked, mock.asked)):
        for number, (one, two) in enumerate(zip(theirs, ours, strict=False)):
            if one != two:
                return f"{what} {number}: {one}, mock {two}"
        if len(theirs) != len(ours):
            return f"{len(theirs)} {what}s, mock {len(ours)}"
    return ""


# --- nothing lost and nothing twice ---


async def record_whole(server: str, client: Client, tape: Path) -> None:
    """One whole run of each graph, for mocks that break it anywhere."""
    async with Recorder(server, CassetteWriter.create(tape), sync_interval=NO_SYNC_S) as recorder:
        seen = await client.run([ask_of(recorder.url, Case(graph, ())) for graph in ASKED])
    found = {graph: len(one.given) for graph, one in zip(ASKED, seen, strict=True)}
    assert found == EVENTS, found


async def made_unique(
    tape: Path, clients: Iterable[Client], cases: Sequence[Case], speed: str
) -> list[tuple[Client, Case, Judgement]]:
    """Resumable runs with `--ids unique`: every client on a mock for each case."""
    async with AsyncExitStack() as stack:
        mocks = [
            await stack.enter_async_context(
                serve(tape, speed=speed, match="strict", ids="unique", **case.choices)
            )
            for case in cases
        ]
        asks = [ask_of(mock.url, case) for mock, case in zip(mocks, cases, strict=True)]

        async def of(client: Client) -> list[tuple[Client, Case, Judgement]]:
            judged = []
            for case, ask, seen in zip(cases, asks, await client.run(asks), strict=True):
                stored = await _stored(ask.url, seen)
                judged.append((client, case, judge_unique(client, case, seen, stored, speed)))
            return judged

        return [row for rows in await asyncio.gather(*map(of, clients)) for row in rows]


async def _stored(url: str, seen: Seen) -> list[Any]:
    """All events of the run, as a join from the beginning has them."""
    wire = Wire(url)
    thread = next(
        path for method, path, *_ in seen.asked if method == "POST" and path.endswith("/runs/stream")
    )
    runs = (await wire.ask("GET", thread.removesuffix("/stream"))).json
    path = f"{thread.removesuffix('/stream')}/{runs[0]['run_id']}/stream"
    while True:
        # At the drill's breaks the join would be cut too: it goes on behind what it has.
        answer = await wire.ask("GET", path, headers={"last-event-id": "-1"})
        if answer.whole:
            return [[event.name, orjson.loads(event.data or b"null"), event.id] for event in answer.events]


def judge_unique(client: Client, case: Case, seen: Seen, stored: list[Any], speed: str) -> Judgement:
    """Everything, and once; before the first id what follows; no more than was sent for a client that stays away."""
    stays_away = not (client.confirms and speed == "1") if case.clean else not client.comes_back
    if len(stored) != EVENTS[case.graph]:
        return Judgement(Verdict.WRONG, f"the run has {len(stored)} events")
    if stays_away:
        wanted = stored[: case.kept]
    elif case.kept == 0:
        wanted = stored[len(stored) - len(seen.given) :]
    else:
        wanted = stored
    if seen.given != wanted:
        return Judgement(
            Verdict.WRONG, f"{len(seen.given)} events of {len(wanted)}: {seen.given} of {wanted}"
        )
    thrown = [part for part in seen.parts if isinstance(part, dict)]
    if bool(thrown) != (stays_away and not case.clean):
        return Judgement(Verdict.WRONG, f"thrown: {thrown}")
    return Judgement(Verdict.EQUAL)


# --- all of it ---


async def all_beside_server(server: str, clients: Sequence[Client], folder: Path, *, full: bool) -> list[str]:
    """Drill all clients; enters what became of each case into the report, and gives what is wrong."""
    gate = asyncio.Semaphore(AT_ONCE)
    cases = DIFFERENTIAL if full else DIFFERENTIAL_SAMPLE
    wrong: list[str] = []

    async def of(client: Client) -> None:
        for number in range(0, len(cases), BATCH):
            own = folder / f"{client.name}-{number}"
            own.mkdir()
            batch = cases[number : number + BATCH]
            for case, judgement in zip(
                batch, await beside_server(server, client, batch, own, gate), strict=True
            ):
                kind = "resumable" if case.resumable else "not resumable"
                wrong.extend(
                    _enter("Reconnection, as on the server", f"{client.name}: {kind}", case, judgement)
                )

    await asyncio.gather(*map(of, clients))
    return wrong


async def all_unique(server: str, clients: Sequence[Client], folder: Path, *, full: bool) -> list[str]:
    """The same for resumable runs with unique ids, on the mock alone."""
    tape = folder / "whole.tape"
    await record_whole(server, clients[-1], tape)
    wrong: list[str] = []

    async def at(speed: str, cases: Sequence[Case]) -> None:
        for number in range(0, len(cases), BATCH):
            rows = await made_unique(tape, clients, cases[number : number + BATCH], speed)
            for client, case, judgement in rows:
                group = f"{client.name}: speed {speed}"
                wrong.extend(_enter("Reconnection with unique ids: all, and once", group, case, judgement))

    await asyncio.gather(*(at(*each) for each in (UNIQUE if full else UNIQUE_SAMPLE).items()))
    return wrong


def _enter(matrix: str, group: str, case: Case, judgement: Judgement) -> list[str]:
    REPORT.matrix(matrix).add(group, case.name, judgement)
    return [f"{group}: {case.name}: {judgement.detail}"[:900]] if judgement.verdict is Verdict.WRONG else []
