"""The runs and threads that a cassette shows: what was started, in which thread, and where its events are.

Reads cassettes through their public names; no network, and no opinion on how a run is played again. One rule: a run's
tape holds only events that the cassette proves to follow each other without a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from graphtape.cassettes.hearsay import heard_of
from graphtape.cassettes.hiddenthreads import made_soon_after, made_thread_id, thread_in_events
from graphtape.cassettes.model import Ending, Exchange, ExchangeSummary
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.streams import decoded_body, iter_blocks
from graphtape.cassettes.threadstreams import run_ends, run_within, state_updates
from graphtape.protocol.errors import InvalidStreamMode
from graphtape.protocol.ids import canonical_uuid, is_made_next, parse_event_id
from graphtape.protocol.joining import InvalidThreadStream, ThreadFilter
from graphtape.protocol.jsonvalue import loads
from graphtape.protocol.modes import StreamOptions, stream_options
from graphtape.protocol.operations import READS_STATES, Kind, Operation, Resolved, Route, resolve
from graphtape.protocol.sse import Block

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RUN_PATH = re.compile(r"^(?:/threads/(?P<thread>[^/]+))?/runs/(?P<run>[^/?]+)")

_RECORDER_ENDED = frozenset((Ending.RECORDER_STOPPED, Ending.UNFINISHED))

_THREAD_OBJECTS = frozenset(
    (Operation.CREATE_THREAD, Operation.GET_THREAD, Operation.SEARCH_THREADS, Operation.UPDATE_THREAD)
)
_ANSWERED_FOR_ANY_THREAD = frozenset(
    (Operation.JOIN_RUN, Operation.JOIN_RUN_STREAM, Operation.JOIN_THREAD_STREAM)
)
# What a search can leave out, and a thread in which nothing has run has.
_WHOLE_THREAD = frozenset(
    ("thread_id", "created_at", "updated_at", "state_updated_at", "metadata", "status", "config")
)

_FAILED_FROM_OUTSIDE = frozenset((401, 403, 408, 425, 429))

Moment = tuple[int, int]
"""(recording, ns): comparable within one cassette."""


@dataclass(frozen=True, slots=True)
class TapeBlock:
    """One block of a run's stream, with the time since the run was asked for."""

    at_ns: int
    block: Block
    raw: bytes


@dataclass(frozen=True)
class Tape:
    """All that a cassette holds of one run's stream."""

    exchange: int
    """The exchange whose head and times it has."""
    head_ns: int
    blocks: tuple[TapeBlock, ...]
    end_ns: int
    whole: bool
    """The upstream ended the stream itself: nothing is missing."""
    detail: str = ""
    """Why it is not whole."""
    continued: bool = False
    """Its end comes from another exchange than its start."""

    @cached_property
    def events(self) -> list[TapeBlock]:
        return [entry for entry in self.blocks if entry.block.is_event]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCall:
    """One recorded exchange, with what its path means."""

    cassette: Cassette
    summary: ExchangeSummary
    resolved: Resolved | None
    path: str
    query: tuple[tuple[str, str], ...]
    order: int = 0
    """Position among all exchanges of all cassettes that are played together."""

    @property
    def number(self) -> int:
        return self.summary.number

    @property
    def route(self) -> Route | None:
        return self.resolved.route if self.resolved else None

    @property
    def operation(self) -> Operation | None:
        return self.resolved.operation if self.resolved else None

    @property
    def params(self) -> Mapping[str, str]:
        return self.resolved.params if self.resolved else {}

    @property
    def started(self) -> Moment:
        return self.summary.recording, self.summary.at_ns

    @property
    def ended(self) -> Moment:
        ended_ns = self.summary.ended_ns
        return self.summary.recording, self.summary.at_ns if ended_ns is None else ended_ns

    @property
    def answered(self) -> bool:
        """Whether the upstream gave this answer: what it never did is listed, never played."""
        return self.summary.status is not None and self.summary.ending is not Ending.UNREACHED

    @property
    def broken(self) -> bool:
        """Whether the recorder's own end broke it, and not its upstream or its client."""
        return self.summary.ending in _RECORDER_ENDED

    @property
    def failed(self) -> bool:
        """Whether its status is that of an error."""
        return (self.summary.status or 0) >= HTTPStatus.BAD_REQUEST

    def request_body(self) -> bytes:
        return self.cassette.request(self.number)[1]

    def request_json(self) -> Any:
        """The request body as JSON; None if it is none."""
        return parsed_or_none(self.request_body())

    def exchange(self) -> Exchange:
        return self.cassette.exchange(self.number)

    def json(self) -> Any:
        """The response body as JSON; None if it is none."""
        exchange = self.exchange()
        if exchange.response is None:
            return None
        return parsed_or_none(decoded_body(exchange))

    def headers(self) -> dict[str, str]:
        """The response's headers by lower-case name."""
        response = self.cassette.response(self.number)
        pairs = response.headers if response else ()
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


