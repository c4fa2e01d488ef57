"""What the root level of a run says in `messages` when its subgraphs are not asked for.

Without subgraphs the server sends no message of an inner level; but when a node of the root ends, it sends every
message of the node's output that the root has not seen: neither streamed there nor in a node's input. In a recording
with subgraphs most of these are missing, because the inner levels had shown them. This module puts them back, from
the `debug` events of the recording.

Knows the payloads of `debug`, `tasks`, `updates` and messages events; no requests and no bytes. One rule: a message
is rebuilt only where the recording proves that the server would have sent it; what leaves a doubt is `UnknownShape`.

Facts used (docs/agent-server.md, section 4):
  * The server follows two sets of seen ids, one with subgraphs (the recording's) and one without. A message of an
    output whose id is in neither was never looked at (it is no message object in the graph): it is not sent.
  * A node whose subgraph hands over to the parent (`Command(graph=Command.PARENT)`) does not end in the server's
    sense and sends nothing: in its subgraph a task starts that never ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from graphtape.protocol.messages import Json, JsonObject, UnknownShape, is_message, iter_listed, iter_messages

_PUSH: Final = "__pregel_push"
_PULL: Final = "__pregel_pull"
_WRITES: Final = "$writes"
_ENTRYPOINT: Final = ["__start__"]
# Outputs of the functional API: of a task, and of the entrypoint.
_RETURN: Final = "__return__"
_END: Final = "__end__"
# Where the part of a message's metadata begins that belongs to its task.
_TASK_KEYS_FROM: Final = "langgraph_step"
_INTEGRATION: Final = "ls_integration"
# What `tasks` leaves out of a task's metadata.
_NOT_OF_TASKS: Final = frozenset(
    {"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", _INTEGRATION}
)
_MODEL_KEY: Final = "ls_model_type"


def namespace_of(metadata: JsonObject) -> tuple[str, ...]:
    """The namespace of the graph that a message's task runs in; calls of the functional API run in their caller's."""
    segments = str(metadata.get("langgraph_checkpoint_ns", "")).split("|")
    path = metadata.get("langgraph_path")
    drop = 1
    while isinstance(path, list) and len(path) == 4 and path[0] == _PUSH and path[-1] is True:
        drop += 1
        path = path[1]
    return tuple(segments[:-drop])


@dataclass(slots=True)
class _Task:
    """A task of the root level that has started."""

    id: str
    name: str
    step: Json
    triggers: Json
    metadata: JsonObject
    path: Json
    """`langgraph_path`; None for a call until it is needed."""
    namespace: str
    callers: tuple[_Task, ...] = ()
    """Of a call of the functional API: the tasks that were running, of which one called it."""
    calls: list[_Task] = field(default_factory=list)
    """Calls that this task may have made, in order."""
    children_open: set[str] = field(default_factory=set)
    child_failed: bool = False
    sent: set[str] = field(default_factory=set)
    """Ids of the messages of its output that the recording has."""
    sent_metadata: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A message that the recording lacks, and the id of the recorded one of the same output that follows it."""

    message: JsonObject
    metadata: JsonObject
    before: str | None


