"""What one replay server remembers between requests: threads, the runs played in them, and which ids they go by.

Pure; told the time, never reads a clock; knows no HTTP. One rule: everything a client can be told again is here, small
and named, so that a replay stays a function of (cassettes, requests in order, options).
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from graphtape.cassettes.runs import RecordedCall, RecordedRun, RecordedStep, RecordedThread, Tapes
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.ids import EventId, IdMap, derive, harvest, harvest_events, is_uuid
from graphtape.protocol.modes import StreamOptions
from graphtape.replayer.match import Match, Matcher, MatchMode, Miss, RunQuery
from graphtape.replayer.plan import Pace
from graphtape.replayer.play import Play, Viewed, parsed, viewed

_GRAPH_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
"""The server's namespace of the assistant ids that it makes from graph names (seen on the wire)."""
_FIRST_THREAD_ID = "01900000-0000-7000-8000-000000000000"
"""What thread ids are derived from where the cassette shows none."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose for a replay."""

    pace: Pace = field(default_factory=Pace)
    match: MatchMode = "nearest"
    ids: Literal["recorded", "unique"] = "recorded"
    ignore: tuple[str, ...] = ()


@dataclass(eq=False)
class Update:
    """A state update that this session answered with a recorded one."""

    step: int
    recorded: RecordedThread


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
    scopes: dict[str, int] = field(default_factory=dict)
    """By recorded thread: how many threads of this session played it before."""
    ids: dict[str, str] = field(default_factory=dict)
    """Recorded id -> the id it goes by here."""
    reads: Counter[tuple[object, ...]] = field(default_factory=Counter)

    @property
    def runs(self) -> list[Play]:
        return [play for play in self.plays if isinstance(play, Play) and not play.rolled_back]

    @property
    def latest(self) -> Play | None:
        runs = self.runs
        return runs[-1] if runs else None

    @property
    def next_step(self) -> int:
        if not self.plays:
            return 0
        last = self.plays[-1]
        return (last.run.step if isinstance(last, Play) else last.step) + 1

    @property
    def last_event_id(self) -> EventId:
        return max((play.last_event_id for play in self.runs), default=(0, 0))

    def busy_until(self, now_ns: int) -> int:
        """When the last of its runs ends, or `now_ns`."""
        running = [play.end_ns for play in self.runs if not play.finished(now_ns) and play.tape.whole]
        return max([now_ns, *running])

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

    def stage(self, now_ns: int) -> tuple[RecordedThread | None, int, bool]:
        """(recorded thread, steps done, whether one is in flight): which recorded reads are true now."""
        if not self.plays:
            if self.deep and self.origin is not None:
                return self.origin, len(self.origin.steps), False
            return self.origin, 0, False
        last = self.plays[-1]
        if isinstance(last, Update):
            return last.recorded, last.step + 1, False
        if last.finished(now_ns):
            return last.run.thread, last.run.step + 1, last.cancelled_ns is not None
        return last.run.thread, last.run.step, True

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


def interrupts_of(play: Play, now_ns: int) -> list[dict[str, Any]] | None:
    """The interrupts that a run ended with; None if none was shown (reference, section 2).

    An `interrupt_before` shows an empty list.
    """
    found: list[dict[str, Any]] | None = None
    if isinstance(play.final, dict) and play.finished(now_ns):
        found = play.final.get("__interrupt__")
    for event in play.shown_events(now_ns):
        name = event.block.name or ""
        base, _, namespace = name.partition("|")
        if (
            namespace
            or base not in ("values", "updates")
            or b'"__interrupt__"' not in (event.block.data or b"")
        ):
            continue
        payload = parsed(play.ids.apply(event.block.data or b""))
        raised = payload.get("__interrupt__") if isinstance(payload, dict) else None
        if isinstance(raised, list):
            found = found or []
            known = {interrupt.get("id") for interrupt in found}
            found += [one for one in raised if isinstance(one, dict) and one.get("id") not in known]
    return found


