"""A thread as the clients of one session know it: what played in it, and how far it is.

Pure; told the time. One rule: what it says of itself is read from its plays, never kept beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.runs import RecordedThread
from graphtape.protocol.delays import delay_ns
from graphtape.protocol.ids import EventId, IdMap, derive
from graphtape.replayer.play import Play
from graphtape.replayer.shown import stopped_short

Stamp = tuple[int, float]
"""A time on the session's clock; and the count of requests, for those of one moment."""


class Told(NamedTuple):
    """An event that streams of the thread show beside those of its runs."""

    event_id: EventId
    raw: bytes
    state: dict[str, Any]
    """The state that it tells of."""


@dataclass(eq=False)
class Update:
    """A state update that this session answered with a recorded one."""

    step: int
    recorded: RecordedThread
    told: Told | None = None
    """What streams of the thread say of it."""


class Stage(NamedTuple):
    """How far a thread is, in the steps of a recorded one."""

    recorded: RecordedThread | None
    done: tuple[int, ...]
    """The positions of its steps that are over: of runs in line, one that is cancelled is over before the others."""
    in_flight: tuple[int, ...]
    """The positions of those that are not."""
    exact: bool
    """The same steps in the same order have played here, no other and none twice."""


class Said(NamedTuple):
    """What a run that never began left as the status of its thread."""

    status: str
    at: Stamp
    others: tuple[Play, ...]
    """The runs that had not ended then. When one of them does, or something begins, this is true no more."""


class Change(NamedTuple):
    """Something that changed a thread's own object: a run that began, metadata that were merged, a state update."""

    at: Stamp
    what: Play | dict[str, Any] | None
    is_recorded: bool = False
    """The recording answered it: recorded reads may know of it."""


