"""A recorded run seen through a request's view: which events it is shown, at recorded times and with recorded ids.

Pure; the same for every session and every clock, so that it is made once per run and request shape. One rule: what is
shown, and what it is derived from, is decided in `graphtape.protocol.view`; here it meets the recording.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, repeat
from typing import NamedTuple

from graphtape.cassettes.model import Ending
from graphtape.cassettes.runs import RecordedRun
from graphtape.cassettes.tape import Tape, TapeBlock
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import EventId, parse_event_id, strictly_rising
from graphtape.protocol.jsonvalue import loads
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.sse import Decoder
from graphtape.protocol.view import View, is_flat
from graphtape.replayer.framed import cuts
from graphtape.replayer.plan import Pace

DERIVED_IDS = "event ids"
"""What `graphtape-derived` says of ids that were made because the recording has none."""


class SeenFrame(NamedTuple):
    """One event of a view. A named tuple, since there is one per event."""

    at_ns: int
    """Since the run was asked for."""
    raw: bytes
    name: str
    event_id: EventId
    source: int
    """Index of the recorded event that caused it."""
    verbatim: str | None
    """The id as recorded, where it is served as it stands."""


@dataclass(frozen=True, slots=True)
class Comment:
    """A recorded heartbeat."""

    at_ns: int
    raw: bytes
    events_before: int


class Schedule(NamedTuple):
    """When things are due at a pace; all in nanoseconds since the run was asked for."""

    head: int
    due: array[int]
    """Of each frame."""
    end: int
    source_due: array[int]
    """Of each recorded event, for the state; empty where the state follows the frames."""
    last_due: int
    """Of the last of them."""


@dataclass(frozen=True, eq=False)
class Viewed:
    """A recorded run as a request is shown it; one object for all plays of it, and so are its times."""

    tape: Tape
    frames: tuple[SeenFrame, ...]
    derived: str
    silent: bool = False
    """The run's events were not recorded, only its answer: it can be waited for, not streamed or joined."""
    _schedules: dict[Pace, Schedule] = field(default_factory=dict)

    @cached_property
    def cuts(self) -> array[int]:
        """The positions at which its blocks of HTTP chunks begin."""
        return cuts(len(frame.raw) for frame in self.frames)

    @cached_property
    def is_verbatim(self) -> bool:
        """Whether all frames have their recorded ids."""
        return all(frame.verbatim is not None for frame in self.frames)

    def raw(self, start: int, stop: int | None) -> list[bytes]:
        """The bytes of the frames from `start` to before `stop`, under recorded ids."""
        return [frame.raw for frame in self.frames[start:stop]]

    def schedule(self, pace: Pace) -> Schedule:
        """The times of its frames at this pace."""
        made = self._schedules.get(pace)
        if made is None:
            made = self._schedules[pace] = self._scheduled(pace)
        return made

    def _scheduled(self, pace: Pace) -> Schedule:
        times = [self.tape.head_ns, *(frame.at_ns for frame in self.frames), self.tape.end_ns]
        head, *due, end = pace.schedule(times)
        # With an idle limit the rhythm is that of what is shown, and the state follows what is shown.
        follows_frames = pace.is_max or pace.idle_limit_ns is not None
        source_due = [] if follows_frames else pace.schedule([event.at_ns for event in self.tape.events])
        last_due = max([*due[-1:], *source_due[-1:]], default=end)
        return Schedule(head, array("q", due), end, array("q", source_due), last_due)

    def comments(self) -> list[Comment]:
        """The heartbeats of the recorded response, in order."""
        found: list[Comment] = []
        events = 0
        for entry in self.tape.blocks:
            if entry.block.is_event:
                events += 1
            else:
                found.append(Comment(entry.at_ns, entry.raw, events))
        return found


_OF_CHECKPOINTS = frozenset(("checkpoints", "debug"))
"""Modes that show checkpoints, of which a run without a thread that stays has none."""