def parsed_or_none(data: bytes) -> Any:
    """`data` as JSON, None if it is none that can be walked (a JSON null is None too)."""
    try:
        return loads(data)
    except ValueError:
        return None


def calls_of(cassette: Cassette, *, first_order: int = 0) -> list[RecordedCall]:
    """Every exchange of a cassette as a call, in order."""
    calls = []
    for position, summary in enumerate(cassette.exchanges):
        target = summary.target
        if len(target.encode("utf-8", "surrogateescape")) >= 120:  # the index cuts long targets
            target = cassette.request(summary.number)[0].target
        # As the server side cuts it: a target is no URL, and `//[x` is a path like any other.
        path, _, query_text = target.partition("?")
        query = tuple(parse_qsl(query_text, keep_blank_values=True))
        calls.append(
            RecordedCall(
                cassette,
                summary,
                resolve(summary.method, path),
                path,
                query,
                first_order + position,
            )
        )
    return calls


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
        wait_s = self.body.get("after_seconds")
        recording, at_ns = self.call.started
        if isinstance(wait_s, int) and self.ended_by < (recording, at_ns + wait_s * 1_000_000_000):
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
        return (summary.status or 0) >= 400 or no_stream

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
                if call is self.call or _begins_run(part):
                    tape = part
            elif not tape.whole:
                tape = _continued(tape, call, part)
            if tape is not None and tape.whole:
                return tape
        return self._with_thread_streams(tape)

    @cached_property
    def told_ids(self) -> Sequence[str | None]:
        """The ids that a stream of its thread gave its first events, which a stream of its own may have without."""
        tape = self.tape
        parts = [] if tape is None else [part for part in self._in_thread_streams() if _agree(part, tape)]
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
            if part is not None and _begins_run(part):
                yield part

    def _with_thread_streams(self, tape: Tape | None) -> Tape | None:
        """What its own streams show, or where they show less the part that a stream of its thread holds."""
        for part in self._in_thread_streams():
            if tape is None:
                tape = part
            elif _is_begun_by(part, tape):
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


def tape_of(call: RecordedCall, zero_ns: int) -> Tape:
    """The stream of one exchange, its times since `zero_ns`."""
    exchange = call.exchange()
    head_ns = exchange.response.at_ns if exchange.response else exchange.request.at_ns
    blocks = []
    last_ns = head_ns
    if exchange.response is not None:
        for timed in iter_blocks(exchange):
            if timed.block.terminated:
                blocks.append(TapeBlock(timed.at_ns - zero_ns, timed.block, timed.raw))
            last_ns = timed.at_ns
    whole = exchange.ending is Ending.COMPLETE
    end_ns = exchange.ended_ns if exchange.ended_ns is not None else last_ns
    detail = (
        "" if whole else f"exchange {call.number} of {call.cassette.path} ended as {exchange.ending.value}"
    )
    return Tape(call.number, head_ns - zero_ns, tuple(blocks), end_ns - zero_ns, whole, detail)


def _begins_run(tape: Tape) -> bool:
    return bool(tape.events) and tape.events[0].block.name == "metadata"


