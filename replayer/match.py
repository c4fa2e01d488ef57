"""Which recorded run answers a request.

Pure; knows recorded runs and how often each was used, not what a session does with them. One rule: what is compared is
the table in `graphtape.protocol.aspects`; here is only the order of preference among what is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphtape.cassettes.runs import RecordedRun, RecordedThread
from graphtape.protocol.aspects import Difference, differences
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.modes import StreamOptions

MatchMode = Literal["strict", "nearest"]
_NEAREST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A request to start a run, its ids mapped back to recorded ones."""

    answer: str
    """`stream`, `wait` or `create`."""
    stateful: bool
    body: Mapping[str, Any]
    options: StreamOptions
    thread: RecordedThread | None = None
    """The recorded thread that the session's thread plays, once its first run has decided."""
    next_step: int = 0
    """The step of that thread that comes next."""

    @property
    def assistant(self) -> str:
        assistant = self.body.get("assistant_id")
        return assistant if isinstance(assistant, str) else ""


@dataclass(frozen=True, slots=True)
class Match:
    """The recorded run that plays."""

    run: RecordedRun
    exact: bool
    differences: tuple[Difference, ...] = ()
    """What differed, if it is only the nearest."""
    reused: bool = False
    """All equal recordings had been played: it starts again from the first."""


@dataclass(frozen=True, slots=True)
class Near:
    """A recorded run that did not match, and why."""

    run: RecordedRun
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Miss:
    """No recorded run answers; the nearest ones, best first."""

    nearest: tuple[Near, ...]
    known_assistants: tuple[str, ...]
    option: str | None
    """The option that would have accepted one of them."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """How requests are compared.

    Args:
        mode: `strict` plays only equal recordings, `nearest` the likeliest one too.
        canonical_assistant: one name for a graph and its UUID, where the cassette shows both.
        ignore: the user's ignore paths.
        refusal: why a run cannot answer a query, None if it can.
    """

    mode: MatchMode
    canonical_assistant: Callable[[str], str]
    refusal: Callable[[RecordedRun, RunQuery], ViewRefused | None]
    ignore: tuple[str, ...] = ()

    def choose(
        self, query: RunQuery, runs: Sequence[RecordedRun], used: Mapping[int, int]
    ) -> Match | Miss | ViewRefused:
        """The run that answers `query`.

        Args:
            runs: all recorded runs, in order.
            used: how often each run was played, by its `order`.
        """
        candidates = [run for run in runs if run.stateful == query.stateful and self._knows(run, query)]
        compared = [(run, self._differences(run, query)) for run in candidates]
        equal = [run for run, found in compared if not found]
        if equal:
            return self._among_equal(equal, query, used)
        playable = [(run, found) for run, found in compared if not run.refused]
        if self.mode == "nearest" and playable:
            return self._nearest(playable, query, used)
        return self._miss(compared, runs)

    def _knows(self, run: RecordedRun, query: RunQuery) -> bool:
        return self.canonical_assistant(run.assistant) == self.canonical_assistant(query.assistant)

    def _differences(self, run: RecordedRun, query: RunQuery) -> tuple[Difference, ...]:
        def same(recorded: str, asked: str) -> bool:
            return self.canonical_assistant(recorded) == self.canonical_assistant(asked)

        return tuple(differences(run.body, query.body, same_assistant=same, ignore=self.ignore))

    def _among_equal(
        self, equal: list[RecordedRun], query: RunQuery, used: Mapping[int, int]
    ) -> Match | ViewRefused:
        refusals = {run.order: self.refusal(run, query) for run in equal}
        able = [run for run in equal if refusals[run.order] is None]
        if not able:
            first = refusals[equal[0].order]
            assert first is not None
            return first
        bound = [run for run in able if query.thread is not None and run.thread is query.thread]
        if bound:
            ahead = [run for run in bound if run.step >= query.next_step]
            run = min(ahead or bound, key=lambda one: (one.step, *_likeness(one, query)))
            return Match(run, exact=True, reused=not ahead or used.get(run.order, 0) > 0)
        ranked = sorted(able, key=lambda one: (*_likeness(one, query), one.order))
        # A thread without runs starts a recorded conversation, it does not enter one in the middle.
        opening = [run for run in ranked if run.step == 0]
        if query.thread is None and opening:
            ranked = opening + [run for run in ranked if run.step != 0]
        run = min(ranked, key=lambda one: used.get(one.order, 0))
        return Match(run, exact=True, reused=used.get(run.order, 0) > 0)

    def _nearest(
        self,
        playable: list[tuple[RecordedRun, tuple[Difference, ...]]],
        query: RunQuery,
        used: Mapping[int, int],
    ) -> Match | ViewRefused:
        def rank(entry: tuple[RecordedRun, tuple[Difference, ...]]) -> tuple[Any, ...]:
            run, found = entry
            in_thread = query.thread is not None and run.thread is query.thread
            return (
                self.refusal(run, query) is not None,
                not (in_thread and run.step == query.next_step),
                not (in_thread and run.step > query.next_step),
                run.step != query.next_step,
                used.get(run.order, 0),
                *_likeness(run, query),
                run.order,
                len(found),
            )

        run, found = min(playable, key=rank)
        refused = self.refusal(run, query)
        if refused is not None:
            return refused
        return Match(run, exact=False, differences=found, reused=used.get(run.order, 0) > 0)

    def _miss(
        self, compared: list[tuple[RecordedRun, tuple[Difference, ...]]], runs: Sequence[RecordedRun]
    ) -> Miss:
        closest = sorted(compared, key=lambda entry: (len(entry[1]), entry[0].order))[:_NEAREST_SHOWN]
        playable = any(not run.refused for run, _ in compared)
        return Miss(
            nearest=tuple(Near(run, found) for run, found in closest),
            known_assistants=tuple(
                sorted({run.assistant for run in runs if run.assistant and not run.refused})
            ),
            option="--match nearest" if playable and self.mode == "strict" else None,
        )


def _likeness(run: RecordedRun, query: RunQuery) -> tuple[bool, bool, bool]:
    """Preferences among equal recordings: asked for the same way, with the same modes, from the same checkpoint."""
    return (
        run.answer != query.answer,
        run.options != query.options,
        bool(query.body.get("checkpoint")) and run.body.get("checkpoint") != query.body.get("checkpoint"),
    )
