"""What a session may forget: threads and runs that nobody has used for long, and views that can be made again.

Pure. A mock under load for hours must not grow with every request. One rule: what is forgotten follows from the
requests in their order, never from the memory there is.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.runs import RecordedRun
from graphtape.protocol.errors import EventTooLarge, ViewRefused
from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.play import Play
from graphtape.replayer.viewed import Viewed, viewed

REMEMBERED = 3000
"""Threads, the last used, and as many stateless runs, the last begun: each takes some 5 kB, and a mock may grow no more
than a tenth over days."""

_COUNTED = 10_000

_KEPT_FRAMES = 1 << 18
"""Of all views that are kept; the one that was used longest ago goes first."""


class Counts:
    """How often each of many things came before; those that came longest ago are forgotten, and begin anew.

    Args:
        most: how many are counted at most: paths name threads, of which there is no end.
    """

    def __init__(self, most: int = _COUNTED) -> None:
        self._most = most
        self._counts: dict[tuple[object, ...], int] = {}

    def before(self, key: tuple[object, ...]) -> int:
        """How often it came before; it comes now."""
        count = self._counts.pop(key, 0)
        self._counts[key] = count + 1
        if len(self._counts) > self._most:
            del self._counts[next(iter(self._counts))]
        return count


class Recent:
    """Names in the order of their last use.

    Args:
        most: how many there are at most.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._names: OrderedDict[str, None] = OrderedDict()

    def use(self, name: str) -> list[str]:
        """It is used now; returns those for which there is no room any more."""
        self._names[name] = None
        self._names.move_to_end(name)
        return [self._names.popitem(last=False)[0]] if len(self._names) > self._most else []

    def forget(self, name: str) -> None:
        """It is there no more, for whatever reason."""
        self._names.pop(name, None)


class Settling:
    """Plays that may still be going on; those that are over give back what can be made again."""

    def __init__(self) -> None:
        self._plays: deque[Play] = deque()

    def add(self, play: Play, now_ns: int) -> None:
        """One more has begun; look at the two that were looked at longest ago."""
        self._plays.append(play)
        for _ in range(min(2, len(self._plays) - 1)):
            oldest = self._plays.popleft()
            if oldest.exhausted(now_ns):
                oldest.settle()
            else:
                self._plays.append(oldest)


class Views:
    """Recorded runs as requests are shown them, made when they are needed and kept while there is room.

    Args:
        unique_ids: make event ids strictly rising (`--ids unique`).
        most_frames: of all that is kept.
    """

    def __init__(self, *, unique_ids: bool, most_frames: int = _KEPT_FRAMES) -> None:
        self._unique_ids = unique_ids
        self._most_frames = most_frames
        self._frames = 0
        self._kept: OrderedDict[tuple[int, StreamOptions, str, bool], Viewed | ViewRefused] = OrderedDict()

    def of(
        self, run: RecordedRun, options: StreamOptions, answer: str, *, keeps_thread: bool
    ) -> Viewed | ViewRefused:
        """What a request with these options is shown of a run, or why it is refused; see `viewed`."""
        key = run.order, options, answer, keeps_thread
        seen = self._kept.get(key)
        if seen is not None:
            self._kept.move_to_end(key)
            return seen
        seen = self._kept[key] = self._made(run, options, answer, keeps_thread=keeps_thread)
        self._frames += _size(seen)
        while self._frames > self._most_frames and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._frames -= _size(dropped)
        return seen

    def _made(
        self, run: RecordedRun, options: StreamOptions, answer: str, *, keeps_thread: bool
    ) -> Viewed | ViewRefused:
        try:
            return viewed(run, options, answer, unique_ids=self._unique_ids, keeps_thread=keeps_thread)
        except ViewRefused as refused:
            return refused
        except (UndecodableBody, EventTooLarge) as error:
            # Said once and remembered; a run next to it can still answer.
            modes = run.asked_options.modes if run.asked_options is not None else ()
            return ViewRefused(
                reason=f"The recorded stream cannot be read: {error}.",
                recorded_modes=tuple(sorted(modes)),
                how="Record this run again.",
            )


def _size(seen: Viewed | ViewRefused) -> int:
    """In frames; one that has none takes room too."""
    return 1 + (len(seen.frames) if isinstance(seen, Viewed) else 0)
