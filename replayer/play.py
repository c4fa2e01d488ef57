"""One run being played: its events with due times, and how far it has come.

Pure; told the time, never reads a clock. One rule: at speed 1 or N a run advances with the session's clock, whoever
reads; at `max` its position is the last event that was written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from graphtape.cassettes.model import Ending
from graphtape.cassettes.runs import RecordedRun, Tape, TapeBlock
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import (
    EventId,
    IdMap,
    format_event_id,
    parse_event_id,
    strictly_rising,
)
from graphtape.protocol.joining import is_stored
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.view import View, with_id
from graphtape.replayer.plan import HEARTBEAT, Pace, Part, PlanEnd, heartbeats_between

END_OF_TIME_NS = 1 << 62
"""Later than any due time: what a run will have shown in the end."""


@dataclass(frozen=True, slots=True)
class PlayedFrame:
    """One event as the run publishes it."""

    due_ns: int
    """On the session's clock."""
    raw: bytes
    """The bytes for the request that started the run: with an id line only if it is resumable."""
    name: str
    data: bytes
    event_id: str
    source: int
    """Index of the recorded event that caused it."""

    @property
    def raw_with_id(self) -> bytes:
        """The bytes for a thread stream, where every event has an id."""
        return with_id(self.raw, self.event_id)


@dataclass(frozen=True, slots=True)
class Viewed:
    """A recorded run seen through a request's view, at recorded times and with recorded ids."""

    tape: Tape
    frames: tuple[tuple[int, bytes, str, bytes, EventId, int], ...]
    """(time since the request, raw, name, data, event id, source)."""
    derived: str
    silent: bool = False
    """The run's events were not recorded, only its answer: it can be waited for, not streamed or joined."""


def viewed(run: RecordedRun, options: StreamOptions, answer: str, *, unique_ids: bool) -> Viewed:
    """What a request with these options is shown of a recorded run.

    Args:
        answer: `stream`, `wait` or `create`: a run that is only waited for needs no events, if its answer was recorded.

    Raises:
        ViewRefused: the recording cannot answer truthfully.
    """
    tape = run.tape
    recorded = run.options
    if answer == "wait" and recorded is not None:
        options = recorded
    if tape is None and answer == run.answer != "stream":
        return Viewed(_silent_tape(run), (), "", silent=True)
    if tape is None or recorded is None:
        raise ViewRefused(
            reason=f"The events of this run were not recorded: exchange {run.call.number} only asked to {run.answer}.",
            recorded_modes=(),
            how="Record it again with POST .../runs/stream, or join its stream from the start while recording.",
        )
    events = tape.events
    view = View(recorded, options)
    frames: list[tuple[int, bytes, str, bytes, EventId, int]] = []
    sources: list[tuple[int, TapeBlock]] = []
    for source, entry in enumerate(events):
        for frame in view.feed(entry.block, entry.raw):
            frames.append(
                (entry.at_ns, frame.raw, frame.name, _data_of(frame.raw, frame.event, entry), (0, 0), source)
            )
            sources.append((source, entry))
    for frame in view.finish():
        entry = events[-1]
        data = _data_of(frame.raw, frame.event, entry)
        frames.append((tape.end_ns, frame.raw, frame.name, data, (0, 0), len(events) - 1))
        sources.append((len(events) - 1, entry))
    ids = [_event_id(run, entry) for _, entry in sources]
    if unique_ids:
        ids = strictly_rising(ids)
    numbered = tuple((*frame[:4], event_id, frame[5]) for frame, event_id in zip(frames, ids, strict=True))
    derived = view.derived
    if options.resumable and not recorded.resumable:
        derived = ", ".join(filter(None, (derived, "event ids")))
    return Viewed(tape, numbered, derived)


def _silent_tape(run: RecordedRun) -> Tape:
    summary = run.call.summary
    head_ns = (summary.response_ns if summary.response_ns is not None else summary.at_ns) - summary.at_ns
    end_ns = run.done[1] - summary.at_ns if run.done[0] == summary.recording else head_ns
    return Tape(summary.number, head_ns, (), max(head_ns, end_ns), summary.ending is Ending.COMPLETE)


