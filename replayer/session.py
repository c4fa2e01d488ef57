"""What one replay server remembers between requests: threads, and the runs played in them.

Pure; told the time, never reads a clock; knows no HTTP. One rule: everything a client can be told again is here, small
and named, so that a replay stays a function of (cassettes, requests in order, options).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any, Literal

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.placing import created_thread_id
from graphtape.cassettes.runs import RecordedRun, RecordedThread, Tapes
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import IdMap, canonical_uuid, derive
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.operations import Kind
from graphtape.replayer.cancelling import Cancellation
from graphtape.replayer.changes import Changes, nth_or_last
from graphtape.replayer.faults import NO_FAULTS, Breaker, Faults
from graphtape.replayer.framed import Blocks
from graphtape.replayer.match import Match, Matcher, MatchMode, Miss, RunQuery
from graphtape.replayer.naming import FIRST_ID, Naming
from graphtape.replayer.plan import Pace
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.redone import redone
from graphtape.replayer.remembering import Counts, Recent, Settling, Views
from graphtape.replayer.temporary import TemporaryThreads
from graphtape.replayer.thread import Change, Said, SessionThread, Stamp, Update
from graphtape.replayer.twin.assistants import assistant_of
from graphtape.replayer.viewed import Viewed

_GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The server's namespace of the assistant ids that it makes from graph names (seen on the wire)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose for a replay."""

    pace: Pace = field(default_factory=Pace)
    match: MatchMode = "nearest"
    ids: Literal["recorded", "unique"] = "recorded"
    ignore: tuple[str, ...] = ()
    broken_last: bool = True
    docs_semantics: bool = False
    faults: Faults = NO_FAULTS


@dataclass(frozen=True, slots=True)
class Chosen:
    """The recorded run that will play, not yet started."""

    match: Match
    seen: Viewed


