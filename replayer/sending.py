"""Walks plans and plays with a clock and writes them out.

Knows aiohttp and the clock. One rule: it decides nothing; what to send and when is in the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from aiohttp import web

from graphtape.cassettes.clock import Clock
from graphtape.cassettes.model import Ending
from graphtape.protocol.ids import parse_event_id
from graphtape.replayer.answering.answers import (
    Answer,
    JoinStream,
    Reply,
    RunStream,
    RunWait,
    Silence,
    ThreadStream,
)
from graphtape.replayer.answering.replies import RUN_NOT_FOUND_EVENT
from graphtape.replayer.cancelling import DISCONNECTED
from graphtape.replayer.faults import Breaker
from graphtape.replayer.following import (
    Heartbeats,
    Listener,
    drive,
    drive_framed,
    events_at_max,
    until_over,
)
from graphtape.replayer.pacing import send_paced
from graphtape.replayer.plan import HEARTBEAT, HEARTBEAT_EVERY_NS, Head, PlanEnd, paced
from graphtape.replayer.play import END_OF_TIME_NS, Play
from graphtape.replayer.session import Session
from graphtape.replayer.thread_reading import ThreadReader
from graphtape.replayer.twin.waiting import wait_answer
from graphtape.replayer.wire import BrokenOff, WireResponse, break_connection

_HALF_SECOND_NS = 500_000_000
_A_MOMENT_NS = 1_000_000_000
"""How much later than the recorded client another may leave."""


@dataclass(slots=True)
class Sender:
    """Sends the answer to one client request.

    Args:
        started_ns: when the request came, on the session's clock.
        finish_head: adds the headers of the moment (CORS) to a head, for a request.
    """

    request: web.Request
    session: Session
    clock: Clock
    started_ns: int
    finish_head: Callable[[web.Request, Head], Head]
    response: WireResponse | None = None
    """The response, once its head has been sent."""
    closes: bool = False
    """The connection ends with the response, whatever the client wants."""
    breaker: Breaker | None = None
    """The fault that the user wants of this response."""

    def send(self, answer: Answer) -> Coroutine[Any, Any, web.StreamResponse]:
        """Send an answer, to its end or until the client leaves."""
        if self.request.method == "HEAD":
            return self._head(answer)
        return self._send(answer) if self.breaker is None else self._send_some(answer)

    async def _head(self, answer: Answer) -> web.StreamResponse:
        return await self._end(await self._open(answer.head), PlanEnd.CLOSE)

    async def _send_some(self, answer: Answer) -> web.StreamResponse:
        try:
            return await self._send(answer)
        except BrokenOff as broken:
            assert self.response is not None
            return await self._end(self.response, broken.fault.end)

    def _send(self, answer: Answer) -> Coroutine[Any, Any, web.StreamResponse]:
        match answer:
            case Reply():
                return self._reply(answer)
            case RunStream():
                return self._run_stream(answer.play, answer.head)
            case RunWait():
                return self._run_wait(answer)
            case JoinStream():
                return self._join_stream(answer)
            case ThreadStream():
                return self._thread_stream(answer)

    async def _open(self, head: Head) -> WireResponse:
        if self.breaker is not None:
            # It may end before the length that was recorded.
            head = replace(head, headers=tuple(f for f in head.headers if f[0].lower() != b"content-length"))
        self.response = response = WireResponse(self.finish_head(self.request, head), self.breaker)
        if self.closes:
            response.force_close()
        await response.prepare(self.request)
        # To the run, a connection that the user wants broken is a client that leaves.
        response.break_if_over()
        return response

    async def _end(self, response: WireResponse, end: PlanEnd) -> web.StreamResponse:
        if self.breaker is not None:
            end = self.breaker.end(end)
        if end is PlanEnd.BREAK:
            break_connection(self.request)
        else:
            await response.write_eof()
        return response

    async def _reply(self, answer: Reply) -> web.StreamResponse:
        plan = paced(answer.plan, self.session.options.pace) if answer.recorded else answer.plan
        await self.clock.sleep_until(self.started_ns + plan.head_due_ns)
        response = await self._open(plan.head)
        for part in plan.parts:
            await self.clock.sleep_until(self.started_ns + part.due_ns)
            await response.write(part.data)
        await self.clock.sleep_until(self.started_ns + plan.end_due_ns)
        return await self._end(response, plan.end)

    # --- the stream of a run that this request started ---

    async def _run_stream(self, play: Play, head: Head | None) -> web.StreamResponse:
        """The frames of a run, each as one HTTP chunk."""
        assert head is not None
        play.readers += 1
        try:
            if play.pace.is_max:
                response = await self._open(head)
                if response.takes_chunks:
                    async for data in drive_framed(play, self.clock, self.session.blocks):
                        await response.write_framed(data)
                else:
                    async for frame in drive(play, self.clock):
                        await response.write(frame.raw)
            else:
                # The head comes at its recorded time after the request, also where the run itself has to queue.
                head_ns = self.started_ns + play.head_ns - play.started_ns
                queued = play.started_ns != self.started_ns
                await self.clock.sleep_until(head_ns)
                response = await self._open(head)
                head = None  # of a thousand streams that wait, it would be a thousand
                heartbeats = (
                    Heartbeats.of_recording(play.seen.comments(), play.started_ns)
                    if play.plays_recorded_response and not queued
                    else Heartbeats.planned(head_ns)
                )
                blocks = self.session.blocks if response.takes_chunks else None
                await send_paced(play, 0, self.clock, heartbeats, response, blocks=blocks)
            end = _end_of(play)
            if end is PlanEnd.BREAK and play.run.call.summary.ending is Ending.CLIENT_LEFT:
                await self._leaving(play)
                end = _end_of(play)
                if end is PlanEnd.BREAK:
                    # The recorded client left here, and so does this one, by being cut off.
                    self._client_left(play, cancel=play.on_disconnect == "cancel", moves=True)
            return await self._end(response, end)
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(play, cancel=play.on_disconnect == "cancel", moves=True)
            raise
        finally:
            play.readers -= 1

    async def _leaving(self, play: Play) -> None:
        """Wait for what the recorded client did here: it left, or cancelled the run. Another may be a moment later."""
        if play.pace.is_max:
            return
        until_ns = self.clock.now_ns() + play.pace.schedule([_A_MOMENT_NS])[0]
        with Listener(play.watchers) as listener:
            while play.cancelled_ns is None and self.clock.now_ns() < until_ns:
                await listener.sleep_until(self.clock, until_ns)

    def _client_left(self, play: Play, *, cancel: bool, moves: bool) -> None:
        """The run goes on without its reader, or ends here.

        Args:
            moves: at `max` this response moved the run; without it, it has happened.
        """
        if cancel:
            self.session.cancel(play, self.clock.now_ns(), DISCONNECTED)
        elif moves and play.pace.is_max:
            play.complete()

    # --- the values of a run ---

    async def _run_wait(self, answer: RunWait) -> web.StreamResponse:
        """A newline every five seconds, then the values."""
        play = answer.play
        moves = answer.starts
        play.readers += 1
        try:
            if play.pace.is_max:
                response = await self._open(answer.head)
                if answer.starts:
                    await until_over(play.after, self.clock)
                    play.complete()
                await until_over(play, self.clock)
            else:
                response = await self._wait_at_speed(answer)
            recorded_whole = answer.body is not None and answer.body.end is PlanEnd.CLOSE
            if not play.tape.whole and play.cancelled_ns is None and not recorded_whole:
                return await self._end(response, PlanEnd.BREAK)
            await response.write(self._values(answer))
            return await self._end(response, PlanEnd.CLOSE)
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(play, cancel=answer.cancel_on_disconnect, moves=moves)
            raise
        finally:
            play.readers -= 1

    def _values(self, answer: RunWait) -> bytes:
        play = answer.play
        if answer.body is not None and (play.cancelled_ns is None or play.run.cancelled):
            return answer.body.body.lstrip(b"\n")
        return orjson.dumps(wait_answer(play, END_OF_TIME_NS) or {})

    async def _wait_at_speed(self, answer: RunWait) -> WireResponse:
        play, clock = answer.play, self.clock
        head_ns = self.started_ns
        if answer.body is not None and answer.starts:
            head_ns += self.session.options.pace.schedule([answer.body.head_due_ns])[0]
        await clock.sleep_until(head_ns)
        response = await self._open(answer.head)
        beat_ns = head_ns + HEARTBEAT_EVERY_NS
        with Listener(play.watchers) as listener:
            # Whoever reads next must find a run that is over, also where only others told its end.
            while clock.now_ns() < (over_ns := max(play.end_ns, play.over_ns)) and play.cancelled_ns is None:
                await listener.sleep_until(clock, min(beat_ns, over_ns))
                if clock.now_ns() >= beat_ns < over_ns:
                    await response.write(b"\n")
                    beat_ns += HEARTBEAT_EVERY_NS
        return response

    # --- readers of runs that others started ---

    async def _join_stream(self, answer: JoinStream) -> web.StreamResponse:
        """Stored events after the cursor, then live ones (docs/agent-server.md, section 6)."""
        play = answer.play
        drives = play.unwatched
        play.readers += 1
        try:
            response = await self._open(answer.head)
            now_ns = self.clock.now_ns()
            position = play.position(now_ns)
            after = _after(self.session, answer.last_event_id)
            if answer.last_event_id:
                for frame in play.stored(now_ns):
                    if after(frame.event_id) and answer.shows.shows(frame.name):
                        await response.write(frame.raw)
            if play.finished(now_ns):
                if not self._done_marker(play, answer.last_event_id, position):
                    if not play.pace.is_max:
                        await self.clock.sleep_until(self.started_ns + _HALF_SECOND_NS)
                    if play.gone(now_ns):
                        await response.write(RUN_NOT_FOUND_EVENT)
                return await self._end(response, PlanEnd.CLOSE)
            if answer.silence is not None:
                return await self._end(response, await self._silence(answer, answer.silence, response))
            if not play.pace.is_max:
                heartbeats = Heartbeats.planned(self.started_ns)
                await send_paced(play, position, self.clock, heartbeats, response, shows=answer.shows.shows)
            else:
                with Listener(play.watchers) as listener:
                    async for frame in (
                        drive(play, self.clock) if drives else events_at_max(play, position, listener)
                    ):
                        if answer.shows.shows(frame.name):
                            await response.write(frame.raw)
            return await self._end(response, _end_of(play))
        except (asyncio.CancelledError, ConnectionError):
            self._client_left(play, cancel=answer.cancel_on_disconnect, moves=drives)
            raise
        finally:
            play.readers -= 1

    async def _silence(self, answer: JoinStream, silence: Silence, response: WireResponse) -> PlanEnd:
        """Heartbeats, as long as the recorded reader got nothing else; one who stays a moment longer is cut off."""
        play, clock = answer.play, self.clock
        if not play.pace.is_max:
            moment_ns = 0 if silence.whole else play.pace.schedule([_A_MOMENT_NS])[0]
            until_ns = max(play.started_ns + silence.until_ns, clock.now_ns()) + moment_ns
            beats = Heartbeats.planned(self.started_ns)
            with Listener(play.watchers) as listener:
                while clock.now_ns() < until_ns and play.cancelled_ns is None:
                    await listener.sleep_until(clock, min(beats.next_ns, until_ns))
                    if clock.now_ns() >= beats.next_ns < until_ns:
                        await response.write(HEARTBEAT)
                        beats.advance()
        if play.cancelled_ns is not None or silence.whole:
            return PlanEnd.CLOSE
        self._client_left(play, cancel=answer.cancel_on_disconnect, moves=play.unwatched)
        return PlanEnd.BREAK

    def _done_marker(self, play: Play, last_event_id: str, position: int) -> bool:
        """Whether the stored end of a resumable run lies behind the cursor, which ends the stream at once."""
        if not (play.options.resumable and last_event_id and position):
            return False
        last = play.frame(position - 1).event_id
        return last == last_event_id or _after(self.session, last_event_id)(last)

    async def _thread_stream(self, answer: ThreadStream) -> web.StreamResponse:
        """All runs of a thread as they are played, for ever (docs/agent-server.md, section 8)."""
        response = await self._open(answer.head)
        reader = ThreadReader(self.session, answer, self.clock, self.started_ns)
        async with aclosing(reader.chunks()) as chunks:
            async for data in chunks:
                await response.write(data)
        return response


def _end_of(play: Play) -> PlanEnd:
    return PlanEnd.CLOSE if play.cancelled_ns is not None else play.end


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