class RootOutputs:
    """Follows a recording with subgraphs and says what a run without them would have sent.

    Args:
        lenient: where the recording leaves a doubt, take the likelier case (an entrypoint returns its value as it
            is; anything else sends nothing) and note it in `doubts`, instead of raising.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self.doubts: list[str] = []
        """What a lenient reading took for granted."""
        self.restart()

    def restart(self) -> None:
        """Forget everything: a new attempt of the run begins."""
        self._tasks: dict[str, _Task] = {}
        self._running: dict[str, _Task] = {}
        self._ended: set[str] = set()
        self._pushes: dict[Json, int] = {}
        self._seen_by_root: set[str] = set()
        self._seen_by_all: set[str] = set()
        self._template: JsonObject | None = None

    # --- what the recording shows

    def task_started(self, namespace: tuple[str, ...], step: Json, payload: JsonObject) -> None:
        """A `debug` event of type `task`."""
        seen = {message["id"] for message in iter_messages(payload.get("input")) if message["id"] is not None}
        self._seen_by_all |= seen
        task_id = str(payload.get("id"))
        if namespace:
            self._callers_by_namespace(namespace)
            parent = self._parent(namespace)
            if parent is not None:
                parent.children_open.add(task_id)
            return
        self._seen_by_root |= seen
        name = str(payload.get("name"))
        triggers = payload.get("triggers")
        metadata = payload.get("metadata")
        task = _Task(
            id=task_id,
            name=name,
            step=step,
            triggers=triggers,
            metadata=metadata if isinstance(metadata, dict) else {},
            path=[_PULL, name],
            namespace=f"{name}:{task_id}",
        )
        if triggers == [_PUSH]:
            self._pushed(task)
        self._tasks[task_id] = task
        self._running[task_id] = task

    def task_cached(self, name: str) -> None:
        """`updates` says that a root task of this name had its output already, from before an interrupt."""
        for task_id, task in self._running.items():
            if task.name == name:
                del self._running[task_id]
                return

    def inner_task_ended(self, namespace: tuple[str, ...], payload: JsonObject) -> None:
        """A result below the root, from `tasks` or `debug`; twice is harmless."""
        task_id = str(payload.get("id"))
        self._ended.add(task_id)
        parent = self._parent(namespace)
        if parent is not None:
            parent.children_open.discard(task_id)
            parent.child_failed |= payload.get("error") is not None

    def message_sent(
        self, namespace: tuple[str, ...], message: JsonObject, metadata: JsonObject
    ) -> str | None:
        """A recorded message or chunk.

        Returns:
            The id of the root task of whose output it is part; None for what a model said, and for inner levels.
        """
        message_id = str(message.get("id"))
        self._seen_by_all.add(message_id)
        if self._template is None:
            self._template = _template(metadata)
        if namespace:
            return None
        self._seen_by_root.add(message_id)
        checkpoint_namespace = str(metadata.get("langgraph_checkpoint_ns"))
        task = self._tasks.get(checkpoint_namespace.rpartition(":")[2])
        if task is None:
            return None
        task.path = metadata.get("langgraph_path")
        task.namespace = checkpoint_namespace
        if _MODEL_KEY in metadata:
            return None
        task.sent.add(message_id)
        task.sent_metadata = metadata
        return task.id

    def root_task_of(self, event: Json) -> str | None:
        """The root task whose own run a callback event is about; None for any other run."""
        metadata = event.get("metadata") if isinstance(event, dict) else None
        if not isinstance(metadata, dict) or event.get("name") != metadata.get("langgraph_node"):
            return None
        task = self._tasks.get(str(metadata.get("langgraph_checkpoint_ns")).rpartition(":")[2])
        return task.id if task is not None else None

    def has_ended(self, metadata: JsonObject) -> bool:
        """Whether the inner task that this metadata is of has ended."""
        return str(metadata.get("langgraph_checkpoint_ns")).rpartition(":")[2] in self._ended

    # --- what a run without subgraphs would have sent

    def root_task_ended(self, payload: JsonObject, update: Json) -> list[Rebuilt]:
        """What to put before the end of a root task, in order.

        Args:
            payload: the end record, from `tasks` or `debug`.
            update: what `updates` said of this node just before; None if it said nothing.

        Raises:
            UnknownShape: there is something to put, and the recording does not prove how.
        """
        task = self._tasks.get(str(payload.get("id")))
        self._running.pop(str(payload.get("id")), None)
        if payload.get("error") is not None or payload.get("interrupts"):
            return []
        result = payload.get("result")
        if not isinstance(result, dict):
            return []
        # Seen by an inner level only: the root would have sent these.
        hidden = self._seen_by_all - self._seen_by_root
        if not any(message["id"] in hidden for message in _anywhere(result)):
            return []
        if task is None:
            raise UnknownShape(
                f"an end of {payload.get('name')!r}, which never started, with messages of a subgraph"
            )
        if task.children_open and not task.sent:
            if task.child_failed:
                raise UnknownShape(f"node {task.name!r} went on after a part of its subgraph had failed")
            return []
        rebuilt: list[Rebuilt] = []
        waiting: list[JsonObject] = []
        if _END in result and not task.sent:
            # If it was wrapped in `entrypoint.final`, the server did not look inside; JSON does not tell.
            self._doubt(f"the entrypoint {task.name!r} returned messages of a graph it called")
        for message in _ordered(task.name, result, update):
            message_id = message["id"]
            if message_id in task.sent:
                rebuilt += (Rebuilt(m, self._metadata(task), message_id) for m in waiting)
                waiting = []
            elif message_id in hidden and message_id not in self._seen_by_root:
                waiting.append(message)
                self._seen_by_root.add(message_id)
        rebuilt += (Rebuilt(m, self._metadata(task), None) for m in waiting)
        return rebuilt

    def _doubt(self, shape: str) -> None:
        if not self._lenient:
            raise UnknownShape(shape)
        self.doubts.append(shape)

    def _pushed(self, task: _Task) -> None:
        """A pushed task is the n-th `Send` of its step, or in a functional graph a call."""
        running = tuple(other for other in self._running.values() if other.step == task.step)
        if any(other.triggers == _ENTRYPOINT for other in running):
            task.path = None
            task.callers = running
            for caller in running:
                caller.calls.append(task)
            return
        index = self._pushes.get(task.step, 0)
        self._pushes[task.step] = index + 1
        task.path = [_PUSH, index, False]

    def _locate_call(self, task: _Task) -> None:
        """Find the path of a call: who called it, and as the how manieth.

        Raises:
            UnknownShape: it cannot be told.
        """
        if task.path is not None:
            return
        caller = self._caller(task)
        self._locate_call(caller)
        index = 0
        for call in caller.calls:
            if call is task:
                break
            index += self._caller(call) is caller
        task.path = [_PUSH, caller.path, index, True]
        task.namespace = f"{caller.namespace}|{task.namespace}"

    def _caller(self, call: _Task) -> _Task:
        if len(call.callers) > 1:
            self._doubt(f"calls of the functional API that ran at once, {call.name!r} among them")
        return call.callers[0]

    def _callers_by_namespace(self, namespace: tuple[str, ...]) -> None:
        """An event below a call names the call's caller."""
        chain = [self._tasks.get(segment.rpartition(":")[2]) for segment in namespace]
        for caller, call in pairwise(chain):
            if caller is None or call is None:
                return
            if len(call.callers) > 1:
                call.callers = (caller,)

    def _parent(self, namespace: tuple[str, ...]) -> _Task | None:
        # A second graph that a node calls has its number as a further segment: `call:<id>|1`. A task of the
        # functional API stands behind its caller.
        last = namespace[-2] if len(namespace) > 1 and namespace[-1].isdecimal() else namespace[-1]
        return self._tasks.get(last.rpartition(":")[2])

    def _metadata(self, task: _Task) -> JsonObject:
        if task.sent_metadata is not None:
            return task.sent_metadata
        if self._template is None:
            raise UnknownShape(
                f"node {task.name!r} returned a message before any event showed a message's metadata"
            )
        self._locate_call(task)
        own = {
            key: value for key, value in task.metadata.items() if key not in self._template and key != "tags"
        }
        # The template may be of an inner level that was called with metadata of its own.
        shared = {
            key: task.metadata.get(key, value)
            for key, value in self._template.items()
            if key in task.metadata or key in _NOT_OF_TASKS
        }
        shared[_INTEGRATION] = task.metadata.get(_INTEGRATION, "langgraph")
        return {
            **shared,
            "langgraph_step": task.step,
            "langgraph_node": task.name,
            "langgraph_triggers": task.triggers,
            "langgraph_path": task.path,
            "langgraph_checkpoint_ns": task.namespace,
            **own,
        }


