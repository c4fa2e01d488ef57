"""One client's place on a thread's stream: every run of the thread as it is played, for ever.

Knows the clock, the session and plays; no aiohttp. One rule: what was before the client came is sent only if it asks
for it with Last-Event-ID, and only of resumable runs (docs/agent-server.md, section 8).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import orjson

from graphtape.cassettes.clock import Clock
from graphtape.protocol.ids import EventId, format_event_id, parse_event_id
from graphtape.protocol.sse import encode
from graphtape.replayer.answering.answers import ThreadStream
from graphtape.replayer.following import Listener, until_over
from graphtape.replayer.plan import HEARTBEAT, HEARTBEAT_EVERY_NS
from graphtape.replayer.play import Play
from graphtape.replayer.session import Session
from graphtape.replayer.thread import Update
from graphtape.replayer.twin.states import thread_state

_EVERYTHING: EventId = (-1, 0)


class ThreadReader:
    """What one thread stream sends.

    Args:
        started_ns: when its response began, on the session's clock.
    """

    def __init__(self, session: Session, answer: ThreadStream, clock: Clock, started_ns: int) -> None:
        self._session = session
        self._answer = answer
        self._clock = clock
        self._beat_ns = started_ns + HEARTBEAT_EVERY_NS
        self._shown: dict[Play, int] = {}
        self._done: set[Play] = set()
        self._told: set[Update] = set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What goes out, in order, waiting as needed; never ends."""
        with Listener(self._session.watchers) as listener:
            for data in self._before(self._clock.now_ns(), listener):
                yield data
            while True:
                now_ns = self._clock.now_ns()
                await self._begin_unwatched()
                for data in self._news(now_ns, listener):
                    yield data
                if now_ns >= self._beat_ns:
                    yield HEARTBEAT
                    self._beat_ns += HEARTBEAT_EVERY_NS
                    continue
                await listener.sleep_until(self._clock, min(self._beat_ns, self._next_due(now_ns)))

    def _runs(self) -> list[Play]:
        thread = self._session.known(self._answer.thread_id)
        return thread.runs if thread is not None else []

    def _steps(self) -> list[Play | Update]:
        thread = self._session.known(self._answer.thread_id)
        return thread.steps if thread is not None else []

    async def _begin_unwatched(self) -> None:
        """At `max` a run created in the background begins when it is first read, which is now."""
        for play in self._runs():
            if play.unwatched and play not in self._shown:
                self._shown[play] = 0
            if play.unwatched:
                await until_over(play, self._clock)

    def _before(self, now_ns: int, listener: Listener) -> list[bytes]:
        """Mark what was before, and send what the cursor asks to see again."""
        cursor = self._answer.last_event_id
        self._told = {step for step in self._steps() if isinstance(step, Update)}
        stored: list[tuple[EventId, bytes]] = []
        for play in self._runs():
            if play.unwatched:
                continue
            listener.watch(play.watchers)
            self._shown[play] = play.position(now_ns)
            finished = play.finished(now_ns)
            if finished:
                self._done.add(play)
            if cursor is None:
                continue
            stored.extend(
                (parse_event_id(frame.event_id) or (0, 0), frame.raw_with_id)
                for frame in play.stored(now_ns)
                if self._answer.shows.shows(frame.name, frame.data)
            )
            done = self._run_done(play)
            if finished and play.options.resumable and done is not None:
                stored.append((play.done_id, done))
        if cursor is None:
            return []
        floor = _EVERYTHING if cursor == "-" else parse_event_id(cursor.removesuffix("-*")) or _EVERYTHING
        return [data for event_id, data in sorted(stored, key=lambda pair: pair[0]) if event_id > floor]

    def _news(self, now_ns: int, listener: Listener) -> list[bytes]:
        news: list[bytes] = []
        for play in self._steps():
            if isinstance(play, Update):
                news += self._update(play)
                continue
            if play in self._done:
                continue
            if listener.wake not in play.watchers:
                listener.watch(play.watchers)
            self._shown.setdefault(play, 0)
            position = play.position(now_ns)
            news.extend(
                frame.raw_with_id
                for frame in play.frames(self._shown[play], position)
                if self._answer.shows.shows(frame.name, frame.data)
            )
            self._shown[play] = max(position, self._shown[play])
            if play.finished(now_ns):
                self._done.add(play)
                news += [data for data in (self._run_done(play), self._state_update(play, now_ns)) if data]
        return news

    def _update(self, update: Update) -> list[bytes]:
        """What tells of an update of the state, once; whoever comes later never hears of it."""
        if update in self._told or not self._answer.shows.shows("state_update"):
            return []
        self._told.add(update)
        return [update.told.raw] if update.told is not None else []

    def _run_done(self, play: Play) -> bytes | None:
        data = orjson.dumps({"status": "run_done", "run_id": play.run_id})
        if not self._answer.shows.shows("metadata", data):
            return None
        return encode("metadata", data, format_event_id(play.done_id))

    def _state_update(self, play: Play, now_ns: int) -> bytes | None:
        """With the documented semantics: the thread's state after each run, if the streams show it."""
        if not self._session.options.docs_semantics or not self._answer.shows.shows("state_update"):
            return None
        thread = self._session.threads[self._answer.thread_id]
        state = thread_state(thread, now_ns)
        if state is None:
            return None
        data = orjson.dumps({"state": state, "thread_id": thread.thread_id})
        return encode("state_update", data, format_event_id(play.done_id))

    def _next_due(self, now_ns: int) -> int:
        """When there may be something new without anybody telling."""
        due: list[int] = []
        for play in self._runs():
            if play.pace.is_max or play in self._done:
                continue
            position = self._shown.get(play, 0)
            due += [play.due_ns(position)] if position < play.count else []
            due += [play.over_ns]
        return min((moment for moment in due if moment > now_ns), default=now_ns + HEARTBEAT_EVERY_NS)
