"""One run being played: its events with due times, and how far it has come.

Pure; told the time, never reads a clock. One rule: at speed 1 or N a run advances with the session's clock, whoever
reads; at `max` its position is the last event that was written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from graphtape.cassettes.runs import RecordedRun
from graphtape.cassettes.tape import TapeBlock
from graphtape.protocol.delays import delay_ns
from graphtape.protocol.ids import EventId, IdMap, format_event_id, uuid_unix_ms
from graphtape.protocol.joining import is_stored
from graphtape.protocol.jsonvalue import loads
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.view import with_id
from graphtape.replayer.cancelling import BY_REQUEST, Cancellation, recorded_cancellation
from graphtape.replayer.plan import Pace, PlanEnd
from graphtape.replayer.viewed import SeenFrame, Viewed

END_OF_TIME_NS = 1 << 62
"""Later than any due time: what a run will have shown in the end."""


@dataclass(frozen=True, slots=True)
class PlayedFrame:
    """One event as the run publishes it."""

    raw: bytes
    """The bytes for the request that started the run: with an id line only if it is resumable."""
    name: str
    event_id: str
    source: int
    """Index of the recorded event that caused it."""

    @property
    def data(self) -> bytes:
        """The event's payload."""
        start = self.raw.find(b"data:")
        return self.raw[start + 5 :].split(b"\n", 1)[0].strip() if start >= 0 else b""

    @property
    def raw_with_id(self) -> bytes:
        """The bytes for a thread stream, where every event has an id."""
        return with_id(self.raw, self.event_id)