def _is_begun_by(whole: Tape, part: Tape) -> bool:
    """Whether the events of a part are the first ones of the whole, which has no other events but more."""
    return len(whole.events) > len(part.events) and _agree(part, whole)


def _agree(one: Tape, other: Tape) -> bool:
    """Whether both have the same events, ids aside, as far as both go."""
    return all(
        (ours.block.name, ours.block.data) == (theirs.block.name, theirs.block.data)
        for ours, theirs in zip(one.events, other.events, strict=False)
    )


def _continued(tape: Tape, call: RecordedCall, part: Tape) -> Tape:
    """`tape` with the events of `part` that follow its last one, if it is proven that nothing lies between."""
    overlap = _overlap(tape.events, part.events)
    if not overlap and not _resumed_from(call, tape):
        return tape
    after = part.events[overlap:]
    if not after and not part.whole:
        return tape
    blocks = (*tape.blocks, *(TapeBlock(max(e.at_ns, tape.end_ns), e.block, e.raw) for e in after))
    end_ns = max(part.end_ns, tape.end_ns)
    return Tape(tape.exchange, tape.head_ns, blocks, end_ns, part.whole, part.detail, continued=True)


def _overlap(ours: list[TapeBlock], theirs: list[TapeBlock]) -> int:
    """How many of `theirs`, from their first on, are the end of `ours`; 0 if they do not meet.

    Events are compared with their ids: without one, equal bytes need not be the same event.
    """
    if not theirs or theirs[0].block.id is None:
        return 0
    for start in range(max(0, len(ours) - len(theirs)), len(ours)):
        if ours[start].raw == theirs[0].raw and all(
            one.raw == other.raw for one, other in zip(ours[start:], theirs, strict=False)
        ):
            return len(ours) - start
    return 0


def _resumed_from(call: RecordedCall, tape: Tape) -> bool:
    """Whether a join asked for what follows the last event of the tape."""
    last_id = next((entry.block.id for entry in reversed(tape.events) if entry.block.id), None)
    headers = call.cassette.request(call.number)[0].headers
    cursor = next((value for name, value in headers if name.lower() == b"last-event-id"), None)
    return last_id is not None and cursor is not None and cursor.decode("latin-1") == last_id


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
    def is_hidden(self) -> bool:
        """Whether the server made it for its first run, which was started without a thread."""
        first = self.steps[0].run if self.steps else None
        return first is not None and not first.stateful

    @property
    def temporary(self) -> bool:
        """Whether it was there only as long as its first run went on."""
        first = self.steps[0].run if self.steps else None
        return first is not None and not first.keeps_thread

    @property
    def born_of_run(self) -> bool:
        """Whether its first run created it, unless it was there before the recording."""
        first = self.steps[0].run if self.steps else None
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


def read_tapes(cassettes: Sequence[Cassette]) -> Tapes:
    """Find the runs and threads of cassettes, in the order given."""
    calls: list[RecordedCall] = []
    for cassette in cassettes:
        calls.extend(calls_of(cassette, first_order=len(calls)))
    tapes = Tapes(calls, [], {}, [])
    by_run: dict[str, RecordedRun] = {}
    for call in calls:
        if call.route is not None and call.answered:
            _place(call, call.route, tapes, by_run)
    _place_without_threads(tapes)
    for call in calls:
        if call.operation in _ANSWERED_FOR_ANY_THREAD and call.answered:
            _place_follower(call, tapes)
    for run in tapes.runs:
        if run.thread is not None and not run.refused:
            run.thread.steps.append(RecordedStep(run.call, run, run.call.ended))
    for thread in tapes.threads.values():
        thread.steps.sort(key=lambda step: step.call.order)
        for position, step in enumerate(thread.steps):
            if step.run is not None:
                step.run.step = position
    for run in tapes.runs:
        run.done = _run_done(run, tapes)
        if run.cancel is not None:
            # What is read after the cancel sees a cancelled run, however long its last step took to end.
            run.done = min(run.done, run.cancel.started)
        if run.thread is not None and not run.refused:
            run.thread.steps[run.step].done = run.done
    for thread in tapes.threads.values():
        _mark_displaced(thread)
    return tapes


