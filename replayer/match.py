"""Which recorded run answers a request.

Pure; knows recorded runs and how often each was used, not what a session does with them. One rule: what is compared is
the table in `graphtape.protocol.aspects`; here is only the order of preference among what is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphtape.cassettes.runs import RecordedRun, RecordedThread
from graphtape.protocol.aspects import MAX_DIFFERENCES, Difference, differences
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import canonical_uuid
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
    origin: RecordedThread | None = None
    """The recorded thread whose id, or whose creation, the session's thread has: where refusals are looked for."""
    refused: Collection[int] = ()
    """The recorded refusals, by their `order`, that the session's thread has had already."""

    @property
    def home(self) -> RecordedThread | None:
        """The recorded thread that the session's thread stands for, as far as anything says."""
        return self.thread or self.origin

    @property
    def keeps_thread(self) -> bool:
        """Whether its thread is to stay, so that the run has checkpoints."""
        return self.stateful or self.body.get("on_completion") == "keep"

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
        broken: whether a run is to play only where no other can.
    """

    mode: MatchMode
    canonical_assistant: Callable[[str], str]
    refusal: Callable[[RecordedRun, RunQuery], ViewRefused | None]
    ignore: tuple[str, ...] = ()
    broken: Callable[[RecordedRun], bool] = lambda _: False

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
            return self._among_equal(_without_refusals_of_others(equal, query), query, used)
        playable = [(run, found) for run, found in compared if not run.refused]
        if self.mode == "nearest" and playable:
            return self._nearest(playable, query, used)
        return self._miss(compared, runs)

    def _knows(self, run: RecordedRun, query: RunQuery) -> bool:
        return self.canonical_assistant(run.assistant) == self.canonical_assistant(query.assistant)

    def _differences(self, run: RecordedRun, query: RunQuery) -> tuple[Difference, ...]:
        return tuple(self.differences(run.body, query.body))

    def differences(
        self, recorded: Mapping[str, Any], asked: Mapping[str, Any], *, limit: int = MAX_DIFFERENCES
    ) -> list[Difference]:
        """Where two bodies differ to this user; see `graphtape.protocol.aspects`."""

        def same(one: str, other: str) -> bool:
            return self.canonical_assistant(one) == self.canonical_assistant(other)

        return differences(recorded, asked, same_assistant=same, ignore=self.ignore, limit=limit)

    def _among_equal(
        self, equal: list[RecordedRun], query: RunQuery, used: Mapping[int, int]
    ) -> Match | ViewRefused:
        bound = [run for run in equal if query.thread is not None and run.thread is query.thread]
        ahead = [run for run in bound if run.step >= query.next_step]
        behind = [run for run in bound if run.step < query.next_step]
        others = sorted(
            (run for run in equal if run not in bound), key=lambda run: (*_likeness(run, query), run.order)
        )
        if query.thread is None:
            # A thread without runs starts a recorded conversation, it does not enter one in the middle.
            others.sort(key=lambda run: run.step != 0)
        others.sort(key=lambda run: used.get(run.order, 0))
        others.sort(key=lambda run: run.keeps_thread is not query.keeps_thread)
        if query.thread is None and query.origin is not None:
            # What began in the thread whose creation this one has, begins here, however many clients began it before:
            # unless another is more alike, since clients at once create their threads in any order.
            likest = min((_likeness(run, query) for run in others), default=None)
            others.sort(
                key=lambda run: (
                    run.thread is not query.origin or run.step != 0 or _likeness(run, query) != likest
                )
            )
        others.sort(key=self.broken)
        preferred = [
            *_refused_next(equal, query),
            *sorted(ahead, key=lambda run: (run.step, *_likeness(run, query))),
            *sorted(behind, key=lambda run: (run.step, *_likeness(run, query))),
            *others,
        ]
        run = self._first_able(preferred, query)
        if isinstance(run, ViewRefused):
            return run
        return Match(run, exact=True, reused=run in behind or used.get(run.order, 0) > 0)

    def _first_able(self, preferred: Sequence[RecordedRun], query: RunQuery) -> RecordedRun | ViewRefused:
        """The first that can answer, else why the first cannot; looking at a run costs reading it."""
        first: ViewRefused | None = None
        for run in preferred:
            refused = self.refusal(run, query)
            if refused is None:
                return run
            first = first or refused
        assert first is not None
        return first

    def _nearest(
        self,
        playable: list[tuple[RecordedRun, tuple[Difference, ...]]],
        query: RunQuery,
        used: Mapping[int, int],
    ) -> Match | ViewRefused:
        def rank(run: RecordedRun) -> tuple[Any, ...]:
            in_thread = query.thread is not None and run.thread is query.thread
            return (
                not (in_thread and run.step == query.next_step),
                not (in_thread and run.step > query.next_step),
                run.step != query.next_step,
                run.keeps_thread is not query.keeps_thread,
                self.broken(run),
                used.get(run.order, 0),
                *_likeness(run, query),
                run.order,
            )

        run = self._first_able(sorted((run for run, _ in playable), key=rank), query)
        if isinstance(run, ViewRefused):
            return run
        found = next(differences for one, differences in playable if one is run)
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


_REFUSED_FOR_ITS_BODY = (400, 422)
"""Statuses of refusals that depend on the request alone, not on what else is going on."""


def _without_refusals_of_others(equal: list[RecordedRun], query: RunQuery) -> list[RecordedRun]:
    """Without the recorded refusals of other bodies; only those of this very body, if it was never taken.

    What a run is not compared by may be just what was refused. Nor are there refusals of other threads, where the body
    was taken: this one is there, and what it is busy with the session knows.
    """
    equal = [run for run in equal if not _refused_for_another_thread(run, query)] or equal
    refused = [run for run in equal if run.call.summary.status in _REFUSED_FOR_ITS_BODY]
    own = [run for run in equal if asked_for(run, query.body)]
    if own and all(run in refused for run in own):
        return own
    return [run for run in equal if run not in refused or run in own] or equal


def asked_for(run: RecordedRun, body: object) -> bool:
    """Whether a recorded request had this very body, as its client sent it or as the recorder widened it."""
    return body in (run.body, run.asked_body)


def _refused_in_its_place(run: RecordedRun) -> bool:
    """Whether something that was so then and there was the reason: a thread that was busy, a server that was down."""
    return run.refused and run.call.summary.status not in _REFUSED_FOR_ITS_BODY


def _refused_for_another_thread(run: RecordedRun, query: RunQuery) -> bool:
    if run.thread_id is None or not run.refused:
        return False
    if _refused_in_its_place(run):
        return query.home is None or run.thread_id != query.home.thread_id
    return canonical_uuid(run.thread_id) is None


def _refused_next(equal: list[RecordedRun], query: RunQuery) -> list[RecordedRun]:
    """Refusals of this very request on this very thread, recorded before the thread's next step and not yet given."""
    if query.home is None:
        return []
    steps = [step.call.order for step in query.home.steps]
    played, coming = steps[: query.next_step], steps[query.next_step :]
    # What was refused before the thread was there says nothing of one that is.
    made = [query.home.created.order] if query.home.created is not None else []
    return [
        run
        for run in equal
        if _refused_in_its_place(run)
        and run.thread_id == query.home.thread_id
        and asked_for(run, query.body)
        and run.order not in query.refused
        and all(run.order > before for before in (*made, *played[-1:]))
        and all(run.order < after for after in coming[:1])
    ]


def _likeness(run: RecordedRun, query: RunQuery) -> tuple[bool, bool, bool]:
    """Preferences among equal recordings: asked for the same way, with the same modes, from the same checkpoint."""
    return (
        run.answer != query.answer,
        run.asked_options != query.options,
        bool(query.body.get("checkpoint")) and run.body.get("checkpoint") != query.body.get("checkpoint"),
    )
