"""Which ids a run goes by in a session: recorded ones for the first to play it, derived ones for all later.

Pure. One rule: the same requests in the same order get the same ids; no randomness, and no id of one conversation in
another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from graphtape.cassettes.runs import RecordedRun, RecordedThread
from graphtape.cassettes.tape import TapeBlock
from graphtape.protocol.ids import IdMap, derive, harvest, harvest_events, may_hold_ids
from graphtape.protocol.operations import Operation
from graphtape.replayer.play import parsed
from graphtape.replayer.thread import SessionThread

FIRST_ID = "01900000-0000-7000-8000-000000000000"
"""What ids are derived from where the cassette shows none."""

_EVENTS_AT_ONCE = 128


class Naming:
    """The ids of all runs of a session."""

    def __init__(self) -> None:
        self._scopes: Counter[str] = Counter()
        self._found: dict[int, frozenset[str]] = {}

    def ids_of(
        self, run: RecordedRun, thread: SessionThread, *, body: Mapping[str, Any], again: int
    ) -> IdMap:
        """The ids of a run that is about to start; a thread remembers them.

        Args:
            body: what this client sent.
            again: how often this thread has played the run before.
        """
        # The first to play it needs none of them, but waits for the events to be read anyway; and nobody else does yet.
        found = self._all(run)
        recorded = run.thread
        self.enter(thread, recorded)
        scope = thread.scope(recorded)
        if again:
            # Ids that stood before this run (messages of the history, an interrupted task) stay what they are.
            for identifier in found - self._earlier(recorded, run):
                thread.ids[identifier] = derive(identifier, scope, again)
        if scope:
            for identifier in found:
                thread.ids.setdefault(identifier, derive(identifier, scope, 0))
        if recorded is not None:
            thread.ids[recorded.thread_id] = thread.thread_id
        thread.ids.update(_message_ids(run, body))
        return IdMap(thread.ids)

    def enter(self, thread: SessionThread, recorded: RecordedThread | None) -> None:
        """From now on a thread plays this recorded one, the first to do so by the recorded ids."""
        if recorded is not None and recorded.thread_id not in thread.scopes:
            thread.scopes[recorded.thread_id] = self._next_scope(recorded.thread_id)

    def _next_scope(self, name: str) -> int:
        scope = self._scopes[name]
        self._scopes[name] += 1
        return scope

    def _all(self, run: RecordedRun) -> frozenset[str]:
        """Every id that a run shows; looked for once, when it is first played."""
        if run.order not in self._found:
            found = {identifier for identifier in (run.run_id, run.thread_id) if identifier}
            if run.tape is not None:
                found |= _ids_in(run.tape.events)
            # A run that nobody streamed shows its ids in what was answered instead.
            told = [run.call] if run.answer != "stream" else []
            told += [join for join in run.joins if join.operation is Operation.JOIN_RUN]
            for call in told:
                found |= harvest(call.json() if call.answered else None)
            self._found[run.order] = frozenset(found)
        return self._found[run.order]

    def _earlier(self, recorded: RecordedThread | None, run: RecordedRun) -> set[str]:
        found = harvest(run.body)
        for step in recorded.steps[: run.step] if recorded is not None else ():
            if step.run is not None:
                found |= self._all(step.run)
        return found


def _ids_in(events: Sequence[TapeBlock]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(events), _EVENTS_AT_ONCE):
        some = events[start : start + _EVENTS_AT_ONCE]
        if may_hold_ids(b"".join([event.raw for event in some])):
            holding = (event.block for event in some if may_hold_ids(event.raw))
            found |= harvest_events((block.name or "", block.data or b"") for block in holding)
    return found


def _message_ids(run: RecordedRun, asked: Mapping[str, Any]) -> dict[str, str]:
    """Ids that the client gave to its own messages, in the place of those in the recording.

    Clients show a message before the server answers, and reconcile it with the answer by its id.
    """
    pairs: dict[str, str] = {}
    recorded_input, asked_input = run.body.get("input"), asked.get("input")
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
            assigned = _assigned_ids(run, key, len(messages))
            given = [one or two for one, two in zip(given, assigned, strict=True)] if assigned else given
        pairs.update((old, new) for old, new in zip(given, brought, strict=False) if old and new)
    return pairs


def _id_of(message: Any) -> str | None:
    identifier = message.get("id") if isinstance(message, dict) else None
    return identifier if isinstance(identifier, str) else None


def _assigned_ids(run: RecordedRun, key: str, count: int) -> list[str | None]:
    """The ids that the server gave to the run's input messages: they end the list in its first `values`."""
    for event in run.tape.events if run.tape is not None else ():
        if event.block.name == "values":
            value = parsed(event.block.data or b"")
            messages = value.get(key) if isinstance(value, dict) else None
            if isinstance(messages, list) and len(messages) >= count > 0:
                return [_id_of(message) for message in messages[-count:]]
            return []
    return []