def _mark_displaced(thread: RecordedThread) -> None:
    """A run that was in flight when another was started in its place was cancelled by that."""
    for position, step in enumerate(thread.steps):
        strategy = step.run.body.get("multitask_strategy") if step.run is not None else None
        if strategy not in ("interrupt", "rollback"):
            continue
        for earlier in thread.steps[:position]:
            run = earlier.run
            if run is None or step.call.started >= earlier.done:
                continue
            if run.answer == "create":
                # What told of its end later has seen that it was no longer going on then.
                run.done = earlier.done = step.call.started
                status = run.told_over[1] if run.told_over is not None else ""
                run.told_over = None if run.told_over is None else (run.done, status)
                if status not in ("", "interrupted"):
                    continue
                run.ended_by = run.done
            run.cancelled = True
            run.displaced_by = step.run


def _place(call: RecordedCall, route: Route, tapes: Tapes, by_run: dict[str, RecordedRun]) -> None:
    succeeded = (call.summary.status or 0) < 400
    if route.starts_run:
        body = parsed_or_none(call.request_body())
        thread_id, run_id = _ids_of_run(call)
        run = RecordedRun(call, body if isinstance(body, dict) else {}, thread_id, run_id)
        if thread_id is not None and not run.refused:
            run.thread = _thread(tapes, thread_id, call)
        left = call.summary.ending is Ending.CLIENT_LEFT
        run.cancelled = left and run.body.get("on_disconnect") == "cancel"
        run.ended_by = call.ended if run.cancelled else None
        if run_id is not None:
            by_run[run_id] = run
        tapes.runs.append(run)
        return
    if route.operation is Operation.CREATE_THREAD:
        if succeeded:
            _place_creation(call, tapes)
        return
    for cancelled_id in _cancelled_by(call, by_run) if succeeded else ():
        if cancelled_id in by_run:
            cancelled = by_run[cancelled_id]
            cancelled.cancelled = True
            cancelled.cancel = cancelled.cancel or call
            cancelled.ended_by = cancelled.ended_by or call.started
    for gone in _deleted_by(call) if succeeded else ():
        if gone in tapes.threads:
            tapes.threads[gone].deleted = call
    thread_id = call.params.get("thread_id")
    if thread_id is None:
        return
    if route.operation is Operation.COPY_THREAD and succeeded:
        copied = call.json()
        if isinstance(copied, dict) and isinstance(copied.get("thread_id"), str):
            _thread(tapes, copied["thread_id"], call).created = call
            _thread(tapes, thread_id, call).copies.append(call)
        return
    run_id = call.params.get("run_id")
    if (
        run_id is not None
        and run_id in by_run
        and route.operation in (Operation.JOIN_RUN_STREAM, Operation.JOIN_RUN)
    ):
        by_run[run_id].joins.append(call)
        if _left_cancelling(call, by_run[run_id]):
            by_run[run_id].cancelled = True
            by_run[run_id].ended_by = by_run[run_id].ended_by or call.ended
    is_read = route.kind in (Kind.READS_THREAD, Kind.READS_RUN)
    if (
        is_read
        and not succeeded
        and call.summary.status != HTTPStatus.NOT_FOUND
        and thread_id in tapes.threads
    ):
        tapes.threads[thread_id].failed_reads.append(call)
    if succeeded and route.operation not in _ANSWERED_FOR_ANY_THREAD:
        thread = _thread(tapes, thread_id, call)
        if route.operation is Operation.UPDATE_STATE:
            thread.steps.append(RecordedStep(call, None, call.ended))
        elif route.operation in READS_STATES and call.resolved is not None and call.resolved.is_respelled:
            return  # the server finds no states there, whatever the thread has
        elif is_read:
            thread.reads.append(call)


