"""Threads that last no longer than the run that was started without one: small until somebody asks for them.

Pure. A mock under load starts thousands of such runs, and nobody looks at their threads. One rule: a thread is made
again of its run as it was when the run began.
"""

from __future__ import annotations

from typing import NamedTuple

from graphtape.replayer.play import Play
from graphtape.replayer.remembering import REMEMBERED
from graphtape.replayer.thread import Change, SessionThread, Stamp


class _Kept(NamedTuple):
    play: Play
    at: Stamp
    scope: int


class TemporaryThreads:
    """The last of them, by their ids, also when they are gone: what their runs have published can still be had.

    Args:
        most: how many there are at most.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._kept: dict[str, _Kept] = {}

    def keep(self, thread: SessionThread, play: Play) -> str | None:
        """Remember a thread by its only run, which has just begun; returns one for which there is no room any more."""
        self._kept[thread.thread_id] = _Kept(play, thread.created_at, thread.scope(play.run.thread))
        return next(iter(self._kept)) if len(self._kept) > self._most else None

    def made_again(self, thread_id: str) -> SessionThread | None:
        """The thread of this id, as it was when its run began; None if it is none of these."""
        kept = self._kept.get(thread_id)
        if kept is None:
            return None
        recorded = kept.play.run.thread
        thread = SessionThread(thread_id, recorded, None, {}, kept.at, born_of_run=True, recorded=recorded)
        thread.plays.append(kept.play)
        thread.changes.append(Change(kept.at, kept.play))
        thread.ids.update(kept.play.ids.pairs)
        if recorded is not None:
            thread.scopes[recorded.thread_id] = kept.scope
        return thread

    def going_on(self, now_ns: int) -> list[str]:
        """Those whose runs are not over."""
        return [thread_id for thread_id, kept in self._kept.items() if not kept.play.finished(now_ns)]

    def forget(self, thread_id: str) -> Play | None:
        """It is there no more, for whatever reason; returns its run."""
        kept = self._kept.pop(thread_id, None)
        return kept.play if kept is not None else None