class Play:
    """One run in one session.

    Args:
        seen: what its request is shown of it.
        ids: the ids it goes by here.
        started_ns: when it begins, on the session's clock.
        above: its event ids lie above this one, the last of its thread.
        answer: how this session asked for it: `stream`, `wait` or `create`.
        body: what this session asked for; None for what was recorded.
        assistant: says which assistant a run is of.
        found_busy: other runs of the thread had not ended when it was asked for.
        after: the run of the same thread that it is queued behind.
        unique_ids: event ids are compared as integers (`--ids unique`).
        recorded_done_id: the id of its end in a recorded thread stream.
        temporary: its thread and all that is known of it go when it is over.
    """

    # There is one for every open stream, and without slots so many attributes take five times the room.
    __slots__ = (
        "_above", "_assistant", "_assistant_of", "_end", "_frames", "_head", "_last_due", "_queued",
        "_recorded_done_id", "_shift_ms", "_source_due", "_unique_ids", "_unseen_end", "after", "answer",
        "begun", "body", "cancel_asked_ns", "cancellation", "cancelled_ns", "cancelled_pending", "due", "final",
        "found_busy", "ids", "on_disconnect", "options", "pace", "queued_ns", "readers", "rolled_back", "run", "run_id",
        "seen", "started_ns", "tape", "temporary", "thread_id", "watchers", "written",
    )  # fmt: skip

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
        above: EventId = (0, 0),
        answer: str = "stream",
        body: Mapping[str, Any] | None = None,
        assistant: Callable[[Play], dict[str, str]] = lambda _: {},
        found_busy: bool = False,
        after: Play | None = None,
        unique_ids: bool = False,
        recorded_done_id: EventId | None = None,
        temporary: bool = False,
    ) -> None:
        self.run = run
        self.seen = seen
        self.tape = seen.tape
        self.options = run.asked_options if options == run.asked_options else options
        self.ids = ids
        self.run_id = run_id
        self.thread_id = thread_id
        self.started_ns = started_ns
        self.pace = pace
        self.answer = answer
        # What it shares with the recording it does not keep a second time.
        self.body = run.body if body is None or body == run.body else body
        self.found_busy = found_busy
        self.temporary = temporary
        self._assistant_of = assistant
        self._assistant: dict[str, str] | None = None
        self.after = after
        self.queued_ns = (
            pace.schedule([_queued_in_recording(run, seen, after)])[0] if after is not None else 0
        )
        """How much of its time before the first event was spent in the recorded queue."""
        if after is not None and not pace.is_max:
            self.started_ns = max(started_ns, after.end_ns) - self.queued_ns
        self.on_disconnect = "continue"
        self.cancelled_ns: int | None = None
        """When it ends by being cancelled."""
        self.cancel_asked_ns: int | None = None
        """When that was asked for: what is read from then on is the state of a cancelled run."""
        self.cancellation: Cancellation | None = None
        """Why this session ended it."""
        self.rolled_back = False
        """Its run object and its states are gone."""
        self.cancelled_pending = False
        """It waited for its turn when it was cancelled."""
        self.written = 0
        self.begun = False
        """At `max`: somebody writes this run out."""
        self.final: Any = parsed(ids.apply(orjson.dumps(run.values()))) if seen.silent else None
        """What a wait or join answered in the end, where no events were recorded."""
        self.watchers: set[Callable[[], None]] = set()
        self.readers = 0
        """How many clients listen to it, or wait for it."""
        self._queued: list[Play] = []
        if after is not None:
            after._queued.append(self)
        self._above = above
        self._unique_ids = unique_ids
        self._recorded_done_id = recorded_done_id
        self._frames: dict[int, PlayedFrame] = {}
        first = seen.frames[0].event_id if seen.frames else None
        self._shift_ms = above[0] - first[0] + 1 if first is not None and first <= above else 0
        # `due` is since the start, of each frame, and shared by all plays of the view.
        self._head, self.due, self._end, self._source_due, self._last_due = seen.schedule(pace)
        self._unseen_end = self._end_told_elsewhere()

    @property
    def assistant(self) -> dict[str, str]:
        """`graph_id` and `assistant_id`, as far as the recording shows them."""
        if self._assistant is None:
            self._assistant = self._assistant_of(self)
        return self._assistant

    # --- times, on the session's clock ---

    @property
    def head_ns(self) -> int:
        return self.started_ns + self._head

    @property
    def end_ns(self) -> int:
        return self.started_ns + self._end

    @property
    def over_ns(self) -> int:
        """When the run's status changes: with its last event, before the last bytes are written.

        The last event of a run that was cancelled is not its end; that of one whose recorded reader left may not be.
        """
        if self._unseen_end is not None:
            return self.started_ns + self._unseen_end
        return self.started_ns + (self._end if self.run.cancelled else self._last_due)

    def due_ns(self, position: int) -> int:
        """When the frame at this position is due."""
        return self.started_ns + self.due[position]

    def reschedule(self, started_ns: int) -> None:
        """Begin at another time, and all that is queued behind it too."""
        self.started_ns = started_ns
        self._changed()
        for play in self._queued:
            play.reschedule(max(self.end_ns, started_ns) - play.queued_ns)

    # --- frames ---

    @property
    def count(self) -> int:
        """How many frames it has."""
        return len(self.seen.frames)

    def frame(self, position: int) -> PlayedFrame:
        """The frame at this position; made when it is first asked for."""
        frame = self._frames.get(position)
        if frame is None:
            frame = self._frames[position] = self._played(self.seen.frames[position])
        return frame

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[PlayedFrame]:
        """The frames from `start` to before `stop`."""
        for position in range(start, self.count if stop is None else stop):
            yield self.frame(position)

    def raw(self, position: int) -> bytes:
        """The bytes of the frame at this position."""
        frame = self._frames.get(position)
        return self._raw(self.seen.frames[position]) if frame is None else frame.raw

    def _raw(self, seen: SeenFrame) -> bytes:
        raw = self.ids.apply(seen.raw) if self.ids else seen.raw
        if self.options.resumable and (self._shift_ms or seen.verbatim is None):
            raw = with_id(raw, self._id_text(seen))
        return raw

    def _played(self, seen: SeenFrame) -> PlayedFrame:
        name = self.ids.apply_text(seen.name) if self.ids else seen.name
        return PlayedFrame(self._raw(seen), name, self._id_text(seen), seen.source)

    @property
    def replaced(self) -> Mapping[bytes, bytes] | None:
        """Recorded ids and what stands in their places, if that is all that tells the run's bytes from its view's."""
        shifted = self._shift_ms or not self.seen.is_verbatim
        return None if shifted and self.options.resumable else self.ids.in_place

    def _id_text(self, seen: SeenFrame) -> str:
        if seen.verbatim is not None and not self._shift_ms:
            return seen.verbatim
        milliseconds, sequence = seen.event_id
        return format_event_id((milliseconds + self._shift_ms, sequence))

    @property
    def highest_id(self) -> EventId:
        """What the ids of the thread's next run lie above."""
        if self._unique_ids or not self.seen.frames:
            return self.done_id
        milliseconds, sequence = self.seen.frames[-1].event_id
        return milliseconds + self._shift_ms, sequence

    @property
    def done_id(self) -> EventId:
        """The id of the run's end on a thread stream: as recorded, else a millisecond after its last event."""
        frames = self.seen.frames
        last = frames[-1].event_id if frames else (uuid_unix_ms(self.run.run_id or "") or 0, 0)
        recorded = self._recorded_done_id
        milliseconds, sequence = recorded if recorded is not None and recorded > last else (last[0] + 1, 0)
        done = milliseconds + self._shift_ms, sequence
        return done if self.seen.frames or done > self._above else (self._above[0] + 1, 0)

    # --- position ---

    def position(self, now_ns: int) -> int:
        """How many frames have been shown."""
        if self.pace.is_max:
            return self.written
        return bisect_right(self.due, self._shown_until(now_ns))

    def _shown_until(self, now_ns: int) -> int:
        until_ns = now_ns if self.cancelled_ns is None else min(now_ns, self.cancelled_ns)
        return until_ns - self.started_ns

    def sources_shown(self, now_ns: int) -> int:
        """How many recorded events the state may know of."""
        if self.finished(now_ns) and self.cancelled_ns is None:
            return len(self.tape.events)
        if self._source_due:
            return bisect_right(self._source_due, self._shown_until(now_ns))
        position = self.position(now_ns)
        if position >= self.count and self.cancelled_ns is None and (self.begun or not self.pace.is_max):
            return len(self.tape.events)
        return self.seen.frames[position - 1].source + 1 if position else 0

    def finished(self, now_ns: int) -> bool:
        """Whether the run is over; one whose recording broke off never is."""
        if self.cancelled_ns is not None:
            return now_ns >= self.cancelled_ns
        if not self.tape.whole and self._unseen_end is None:
            return False
        if self.pace.is_max and now_ns < END_OF_TIME_NS:
            return self.begun and self.written >= self.count
        return now_ns >= self.over_ns

    def exhausted(self, now_ns: int) -> bool:
        """Whether no frame will follow: finished, or at the end of what was recorded."""
        if self.finished(now_ns):
            return True
        if self.pace.is_max:
            return self.begun and self.written >= self.count
        return now_ns >= self.over_ns

    def gone(self, now_ns: int) -> bool:
        """Whether the server has deleted it; what it published can still be had."""
        return self.rolled_back or (self.temporary and self.finished(now_ns))

    def status(self, now_ns: int) -> str:
        """`pending`, `running`, `success`, `error` or `interrupted` (a run that hits an interrupt is a success)."""
        if self.cancel_asked_ns is not None and now_ns >= self.cancel_asked_ns:
            return "interrupted"
        if not self.finished(now_ns):
            begun = self.begun if self.pace.is_max else now_ns >= self.started_ns + self._wait_ns()
            return "running" if self.sources_shown(now_ns) or (self.seen.silent and begun) else "pending"
        if self.error(now_ns) is not None:
            return "error"
        told = ""
        if self.run.told_over is not None and (self.seen.silent or not self.tape.whole):
            told = self.run.told_over[1]
        # That nothing tells otherwise is no proof that it ended well: docs/replaying.md says so.
        return told or ("interrupted" if self.run.cancelled else "success")

    def _wait_ns(self) -> int:
        """How long it waits for its turn, as its client wants it or as it was read, where no event tells."""
        if not self.seen.silent:
            return 0
        read, call = self.run.pending_until, self.run.call
        read_ns = read[1] - call.summary.at_ns if read is not None and read[0] == call.started[0] else 0
        return self.pace.schedule([max(delay_ns(self.body), read_ns)])[0]

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

    @property
    def unwatched(self) -> bool:
        """At `max`: nobody's response moves it, so whoever reads it first does."""
        return self.pace.is_max and self.answer == "create" and not self.begun

    def advance(self, written: int) -> None:
        """At `max`: the first `written` frames are about to be written."""
        if written > self.written or not self.begun:
            self.begun = True
            self.written = max(written, self.written)
            self._changed()

    def complete(self) -> None:
        """At `max`: nobody waits for the rest; it has happened."""
        self.advance(self.count)

    def settle(self) -> None:
        """It is over: give back what is made again if somebody still reads it."""
        self._frames.clear()
        self.ids.forget_tables()

    def never_began(self, now_ns: int) -> bool:
        """Whether it is over without having done anything: its thread is as it was before."""
        unasked = self.run.never_began and self.cancelled_ns is None
        return self.finished(now_ns) and (self.cancelled_pending or unasked)

    def cancelled_as(self, now_ns: int) -> Cancellation | None:
        """Why it did not end by itself; None if it did, or goes on."""
        if not self.finished(now_ns):
            return None
        return self.cancellation or (recorded_cancellation(self.run) if self.run.cancelled else None)

    def cancel(self, now_ns: int, cancellation: Cancellation = BY_REQUEST) -> None:
        """The run ends here; what was not shown never will be, and what is queued behind it begins."""
        if self.cancelled_ns is None and (self.run.cancelled or not self.finished(now_ns)):
            self.cancelled_pending = self.run.never_began or self.status(now_ns) == "pending"
            self.cancel_asked_ns = now_ns
            self.cancellation = cancellation
            self.rolled_back = self.rolled_back or cancellation.rollback
            self.cancelled_ns = now_ns + (0 if self.cancelled_pending else self._rest_after_cancel())
            for play in self._queued:
                if play.started_ns + play.queued_ns > self.cancelled_ns:
                    play.reschedule(self.cancelled_ns - play.queued_ns)
            self._changed()

    def _rest_after_cancel(self) -> int:
        """How long the recorded run went on after it was cancelled: its last step comes to an end."""
        cancel = self.run.cancel
        if cancel is None or self.pace.is_max or not self.tape.whole:
            return 0
        asked_ns = cancel.summary.at_ns - self.run.call.summary.at_ns
        if cancel.summary.recording != self.run.call.summary.recording or asked_ns >= self.tape.end_ns:
            return 0
        asked, end = self.pace.schedule([asked_ns, self.tape.end_ns])
        return end - asked

    def _end_told_elsewhere(self) -> int | None:
        """When a run is over whose recorded reader left before its end, as other requests have told."""
        told, call = self.run.told_over, self.run.call
        if told is None or self.tape.whole or told[0][0] != call.summary.recording:
            return None
        return max(self._last_due, self.pace.schedule([told[0][1] - call.summary.at_ns])[0])

    def _changed(self) -> None:
        for watcher in list(self.watchers):
            watcher()

    # --- what others read ---

    def stored(self, now_ns: int) -> list[PlayedFrame]:
        """The frames that a join can still get: none unless the run is resumable (docs/agent-server.md, section 6)."""
        if not self.options.resumable:
            return []
        shown = self.frames(0, self.position(now_ns))
        return [frame for frame in shown if is_stored(frame.name, self.options.modes)]

    @property
    def plays_recorded_response(self) -> bool:
        """Whether the response that starts it here is the very one that was recorded, at its own times."""
        asked_alike = self.answer == "stream" and self.run.answer == "stream"
        return self.pace.is_recorded and asked_alike and not self.tape.continued

    @property
    def end(self) -> PlanEnd:
        return PlanEnd.CLOSE if self.tape.whole else PlanEnd.BREAK


def _queued_in_recording(run: RecordedRun, seen: Viewed, after: Play) -> int:
    """How long a recorded run waited for the end of the very run that it is queued behind here."""
    before = after.run.call.summary
    if after.run.thread is not run.thread or before.recording != run.call.summary.recording:
        return 0
    waited_ns = before.at_ns + after.tape.end_ns - run.call.summary.at_ns
    first_ns = next((event.at_ns for event in seen.tape.events), 0)
    return min(max(waited_ns, 0), first_ns) if before.at_ns < run.call.summary.at_ns else 0


def parsed(data: bytes) -> Any:
    """JSON that can be walked, or None."""
    try:
        return loads(data)
    except ValueError:
        return None
