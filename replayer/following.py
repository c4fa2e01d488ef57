"""Following runs: waiting for a due time or for a change, and a run's events as they come.

Knows the clock and plays; no aiohttp, no HTTP. One rule: what is due is asked again after every wait, since a run may
have been cancelled or moved meanwhile.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Self

from graphtape.cassettes.clock import Clock
from graphtape.replayer.framed import Blocks, chunk
from graphtape.replayer.plan import HEARTBEAT, HEARTBEAT_EVERY_NS
from graphtape.replayer.play import END_OF_TIME_NS, Play, PlayedFrame
from graphtape.replayer.viewed import Comment

FRAMES_A_TURN = 64
"""Frames that are sent without waiting before other connections have their turn."""


@types.coroutine
def others_turn() -> Generator[None, None, None]:
    """Let everything else that is ready run once."""
    yield


class Listener:
    """Wakes when a watched run moves, is cancelled or rescheduled.

    Args:
        watched: sets of callbacks to be in while it listens: the `watchers` of a play or a session.
    """

    def __init__(self, *watched: set[Callable[[], None]]) -> None:
        self._watched = list(watched)
        self._changed = False
        self._waiter: asyncio.Future[None] | None = None
        self.wake: Callable[[], None] = self._wake

    def __enter__(self) -> Self:
        for watchers in self._watched:
            watchers.add(self.wake)
        return self

    def __exit__(self, *_: object) -> None:
        for watchers in self._watched:
            watchers.discard(self.wake)

    def watch(self, watchers: set[Callable[[], None]]) -> None:
        """Listen to these too."""
        self._watched.append(watchers)
        watchers.add(self.wake)

    async def changed(self) -> None:
        """Return at the next change, or at once if there was one since the last wait."""
        if not self._changed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._changed = False

    async def sleep_until(self, clock: Clock, due_ns: int) -> None:
        """Return when it is time, or at a change before."""
        if not self._changed:
            self._waiter = asyncio.get_running_loop().create_future()
            timer = clock.call_at(due_ns, self._timed)
            try:
                await self._waiter
            finally:
                timer.cancel()
        self._changed = False

    def _timed(self, _: int) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake(self) -> None:
        self._changed = True
        self._timed(0)


async def until_over(play: Play | None, clock: Clock) -> None:
    """At `max`: wait for a run to be written out; one that nobody writes out is over because it is waited for."""
    if play is None:
        return
    with Listener(play.watchers) as listener:
        while not play.exhausted(clock.now_ns()):
            if play.unwatched:
                await until_over(play.after, clock)
                play.complete()
            else:
                await listener.changed()


@dataclass(slots=True)
class Heartbeats:
    """The comments of one response, in order.

    Args:
        next_ns: when the next one is due; that it comes before an event is for `before` to say.
        recorded: recorded ones with their due times, instead of planned ones.
    """

    next_ns: int
    recorded: list[tuple[int, Comment]] | None = None
    _position: int = field(default=0, init=False)

    @classmethod
    def planned(cls, response_started_ns: int) -> Heartbeats:
        """5, 10, 15 ... s after the start of the response, as the server does."""
        return cls(response_started_ns + HEARTBEAT_EVERY_NS)

    @classmethod
    def of_recording(cls, comments: Iterable[Comment], started_ns: int) -> Heartbeats:
        """Those of the recorded response."""
        return cls(0, [(started_ns + comment.at_ns, comment) for comment in comments])

    def __post_init__(self) -> None:
        if self.recorded is not None:
            self.next_ns = self.recorded[0][0] if self.recorded else END_OF_TIME_NS

    def before(self, due_ns: int, source: int) -> tuple[int, bytes] | None:
        """The next one that goes out before an event: (due time, bytes)."""
        if self.recorded is None:
            return (self.next_ns, HEARTBEAT) if self.next_ns < due_ns else None
        if self._position < len(self.recorded):
            its_due_ns, comment = self.recorded[self._position]
            if (its_due_ns, comment.events_before) <= (due_ns, source):
                return its_due_ns, comment.raw
        return None

    def advance(self) -> None:
        """The next one has been sent."""
        if self.recorded is None:
            self.next_ns += HEARTBEAT_EVERY_NS
        else:
            self._position += 1
            more = self._position < len(self.recorded)
            self.next_ns = self.recorded[self._position][0] if more else END_OF_TIME_NS


async def events_at_max(play: Play, position: int, listener: Listener) -> AsyncIterator[PlayedFrame]:
    """At `max`: the frames from `position` on, as another response writes them; ends with the run."""
    while position < play.count:
        while play.written <= position and play.cancelled_ns is None:
            await listener.changed()
        if play.written <= position:
            return
        yield play.frame(position)
        position += 1


async def drive_framed(
    play: Play, clock: Clock, blocks: Blocks
) -> AsyncIterator[bytes | bytearray | memoryview]:
    """As `drive`, many frames at a time and each as an HTTP chunk."""
    await until_over(play.after, clock)
    play.advance(0)
    while play.written < play.count:
        if play.cancelled_ns is not None:
            return
        data, stop = _framed(play, play.written, blocks)
        play.advance(stop)
        yield data
        await others_turn()
    play.complete()


def _framed(play: Play, position: int, blocks: Blocks) -> tuple[bytes | bytearray | memoryview, int]:
    """The chunks of frames from `position` on, and the position behind them."""
    if play.replaced is not None:
        block = blocks.at(play.seen, position)
        return block.cut(block.named(play.replaced), position, block.stop), block.stop
    stop = min(position + FRAMES_A_TURN, play.count)
    return b"".join(chunk(play.raw(at)) for at in range(position, stop)), stop


async def drive(play: Play, clock: Clock) -> AsyncIterator[PlayedFrame]:
    """At `max`: all frames, at once; each has happened when it is given out. Ends early if the run is cancelled."""
    await until_over(play.after, clock)
    play.advance(0)
    for position in range(play.count):
        if play.cancelled_ns is not None:
            return
        play.advance(position + 1)
        yield play.frame(position)
        if position % FRAMES_A_TURN == FRAMES_A_TURN - 1:
            await others_turn()
    play.complete()
