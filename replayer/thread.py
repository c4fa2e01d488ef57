"""A thread as the clients of one session know it: what played in it, and how far it is.

Pure; told the time. One rule: what it says of itself is read from its plays, never kept beside them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphtape.cassettes.runs import RecordedCall, RecordedThread
from graphtape.protocol.ids import EventId, IdMap, derive
from graphtape.replayer.play import Play, parsed


@dataclass(eq=False)
class Update:
    """A state update that this session answered with a recorded one."""

    step: int
    recorded: RecordedThread


class Stage(NamedTuple):
    """How far a thread is, in the steps of a recorded one."""

    recorded: RecordedThread | None
    done: int
    """How many of its steps are over."""
    in_flight: bool
    exact: bool
    """The same steps in the same order have played here, no other and none twice."""


@dataclass(eq=False)
class SessionThread:
    """A thread as this session's clients know it."""

    thread_id: str
    origin: RecordedThread | None
    """The recorded thread whose creation, or whose id, this one has."""
    created: RecordedCall | None
    metadata: dict[str, Any]
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

    @property
    def runs(self) -> list[Play]:
        """The runs that it has, oldest first."""
        shown = self.plays or self.past
        return [play for play in shown if isinstance(play, Play) and not play.rolled_back]

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
        """The highest event id that its runs have or will have."""
        played = [play for play in self.plays if isinstance(play, Play)]
        return max((play.highest_id for play in played), default=(0, 0))

    def open_runs(self, now_ns: int) -> list[Play]:
        """The runs that are not over; one whose recording has ended without its end does not block others."""
        return [play for play in self.runs if not play.exhausted(now_ns)]

    def status(self, now_ns: int) -> str:
        """`idle`, `busy`, `interrupted` or `error`, as far as the streams show."""
        latest = self.latest
        if latest is None:
            return "idle"
        status = latest.status(now_ns)
        if status in ("pending", "running"):
            return "busy"
        if status == "success":
            return "interrupted" if interrupts_of(latest, now_ns) is not None else "idle"
        return status

    def stage(self, now_ns: int) -> Stage:
        """Which recorded reads are true now."""
        if not self.plays:
            done = len(self.origin.steps) if self.deep and self.origin is not None else 0
            return Stage(self.origin, done, in_flight=False, exact=True)
        last = self.plays[-1]
        recorded = last.recorded if isinstance(last, Update) else last.run.thread
        played = [(_recorded(play), _step(play)) for play in self.plays]
        exact = played == [(recorded, step) for step in range(len(played))]
        if isinstance(last, Play) and last.cancel_asked_ns is not None and last.run.cancel is not None:
            # As in the recording: cancelled from the request on, whatever its last step still shows.
            return Stage(recorded, _step(last) + 1, in_flight=False, exact=exact)
        if isinstance(last, Play) and not last.finished(now_ns):
            return Stage(recorded, last.run.step, in_flight=True, exact=exact)
        if isinstance(last, Play) and last.cancelled_ns is not None:
            # Cancelled where the recorded run was, or it has not come as far as any recorded read saw it.
            exact = exact and last.run.cancelled and last.sources_shown(now_ns) == len(last.tape.events)
        return Stage(recorded, _step(last) + 1, in_flight=False, exact=exact)

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


def _step(play: Play | Update) -> int:
    return play.run.step if isinstance(play, Play) else play.step


def _recorded(play: Play | Update) -> RecordedThread | None:
    return play.run.thread if isinstance(play, Play) else play.recorded


def interrupts_of(play: Play, now_ns: int) -> list[dict[str, Any]] | None:
    """The interrupts that a run ended with; None if none was shown (docs/agent-server.md, section 2).

    An `interrupt_before` shows an empty list.
    """
    found: list[dict[str, Any]] | None = None
    if isinstance(play.final, dict) and play.finished(now_ns):
        found = play.final.get("__interrupt__")
    for event in play.shown_events(now_ns):
        data = event.block.data or b""
        if event.block.name not in ("values", "updates") or b'"__interrupt__"' not in data:
            continue
        payload = parsed(play.ids.apply(data))
        raised = payload.get("__interrupt__") if isinstance(payload, dict) else None
        if isinstance(raised, list):
            found = found or []
            known = {interrupt.get("id") for interrupt in found}
            found += [one for one in raised if isinstance(one, dict) and one.get("id") not in known]
    return found