def _place_without_threads(tapes: Tapes) -> None:
    """Give each run that was started without a thread the one that the server made for it."""
    unplaced = [run for run in tapes.runs if run.thread is None and not run.refused]
    if not unplaced:
        return
    told = {
        call.params["run_id"]: call.params["thread_id"]
        for call in tapes.calls
        if "run_id" in call.params and "thread_id" in call.params
    }
    taken = {run.thread_id for run in tapes.runs if not run.stateful}
    free = [
        thread_id
        for thread_id, thread in tapes.threads.items()
        if thread.created is None and thread_id not in taken
    ]
    for run in unplaced:
        run_id = run.run_id or ""
        near = made_soon_after(run_id, free)
        thread_id = told.get(run_id) or next((one for one in near if is_made_next(run_id, one)), None)
        if thread_id is None and near:
            # Rarely the clock went on between the two ids; then what the run itself says is worth reading.
            shown = thread_in_events(tape_of(run.call, 0).events)
            thread_id = shown if shown in near else None
        run.thread_id = thread_id or made_thread_id(run.run_id, run.order)
        run.thread = _thread(tapes, run.thread_id, run.call)


def _place_follower(call: RecordedCall, tapes: Tapes) -> None:
    """To a thread that something else shows: the server follows what does not exist with 200 too."""
    thread = tapes.threads.get(call.params["thread_id"])
    if thread is None or (call.summary.status or 0) >= 400:
        return
    if call.operation is Operation.JOIN_THREAD_STREAM:
        thread.streams.append(call)
    elif call.operation is Operation.JOIN_RUN:
        thread.reads.append(call)


def created_thread_id(creation: RecordedCall) -> str | None:
    """The thread that a `POST /threads` made.

    If the states that it was to begin with (`supersteps`) were refused, the thread is there all the same, and the
    server names it in a sentence only (status 201).
    """
    answer = creation.json()
    created = answer if isinstance(answer, dict) else {}
    thread_id = created.get("thread_id")
    if thread_id is None and isinstance(created.get("detail"), str):
        named = _UUID.search(created["detail"])
        thread_id = named and named.group()
    return thread_id if isinstance(thread_id, str) else None


def makes_states(body: Any) -> bool:
    """Whether the body of a `POST /threads` gives the thread states to begin with."""
    return isinstance(body, dict) and bool(body.get("supersteps"))


def _place_creation(call: RecordedCall, tapes: Tapes) -> None:
    thread_id = created_thread_id(call)
    if thread_id is not None:
        thread = _thread(tapes, thread_id, call)
        if _was_there(thread, call):
            thread.reads.append(call)
            return
        thread.created = thread.created or call
        thread.deleted = None
    tapes.creations.append(call)


def _was_there(thread: RecordedThread, creation: RecordedCall) -> bool:
    """Whether the answer to a creation (`if_exists: do_nothing`) is a thread that it did not make."""
    body, answer = creation.request_json(), creation.json()
    if not (isinstance(body, dict) and body.get("if_exists") == "do_nothing" and isinstance(answer, dict)):
        return False
    before = thread.created.json() if thread.created is not None else None
    made_at = answer.get("created_at")
    seen_before = isinstance(before, dict) and before.get("created_at") == made_at
    # A thread that begins with states is changed by them at once.
    return seen_before or (answer.get("updated_at") != made_at and not makes_states(body))


def _deleted_by(call: RecordedCall) -> list[str]:
    """The threads that a request deleted."""
    if call.operation is Operation.DELETE_THREAD:
        return [call.params["thread_id"]]
    asked = parsed_or_none(call.request_body()) if call.operation is Operation.PRUNE_THREADS else None
    if not isinstance(asked, dict) or asked.get("strategy", "delete") != "delete":
        return []
    named = asked.get("thread_ids")
    return [one for one in named if isinstance(one, str)] if isinstance(named, list) else []