@dataclass(frozen=True, slots=True)
class Started:
    """A run that this session has just started."""

    play: Play
    match: Match


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
        self.runs: dict[str, Play] = {}
        self.watchers: set[Callable[[], None]] = set()
        """Called when a run starts."""
        self._created: Counter[int] = Counter()
        self._derived_threads = 0
        self._used: Counter[int] = Counter()
        self._scopes: Counter[str] = Counter()
        self._plain: Counter[tuple[object, ...]] = Counter()
        self._views: dict[tuple[int, StreamOptions, str], Viewed | ViewRefused] = {}
        self._matcher = Matcher(
            mode=options.match,
            canonical_assistant=self.canonical_assistant,
            refusal=self._refusal,
            ignore=options.ignore,
        )

    # --- assistants ---

    def canonical_assistant(self, assistant: str) -> str:
        """One name for a graph and its default assistant.

        The server names the default assistant of a graph with a UUID made from the graph's name (docs/agent-server.md,
        section 10); where a cassette shows another pair, that counts too.
        """
        if is_uuid(assistant):
            return self._graph_assistants.get(assistant, assistant)
        return str(uuid.uuid5(_GRAPH_NAMESPACE, assistant))

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

    # --- threads ---

    def create_thread(
        self, call: RecordedCall | None, thread_id: str | None, metadata: dict[str, Any]
    ) -> SessionThread:
        """A new thread, with the id of the recorded creation, or one derived from it.

        Args:
            call: the recorded creation that answers, if there is one.
            thread_id: the id that the client brought.
        """
        origin_id = None
        if call is not None:
            answer = call.json()
            origin_id = answer.get("thread_id") if isinstance(answer, dict) else None
        origin = self.tapes.threads.get(thread_id or origin_id or "")
        if thread_id is None:
            thread_id = self._new_thread_id(origin_id or _FIRST_THREAD_ID)
        thread = SessionThread(thread_id, origin, call, metadata)
        self.threads[thread_id] = thread
        self.deleted.discard(thread_id)
        return thread

    def _new_thread_id(self, recorded_id: str) -> str:
        candidate = recorded_id
        while candidate in self.threads or candidate in self.deleted or candidate == _FIRST_THREAD_ID:
            self._derived_threads += 1
            candidate = derive(recorded_id, self._derived_threads)
        return candidate

    def next_creation(self, equal: list[RecordedCall]) -> RecordedCall | None:
        """The recorded creation that the next POST /threads plays: the n-th gets the n-th."""
        if not equal:
            return None
        call = min(equal, key=lambda one: (self._created[one.order], one.order))
        self._created[call.order] += 1
        return call

    def thread(self, thread_id: str) -> SessionThread | None:
        """The thread by its id, as this session knows it; one that only the recording knows becomes a deep link."""
        thread_id = thread_id.lower()
        if thread_id in self.threads:
            return self.threads[thread_id]
        recorded = self.tapes.threads.get(thread_id)
        if recorded is None or thread_id in self.deleted:
            return None
        # A thread older than the recording starts where the recording found it; a deep link shows where it ended.
        deep = recorded.created is not None or all(
            recorded.stage_at(read.started)[0] for read in recorded.reads
        )
        thread = SessionThread(thread_id, recorded, recorded.created, {}, deep=deep)
        self.threads[thread_id] = thread
        return thread

    def open_deep_link(self, thread: SessionThread, now_ns: int) -> None:
        """Let a thread that only the recording knows have happened: all its runs are over."""
        if not thread.deep or thread.plays or thread.origin is None:
            return
        for step in thread.origin.steps:
            run = step.run
            if run is None:
                thread.plays.append(Update(thread.origin.steps.index(step), thread.origin))
                continue
            seen = self._view(run, RunQuery(run.answer, True, run.body, run.options or StreamOptions()))
            if isinstance(seen, ViewRefused) or run.run_id is None or run.run_id in self.runs:
                continue
            options = run.options or StreamOptions()
            play = self._play(
                run,
                seen,
                options=options,
                ids=IdMap({}),
                run_id=run.run_id,
                thread=thread,
                answer=run.answer,
                started_ns=0,
            )
            play.started_before(now_ns)
            thread.recorded = thread.origin

    def delete_thread(self, thread_id: str) -> None:
        """Forget a thread and its runs; the id is not given out again."""
        self.threads.pop(thread_id, None)
        self.deleted.add(thread_id)
        for run_id in [run_id for run_id, play in self.runs.items() if play.thread_id == thread_id]:
            del self.runs[run_id]

    # --- runs ---

    def start_run(
        self,
        *,
        answer: str,
        thread: SessionThread | None,
        body: dict[str, Any],
        raw_body: bytes,
        options: StreamOptions,
        now_ns: int,
    ) -> Started | Match | Miss | ViewRefused:
        """Play the recorded run that answers a request.

        Returns:
            `Started`; a `Match` whose run is a recorded refusal, to be answered as it was; a `Miss`; or why the view
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
        )
        chosen = self._matcher.choose(query, self.tapes.runs, self._used)
        if not isinstance(chosen, Match):
            return chosen
        run = chosen.run
        self._used[run.order] += 1
        if run.refused:
            return chosen
        seen = self._view(run, query)
        if isinstance(seen, ViewRefused):
            return seen
        again = sum(1 for play in thread.runs if play.run is run) if thread is not None else 0
        ids = self._ids_of(run, seen, thread, again=again, body=mapped, asked=body)
        run_id = ids.pairs.get(run.run_id or "", run.run_id) or derive(
            _FIRST_THREAD_ID, run.order, len(self.runs)
        )
        while run_id in self.runs:
            again += 1
            run_id = derive(run_id, again, 0)
            ids = ids.merged({run.run_id or "": run_id})
        begins_ns = now_ns
        if thread is not None and not self.options.pace.is_max:
            # The server enqueues: the answer starts at once, the run when the one before is over.
            begins_ns = thread.busy_until(now_ns)
        play = self._play(
            run,
            seen,
            options=options,
            ids=ids,
            run_id=run_id,
            thread=thread,
            answer=answer,
            started_ns=begins_ns,
        )
        if thread is not None:
            thread.recorded = thread.recorded or run.thread
        for watcher in list(self.watchers):
            watcher()
        return Started(play, chosen)

    def _play(
        self,
        run: RecordedRun,
        seen: Viewed,
        *,
        options: StreamOptions,
        ids: IdMap,
        run_id: str,
        thread: SessionThread | None,
        answer: str,
        started_ns: int,
    ) -> Play:
        hidden_thread = ids.pairs.get(run.thread_id or "", run.thread_id)
        play = Play(
            run=run,
            seen=seen,
            options=options,
            ids=ids,
            run_id=run_id,
            thread_id=thread.thread_id if thread is not None else hidden_thread,
            started_ns=started_ns,
            pace=self.options.pace,
            above=thread.last_event_id if thread is not None else (0, 0),
            answer=answer,
        )
        self.runs[run_id] = play
        if thread is not None:
            thread.plays.append(play)
        return play

    def _refusal(self, run: RecordedRun, query: RunQuery) -> ViewRefused | None:
        if run.refused:
            return None
        seen = self._view(run, query)
        return seen if isinstance(seen, ViewRefused) else None

    def _view(self, run: RecordedRun, query: RunQuery) -> Viewed | ViewRefused:
        key = (run.order, query.options, query.answer)
        if key not in self._views:
            try:
                unique = self.options.ids == "unique"
                self._views[key] = viewed(run, query.options, query.answer, unique_ids=unique)
            except ViewRefused as refused:
                self._views[key] = refused
        return self._views[key]

    def _ids_of(
        self,
        run: RecordedRun,
        seen: Viewed,
        thread: SessionThread | None,
        *,
        again: int,
        body: Mapping[str, Any],
        asked: Mapping[str, Any],
    ) -> IdMap:
        """The ids a run goes by in this thread: recorded ones for the first to play it, derived ones for later ones."""
        events = [(event.block.name or "", event.block.data or b"") for event in seen.tape.events]
        if thread is None:
            scope = self._scopes[f"run {run.order}"]
            self._scopes[f"run {run.order}"] += 1
            pairs: dict[str, str] = {}
            if scope:
                pairs = {
                    identifier: derive(identifier, scope, 0) for identifier in self._all_ids(run, events)
                }
            return IdMap({**pairs, **_human_ids(run.body, asked, events)})
        recorded = run.thread
        if recorded is not None and recorded.thread_id not in thread.scopes:
            thread.scopes[recorded.thread_id] = self._scopes[recorded.thread_id]
            self._scopes[recorded.thread_id] += 1
        scope = thread.scope(recorded)
        if again:
            earlier = self._earlier_ids(recorded, run)
            for identifier in self._all_ids(run, events) - earlier:
                thread.ids[identifier] = derive(identifier, scope, again)
        if scope:
            for identifier in self._all_ids(run, events):
                thread.ids.setdefault(identifier, derive(identifier, scope, 0))
        if recorded is not None:
            thread.ids[recorded.thread_id] = thread.thread_id
        thread.ids.update(_human_ids(run.body, asked, events))
        return IdMap(thread.ids)

    def _all_ids(self, run: RecordedRun, events: list[tuple[str, bytes]]) -> set[str]:
        found = harvest_events(events)
        found.update(identifier for identifier in (run.run_id, run.thread_id) if identifier)
        return found

    def _earlier_ids(self, recorded: RecordedThread | None, run: RecordedRun) -> set[str]:
        found: set[str] = set()
        steps: list[RecordedStep] = recorded.steps[: run.step] if recorded is not None else []
        for step in steps:
            if step.run is not None and step.run.tape is not None:
                found |= harvest_events(
                    (e.block.name or "", e.block.data or b"") for e in step.run.tape.events
                )
        found |= harvest(run.body)
        return found

    # --- plain calls ---

    def nth(self, key: tuple[object, ...], equal: list[RecordedCall]) -> RecordedCall:
        """The n-th equal request gets the n-th recording, then they start again."""
        call = equal[self._plain[key] % len(equal)]
        self._plain[key] += 1
        return call


def _human_ids(
    recorded: Mapping[str, Any], asked: Mapping[str, Any], events: list[tuple[str, bytes]]
) -> dict[str, str]:
    """Ids that the client gave to its own messages, in the place of those in the recording.

    Clients show a message before the server answers, and reconcile it with the answer by its id.
    """
    pairs: dict[str, str] = {}
    recorded_input, asked_input = recorded.get("input"), asked.get("input")
    if not isinstance(recorded_input, dict) or not isinstance(asked_input, dict):
        return pairs
    for key, asked_messages in asked_input.items():
        messages = recorded_input.get(key)
        if not isinstance(messages, list) or not isinstance(asked_messages, list):
            continue
        brought = [_id_of(message) for message in asked_messages]
        if not any(brought):
            continue
        given = [_id_of(message) for message in messages]
        if not all(given):
            assigned = _assigned_ids(key, len(messages), events)
            given = [one or two for one, two in zip(given, assigned, strict=True)] if assigned else given
        pairs.update((old, new) for old, new in zip(given, brought, strict=False) if old and new)
    return pairs


def _id_of(message: Any) -> str | None:
    identifier = message.get("id") if isinstance(message, dict) else None
    return identifier if isinstance(identifier, str) else None


def _assigned_ids(key: str, count: int, events: list[tuple[str, bytes]]) -> list[str | None]:
    """The ids that the server gave to the run's input messages: they end the list in its first `values`."""
    for name, data in events:
        if name == "values":
            value = parsed(data)
            messages = value.get(key) if isinstance(value, dict) else None
            if isinstance(messages, list) and len(messages) >= count > 0:
                return [_id_of(message) for message in messages[-count:]]
            return []
    return []
