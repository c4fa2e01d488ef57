"""Plays one script to the real server and to the mock, and judges what both answered.

The script's requests go in two ways: `record` through the recorder, `probe` straight to the server, so that the mock
has to derive what was probed. On the mock both are one. One rule: the script is the same code on both sides.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphtape.cassettes.showing.mapping import IdMapping
from graphtape.cassettes.writer import CassetteWriter
from graphtape.recorder import Recorder
from graphtape.replayer import ReplayChoices, serve
from graphtape.tests.live.conformance.comparing import Judgement, Verdict, judge
from graphtape.tests.live.conformance.deviations import reason_for
from graphtape.tests.live.conformance.report import Cell, Matrix
from graphtape.tests.live.conformance.stepping import SteppedClock
from graphtape.tests.live.conformance.wire import Answer, Wire

SETTLING_S = 0.15
"""The in-memory checkpointer writes in the background, some milliseconds after the event."""


@dataclass(slots=True)
class Stage:
    """Where a script plays.

    Args:
        record: a client whose requests the cassette holds.
        probe: a client whose requests it may not hold.
    """

    record: Wire
    probe: Wire
    is_mock: bool = False
    gates: Wire | None = None
    """To the real server itself: what is asked here is no part of the script."""
    tag: str = ""
    """A word of this play alone, the same on both sides: by it threads are found among those of other tests."""
    kept: dict[str, tuple[Answer, dict[str, Any]]] = field(default_factory=dict)

    def keep(self, name: str, answer: Answer, **how: Any) -> Answer:
        """Have this answer compared; see `judge` for how."""
        assert name not in self.kept, name
        self.kept[name] = (answer, how)
        return answer

    async def let_pass(self, gate: str, steps: int) -> None:
        """Let the runs of a thread, or of another gate, take so many steps in all, and hold them in the next.

        Graphs in `stepping.py` stand at gates.

        The mock is not held: its clock stands still while the script does not wait.
        """
        if self.gates is not None:
            item = {"namespace": ["gates"], "key": gate, "value": {"open": steps}}
            assert (await self.gates.ask("PUT", "/store/items", item)).status == 204

    async def settle(self) -> None:
        """Let the real server write down what its events have told already."""
        if self.gates is not None:
            await asyncio.sleep(SETTLING_S)


Script = Callable[[Stage], Awaitable[None]]


async def play(
    server: str,
    script: Script,
    folder: Path,
    *,
    probes_recorded: bool = False,
    widen: bool = False,
    **choices: Any,
) -> list[tuple[str, Judgement]]:
    """Play a script to both, and judge every answer that it kept.

    Args:
        server: URL of the real server.
        probes_recorded: the recording holds all; else only what the script records.
        widen: how it is recorded.
        choices: how the mock replays.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    tape = folder / "script.tape"
    writer = CassetteWriter.create(tape, overwrite=True)
    async with Recorder(server, writer, widen=widen) as recorder:
        real = Stage(Wire(recorder.url), Wire(recorder.url if probes_recorded else server))
        real.gates = Wire(server)
        real.tag = uuid.uuid4().hex[:12]
        try:
            await script(real)
        finally:
            await real.record.close()
            await real.probe.close()
    return await replay(tape, script, real, **choices)


async def replay(
    tape: Path, script: Script, real: Stage, *, stepped: bool = False, clients: int = 1, **choices: Any
) -> list[tuple[str, Judgement]]:
    """Play the script to a mock of the cassette, and judge.

    Args:
        stepped: the mock's time passes only while the script waits.
        clients: how many play it, one after the other, each beside what the server told the one that was recorded.
    """
    clock = SteppedClock() if stepped else None
    options: ReplayChoices = {"speed": "1", "clock": clock, **choices}  # type: ignore[typeddict-item]
    stages = []
    async with serve(tape, **options) as mock:
        try:
            for _ in range(clients):
                stage = Stage(Wire(mock.url, clock), Wire(mock.url, clock), is_mock=True, tag=real.tag)
                stage.probe = stage.record
                stages.append(stage)
                try:
                    await script(stage)
                finally:
                    await stage.record.close()
        finally:
            if clock is not None:
                await clock.close()
    out = _judged(real, stages[0])
    for number, stage in enumerate(stages[1:], start=2):
        out += [(f"client {number}: {name}", judgement) for name, judgement in _judged(real, stage)]
    return out


def _judged(real: Stage, stage: Stage) -> list[tuple[str, Judgement]]:
    ids = IdMapping()
    out: list[tuple[str, Judgement]] = []
    for number, (name, (answer, how)) in enumerate(real.kept.items(), start=1):
        other = stage.kept.get(name)
        if other is None:
            out.append((name, Judgement(Verdict.WRONG, "the script did not come so far on the mock")))
        else:
            before = copy.deepcopy(ids)
            judgement = judge(ids, answer, other[0], number=number, **how)
            if judgement.verdict is Verdict.WRONG:
                # Ids that were paired by an answer of other content prove nothing for the next.
                ids = before
            out.append((name, judgement))
    return out


def enter(matrix: Matrix, group: str, judged: list[tuple[str, Judgement]]) -> list[str]:
    """Put cells into a matrix; returns what is wrong among them."""
    for name, judgement in judged:
        matrix.add(group, name, judgement)
    return [f"{group}: {name}: {j.detail}" for name, j in judged if j.verdict is Verdict.WRONG]


async def new_thread(wire: Wire, body: object = None) -> str:
    """A thread, for scripts that do not look at the answer."""
    return str((await wire.ask("POST", "/threads", body or {})).json["thread_id"])


def run_of(answer: Answer) -> str:
    """The run that an answer is about."""
    return answer.header("content-location").rpartition("/")[2]


BROKEN = "the script itself"
"""The cell of a script that could not be played to its end."""


@dataclass(frozen=True, slots=True)
class Case:
    """One script of a matrix.

    Args:
        group: its row.
        representative: played also when not everything is.
        choices: see `play`.
    """

    group: str
    script: Script
    choices: dict[str, Any] = field(default_factory=dict)
    representative: bool = False


async def play_all(
    matrix: Matrix, server: str, cases: list[Case], folder: Path, *, at_once: int = 3
) -> list[str]:
    """Play cases, some at once, into a matrix; returns what is wrong.

    What the client does between two events is a matter of time on both sides. So a case with something wrong is played
    once more, alone, and a cell is wrong if it was so both times.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(number: int, case: Case) -> list[tuple[str, Judgement]]:
        async with gate:
            try:
                return await play(server, case.script, folder / str(number), **case.choices)
            except (AssertionError, TimeoutError) as error:
                return [(BROKEN, Judgement(Verdict.WRONG, f"{type(error).__name__}: {error}"))]

    judged = await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))
    wrong: list[str] = []
    for number, (case, cells) in enumerate(zip(cases, judged, strict=True)):
        final = cells
        if any(
            judgement.verdict is Verdict.WRONG
            and reason_for(matrix.title, Cell(case.group, name, judgement.verdict, judgement.detail)) is None
            for name, judgement in cells
        ):
            again = dict(await one(number, case))
            if cells[0][0] == BROKEN:
                final = [*again.items()]
            else:
                final = [(name, again.get(name, j) if j.verdict is Verdict.WRONG else j) for name, j in cells]
        wrong += enter(matrix, case.group, final)
    return wrong