def _data_of(raw: bytes, block: Any, entry: TapeBlock) -> bytes:
    if block is entry.block and raw == entry.raw:
        return entry.block.data or b""
    start = raw.find(b"data:")
    if start < 0:
        return b""
    return raw[start + 5 :].split(b"\r\n", 1)[0].strip()


def _event_id(run: RecordedRun, entry: TapeBlock) -> EventId:
    """The recorded id, else the arrival time in Unix milliseconds: what the server's ids are made of."""
    recorded = parse_event_id(entry.block.id) if entry.block.id else None
    if recorded is not None:
        return recorded
    summary = run.call.summary
    recording = run.call.cassette.recordings[summary.recording - 1]
    return (recording.started_unix_ns + summary.at_ns + entry.at_ns) // 1_000_000, 0


class Play:
    """One run in one session."""

    def __init__(
        self,
        *,
        run: RecordedRun,
        seen: Viewed,
        options: StreamOptions,
        ids: IdMap,
        run_id: str,
        thread_id: str | None,
        started_ns: int,
        pace: Pace,
        above: EventId,
        answer: str,
    ) -> None:
        self.run = run
        self.tape = seen.tape
        self.derived = seen.derived
        self.silent = seen.silent
        self.final: Any = None
        """What a wait or join answered in the end, where no events were recorded."""
        if seen.silent:
            self.final = parsed(ids.apply(orjson.dumps(run.values())))
        self.options = options
        self.ids = ids
        self.run_id = run_id
        self.thread_id = thread_id
        self.started_ns = started_ns
        self.pace = pace
        self.answer = answer
        """How this session asked for it: `stream`, `wait` or `create`."""
        self.on_disconnect = "continue"
        self.cancelled_ns: int | None = None
        self.rolled_back = False
        self.written = 0
        self.begun = False
        """At `max`: somebody writes this run out."""
        self.watchers: set[Callable[[], None]] = set()
        shift_ms = (
            max(0, above[0] - seen.frames[0][4][0] + 1) if seen.frames and seen.frames[0][4] <= above else 0
        )
        times = [seen.tape.head_ns, *(frame[0] for frame in seen.frames), seen.tape.end_ns]
        head_ns, *due, end_ns = [started_ns + time for time in pace.schedule(times)]
        self.head_ns = head_ns
        self.end_ns = end_ns
        self.frames = tuple(
            _played(frame, due_ns, shift_ms, ids, resumable=options.resumable)
            for frame, due_ns in zip(seen.frames, due, strict=True)
        )
        self._due = due
        self._source_due = (
            []
            if pace.is_max or pace.idle_limit_ns is not None
            else [started_ns + time for time in pace.schedule([event.at_ns for event in seen.tape.events])]
        )
        self._last_due = max([*due[-1:], *self._source_due[-1:]], default=head_ns)

    # --- position ---

    @property
    def last_event_id(self) -> EventId:
        return (parse_event_id(self.frames[-1].event_id) or (0, 0)) if self.frames else (0, 0)

    def position(self, now_ns: int) -> int:
        """How many frames have been shown."""
        if self.pace.is_max:
            return self.written
        if self.cancelled_ns is not None:
            now_ns = min(now_ns, self.cancelled_ns)
        return bisect_right(self._due, now_ns)

    def sources_shown(self, now_ns: int) -> int:
        """How many recorded events the state may know of."""
        if self.finished(now_ns) and self.cancelled_ns is None:
            return len(self.tape.events)
        if self._source_due:
            if self.cancelled_ns is not None:
                now_ns = min(now_ns, self.cancelled_ns)
            return bisect_right(self._source_due, now_ns)
        position = self.position(now_ns)
        return self.frames[position - 1].source + 1 if position else 0

    def finished(self, now_ns: int) -> bool:
        """Whether the run is over; one whose recording broke off never is."""
        if self.cancelled_ns is not None:
            return now_ns >= self.cancelled_ns
        if not self.tape.whole:
            return False
        if self.pace.is_max and now_ns < END_OF_TIME_NS:
            return self.begun and self.written >= len(self.frames)
        return now_ns >= self._last_due

    def exhausted(self, now_ns: int) -> bool:
        """Whether no frame will follow: finished, or at the end of what was recorded."""
        return self.finished(now_ns) or self.position(now_ns) >= len(self.frames)

    def status(self, now_ns: int) -> str:
        """`pending`, `running`, `success`, `error` or `interrupted` (a run that hits an interrupt is a success)."""
        if self.cancelled_ns is not None and now_ns >= self.cancelled_ns:
            return "interrupted"
        if not self.finished(now_ns):
            return "running" if self.sources_shown(now_ns) or self.silent else "pending"
        return "error" if self.error(now_ns) is not None else "success"

    def error(self, now_ns: int) -> dict[str, Any] | None:
        """The payload of the run's `error` event, if it has been shown."""
        if isinstance(self.final, dict) and self.finished(now_ns):
            final: dict[str, Any] | None = self.final.get("__error__")
            return final
        for event in reversed(self.tape.events[: self.sources_shown(now_ns)]):
            if event.block.name == "error":
                found = parsed(self.ids.apply(event.block.data or b""))
                return found if isinstance(found, dict) else {}
        return None

    def shown_events(self, now_ns: int) -> list[TapeBlock]:
        """The recorded events shown so far, in order."""
        return self.tape.events[: self.sources_shown(now_ns)]

    # --- being moved ---

    def advance(self, written: int) -> None:
        """At `max`: the first `written` frames are about to be written."""
        if written > self.written or not self.begun:
            self.begun = True
            self.written = max(written, self.written)
            self._changed()

    def complete(self) -> None:
        """At `max`: nobody waits for the rest; it has happened."""
        self.advance(len(self.frames))

    def started_before(self, now_ns: int) -> None:
        """It has all happened before `now_ns`: the run of a thread that is opened by a deep link."""
        early_ns = max(self.end_ns, self._last_due) - now_ns
        self.started_ns -= early_ns
        self.head_ns -= early_ns
        self.end_ns -= early_ns
        self._last_due -= early_ns
        self._due = [due_ns - early_ns for due_ns in self._due]
        self._source_due = [due_ns - early_ns for due_ns in self._source_due]
        self.complete()

    def cancel(self, now_ns: int) -> None:
        """The run ends here; what was not shown never will be."""
        if not self.finished(now_ns):
            self.cancelled_ns = now_ns
            self._changed()

    def _changed(self) -> None:
        for watcher in list(self.watchers):
            watcher()

    # --- what others read ---

    def stored(self, now_ns: int) -> list[PlayedFrame]:
        """The frames that a join can still get: none unless the run is resumable (reference, section 6)."""
        if not self.options.resumable:
            return []
        shown = self.frames[: self.position(now_ns)]
        return [frame for frame in shown if is_stored(frame.name, self.options.modes)]

    def parts(self) -> tuple[Part, ...]:
        """The body of the answer that started this run, heartbeats included; due times on the session's clock."""
        parts = [Part(frame.due_ns, frame.raw) for frame in self.frames]
        if self.pace.is_max:
            return tuple(parts)
        parts += [Part(due_ns, raw) for due_ns, raw in self._heartbeats()]
        parts.sort(key=lambda part: part.due_ns)
        return tuple(parts)

    def _heartbeats(self) -> list[tuple[int, bytes]]:
        same_response = self.answer == "stream" and self.run.answer == "stream"
        if self.pace.is_recorded and same_response:
            comments = [entry for entry in self.tape.blocks if not entry.block.is_event]
            return [(self.started_ns + entry.at_ns, entry.raw) for entry in comments]
        first, last = self.head_ns, self.end_ns
        return [(first + due_ns, HEARTBEAT) for due_ns in heartbeats_between(0, last - first)]

    @property
    def end(self) -> PlanEnd:
        return PlanEnd.CLOSE if self.tape.whole else PlanEnd.BREAK


def _played(
    frame: tuple[int, bytes, str, bytes, EventId, int],
    due_ns: int,
    shift_ms: int,
    ids: IdMap,
    *,
    resumable: bool,
) -> PlayedFrame:
    _, raw, name, data, (milliseconds, sequence), source = frame
    event_id = format_event_id((milliseconds + shift_ms, sequence))
    if ids:
        raw, data, name = ids.apply(raw), ids.apply(data), ids.apply_text(name)
    if resumable:
        raw = with_id(raw, event_id)
    return PlayedFrame(due_ns, raw, name, data, event_id, source)


def parsed(data: bytes) -> Any:
    """JSON, or None."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
