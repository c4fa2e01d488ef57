"""One reader of one run at speed 1 or N: its frames when they are due, with heartbeats between.

Knows the clock and plays; no aiohttp, no HTTP. A reader is no task that is woken for each event but something that the
clock calls: a thousand of them cost what they send. One rule: what is due is asked again at every step, since a run may
have been cancelled or moved meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from graphtape.cassettes.clock import Clock
from graphtape.cassettes.pacer import Timer
from graphtape.replayer.following import Heartbeats
from graphtape.replayer.play import Play

_FRAMES_A_TURN = 64
"""Frames that are sent without waiting before other connections have their turn."""


class Outlet(Protocol):
    """Where frames go."""

    def send(self, frame: bytes) -> bool:
        """Send a frame or a heartbeat, without waiting; False if the client does not keep up with what is sent.

        Raises:
            ConnectionError: nothing can be sent any more.
        """
        ...

    async def drained(self) -> None:
        """Return when the client has caught up."""
        ...


async def send_paced(
    play: Play,
    position: int,
    clock: Clock,
    heartbeats: Heartbeats,
    outlet: Outlet,
    *,
    shows: Callable[[str], bool] | None = None,
) -> None:
    """Send the frames from `position` on when they are due; returns at the end of the run.

    Args:
        shows: whether a frame of this name is sent; None for all.

    Raises:
        ConnectionError: as the outlet.
    """
    reader = _Reader(play, position, clock, heartbeats, outlet, shows=shows)
    play.watchers.add(reader.moved)
    try:
        while not await reader.paused():
            await outlet.drained()
    finally:
        play.watchers.discard(reader.moved)
        reader.stop()


class _Reader:
    __slots__ = (
        "_clock",
        "_heartbeats",
        "_outlet",
        "_over",
        "_paused",
        "_play",
        "_position",
        "_shows",
        "_timer",
        "moved",
    )

    def __init__(
        self,
        play: Play,
        position: int,
        clock: Clock,
        heartbeats: Heartbeats,
        outlet: Outlet,
        *,
        shows: Callable[[str], bool] | None,
    ) -> None:
        self._play = play
        self._position = position
        self._clock = clock
        self._heartbeats = heartbeats
        self._outlet = outlet
        self._shows = shows
        self._over = False
        self._timer: Timer | None = None
        self._paused: asyncio.Future[None] | None = None
        self.moved: Callable[[], None] = self._look_again

    async def paused(self) -> bool:
        """Send what is due until the client does not keep up (False), or the run is over (True)."""
        now_ns = self._clock.now_ns()
        due_ns = self._send_due(now_ns)
        if due_ns is not None:
            self._paused = asyncio.get_running_loop().create_future()
            self._timer = self._clock.call_at(due_ns, self._step)
            await self._paused
        return self._over

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        """The run was cancelled or moved."""
        if self._timer is not None and self._paused is not None and not self._paused.done():
            self._timer.cancel()
            self._timer = self._clock.call_at(self._clock.now_ns(), self._step)

    def _step(self, now_ns: int) -> int | None:
        paused = self._paused
        assert paused is not None
        try:
            due_ns = self._send_due(now_ns)
        except Exception as error:
            # It is for the task that waits, as if it had sent this itself.
            if not paused.done():
                paused.set_exception(error)
            return None
        if due_ns is None and not paused.done():
            paused.set_result(None)
        return due_ns

    def _send_due(self, now_ns: int) -> int | None:
        """Send what is due, and say when there is more; None at the end, or when the client does not keep up."""
        play, heartbeats, send = self._play, self._heartbeats, self._outlet.send
        frames, due, started_ns = play.seen.frames, play.due, play.started_ns
        for _ in range(_FRAMES_A_TURN):
            position = self._position
            if position < len(frames):
                due_ns, source = started_ns + due[position], frames[position].source
            else:
                due_ns, source = play.end_ns, len(play.tape.events)
            beat = heartbeats.before(due_ns, source)
            if beat is not None:
                due_ns = beat[0]
            if play.cancelled_ns is not None and due_ns > play.cancelled_ns:
                self._over = True
                return None
            if due_ns > now_ns:
                return due_ns
            if beat is not None:
                heartbeats.advance()
                keeps_up = send(beat[1])
            elif position >= len(frames):
                self._over = True
                return None
            else:
                self._position = position + 1
                if self._shows is None:
                    keeps_up = send(play.raw(position))
                else:
                    frame = play.frame(position)
                    keeps_up = not self._shows(frame.name) or send(frame.raw)
            if not keeps_up:
                return None
        return now_ns
