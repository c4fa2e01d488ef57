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
from graphtape.replayer.following import FRAMES_A_TURN, Heartbeats
from graphtape.replayer.framed import Block, Blocks
from graphtape.replayer.play import Play


class Outlet(Protocol):
    """Where frames go."""

    def send(self, frame: bytes) -> bool:
        """Send a frame or a heartbeat, without waiting; False if the client does not keep up with what is sent.

        Raises:
            ConnectionError: nothing can be sent any more.
        """
        ...

    def send_chunk(self, data: bytes) -> bool:
        """The same, of a frame that is an HTTP chunk already."""
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
    blocks: Blocks | None = None,
) -> None:
    """Send the frames from `position` on when they are due; returns at the end of the run.

    Args:
        shows: whether a frame of this name is sent; None for all.
        blocks: where all frames can be had as HTTP chunks; None if the outlet takes none.

    Raises:
        ConnectionError: as the outlet.
    """
    reader = _Reader(play, position, clock, heartbeats, outlet, shows=shows, blocks=blocks)
    play.watchers.add(reader.look_again)
    try:
        while True:
            await reader.paused()
            if reader.is_over:
                return
            await outlet.drained()
    finally:
        play.watchers.discard(reader.look_again)
        reader.stop()


class _Reader:
    __slots__ = (
        "_block",
        "_blocks",
        "_clock",
        "_heartbeats",
        "_outlet",
        "_paused",
        "_play",
        "_position",
        "_shows",
        "_timer",
        "is_over",
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
        blocks: Blocks | None,
    ) -> None:
        self._play = play
        self._position = position
        self._clock = clock
        self._heartbeats = heartbeats
        self._outlet = outlet
        self._shows = shows
        self._blocks = blocks if play.replaced is not None else None
        self._block: Block | None = None
        self.is_over = False
        self._timer: Timer | None = None
        self._paused: asyncio.Future[None] | None = None

    def paused(self) -> asyncio.Future[None]:
        """Send what is due until the client does not keep up, or the run is over: then it is done.

        No coroutine, of which there would be one for every open stream.
        """
        due_ns = self._send_due(self._clock.now_ns())
        self._paused = paused = asyncio.get_running_loop().create_future()
        if due_ns is None:
            paused.set_result(None)
        else:
            self._timer = self._clock.call_at(due_ns, self._step)
        return paused

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # What waits and what is waited for would stand in a circle that only a collection finds.
        self._timer = self._paused = None

    def look_again(self) -> None:
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
                paused.set_exception(error.with_traceback(None))  # whose frame holds what is waited for
            return None
        if due_ns is None and not paused.done():
            paused.set_result(None)
        return due_ns

    def _send_due(self, now_ns: int) -> int | None:
        """Send what is due, and say when there is more; None at the end, or when the client does not keep up."""
        play, heartbeats = self._play, self._heartbeats
        due, started_ns, cancelled_ns = play.due, play.started_ns, play.cancelled_ns
        count = len(due)
        for _ in range(FRAMES_A_TURN):
            position = self._position
            due_ns = started_ns + due[position] if position < count else play.end_ns
            beat = None
            if heartbeats.next_ns <= due_ns:
                source = play.seen.frames[position].source if position < count else len(play.tape.events)
                beat = heartbeats.before(due_ns, source)
                if beat is not None:
                    due_ns = beat[0]
            if cancelled_ns is not None and due_ns > cancelled_ns:
                self.is_over = True
                return None
            if due_ns > now_ns:
                return due_ns
            if beat is not None:
                heartbeats.advance()
                keeps_up = self._outlet.send(beat[1])
            elif position >= count:
                self.is_over = True
                return None
            else:
                self._position = position + 1
                keeps_up = self._send_frame(position)
            if not keeps_up:
                return None
        return now_ns

    def _send_frame(self, position: int) -> bool:
        play = self._play
        if self._blocks is not None:
            block = self._block
            if block is None or not block.first <= position < block.stop:
                block = self._block = self._blocks.at(play.seen, position)
            return self._outlet.send_chunk(block.event(position, play.ids))
        if self._shows is None:
            return self._outlet.send(play.raw(position))
        frame = play.frame(position)
        return not self._shows(frame.name) or self._outlet.send(frame.raw)
