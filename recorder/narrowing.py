"""The streams of widened runs made narrow again: what the client would have got, event by event.

Pure: bytes in, bytes out. Knows the view and the filters of joins, no sockets. One rule: a live stream is never
refused; where the view cannot know, the likelier case is taken and said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import orjson

from graphtape.protocol.errors import EventTooLarge, ViewRefused
from graphtape.protocol.joining import JoinFilter, is_stored
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.sse import Block, Decoder
from graphtape.protocol.view import Frame, View
from graphtape.recorder.widening import WideRun, WideRuns, event_place

# An event that does not fit in this much memory cannot be narrowed.
_LARGEST_EVENT_BYTES: Final = 1 << 30

Say = Callable[[str], None]


class Narrowing(Protocol):
    """What makes one body narrow; see `Shape`."""

    def feed(self, data: bytes) -> list[bytes]: ...

    def finish(self) -> list[bytes]: ...

    @property
    def question(self) -> str | None: ...

    def answer(self, body: bytes | None) -> list[bytes]: ...


class _LenientView:
    """A view that gives up what it cannot rebuild, instead of refusing."""

    def __init__(self, wide: StreamOptions, asked: StreamOptions, what: str, say: Say, *, flat: bool = False):
        self._wide, self._asked, self._what, self._say = wide, asked, what, say
        self._view = View(wide, asked, lenient=True, flat=flat)
        self._told: frozenset[str] = frozenset()

    def tell_no_doubts_yet(self) -> None:
        """What was doubtful up to now has not been shown."""
        self._told = frozenset(self._view.doubts)

    def feed(self, block: Block, raw: bytes) -> list[Frame]:
        try:
            return self._view.feed(block, raw)
        except ViewRefused as refused:
            return [*self._by_name(refused), *self._view.feed(block, raw)]

    def finish(self) -> list[Frame]:
        try:
            frames = self._view.finish()
        except ViewRefused as refused:
            frames = self._by_name(refused)
        for doubt in dict.fromkeys(self._view.doubts):
            if doubt not in self._told:
                self._say(f"{self._what} was narrowed with a doubt: {doubt}")
        return frames

    def _by_name(self, refused: ViewRefused) -> list[Frame]:
        """From here on a filter by event name does."""
        self._say(f"{self._what}: {refused.reason} From there on it is narrowed by event names alone.")
        try:
            held = self._view.finish()
        except ViewRefused:
            held = []
        self._view = View(self._wide, self._asked, lenient=True, flat=True)
        return held


class _Events:
    """Cuts reads into blocks; subclasses say what becomes of each."""

    question: str | None = None

    def __init__(self, say: Say) -> None:
        self._say = say
        self._decoder = Decoder(max_event_bytes=_LARGEST_EVENT_BYTES)
        self._tail = bytearray()
        self._base = 0

    def feed(self, data: bytes) -> list[bytes]:
        """What the client gets of one read: whole events and comments, one each."""
        self._tail += data
        out: list[bytes] = []
        try:
            blocks = self._decoder.feed(data)
        except EventTooLarge as error:
            self._say(f"a stream is narrowed no further: {error}")
            self._tail.clear()
            return []
        for block in blocks:
            out += self._block(block, bytes(self._tail[block.start - self._base : block.end - self._base]))
        if blocks:
            del self._tail[: blocks[-1].end - self._base]
            self._base = blocks[-1].end
        return out

    def finish(self) -> list[bytes]:
        """What the client still gets at the end; the head of an event in which the stream broke off is its last."""
        try:
            block = self._decoder.finish()
        except EventTooLarge:
            block = None
        out = [] if block is None else self._block(block, bytes(self._tail))
        return [*out, *self._end()]

    def answer(self, body: bytes | None) -> list[bytes]:
        """Nothing: no question was asked."""
        return []

    def _block(self, block: Block, raw: bytes) -> list[bytes]:
        raise NotImplementedError

    def _end(self) -> list[bytes]:
        raise NotImplementedError


class RunNarrowing(_Events):
    """The stream of `POST .../runs/stream`."""

    def __init__(self, run: WideRun, runs: WideRuns, say: Say) -> None:
        super().__init__(say)
        self._run, self._runs = run, runs
        self._view = _LenientView(run.wide, run.asked, f"run {run.run_id}", say)

    def _block(self, block: Block, raw: bytes) -> list[bytes]:
        if block.id is not None:
            self._runs.saw_id(block.id)
            self._run.saw(block, raw)
        return [frame.raw for frame in self._view.feed(block, raw)]

    def _end(self) -> list[bytes]:
        self._run.is_done = True
        return [frame.raw for frame in self._view.finish()]


class JoinNarrowing(_Events):
    """The stream of `GET /threads/{t}/runs/{r}/stream`.

    Args:
        shown: the filter of the client's `stream_mode`, which the upstream was not told.
        cursor: the client's `Last-Event-ID`.
        now: what is above the ids of the events from before the request. If what the client gets depends on them, the
            upstream was asked for all, and these are held back here; else it was told the cursor, and did that itself.
    """

    def __init__(
        self, run: WideRun, runs: WideRuns, say: Say, *, shown: JoinFilter, cursor: str | None, now: str
    ) -> None:
        super().__init__(say)
        self._run, self._runs = run, runs
        self._asked = run.asked
        self._shown, self._now = shown, now
        self._has_past = run.remembers
        # Compared as strings, like the server; one that lies in the future, or is none, hides the past as none does.
        self._cursor = cursor if cursor is not None and run.asked.resumable else now
        self._last = (0, 0)
        self._unstored = deque(run.unstored)
        self._view = _LenientView(run.wide, run.asked, f"a join of run {run.run_id}", say)

    def _block(self, block: Block, raw: bytes) -> list[bytes]:
        if block.id is not None:
            place = event_place(block.id)
            if place < self._last:
                # The upstream sent what is stored, and then again what came while it did.
                return []
            self._last = place
            self._recall(place)
            if block.id > self._now:
                self._runs.saw_id(block.id)
                self._run.saw(block, raw)
            else:
                out = self._raws(self._view.feed(block, raw))
                self._view.tell_no_doubts_yet()
                return out
        return self._raws(self._view.feed(block, raw))

    def _recall(self, place: tuple[int, int]) -> None:
        """Let the view see what came before this place and is not stored; it is not shown again."""
        while self._has_past and self._unstored and event_place(self._unstored[0][0].id or "") <= place:
            block, raw = self._unstored.popleft()
            if (block.id or "") <= self._now:
                self._view.feed(block, raw)

    def _end(self) -> list[bytes]:
        return self._raws(self._view.finish())

    def _raws(self, frames: list[Frame]) -> list[bytes]:
        return [frame.raw for frame in frames if frame.event is None or self._shows(frame.event, frame)]

    def _shows(self, event: Block, frame: Frame) -> bool:
        if not self._shown.shows(frame.name):
            return False
        if event.id is None or event.id > self._now or not self._has_past:
            return True
        return event.id > self._cursor and is_stored(frame.name, self._asked.modes)


class ThreadNarrowing(_Events):
    """The stream of `GET /threads/{t}/stream`: the events of many runs, with ids, some of them widened.

    Args:
        cursor: the client's `Last-Event-ID`; the upstream was asked from the beginning if it is given.
        now: as for a join.
    """

    def __init__(
        self,
        thread_id: str,
        runs: WideRuns,
        say: Say,
        *,
        cursor: str | None,
        now: str,
    ) -> None:
        super().__init__(say)
        self._thread_id, self._runs = thread_id, runs
        self._now = now
        self._cursor = cursor
        self._run: WideRun | None = None
        self._view: _LenientView | None = None
        if cursor is None:
            # In the middle of a run there is no `metadata` that names it.
            running = [run for run in runs.of_thread(thread_id) if not run.is_done]
            if running:
                self._begin(running[-1], flat=running[-1].remembers)

    def _block(self, block: Block, raw: bytes) -> list[bytes]:
        if not block.is_event:
            if self._view is None:
                return [raw]
            return [frame.raw for frame in self._view.feed(block, raw)]
        if block.name == "state_update":
            return self._raws([_as_frame(block, raw)])
        out: list[Frame] = []
        is_end = False
        if block.name == "metadata":
            payload = _object(block.data)
            run_id = payload.get("run_id")
            is_end = payload.get("status") == "run_done"
            if isinstance(run_id, str) and not is_end:
                out += self._release()
                self._begin(self._runs.seen(run_id, self._thread_id))
            elif is_end and self._run is not None and self._run.run_id != run_id:
                # The end of another run: it ended before the one that is shown, or is one that was not widened.
                return self._raws([_as_frame(block, raw)], self._runs.get(str(run_id)))
        if self._view is None:
            out.append(_as_frame(block, raw))
        else:
            out += self._view.feed(block, raw)
            if self._is_past(block):
                self._view.tell_no_doubts_yet()
            elif self._run is not None and block.id is not None:
                self._run.saw(block, raw)
        shown = self._raws(out)
        if is_end:
            if self._run is not None:
                self._run.is_done = True
            shown += self._raws(self._release())
            self._run = self._view = None
        return shown

    def _end(self) -> list[bytes]:
        return self._raws(self._release())

    def _begin(self, run: WideRun | None, *, flat: bool = False) -> None:
        self._run = run
        self._view = None
        if run is not None:
            asked = StreamOptions(run.asked.modes, run.asked.subgraphs, resumable=True)
            what = f"run {run.run_id} on the stream of its thread"
            self._view = _LenientView(run.wide, asked, what, self._say, flat=flat)

    def _release(self) -> list[Frame]:
        return [] if self._view is None else self._view.finish()

    def _is_past(self, block: Block) -> bool:
        return self._cursor is not None and block.id is not None and block.id <= self._now

    def _raws(self, frames: list[Frame], run: WideRun | None = None) -> list[bytes]:
        run = run or self._run
        return [frame.raw for frame in frames if frame.event is None or self._shows(frame.event, frame, run)]

    def _shows(self, event: Block, frame: Frame, run: WideRun | None) -> bool:
        if self._cursor is None or event.id is None or not self._is_past(event):
            return True
        if event.id <= self._cursor:  # as strings, like the server
            return False
        return run is None or (run.asked.resumable and is_stored(frame.name, run.asked.modes))


def _as_frame(block: Block, raw: bytes) -> Frame:
    return Frame(raw, block, block.name or "message", block.id)


def _object(data: bytes | None) -> dict[str, object]:
    try:
        value = orjson.loads(data or b"null")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
