"""The runs and threads that cassettes show: what was started, in which thread, and where its events are.

No network, and no opinion on how a run is played again. One rule: what the cassettes do not show is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from graphtape.cassettes.calls import Moment, RecordedCall, parsed_or_none
from graphtape.cassettes.hiddenthreads import thread_in_events
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.tape import Tape, agree, begins_run, continued, is_begun_by, tape_of
from graphtape.cassettes.threadstreams import run_ends, run_within, state_updates
from graphtape.protocol.delays import delay_ns
from graphtape.protocol.errors import InvalidStreamMode
from graphtape.protocol.ids import parse_event_id
from graphtape.protocol.joining import InvalidThreadStream, ThreadFilter
from graphtape.protocol.modes import StreamOptions, stream_options
from graphtape.protocol.operations import Operation
from graphtape.protocol.sse import Block

_THREAD_OBJECTS = frozenset(
    (Operation.CREATE_THREAD, Operation.GET_THREAD, Operation.SEARCH_THREADS, Operation.UPDATE_THREAD)
)

# What a search can leave out, and a thread in which nothing has run has.
_WHOLE_THREAD = frozenset(
    ("thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "status", "config")
)

_FAILED_FROM_OUTSIDE = frozenset((401, 403, 408, 425, 429))


@dataclass(eq=False)
class RecordedRun:
    """One run that was started, and all exchanges that belong to it."""

    call: RecordedCall
    """The exchange that started it."""
    body: dict[str, Any]
    thread_id: str | None
    run_id: str | None
    joins: list[RecordedCall] = field(default_factory=list)
    thread: RecordedThread | None = None
    step: int = 0
    """Position among the steps of its thread, from 0."""
    done: Moment = (0, 0)
    """When the cassette first shows that it was over."""
    cancelled: bool = False
    """A client cancelled it, left it, or started another in its place, while it ran: that is why it ended."""
    cancel: RecordedCall | None = None
    """The request that cancelled it."""
    displaced_by: RecordedRun | None = None
    """The run of the same thread that was started in its place."""
    told_over: tuple[Moment, str] | None = None
    """If no response of its own has shown its end: when it was over as others tell, and its status."""
    pending_until: Moment | None = None
    """The same of the last time that it was told to wait for its turn."""
    left_thread: str = ""
    """The same of the status of its thread after it."""

    ended_by: Moment | None = None
    """If a client cancelled it: when that was asked for, or when it left."""

    @cached_property
    def never_began(self) -> bool:
        """Cancelled while it waited for its turn: it did nothing.

        Shown by its own `after_seconds`, by a run of its thread that went on before it, or by its run object.
        """
        if self.ended_by is None or self.answer != "create" or self.thread is None:
            return False
        if self.held_until is not None and self.ended_by < self.held_until:
            return True
        if any(step.call.order < self.order and self.ended_by < step.done for step in self.thread.steps):
            return True
        rows = (
            row
            for read in self.thread.reads
            if read.operation in (Operation.GET_RUN, Operation.LIST_RUNS) and self.ended_by <= read.started
            for row in _rows(read.json())
            if row.get("run_id") == self.run_id
        )
        return any(row.get("status") == "interrupted" and not _has_begun(row) for row in rows)

    @property
    def held_until(self) -> Moment | None:
        """Until when its client wanted it to wait; None if it did not."""
        wait_ns = delay_ns(self.body)
        recording, at_ns = self.call.started
        return (recording, at_ns + wait_ns) if wait_ns else None

    @property
    def answer(self) -> str:
        """How it was asked for: `stream`, `wait` or `create`."""
        route = self.call.route
        return route.answer.value if route and route.answer else "stream"

    @property
    def stateful(self) -> bool:
        return self.call.path.startswith("/threads/")

    @property
    def keeps_thread(self) -> bool:
        """Whether its thread stays when it is over; one that its request did not name is else deleted with it.

        A run whose thread does not stay has no checkpoints.
        """
        return self.stateful or self.body.get("on_completion") == "keep"

    @property
    def refused(self) -> bool:
        """Whether it started nothing that can be played: the answer is then one like any other.

        The server refused it; or what stands between answered a stream with something else, a page for instance.
        """
        summary = self.call.summary
        no_stream = self.answer == "stream" and not summary.content_type.startswith("text/event-stream")
        return self.call.failed or no_stream

    @cached_property
    def broken(self) -> bool:
        """Whether the recorder's own end broke it off, and no join shows its end; what the index tells is enough."""
        shown = [*self.joins] if self.answer == "create" else [self.call, *self.joins]
        whole = any(call.summary.ending is Ending.COMPLETE for call in shown)
        return not whole and any(call.broken for call in shown)

    @property
    def assistant(self) -> str:
        assistant = self.body.get("assistant_id")
        return assistant if isinstance(assistant, str) else ""

    @property
    def order(self) -> int:
        return self.call.order

    @cached_property
    def options(self) -> StreamOptions | None:
        """What was asked to be streamed; None if the server would refuse it."""
        try:
            return stream_options(self.body)
        except InvalidStreamMode:
            return None

    @cached_property
    def asked_body(self) -> dict[str, Any]:
        """What its client asked for, where the recorder asked for more."""
        asked = self.call.cassette.asked(self.call.number)
        if asked is None:
            return self.body
        theirs = {name: parsed_or_none(value) for name, value in asked.body.items() if value is not None}
        return {**{name: value for name, value in self.body.items() if name not in asked.body}, **theirs}

    @cached_property
    def asked_options(self) -> StreamOptions | None:
        """What its client asked to be streamed; None if the server would refuse it."""
        try:
            return stream_options(self.asked_body)
        except InvalidStreamMode:
            return None

    @cached_property
    def tape(self) -> Tape | None:
        """Its events, from its own stream, what joins add to it, and streams of its thread; None if none shows it."""
        started_ns = self.call.summary.at_ns
        recording = self.call.summary.recording
        if self.never_began and self.ended_by is not None:
            return Tape(self.call.number, 0, (), self.ended_by[1] - started_ns, whole=True)
        sources = [self.call] if self.answer == "stream" and self.call.answered else []
        sources += [
            join
            for join in self.joins
            if join.operation is Operation.JOIN_RUN_STREAM
            and join.summary.recording == recording
            and join.answered
            and not any(value for name, value in join.query if name == "stream_mode")
        ]
        tape: Tape | None = None
        for call in sources:
            part = tape_of(call, started_ns)
            if tape is None:
                # A join that came late does not hold the run from its start.
                if call is self.call or begins_run(part):
                    tape = part
            elif not tape.whole:
                tape = continued(tape, call, part)
            if tape is not None and tape.whole:
                return tape
        return self._with_thread_streams(tape)

    @cached_property
    def told_ids(self) -> Sequence[str | None]:
        """The ids that a stream of its thread gave its first events, which a stream of its own may have without."""
        tape = self.tape
        parts = [] if tape is None else [part for part in self._in_thread_streams() if agree(part, tape)]
        longest = max(parts, key=lambda part: len(part.events), default=None)
        return () if longest is None else tuple(entry.block.id for entry in longest.events)

    @cached_property
    def shown_thread_id(self) -> str | None:
        """The thread that its events name; None if they name none."""
        return thread_in_events(self.tape.events) if self.tape is not None else None

    def _in_thread_streams(self) -> Iterator[Tape]:
        """Its events as streams of its thread hold them, from its first on."""
        if self.thread is None or self.run_id is None:
            return
        for call in self.thread.streams_with("run_modes"):
            if call.summary.recording != self.call.summary.recording:
                continue
            resumable = self.options is not None and self.options.resumable
            part = run_within(tape_of(call, self.call.summary.at_ns), self.run_id, with_ids=resumable)
            if part is not None and begins_run(part):
                yield part

    def _with_thread_streams(self, tape: Tape | None) -> Tape | None:
        """What its own streams show, or where they show less the part that a stream of its thread holds."""
        for part in self._in_thread_streams():
            if tape is None:
                tape = part
            elif is_begun_by(part, tape):
                tape = replace(
                    tape,
                    blocks=(*tape.blocks, *part.blocks[len(tape.events) :]),
                    end_ns=max(tape.end_ns, part.end_ns),
                    whole=part.whole,
                    detail=part.detail,
                    continued=True,
                )
            if tape.whole:
                break
        return tape

    def values(self) -> Any:
        """The last value a `wait` or `join` gave; None if there is none."""
        sources = [self.call] if self.answer == "wait" else []
        sources += [join for join in self.joins if join.operation is Operation.JOIN_RUN]
        for call in sources:
            if call.answered and (value := call.json()) is not None:
                return value
        return None