def _template(metadata: JsonObject) -> JsonObject | None:
    """What all messages of a run share, in the server's order, with a place for `ls_integration`."""
    shared: JsonObject = {}
    for key, value in metadata.items():
        if key == _TASK_KEYS_FROM:
            return shared if _INTEGRATION in shared else None
        shared[key] = value
    return None


def _anywhere(result: JsonObject) -> Iterable[JsonObject]:
    """The messages of a result, functional outputs and several writes included, in no meaningful order."""
    for channel, value in result.items():
        if channel in (_RETURN, _END):
            yield from _returned(value)
            continue
        for write in _writes(value):
            yield from iter_listed(write)


def _ordered(name: str, result: JsonObject, update: Json) -> Iterable[JsonObject]:
    """The messages of a result in the order in which the server comes upon them."""
    for channel in (_RETURN, _END):
        if channel in result:
            yield from _returned(result[channel])
            return
    with_messages = [
        channel
        for channel, value in result.items()
        if any(True for w in _writes(value) for _ in iter_listed(w))
    ]
    several = any(_WRITES in value for value in result.values() if isinstance(value, dict))
    if not several or len(with_messages) == 1:
        for channel in with_messages:
            for write in _writes(result[channel]):
                yield from iter_listed(write)
        return
    # Several writes: `result` groups them by channel, `updates` has them in order, but only the output channels.
    updates = update if isinstance(update, list) else [update]
    shown = {channel for part in updates if isinstance(part, dict) for channel in part}
    if not shown.issuperset(with_messages):
        raise UnknownShape(f"node {name!r} wrote several times to channels that `updates` does not show")
    for part in updates:
        yield from iter_messages(part)


def _returned(value: Json) -> Iterable[JsonObject]:
    return iter_listed(value) if is_message(value) or isinstance(value, list) else iter_messages(value)


def _writes(value: Json) -> list[Json]:
    if isinstance(value, dict) and value.keys() == {_WRITES} and isinstance(value[_WRITES], list):
        return value[_WRITES]
    return [value]
