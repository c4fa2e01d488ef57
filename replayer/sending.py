"""Walks plans and plays with a clock and writes them out.

The only module that waits. One rule: it decides nothing; what to send and when is in the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import orjson
from aiohttp import web

from graphtape.cassettes.clock import Clock
from graphtape.protocol.ids import format_event_id, parse_event_id
from graphtape.protocol.sse import encode
from graphtape.replayer.answers import JoinStream, Reply, RunStream, RunWait, ThreadStream
from graphtape.replayer.plan import HEARTBEAT, HEARTBEAT_EVERY_NS, Head, PlanEnd, paced
from graphtape.replayer.play import END_OF_TIME_NS, Play, PlayedFrame
from graphtape.replayer.session import Session, SessionThread
from graphtape.replayer.twin import wait_answer
from graphtape.replayer.wire import WireResponse, break_connection

_HALF_SECOND_NS = 500_000_000
# Below this a wait is not worth the two tasks that listening for a cancelled run costs.
_WORTH_LISTENING_NS = 50_000_000


@dataclass
class Sender:
    """Sends answers to one client request.

    Args:
        finish_head: adds the headers of the moment (CORS) to a head.
    """

    request: web.Request
    session: Session
    clock: Clock
    started_ns: int
    finish_head: Callable[[Head], Head]

    async def open(self, head: Head) -> WireResponse:
        response = WireResponse(self.finish_head(head))
        await response.prepare(self.request)
        return response

    async def reply(self, answer: Reply) -> web.StreamResponse:
        """A whole answer, at its times."""
        plan = paced(answer.plan, self.session.options.pace) if answer.recorded else answer.plan
        await self.clock.sleep_until(self.started_ns + plan.head_due_ns)
        response = await self.open(plan.head)
        for part in plan.parts:
            await self.clock.sleep_until(self.started_ns + part.due_ns)
            await response.write(part.data)
        await self.clock.sleep_until(self.started_ns + plan.end_due_ns)
        return await self._end(response, plan.end)

    async def _end(self, response: WireResponse, end: PlanEnd) -> web.StreamResponse:
        if end is PlanEnd.BREAK:
            break_connection(self.request)
        else:
            await response.write_eof()
        return response

    # --- the stream of a run that this request started ---

    async def run_stream(self, answer: RunStream) -> web.StreamResponse:
        """The frames of a run, each as one HTTP chunk."""
        play = answer.play
        if play.pace.is_max:
            return await self._run_stream_at_max(answer)
        with _Listener(play) as listener:
            try:
                # The head comes at its recorded time after the request, also where the run itself has to queue.
                await self.clock.sleep_until(self.started_ns + play.head_ns - play.started_ns)
                response = await self.open(answer.head)
                beats = range(self.started_ns + HEARTBEAT_EVERY_NS, play.started_ns, HEARTBEAT_EVERY_NS)
                for due_ns in beats:
                    await listener.sleep_until(self.clock, due_ns)
                    await response.write(HEARTBEAT)
                for part in play.parts():
                    await listener.sleep_until(self.clock, part.due_ns)
                    if play.cancelled_ns is not None and part.due_ns > play.cancelled_ns:
                        return await self._end(response, PlanEnd.CLOSE)
                    await response.write(part.data)
                await listener.sleep_until(self.clock, play.end_ns)
                return await self._end(response, PlanEnd.CLOSE if play.cancelled_ns is not None else play.end)
            except (asyncio.CancelledError, ConnectionError):
                self._client_left(play)
                raise

    async def _run_stream_at_max(self, answer: RunStream) -> web.StreamResponse:
        play = answer.play
        try:
            response = await self.open(answer.head)
            await self._until_over(answer.after)
            for position, frame in enumerate(play.frames):
                if play.cancelled_ns is not None:
                    return await self._end(response, PlanEnd.CLOSE)
                play.advance(position + 1)
                await response.write(frame.raw)
            play.complete()
            return await self._end(response, play.end)
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(play)
            raise

    def _client_left(self, play: Play) -> None:
        if play.on_disconnect == "cancel":
            play.cancel(self.clock.now_ns())
        elif play.pace.is_max:
            play.complete()

    async def _until_over(self, before: Play | None) -> None:
        """At `max`: wait for the run that this one is queued behind."""
        if before is None:
            return
        with _Listener(before) as listener:
            while not before.exhausted(self.clock.now_ns()) and before.cancelled_ns is None:
                await listener.changed()

    # --- the values of a run ---

    async def run_wait(self, answer: RunWait) -> web.StreamResponse:
        """A newline every five seconds, then the values."""
        play = answer.play
        try:
            if play.pace.is_max:
                response = await self.open(answer.head)
                await self._until_over(answer.after)
                if play.begun:
                    await self._until_over(play)
                play.complete()
            else:
                if answer.body is not None and play.answer == "wait" and play.started_ns == self.started_ns:
                    return await self.reply(Reply(answer.body, recorded=True))
                response = await self._wait_with_newlines(answer)
            if not play.tape.whole and play.cancelled_ns is None:
                return await self._end(response, PlanEnd.BREAK)
            await response.write(self._values(answer))
            return await self._end(response, PlanEnd.CLOSE)
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(play)
            raise

    def _values(self, answer: RunWait) -> bytes:
        if answer.body is not None:
            return answer.body.body.lstrip(b"\n")
        if answer.play.cancelled_ns is not None:
            return b"{}"
        return orjson.dumps(wait_answer(answer.play, END_OF_TIME_NS))

    async def _wait_with_newlines(self, answer: RunWait) -> WireResponse:
        play = answer.play
        response = await self.open(answer.head)
        beat_ns = self.started_ns + HEARTBEAT_EVERY_NS
        with _Listener(play) as listener:
            while self.clock.now_ns() < play.end_ns and play.cancelled_ns is None:
                await listener.sleep_until(self.clock, min(beat_ns, play.end_ns))
                if self.clock.now_ns() >= beat_ns < play.end_ns:
                    await response.write(b"\n")
                    beat_ns += HEARTBEAT_EVERY_NS
        return response

    # --- readers of runs that others started ---

    async def join_stream(self, answer: JoinStream) -> web.StreamResponse:
        """Stored events after the cursor, then live ones (docs/agent-server.md, section 6)."""
        play = answer.play
        response = await self.open(answer.head)
        try:
            now_ns = self.clock.now_ns()
            drives = play.pace.is_max and not play.begun
            if drives:
                play.advance(0)
            position = 0 if drives else play.position(now_ns)
            after = _after(self.session, answer.last_event_id)
            if answer.last_event_id:
                for frame in play.stored(now_ns):
                    if after(frame.event_id) and answer.shows.shows(frame.name):
                        await response.write(frame.raw)
            if play.finished(now_ns) and not drives:
                if not self._done_marker(play, answer.last_event_id) and not play.pace.is_max:
                    await self.clock.sleep_until(self.started_ns + _HALF_SECOND_NS)
                return await self._end(response, PlanEnd.CLOSE)
            with _Listener(play) as listener:
                async for live in self._live(play, position, listener, drives=drives):
                    if live is None:
                        await response.write(HEARTBEAT)
                    elif answer.shows.shows(live.name):
                        await response.write(live.raw)
            return await self._end(response, PlanEnd.CLOSE if play.cancelled_ns is not None else play.end)
        except (asyncio.CancelledError, ConnectionError):
            if answer.cancel_on_disconnect:
                play.cancel(self.clock.now_ns())
            raise

    def _done_marker(self, play: Play, last_event_id: str) -> bool:
        """Whether the stored end of a resumable run lies behind the cursor, which ends the stream at once."""
        if not (play.options.resumable and last_event_id and play.frames):
            return False
        last = play.frames[-1].event_id
        return last == last_event_id or _after(self.session, last_event_id)(last)

    async def _live(
        self, play: Play, position: int, listener: _Listener, *, drives: bool
    ) -> AsyncIterator[PlayedFrame | None]:
        """The frames from `position` on as they come, None for a heartbeat."""
        beat_ns = self.started_ns + HEARTBEAT_EVERY_NS
        while position < len(play.frames):
            frame = play.frames[position]
            if play.pace.is_max:
                if drives:
                    play.advance(position + 1)
                while play.written <= position and play.cancelled_ns is None:
                    await listener.changed()
                if play.cancelled_ns is not None:
                    return
            else:
                while beat_ns < frame.due_ns and play.cancelled_ns is None:
                    await listener.sleep_until(self.clock, beat_ns)
                    if play.cancelled_ns is None:
                        yield None
                        beat_ns += HEARTBEAT_EVERY_NS
                await listener.sleep_until(self.clock, frame.due_ns)
                if play.cancelled_ns is not None and frame.due_ns > play.cancelled_ns:
                    return
            position += 1
            yield frame
        if drives:
            play.complete()
        elif not play.pace.is_max:
            await listener.sleep_until(self.clock, play.end_ns)

    async def thread_stream(self, answer: ThreadStream) -> web.StreamResponse:
        """All runs of a thread as they are played, for ever (docs/agent-server.md, section 8)."""
        response = await self.open(answer.head)
        with _SessionListener(self.session) as listener:
            reader = _ThreadReader(self, answer, listener)
            async for data in reader.chunks():
                await response.write(data)
        return response


class _Listener:
    """Wakes when a run is moved or cancelled."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._event = asyncio.Event()

    def __enter__(self) -> _Listener:
        self._play.watchers.add(self._event.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._play.watchers.discard(self._event.set)

    async def changed(self) -> None:
        await self._event.wait()
        self._event.clear()

    async def sleep_until(self, clock: Clock, due_ns: int) -> None:
        """Sleep, but not past the end of a cancelled run."""
        if due_ns - clock.now_ns() < _WORTH_LISTENING_NS:
            await clock.sleep_until(due_ns)
        elif self._play.cancelled_ns is None:
            await _first(clock.sleep_until(due_ns), self.changed())


class _SessionListener:
    """Wakes when a run starts in the session, or one of the watched runs moves."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._plays: set[Play] = set()
        self._event = asyncio.Event()

    def __enter__(self) -> _SessionListener:
        self._session.watchers.add(self._event.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.watchers.discard(self._event.set)
        for play in self._plays:
            play.watchers.discard(self._event.set)

    def watch(self, play: Play) -> None:
        self._plays.add(play)
        play.watchers.add(self._event.set)

    async def wait(self, clock: Clock, due_ns: int) -> None:
        await _first(clock.sleep_until(due_ns), self._event.wait())
        self._event.clear()


async def _first(*waits: object) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _ThreadReader:
    """One client's place on a thread's stream."""

    def __init__(self, sender: Sender, answer: ThreadStream, listener: _SessionListener) -> None:
        self._sender = sender
        self._answer = answer
        self._listener = listener
        self._shown: dict[Play, int] = {}
        self._done: set[Play] = set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What goes out, in order, waiting as needed."""
        sender, clock = self._sender, self._sender.clock
        now_ns = clock.now_ns()
        for data in self._replay(now_ns):
            yield data
        beat_ns = sender.started_ns + HEARTBEAT_EVERY_NS
        while True:
            now_ns = clock.now_ns()
            for data in self._news(now_ns):
                yield data
            if now_ns >= beat_ns:
                if not sender.session.options.pace.is_max:
                    yield HEARTBEAT
                beat_ns += HEARTBEAT_EVERY_NS
                continue
            await self._listener.wait(clock, min(beat_ns, self._next_due(now_ns)))

    def _thread(self) -> SessionThread | None:
        return self._sender.session.threads.get(self._answer.thread_id)

    def _runs(self) -> list[Play]:
        thread = self._thread()
        return thread.runs if thread is not None else []

    def _replay(self, now_ns: int) -> list[bytes]:
        """Mark what was before, and send what the cursor asks to see again."""
        cursor = self._answer.last_event_id
        stored: list[tuple[tuple[int, int], bytes]] = []
        for play in self._runs():
            self._listener.watch(play)
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
                stored.append((play.last_event_id, done))
        if cursor is None:
            return []
        floor = (-1, 0) if cursor == "-" else _stream_id(cursor)
        return [data for event_id, data in sorted(stored, key=lambda pair: pair[0]) if event_id > floor]

    def _news(self, now_ns: int) -> list[bytes]:
        news: list[bytes] = []
        for play in self._runs():
            if play in self._done:
                continue
            if play not in self._shown:
                self._listener.watch(play)
                self._shown[play] = 0
                if play.pace.is_max and play.answer == "create" and not play.begun:
                    play.complete()  # nobody else writes it out
            position = play.position(now_ns)
            news.extend(
                frame.raw_with_id
                for frame in play.frames[self._shown[play] : position]
                if self._answer.shows.shows(frame.name, frame.data)
            )
            self._shown[play] = position
            if play.finished(now_ns):
                self._done.add(play)
                done = self._run_done(play)
                if done is not None:
                    news.append(done)
        return news

    def _run_done(self, play: Play) -> bytes | None:
        data = orjson.dumps({"status": "run_done", "run_id": play.run_id})
        if not self._answer.shows.shows("metadata", data):
            return None
        return encode("metadata", data, format_event_id(play.last_event_id))

    def _next_due(self, now_ns: int) -> int:
        due = [
            frame.due_ns
            for play in self._runs()
            if not play.pace.is_max and play not in self._done
            for frame in play.frames[self._shown.get(play, 0) :][:1]
        ]
        ends = [play.end_ns for play in self._runs() if not play.pace.is_max and play not in self._done]
        return min(
            [moment for moment in (*due, *ends) if moment > now_ns], default=now_ns + HEARTBEAT_EVERY_NS
        )


def _stream_id(cursor: str) -> tuple[int, int]:
    found = parse_event_id(cursor.removesuffix("-*"))
    return found if found is not None else (-1, 0)


def _after(session: Session, last_event_id: str) -> Callable[[str], bool]:
    """Whether an id lies behind a cursor: strings as the server compares them, or integers with --ids unique."""
    if session.options.ids == "recorded":
        return lambda event_id: event_id > last_event_id
    cursor = parse_event_id(last_event_id)
    if cursor is None:
        # "-1" and "-" are everything; what is no id at all is behind every id, as in the comparison of strings.
        nothing = not last_event_id.startswith("-")
        return lambda _: not nothing
    return lambda event_id: (parse_event_id(event_id) or (0, 0)) > cursor
