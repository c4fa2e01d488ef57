"""A request made wider: everything that can be had together is asked for, and what the client asked is remembered.

Pure. Knows request bodies and which runs were widened, no responses. One rule: a request whose answer could not be
narrowed truthfully again is not widened.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from graphtape.protocol.bodies import BodySchema, refusal
from graphtape.protocol.modes import StreamOptions, stream_options
from graphtape.protocol.sse import Block
from graphtape.protocol.view import narrowable
from graphtape.recorder.spans import NotJson, members, with_members

LARGEST_BODY_BYTES: Final = 8 << 20
"""Larger request bodies pass unwidened: they would have to be held in memory."""

REMEMBERED_RUNS: Final = 4096
"""Of so many runs it is known what their clients asked; the one unused for longest is forgotten first."""

_TOGETHER: Final = ("values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints")
REMEMBERED_BYTES: Final = 1 << 20
"""Of one run, at most so much is remembered of events that the upstream does not store."""

_MESSAGES: Final = "messages"
_TUPLE: Final = "messages-tuple"
_EVENTS: Final = "events"


@dataclass(frozen=True, slots=True)
class WideRequest:
    """A run-starting request as it goes to the upstream, and what it was."""

    body: bytes
    wide: StreamOptions
    asked: StreamOptions
    own: Mapping[str, bytes | None]
    """The members that were changed, as the client sent them; None: it sent none."""
    shown_modes: str
    """JSON of the `stream_mode` that the run object would have shown."""


def widened(body: bytes, *, events: bool = False) -> WideRequest | None:
    """The wider request, or None if it passes as it is.

    That is one that the server refuses, whose view could not be narrowed again, or that asks for everything already.

    Args:
        body: the client's whole body.
        events: ask for `events` too, which changes the run; else only if the client does.
    """
    if len(body) > LARGEST_BODY_BYTES:
        return None
    try:
        request = orjson.loads(body)
        text = body.decode("utf-8")
    except ValueError:
        return None
    if not isinstance(request, dict) or refusal(request, BodySchema.STATEFUL) is not None:
        return None
    asked = stream_options(request)
    wide = StreamOptions(_wide_modes(asked.modes, events=events), subgraphs=True, resumable=True)
    if asked == wide or not narrowable(wide, asked):
        return None
    order = [mode for mode in (*_TOGETHER, _MESSAGES, _EVENTS) if mode in wide.modes]
    values = {
        "stream_mode": json.dumps(order, separators=(",", ":")),
        "stream_subgraphs": "true",
        "stream_resumable": "true",
    }
    try:
        sent = with_members(text, values)
        found = {member.name: text[member.start : member.end].encode() for member in members(text)[0]}
    except NotJson:
        return None
    given = request.get("stream_mode") or ["values"]
    shown = given if isinstance(given, list) else [given]
    return WideRequest(
        sent.encode("utf-8"),
        wide,
        asked,
        {name: found.get(name) for name in values},
        json.dumps(shown, separators=(",", ":")),
    )


def _wide_modes(asked: frozenset[str], *, events: bool) -> frozenset[str]:
    """All modes that can be had together; one form of messages displaces the other."""
    modes = set(_TOGETHER)
    if _MESSAGES in asked and _TUPLE not in asked:
        modes = modes - {_TUPLE} | {_MESSAGES}
    if events or _EVENTS in asked:
        modes.add(_EVENTS)
    return frozenset(modes)


@dataclass(slots=True)
class WideRun:
    """A run that was widened."""

    run_id: str
    thread_id: str | None
    """None for a run whose request named none, until an answer does."""
    wide: StreamOptions
    asked: StreamOptions
    shown_modes: str
    is_done: bool = False
    """It is known to have ended."""
    unstored: list[tuple[Block, bytes]] = field(default_factory=list)
    """What a later join must know, and the upstream does not store: which message is of which level."""
    _unstored_bytes: int = 0

    @property
    def remembers(self) -> bool:
        """Whether what the client gets of an event depends on the events before it."""
        return not self.asked.subgraphs and not self.asked.modes.isdisjoint({_MESSAGES, _TUPLE})

    def saw(self, block: Block, raw: bytes) -> None:
        """An event of this run has come live."""
        if block.name != "messages/metadata" or not self.remembers or block.id is None:
            return
        if self.unstored and event_place(block.id) <= event_place(self.unstored[-1][0].id or ""):
            return  # seen on another stream; two messages that begin in one millisecond count as one
        if self._unstored_bytes + len(raw) <= REMEMBERED_BYTES:
            self._unstored_bytes += len(raw)
            self.unstored.append((block, raw))


def event_place(event_id: str) -> tuple[int, int]:
    """What ids of events are ordered by: milliseconds, then the sequence; what is no id comes first."""
    ms, _, seq = event_id.partition("-")
    return (
        int(ms) if ms.isascii() and ms.isdecimal() and len(ms) < 20 else -1,
        int(seq) if seq.isascii() and seq.isdecimal() and len(seq) < 20 else 0,
    )


@dataclass(slots=True)
class WideRuns:
    """Which runs were widened, as many as memory is given to.

    Args:
        unix_ns: the wall clock, to tell which events of a run come after a request; the ids of events have the
            upstream's, so the difference of both is learnt from what passes.
    """

    unix_ns: Callable[[], int]
    _runs: OrderedDict[str, WideRun] = field(default_factory=OrderedDict)
    _starting: list[tuple[str | None, WideRequest]] = field(default_factory=list)
    _ahead_ms: int | None = None

    def starts(self, thread_id: str | None, request: WideRequest) -> None:
        """A widened request is on its way to the upstream."""
        self._starting.append((thread_id, request))

    def started(self, thread_id: str | None, request: WideRequest, location: bytes | None) -> WideRun | None:
        """Its answer has come; the run that its `Content-Location` names, if there is one."""
        self._starting = [one for one in self._starting if one[1] is not request]
        if location is None:
            return None
        before, _, run_id = location.decode("latin-1").rpartition("/")
        if not run_id or not before.endswith("/runs"):
            return None
        if (known := self._runs.get(run_id)) is not None:
            return known  # a thread stream has shown it before this answer came
        return self._add(WideRun(run_id, thread_id, request.wide, request.asked, request.shown_modes))

    def get(self, run_id: str) -> WideRun | None:
        """The run of this id, if it was widened."""
        run = self._runs.get(run_id)
        if run is not None:
            self._runs.move_to_end(run_id)
        return run

    def seen(self, run_id: str, thread_id: str) -> WideRun | None:
        """The same, for an id that the thread's stream shows: perhaps before the answer to who started it."""
        run = self.get(run_id)
        if run is None:
            waiting = next((request for thread, request in self._starting if thread == thread_id), None)
            if waiting is not None:
                return self._add(WideRun(run_id, thread_id, waiting.wide, waiting.asked, waiting.shown_modes))
        return run

    def of_thread(self, thread_id: str) -> list[WideRun]:
        """The widened runs that are known to be of a thread, in the order of their last use."""
        return [run for run in self._runs.values() if run.thread_id == thread_id]

    def may_be_of_thread(self, thread_id: str) -> bool:
        """Whether a widened run is of a thread, or of one that is not known."""
        return any(run.thread_id in (None, thread_id) for run in self._runs.values())

    def saw_id(self, event_id: str) -> None:
        """An event with this id has just come."""
        stamp = event_id.partition("-")[0]
        if len(stamp) == 13 and stamp.isdecimal() and stamp.isascii():
            ahead = int(stamp) - self.unix_ns() // 1_000_000
            self._ahead_ms = ahead if self._ahead_ms is None else max(ahead, self._ahead_ms)

    def saw_date(self, value: bytes | None) -> None:
        """A response has just come with this `date`: to the second, which tells clocks that are far apart."""
        if self._ahead_ms is None and value is not None:
            try:
                theirs = parsedate_to_datetime(value.decode("latin-1")).timestamp()
            except (ValueError, TypeError, OverflowError):
                return
            ahead = int(theirs * 1000) - self.unix_ns() // 1_000_000
            if abs(ahead) > 2000:
                self._ahead_ms = ahead

    def now_ms(self) -> int:
        """The time, for `id_at`."""
        return self.unix_ns() // 1_000_000

    def id_at(self, at_ms: int) -> str:
        """What is below the ids of all events from this time on, and above those of all before."""
        return str(at_ms + (self._ahead_ms or 0))

    def _add(self, run: WideRun) -> WideRun:
        self._runs[run.run_id] = run
        while len(self._runs) > REMEMBERED_RUNS:
            self._runs.popitem(last=False)
        return run