class Session:
    """All that a replay server remembers.

    Args:
        tapes: what the cassettes show.
        options: what the user chose.
    """

    def __init__(self, tapes: Tapes, options: Options) -> None:
        self.tapes = tapes
        self.options = options
        self.threads: dict[str, SessionThread] = {}
        self.deleted: set[str] = set()
        """Ids that are not given out again."""
        self.runs: dict[str, Play] = {}
        self.watchers: set[Callable[[], None]] = set()
        """Called when a run starts, or a thread's state is updated."""
        self.blocks = Blocks()
        """The events of its views, framed for the wire."""
        self._requests = count(1)
        self._created: Counter[int] = Counter()
        self._derived_threads = 0
        self._used: Counter[int] = Counter()
        self._plain = Counts()
        self._asked = Counts()
        self._changes = Changes(tapes.calls)
        self._streamed = Counts()
        self._naming = Naming()
        self._views = Views(unique_ids=options.ids == "unique")
        self._recent_threads = Recent()
        self._temporary = TemporaryThreads()
        self._settling = Settling()
        self._begun = 0
        self._matcher = Matcher(
            mode=options.match,
            canonical_assistant=self.canonical_assistant,
            refusal=self._refusal,
            ignore=options.ignore,
            broken=self._is_broken,
        )

    # --- assistants ---

    def canonical_assistant(self, assistant: str) -> str:
        """One name for a graph and its default assistant.

        The server names the default assistant of a graph with a UUID made from the graph's name (docs/agent-server.md,
        section 10); where a cassette shows another pair, that counts too.
        """
        identifier = canonical_uuid(assistant)
        if identifier is not None:
            return self._graph_assistants.get(identifier, identifier)
        return str(uuid.uuid5(_GRAPH_NAMESPACE, assistant))

    def _assistant_of(self, play: Play) -> dict[str, str]:
        return assistant_of(play, self.canonical_assistant)

    @cached_property
    def first_answered(self) -> RecordedCall | None:
        """Whose `date` and `server` an answer has that is made from no recorded one."""
        return next((call for call in self.tapes.calls if call.answered), None)

    @cached_property
    def _graph_assistants(self) -> dict[str, str]:
        """Assistant id -> canonical name, for the default assistants that the cassettes list."""
        pairs: dict[str, str] = {}
        for call in self.tapes.calls:
            if call.answered and call.path.startswith("/assistants"):
                answer = call.json()
                for one in answer if isinstance(answer, list) else [answer]:
                    if isinstance(one, dict) and (one.get("metadata") or {}).get("created_by") == "system":
                        name = uuid.uuid5(_GRAPH_NAMESPACE, str(one.get("graph_id")))
                        pairs[str(one.get("assistant_id"))] = str(name)
        return pairs

    @cached_property
    def _redone(self) -> frozenset[RecordedThread]:
        """The recorded threads that broke off with their recorder and were recorded again."""

        def same(one: RecordedRun, other: RecordedRun) -> bool:
            return not self._matcher.differences(one.body, other.body, limit=1)

        return redone(self.tapes.threads.values(), same) if self.options.broken_last else frozenset()

    def _is_broken(self, run: RecordedRun) -> bool:
        """Whether a run is to play only where no other can."""
        return self.options.broken_last and (run.broken or run.thread in self._redone)

    # --- threads ---

    def stamp(self, now_ns: int) -> Stamp:
        """This moment, after all before."""
        return now_ns, next(self._requests)

    def create_thread(
        self, call: RecordedCall | None, thread_id: str | None, metadata: dict[str, Any], *, now_ns: int
    ) -> SessionThread:
        """A new thread, with the id of the recorded creation, or one derived from it.

        Args:
            call: the recorded creation that answers, if there is one.
            thread_id: the id that the client brought.
            metadata: what the client gave.
        """
        origin_id = created_thread_id(call) if call is not None else None
        origin = self.tapes.threads.get(thread_id or origin_id or "")
        if thread_id is None:
            thread_id = self._new_thread_id(origin_id or FIRST_ID)
        thread = SessionThread(thread_id, origin, call, metadata, self.stamp(now_ns))
        self._forget_past(self.threads.get(thread_id))
        self._temporary.forget(thread_id)
        self.threads[thread_id] = thread
        self.deleted.discard(thread_id)
        self._used_thread(thread_id)
        return thread

    def begins_with_states(self, thread: SessionThread) -> None:
        """A new thread has states that the recording made: its reads are those of the recorded one."""
        if thread.created is not None:
            thread.origin = self.tapes.threads.get(created_thread_id(thread.created) or "", thread.origin)
        self._naming.enter(thread, thread.origin)

    def _used_thread(self, thread_id: str) -> None:
        for forgotten in self._recent_threads.use(thread_id):
            self._forget(forgotten)

    def _new_thread_id(self, recorded_id: str) -> str:
        candidate = recorded_id
        while self._is_taken(candidate) or candidate == FIRST_ID:
            self._derived_threads += 1
            candidate = derive(recorded_id, self._derived_threads)
        return candidate

    def _is_taken(self, thread_id: str) -> bool:
        return thread_id in self.deleted or self.started_thread(thread_id) is not None

    def started_thread(self, thread_id: str) -> SessionThread | None:
        """The thread by its id, if this session created it or played something in it."""
        thread = self.known(thread_id)
        return thread if thread is not None and (thread.plays or not thread.deep) else None

    def known(self, thread_id: str) -> SessionThread | None:
        """The thread by its id, if this session has come upon it, whether the server would still have it or not."""
        thread = self.threads.get(thread_id) or self._temporary.made_again(thread_id)
        if thread is not None:
            self.threads[thread_id] = thread
        return thread

    def visible_threads(self, now_ns: int) -> list[SessionThread]:
        """The threads of this session that the server would still have."""
        for thread_id in self._temporary.going_on(now_ns):
            self.known(thread_id)
        return [thread for thread in self.threads.values() if not thread.gone(now_ns)]

    def next_creation(self, equal: list[RecordedCall]) -> RecordedCall | None:
        """The recorded creation that the next POST /threads plays: the n-th gets the n-th."""
        if not equal:
            return None
        last = {thread.created for thread in self._redone}
        call = min(equal, key=lambda one: (one in last, self._created[one.order], one.order))
        self._created[call.order] += 1
        return call

    def thread(self, thread_id: str, now_ns: int) -> SessionThread | None:
        """The thread by its id, as this session knows it; one that only the recording knows becomes a deep link."""
        known = self.known(thread_id)
        if known is not None:
            if known.gone(now_ns):
                return None
            if not known.temporary:
                self._used_thread(thread_id)
            return known
        recorded = self.tapes.threads.get(thread_id)
        if recorded is None or recorded.temporary or thread_id in self.deleted:
            return None
        # A thread older than the recording starts where the recording found it; a deep link shows where it ended.
        deep = (
            recorded.created is not None
            or recorded.is_hidden
            or all(recorded.stage_at(read.started)[0] for read in recorded.reads)
        )
        created = recorded.created.json() if recorded.created is not None else None
        metadata = created.get("metadata") if isinstance(created, dict) else None
        thread = SessionThread(thread_id, recorded, recorded.created, metadata or {}, deep=deep)
        thread.born_of_run = recorded.created is None and recorded.born_of_run
        self.threads[thread_id] = thread
        return thread

    def open_deep_link(self, thread: SessionThread, now_ns: int) -> None:
        """Give a thread that only the recording knows its recorded runs, all over, to be read and joined."""
        if not thread.deep or thread.plays or thread.past or thread.origin is None:
            return
        for position, step in enumerate(thread.origin.steps):
            run = step.run
            if run is None:
                thread.past.append(Update(position, thread.origin))
                continue
            options = run.asked_options or StreamOptions()
            seen = self._view(run, RunQuery(run.answer, True, run.body, options))
            if isinstance(seen, ViewRefused) or run.run_id is None or run.run_id in self.runs:
                continue
            play = Play(
                run=run,
                seen=seen,
                options=options,
                ids=IdMap({}),
                run_id=run.run_id,
                thread_id=thread.thread_id,
                started_ns=now_ns,
                pace=self.options.pace,
                answer=run.answer,
                body=run.asked_body,
                assistant=self._assistant_of,
                unique_ids=self.options.ids == "unique",
                recorded_done_id=self.tapes.done_ids.get(run.run_id),
            )
            play.reschedule(2 * now_ns - play.over_ns)
            play.complete()
            self.runs[run.run_id] = play
            thread.past.append(play)
            thread.changes.append(Change(self.stamp(now_ns), play))

    def _forget_past(self, thread: SessionThread | None) -> None:
        if thread is None or not thread.past:
            return
        for play in thread.past:
            if isinstance(play, Play):
                self.runs.pop(play.run_id, None)
        thread.past.clear()
        thread.changes.clear()

    def delete_thread(self, thread_id: str) -> None:
        """Forget a thread and its runs; the id is not given out again."""
        self._forget(thread_id)
        for run_id in [run_id for run_id, play in self.runs.items() if play.thread_id == thread_id]:
            del self.runs[run_id]

    def _forget(self, thread_id: str) -> None:
        thread = self.threads.pop(thread_id, None)
        only = self._temporary.forget(thread_id)
        self._recent_threads.forget(thread_id)
        if thread_id in self.tapes.threads:  # no other is found, or given out, a second time
            self.deleted.add(thread_id)
        for play in [*thread.plays, *thread.past] if thread is not None else [only]:
            if isinstance(play, Play):
                self.runs.pop(play.run_id, None)

    def updated(self, thread: SessionThread, update: Update, *, now_ns: int) -> None:
        """A recorded state update has been played in a thread."""
        self._forget_past(thread)
        thread.changes.append(Change(self.stamp(now_ns), None))
        thread.recorded = thread.recorded or update.recorded
        thread.plays.append(update)
        self._tell()

    # --- runs ---

    def choose(
        self,
        *,
        answer: str,
        thread: SessionThread | None,
        body: dict[str, Any],
        raw_body: bytes,
        options: StreamOptions,
    ) -> Chosen | Match | Miss | ViewRefused:
        """The recorded run that answers a request. Nothing has happened yet, but that it counts as used.

        Returns:
            `Chosen`; a `Match` whose run is a recorded refusal, to be answered as it was; a `Miss`; or why the view
            is refused.
        """
        mapped = body
        if thread is not None and thread.ids:
            back = parsed(IdMap(thread.ids).inverse().apply(raw_body))
            mapped = back if isinstance(back, dict) else body
        query = RunQuery(
            answer=answer,
            stateful=thread is not None,
            body=mapped,
            options=options,
            thread=thread.recorded if thread is not None else None,
            next_step=thread.next_step if thread is not None else 0,
            origin=thread.origin if thread is not None else None,
            refused=thread.refused if thread is not None else (),
        )
        chosen = self._matcher.choose(query, self.tapes.runs, self._used)
        if not isinstance(chosen, Match):
            return chosen
        self._used[chosen.run.order] += 1
        if chosen.run.refused:
            if thread is not None:
                thread.refused.add(chosen.run.order)
            return chosen
        seen = self._view(chosen.run, query)
        return seen if isinstance(seen, ViewRefused) else Chosen(chosen, seen)

    def start(
        self,
        chosen: Chosen,
        *,
        answer: str,
        thread: SessionThread | None,
        body: dict[str, Any],
        options: StreamOptions,
        now_ns: int,
    ) -> Play:
        """Play what was chosen; behind the thread's open runs, if there are any.

        Args:
            thread: None for a run that is started without one, for which a thread is made.
        """
        run = chosen.match.run
        self._begun += 1
        temporary = thread is None and body.get("on_completion") != "keep"
        if thread is None:
            thread = self._made_thread(run, now_ns=now_ns)
            if not temporary:
                self.threads[thread.thread_id] = thread
                self._used_thread(thread.thread_id)
        else:
            self._forget_past(thread)
        again = sum(1 for play in thread.plays if isinstance(play, Play) and play.run is run)
        ids = self._naming.ids_of(run, thread, body=body, again=again)
        run_id = ids.pairs.get(run.run_id or "", run.run_id) or derive(FIRST_ID, run.order, self._begun)
        while run_id in self.runs:
            again += 1
            run_id = derive(run_id, again, 0)
            ids = ids.merged({run.run_id or "": run_id})
        found_busy = thread.is_called_busy(now_ns)
        open_runs = thread.open_runs(now_ns)
        after = open_runs[-1] if open_runs else None
        play = Play(
            run=run,
            seen=chosen.seen,
            options=options,
            ids=ids,
            run_id=run_id,
            thread_id=thread.thread_id,
            started_ns=now_ns if after is None else max(now_ns, after.end_ns),
            pace=self.options.pace,
            above=thread.last_event_id,
            answer=answer,
            body=body,
            assistant=self._assistant_of,
            found_busy=found_busy,
            after=after,
            unique_ids=self.options.ids == "unique",
            recorded_done_id=self.tapes.done_ids.get(run.run_id or ""),
            temporary=temporary,
        )
        self.runs[run_id] = play
        self._settling.add(play, now_ns)
        self._changes.played(run.call)
        thread.plays.append(play)
        thread.changes.append(Change(self.stamp(now_ns), play))
        thread.recorded = thread.recorded or run.thread
        if temporary:
            forgotten = self._temporary.keep(thread, play)
            if forgotten is not None:
                self._forget(forgotten)
        self._tell()
        return play

    def cancel(self, play: Play, now_ns: int, cancellation: Cancellation) -> None:
        """A client ends a run."""
        if cancellation.rollback and play.readers and play.status(now_ns) == "pending":
            # The server does not take a run away from those who wait for it to begin.
            cancellation = replace(cancellation, rollback=False)
        play.cancel(now_ns, cancellation)
        self.cancelled(play, now_ns)

    def cancelled(self, play: Play, now_ns: int) -> None:
        """A run was cancelled: of one that has not begun the server takes note at once, whatever its thread does."""
        thread = self.threads.get(play.thread_id or "")
        if thread is None or not play.never_began(now_ns):
            return
        # One that is gone goes without a word to its thread, which others have called busy.
        others = tuple(
            other for other in thread.runs if not other.finished(now_ns) or other.cancelled_ns == now_ns
        )
        thread.said = Said("busy" if play.rolled_back else "idle", self.stamp(now_ns), others)

    def _made_thread(self, run: RecordedRun, *, now_ns: int) -> SessionThread:
        """The thread that the server makes for a run that is started without one: as recorded, or derived from it."""
        recorded_id = run.shown_thread_id or run.thread_id or FIRST_ID
        thread_id = self._new_thread_id(recorded_id)
        self._forget_past(self.threads.get(thread_id))
        thread = SessionThread(thread_id, run.thread, None, {}, self.stamp(now_ns), born_of_run=True)
        # Its events name it, also where the cassette shows nothing else of it.
        thread.ids[recorded_id] = thread_id
        self.deleted.add(recorded_id)
        return thread

    def complete_unwatched(self, thread: SessionThread) -> None:
        """At `max` a run that nobody streams is over as soon as somebody asks."""
        for play in thread.runs:
            if play.unwatched and (play.after is None or play.after.exhausted(0)):
                play.complete()

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()

    def _refusal(self, run: RecordedRun, query: RunQuery) -> ViewRefused | None:
        if run.refused:
            return None
        seen = self._view(run, query)
        return seen if isinstance(seen, ViewRefused) else None

    def _view(self, run: RecordedRun, query: RunQuery) -> Viewed | ViewRefused:
        return self._views.of(run, query.options, query.answer, keeps_thread=query.keeps_thread)

    # --- plain calls ---

    def nth(self, key: tuple[object, ...], equal: list[RecordedCall]) -> RecordedCall:
        """The n-th equal request gets the n-th recording, then they start again; or what is true between changes."""
        call = self._changes.read(key, equal)
        if call is None:
            position = self._plain.before(key)
            # A run that is over stays so.
            reads = equal[0].route is not None and equal[0].route.kind in (Kind.READS_RUN, Kind.READS_THREAD)
            call = nth_or_last(equal, position) if reads else equal[position % len(equal)]
        self._changes.played(call)
        return call

    def times_asked(self, key: tuple[object, ...]) -> int:
        """How often this was asked before."""
        return self._asked.before(key)

    # --- faults ---

    def next_breaker(self, kind: str, name: str) -> Breaker | None:
        """What becomes of the next response of a stream; asked once for each.

        Args:
            kind: what it is a stream of.
            name: which one.
        """
        if not self.options.faults:
            return None
        fault = self.options.faults.of(self._streamed.before((kind, name)))
        return None if fault is None else Breaker(fault)