def _rows(answer: Any) -> list[dict[str, Any]]:
    return [row for row in (answer if isinstance(answer, list) else [answer]) if isinstance(row, dict)]


def _has_begun(run: dict[str, Any]) -> bool:
    """Whether a run object shows what the server adds when it starts the run, or does not show that place."""
    found: Any = run
    for name in ("kwargs", "config", "metadata"):
        found = found.get(name) if isinstance(found, dict) else None
    return not isinstance(found, dict) or "run_attempt" in found


@dataclass(eq=False)
class RecordedStep:
    """Something that moved a thread's state: a run, or an update of the state."""

    call: RecordedCall
    run: RecordedRun | None
    done: Moment


@dataclass(eq=False)
class RecordedThread:
    """One thread that the cassette shows."""

    thread_id: str
    cassette: Cassette
    created: RecordedCall | None = None
    steps: list[RecordedStep] = field(default_factory=list)
    reads: list[RecordedCall] = field(default_factory=list)
    failed_reads: list[RecordedCall] = field(default_factory=list)
    """Those that the server, or what stood between, did not answer with what was asked for; not found is no failure."""
    copies: list[RecordedCall] = field(default_factory=list)
    """The requests that copied it."""
    streams: list[RecordedCall] = field(default_factory=list)
    """Streams of the thread, whatever they show."""
    deleted: RecordedCall | None = None
    """The request that deleted it."""

    @cached_property
    def run_rows(self) -> Mapping[str, list[tuple[RecordedCall, dict[str, Any]]]]:
        """By run: its objects as they were read, in order."""
        found: dict[str, list[tuple[RecordedCall, dict[str, Any]]]] = {}
        for read in self.reads:
            if read.operation in (Operation.GET_RUN, Operation.LIST_RUNS):
                for row in _rows(read.json()):
                    run_id = read.params.get("run_id") or row.get("run_id")
                    if row.get("status"):
                        found.setdefault(str(run_id), []).append((read, row))
        return found

    def streams_with(self, *modes: str) -> list[RecordedCall]:
        """Those that were asked for one of these modes."""
        return [call for call in self.streams if not _thread_stream_modes(call).isdisjoint(modes)]

    @cached_property
    def state_updates(self) -> Mapping[str, Block]:
        """By the checkpoint that an update of the state made: the recorded event that told of it."""
        found: dict[str, Block] = {}
        for call in self.streams_with("state_update"):
            found |= {made: entry.block for made, entry in state_updates(tape_of(call, 0)).items()}
        return found

    @cached_property
    def run_ends(self) -> Mapping[str, Moment]:
        """By run: when a stream of the thread told that it was over."""
        found: dict[str, Moment] = {}
        for call in self.streams_with("run_modes", "lifecycle"):
            for run_id, at_ns in run_ends(tape_of(call, 0)).items():
                found.setdefault(run_id, (call.summary.recording, at_ns))
        return found

    @property
    def is_older(self) -> bool:
        """Whether it was there before the recording, which shows nothing that made it."""
        return self.created is None and not self.born_of_run

    @property
    def first_run(self) -> RecordedRun | None:
        """The run that is its first step; None if that is none, or there are none."""
        return self.steps[0].run if self.steps else None

    @property
    def is_hidden(self) -> bool:
        """Whether the server made it for its first run, which was started without a thread."""
        return self.first_run is not None and not self.first_run.stateful

    @property
    def temporary(self) -> bool:
        """Whether it was there only as long as its first run went on."""
        return self.first_run is not None and not self.first_run.keeps_thread

    @property
    def born_of_run(self) -> bool:
        """Whether its first run created it, unless it was there before the recording."""
        first = self.first_run
        return self.is_hidden or (first is not None and first.body.get("if_not_exists") == "create")

    def stage_at(self, moment: Moment) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(the steps that were done, those in flight) at a moment of the recording, by their positions."""
        done = tuple(position for position, step in enumerate(self.steps) if step.done <= moment)
        in_flight = tuple(
            position for position, step in enumerate(self.steps) if step.call.started <= moment < step.done
        )
        return done, in_flight


@dataclass
class Tapes:
    """All runs, threads and other calls of the cassettes that are played together."""

    calls: list[RecordedCall]
    runs: list[RecordedRun]
    threads: dict[str, RecordedThread]
    creations: list[RecordedCall]

    @property
    def are_several(self) -> bool:
        """Whether an exchange's number alone does not name it."""
        return bool(self.calls) and self.calls[0].cassette is not self.calls[-1].cassette

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """The runs whose start the cassettes show."""
        return frozenset(run.run_id for run in self.runs if run.run_id is not None)

    @cached_property
    def outages(self) -> frozenset[int]:
        """The calls, by their order, that failed for reasons outside the request: a limit, a login, a broken server."""
        return frozenset(
            call.order
            for call in self.calls
            if call.answered
            and ((call.summary.status or 0) >= 500 or call.summary.status in _FAILED_FROM_OUTSIDE)
        )

    @cached_property
    def thread_objects(self) -> dict[str, list[tuple[RecordedCall, dict[str, Any]]]]:
        """By thread: every answer that shows the whole object of it, in order, and the object."""
        found: dict[str, list[tuple[RecordedCall, dict[str, Any]]]] = {}
        for call in self.calls:
            if (
                call.operation not in _THREAD_OBJECTS
                or (call.summary.status or 0) >= 400
                or not call.answered
            ):
                continue
            answer = call.json()
            for row in answer if isinstance(answer, list) else [answer]:
                if isinstance(row, dict) and row.keys() >= _WHOLE_THREAD:
                    found.setdefault(str(row["thread_id"]), []).append((call, row))
        return found

    @cached_property
    def done_ids(self) -> dict[str, tuple[int, int]]:
        """By run: the event id under which a recorded thread stream told its end."""
        found: dict[str, tuple[int, int]] = {}
        for call in self.calls:
            if call.operation is Operation.JOIN_THREAD_STREAM and call.answered:
                for entry in tape_of(call, 0).events:
                    data = entry.block.data or b""
                    if entry.block.id is None or b"run_done" not in data:
                        continue
                    told, event_id = parsed_or_none(data), parse_event_id(entry.block.id)
                    if isinstance(told, dict) and told.get("status") == "run_done" and event_id is not None:
                        found[str(told.get("run_id"))] = event_id
        return found


def _thread_stream_modes(call: RecordedCall) -> frozenset[str]:
    try:
        return ThreadFilter.parse([value for name, value in call.query if name == "stream_modes"]).modes
    except InvalidThreadStream:
        return frozenset()