def viewed(
    run: RecordedRun, options: StreamOptions, answer: str, *, unique_ids: bool, keeps_thread: bool = True
) -> Viewed:
    """What a request with these options is shown of a recorded run.

    Args:
        answer: `stream`, `wait` or `create`: a run that is only waited for needs no events, if its answer was recorded.
        unique_ids: make event ids strictly rising (`--ids unique`).
        keeps_thread: the request's thread stays when the run is over.

    Raises:
        ViewRefused: the recording cannot answer truthfully.
    """
    tape, recorded = run.tape, run.options
    if keeps_thread and not run.keeps_thread and answer != "wait" and options.modes & _OF_CHECKPOINTS:
        raise ViewRefused(
            reason="The recorded run had no checkpoints: it was started without a thread that stays.",
            recorded_modes=tuple(sorted(recorded.modes)) if recorded is not None else (),
            how='Record it with "on_completion": "keep".',
        )
    if answer == "wait" and recorded is not None:
        # Its client sees no events; what a `wait` answers is made from all that there are.
        options = replace(recorded, resumable=options.resumable)
    if tape is None and answer == run.answer != "stream":
        return Viewed(_silent_tape(run), (), "", silent=True)
    if tape is None or recorded is None:
        raise ViewRefused(
            reason=f"The events of this run were not recorded: exchange {run.call.number} only asked to {run.answer}.",
            recorded_modes=(),
            how="Record it again with POST .../runs/stream, or join its stream from the start while recording.",
        )
    frames, derived = _frames(run, tape, recorded, options)
    if not keeps_thread:
        frames = [frame for frame in frames if not _shows_checkpoint(frame)]
    if unique_ids:
        rising = strictly_rising(frame.event_id for frame in frames)
        frames = [
            frame if frame.event_id == event_id else frame._replace(event_id=event_id, verbatim=None)
            for frame, event_id in zip(frames, rising, strict=True)
        ]
    if options.resumable and any(entry.block.id is None for entry in tape.events):
        derived = ", ".join(filter(None, (derived, DERIVED_IDS)))
    return Viewed(tape, tuple(frames), derived)


def _frames(
    run: RecordedRun, tape: Tape, recorded: StreamOptions, options: StreamOptions
) -> tuple[list[SeenFrame], str]:
    events = tape.events
    names = {entry.block.name or "" for entry in events}
    view = View(recorded, options, flat=tape.whole and is_flat(recorded, names))
    told = run.told_ids if any(entry.block.id is None for entry in events) else ()
    ids = [
        _event_id(run, entry, other) for entry, other in zip(events, chain(told, repeat(None)), strict=False)
    ]
    frames = [
        SeenFrame(entry.at_ns, frame.raw, frame.name, event_id, source, verbatim)
        for source, (entry, (event_id, verbatim)) in enumerate(zip(events, ids, strict=True))
        for frame in view.feed(entry.block, entry.raw)
    ]
    frames += [
        SeenFrame(tape.end_ns, frame.raw, frame.name, ids[-1][0], len(events) - 1, ids[-1][1])
        for frame in view.finish()
    ]
    return frames, view.derived


def _shows_checkpoint(frame: SeenFrame) -> bool:
    base = frame.name.partition("|")[0]
    if base != "debug":
        return base == "checkpoints"
    (block,) = Decoder().feed(frame.raw)
    payload = loads(block.data or b"null")
    return isinstance(payload, dict) and payload.get("type") == "checkpoint"


def _event_id(run: RecordedRun, entry: TapeBlock, told: str | None) -> tuple[EventId, str | None]:
    """The recorded id, else the one that a stream of the thread `told`, else the arrival time in Unix milliseconds.

    That is what the server's ids are made of.
    """
    summary = run.call.summary
    text = entry.block.id or None
    recorded = parse_event_id(text) if text else None
    if recorded is not None:
        # The bytes of a run that only a stream of its thread showed may have lost theirs.
        return recorded, text if entry.raw.rfind(b"\nid:") >= 0 else None
    elsewhere = parse_event_id(told) if told else None
    if elsewhere is not None:
        return elsewhere, None
    started_ns = run.call.cassette.recordings[summary.recording - 1].started_unix_ns
    return ((started_ns + summary.at_ns + entry.at_ns) // 1_000_000, 0), text


def _silent_tape(run: RecordedRun) -> Tape:
    summary = run.call.summary
    head_ns = (summary.response_ns if summary.response_ns is not None else summary.at_ns) - summary.at_ns
    end_ns = run.done[1] - summary.at_ns if run.done[0] == summary.recording else head_ns
    whole = summary.ending is Ending.COMPLETE
    detail = (
        ""
        if whole
        else f"exchange {summary.number} of {run.call.cassette.path} ended as {summary.ending.value}"
    )
    return Tape(summary.number, head_ns, (), max(head_ns, end_ns), whole, detail)