@dataclass(eq=False)
class SessionThread:
    """A thread as this session's clients know it."""

    thread_id: str
    origin: RecordedThread | None
    """The recorded thread whose creation, or whose id, this one has."""
    created: RecordedCall | None
    metadata: dict[str, Any]
    """What its client gave when it was created."""
    created_at: Stamp = (0, 0)
    born_of_run: bool = False
    """Created by its first run (`if_not_exists`)."""
    first_status: str = "idle"
    """What it had before anything played in it."""
    inherited: list[dict[str, Any]] | None = field(default_factory=list)
    """The states that it began with (a copy, or by `supersteps`), newest first; None if nothing shows them."""
    is_copy: bool = False
    changes: list[Change] = field(default_factory=list)
    said: Said | None = None
    """The last that a cancelled run left, if it never began."""
    deep: bool = False
    """Known from the recording only: until something plays in it, it is read as it was last recorded."""
    recorded: RecordedThread | None = None
    """The recorded thread it plays; its first run decides."""
    plays: list[Play | Update] = field(default_factory=list)
    past: list[Play | Update] = field(default_factory=list)
    """Of a deep thread: what the recording played in it, for reading until something plays here."""
    scopes: dict[str, int] = field(default_factory=dict)
    """By recorded thread: how many threads of this session played it before."""
    ids: dict[str, str] = field(default_factory=dict)
    """Recorded id -> the id it goes by here."""
    reads: Counter[tuple[object, ...]] = field(default_factory=Counter)
    refused: set[int] = field(default_factory=set)
    """The recorded refusals of runs that it has had, by their `order`."""

    @property
    def temporary(self) -> bool:
        """Made for a run that was started without a thread, and deleted with it: it has no states."""
        first = self.plays[0] if self.plays else None
        return isinstance(first, Play) and first.temporary

    def gone(self, now_ns: int) -> bool:
        """Whether the server has deleted it by itself."""
        first = self.plays[0] if self.plays else None
        return isinstance(first, Play) and first.temporary and first.finished(now_ns)

    @property
    def steps(self) -> list[Play | Update]:
        """What made its state, oldest first."""
        shown = self.plays or self.past
        return [play for play in shown if isinstance(play, Update) or not play.rolled_back]

    @property
    def runs(self) -> list[Play]:
        """The runs that it has, oldest first."""
        return [play for play in self.steps if isinstance(play, Play)]

    @property
    def newest_runs(self) -> list[Play]:
        """The runs that it has, newest first; to the server one that is to wait (`after_seconds`) is newer by that."""
        asked_ns = {
            change.what.run_id: change.at[0] for change in self.changes if isinstance(change.what, Play)
        }

        def created_ns(play: Play) -> int:
            wait_ns = play.pace.schedule([delay_ns(play.body)])[0] if self.plays else 0
            return asked_ns.get(play.run_id, 0) + wait_ns

        return sorted(self.runs, key=created_ns)[::-1]

    @property
    def latest(self) -> Play | None:
        runs = self.runs
        return runs[-1] if runs else None

    @property
    def next_step(self) -> int:
        """The step of the recorded thread that comes next."""
        steps = [_step(play) for play in self.plays if not (isinstance(play, Play) and play.rolled_back)]
        return steps[-1] + 1 if steps else 0

    @property
    def last_event_id(self) -> EventId:
        """The highest event id that its runs and updates have or will have."""
        played = [play.highest_id for play in self.plays if isinstance(play, Play)]
        told = [play.told.event_id for play in self.plays if isinstance(play, Update) and play.told]
        return max((*played, *told), default=(0, 0))

    def open_runs(self, now_ns: int) -> list[Play]:
        """The runs that are not over; one whose recording has ended without its end does not block others."""
        return [play for play in self.runs if not play.exhausted(now_ns)]

    def ended(self, now_ns: int) -> list[Play | Update]:
        """Everything that set the thread's own values and status, oldest first; also runs that were rolled back."""
        shown = self.plays or self.past
        return [
            play
            for play in shown
            if isinstance(play, Update) or (play.finished(now_ns) and not play.never_began(now_ns))
        ]

    def is_busy(self, now_ns: int) -> bool:
        """Whether a run of it has not ended."""
        return any(not play.finished(now_ns) for play in self.runs)

    def is_called_busy(self, now_ns: int) -> bool:
        """Whether its status is `busy`, which need not mean that something runs."""
        left = self._left(now_ns)
        return left == "busy" if left else self.is_busy(now_ns)

    def _left(self, now_ns: int) -> str:
        """The status that a run left which never began; empty if something has set another since."""
        said = self.said
        if said is None:
            return self._left_in_recording(now_ns)
        begun = any(change.at > said.at for change in self.changes if not isinstance(change.what, dict))
        if begun or any(play.finished(now_ns) and not play.never_began(now_ns) for play in said.others):
            return ""
        return said.status

    def _left_in_recording(self, now_ns: int) -> str:
        """The same where nobody has cancelled it here yet."""
        shown = self.plays or self.past
        latest = shown[-1] if shown else None
        if not isinstance(latest, Play) or not latest.never_began(now_ns) or self.is_busy(now_ns):
            return ""
        done = latest.run.done
        later = any(isinstance(play, Play) and play.run.done > done for play in shown)
        return "" if later else "idle"

    def status(self, now_ns: int) -> str:
        """`idle`, `busy`, `interrupted` or `error`; empty if it is `idle` or `interrupted` and nothing shows which."""
        if self.is_called_busy(now_ns):
            return "busy"
        if left := self._left(now_ns):
            return left
        ended = self.ended(now_ns)
        if ended and isinstance(ended[-1], Update):
            if ended[-1].told is None:
                return ""
            return "interrupted" if ended[-1].told.state.get("next") else "idle"
        last = next((play for play in reversed(ended) if isinstance(play, Play)), None)
        if last is None:
            return self.first_status
        # A run that is deleted when it is over leaves its end behind.
        if last.rolled_back and last.cancellation is not None:
            return "idle"
        if last.status(now_ns) == "error":
            return "error"
        if last.run.left_thread and (last.cancellation is None or last.run.cancelled):
            return last.run.left_thread
        return "interrupted" if stopped_short(last, now_ns) else "idle"

    def stage(self, now_ns: int) -> Stage:
        """Which recorded reads are true now."""
        if not self.plays:
            steps = len(self.origin.steps) if self.deep and self.origin is not None else 0
            return Stage(self.origin, tuple(range(steps)), in_flight=(), exact=True)
        last = self.plays[-1]
        recorded = last.recorded if isinstance(last, Update) else last.run.thread
        played = [(_recorded(play), _step(play)) for play in self.plays]
        exact = played == [(recorded, step) for step in range(len(played))]
        steps_over = sorted((_step(play), _is_over(play, now_ns)) for play in self.plays)
        done, in_flight = (
            tuple(step for step, is_over in steps_over if is_over is wanted) for wanted in (True, False)
        )
        if isinstance(last, Play) and last.cancelled_ns is not None and not _as_recorded(last):
            # Cancelled where the recorded run was, or it has not come as far as any recorded read saw it.
            exact = exact and last.run.cancelled and last.sources_shown(now_ns) == len(last.tape.events)
        return Stage(recorded, done, in_flight, exact=exact)

    def scope(self, recorded: RecordedThread | None) -> int:
        """The derivation scope of a recorded thread here; 0 keeps recorded ids."""
        return self.scopes.get(recorded.thread_id, 0) if recorded is not None else 0

    def ids_for(self, found: set[str], recorded: RecordedThread | None) -> IdMap:
        """The replacement for a body that holds the ids `found`; new ones are derived and remembered."""
        scope = self.scope(recorded)
        if scope:
            for identifier in found:
                self.ids.setdefault(identifier, derive(identifier, scope, 0))
        if recorded is not None:
            self.ids[recorded.thread_id] = self.thread_id
        return IdMap(self.ids)


def _is_over(play: Play | Update, now_ns: int) -> bool:
    return isinstance(play, Update) or _as_recorded(play) or play.exhausted(now_ns)


def _as_recorded(play: Play) -> bool:
    """Whether it was cancelled by request, as in the recording: from then on, whatever its last step still shows."""
    return play.cancel_asked_ns is not None and play.run.cancel is not None


def _step(play: Play | Update) -> int:
    return play.run.step if isinstance(play, Play) else play.step


def _recorded(play: Play | Update) -> RecordedThread | None:
    return play.run.thread if isinstance(play, Play) else play.recorded