def _cancelled_by(call: RecordedCall, by_run: Mapping[str, RecordedRun]) -> list[str]:
    """The runs that a request cancelled: by their ids, or by status, if they were to wait longer than until then."""
    if call.operation is Operation.CANCEL_RUN:
        return [call.params["run_id"]]
    asked = parsed_or_none(call.request_body()) if call.operation is Operation.CANCEL_RUNS else None
    if isinstance(asked, dict) and asked.get("status") in ("pending", "all"):
        return [run_id for run_id, run in by_run.items() if _waits_at(run, call.started)]
    named = asked.get("run_ids") if isinstance(asked, dict) else None
    return [run_id for run_id in named if isinstance(run_id, str)] if isinstance(named, list) else []


def _waits_at(run: RecordedRun, moment: Moment) -> bool:
    """Whether its client wanted it to wait longer than until a moment, and it was not cancelled before."""
    wait_s = run.body.get("after_seconds")
    recording, at_ns = run.call.started
    waits = isinstance(wait_s, int | float) and moment < (
        recording,
        at_ns + min(wait_s, 1 << 30) * 1_000_000_000,
    )
    return waits and run.ended_by is None and moment[0] == recording


def _left_cancelling(join: RecordedCall, run: RecordedRun) -> bool:
    """Whether the reader of a run left it while it went on, and asked that this should end it."""
    flags = [value.lower() for name, value in join.query if name == "cancel_on_disconnect"]
    left = join.summary.ending is Ending.CLIENT_LEFT and flags[-1:] in (["true"], ["yes"], ["1"])
    went_on = run.answer == "create" or run.call.ended >= join.ended
    return left and went_on


def _thread_stream_modes(call: RecordedCall) -> frozenset[str]:
    try:
        return ThreadFilter.parse([value for name, value in call.query if name == "stream_modes"]).modes
    except InvalidThreadStream:
        return frozenset()


def _thread(tapes: Tapes, thread_id: str, call: RecordedCall) -> RecordedThread:
    return tapes.threads.setdefault(thread_id, RecordedThread(thread_id, call.cassette))


def _path_of(location: str) -> str:
    """The path of a `Content-Location`, absolute or relative."""
    after_scheme = location.partition("://")[2]
    return "/" + after_scheme.partition("/")[2] if after_scheme else location


def _ids_of_run(call: RecordedCall) -> tuple[str | None, str | None]:
    """(thread id, run id) of a run-starting exchange, from its Content-Location, path or JSON answer."""
    thread_id = call.params.get("thread_id")
    run_id = None
    found = _RUN_PATH.match(_path_of(call.headers().get("content-location", "")))
    if found:
        named = found["thread"]
        run_id = found["run"]
        thread_id = thread_id or (named and canonical_uuid(named)) or named
    if thread_id is not None and run_id is not None:
        return thread_id, run_id
    if not call.failed and call.summary.content_type.startswith("application/json"):
        # The location of a run in the background names no thread, if its request did not.
        answer = call.json()
        if isinstance(answer, dict) and isinstance(answer.get("run_id"), str):
            return thread_id or answer.get("thread_id"), run_id or answer["run_id"]
    return thread_id, run_id


def _run_done(run: RecordedRun, tapes: Tapes) -> Moment:
    """When a run was over, as the cassette shows it.

    Its own stream or wait says so by ending; of others, and of runs created in the background, joins and reads tell. Of
    what nothing tells, it is when its answer, or what was last told to go on, ended.
    """
    if run.answer != "create" and run.call.summary.ending is Ending.COMPLETE:
        return run.call.ended
    heard = heard_of(run, tapes)
    run.pending_until, run.left_thread = heard.pending_until, heard.thread
    going_on = run.call.ended
    if heard.open_until is not None:
        going_on = max(going_on, (heard.open_until[0], heard.open_until[1] + 1))
    if heard.over is not None:
        run.told_over = heard.over, heard.status
        return heard.over
    if run.call.summary.ending is Ending.UNFINISHED and run.tape is not None:
        # Of what a killed recorder left, the last event is the end.
        return run.call.summary.recording, run.call.summary.at_ns + run.tape.end_ns
    return run.ended_by or going_on
