"""The view: which events of a recorded run a request is entitled to, and with what bytes.

Knows events, their bytes and two requests (the recorded one and the asked one); no cassette, no clock, no session.
One rule: an event that needs no change goes out with exactly the bytes it came with; what cannot be answered
truthfully is refused, never guessed (docs/views.md).

    recorded                      asked                        how
    any mode                      the same mode                by name; inner levels dropped unless asked
    messages-tuple                messages                     chunks added up (`messages.py`)
    messages-tuple, subgraphs     messages-tuple, no subgraphs by name, and what nodes return put back (`outputs.py`)
    messages-tuple, subgraphs     messages, no subgraphs       both
    messages, subgraphs           messages, no subgraphs       by the level in the metadata, and outputs put back
    events                        events                       the same with and without subgraphs
    events, messages-tuple        events                       without the tags that the messages mode leaves in them
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.messages import (
    Accumulation,
    JsonObject,
    UnknownShape,
    as_object,
    dumps,
    is_message,
    loads,
)
from graphtape.protocol.modes import STREAM_MODES, StreamOptions, split_event_name
from graphtape.protocol.outputs import Rebuilt, RootOutputs, namespace_of
from graphtape.protocol.sse import Block, encode

_TUPLE: Final = "messages-tuple"
_MESSAGES: Final = "messages"
_MESSAGE_MODES: Final = frozenset({_TUPLE, _MESSAGES})
_MESSAGE_EVENTS: Final = frozenset({"messages", "messages/metadata", "messages/partial", "messages/complete"})
# An `updates` event with one of these keys has no task end behind it.
_INTERRUPT: Final = "__interrupt__"
_CACHED: Final = "__metadata__"
_DEBUG_CHECKPOINT = re.compile(rb'\{"step":-?\d+,"timestamp":"[^"\\]*","type":"checkpoint"')
_ID_LINE = re.compile(rb"(?:(?<=\n)|(?<=\r)|\A)id(?::[^\r\n]*)?(?:\r\n|\n|\r)")

# The messages handler of the server writes a model's tags into metadata that `events` shows too, as the last key.
_MODEL_EVENT: Final = b'{"event":"on_chat_model_'
_TAGS: Final = "tags"
_RUN_END: Final = b'{"event":"on_chain_end"'

_ADDED_UP: Final = "messages added up from messages-tuple"
_PUT_BACK: Final = "messages of subgraphs put back from debug"
_UNTAGGED: Final = "metadata.tags taken out of events"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event or comment of a view, as it goes on the wire."""

    raw: bytes
    event: Block | None
    """The recorded block it comes from (of a rebuilt frame: the one that caused it); None for comments."""
    name: str
    """The event name that `raw` carries; empty for comments."""
    id: str | None
    """The id that `raw` carries; a rebuilt frame has that of the block that caused it."""
    derived: bool = False
    """Whether the bytes were rebuilt."""


def without_id(raw: bytes) -> bytes:
    """The same bytes less their id lines."""
    return _ID_LINE.sub(b"", raw)


def with_id(raw: bytes, event_id: str) -> bytes:
    """The same bytes with this id: in place of the id line, else as the event's last line.

    Args:
        raw: one whole block, blank line included.
    """
    line_end = b"\r\n" if raw.endswith(b"\r\n") else raw[-1:] if raw.endswith((b"\n", b"\r")) else b"\r\n"
    line = b"id: " + event_id.encode("utf-8", "replace") + line_end
    found = _ID_LINE.search(raw)
    if found is not None:
        return raw[: found.start()] + line + without_id(raw[found.end() :])
    if raw.endswith(line_end):
        return raw[: -len(line_end)] + line + line_end
    return raw + line_end + line


def frame_with_id(frame: Frame, event_id: str) -> Frame:
    """The same frame under another id."""
    return replace(frame, raw=with_id(frame.raw, event_id), id=event_id)


@dataclass(slots=True)
class _Item:
    """An event on its way out: a recorded one, or a message that `render` turns into frames."""

    block: Block
    raw: bytes | None
    name: str
    message: JsonObject | None = None
    metadata: JsonObject | None = None
    message_id: str | None = None
    update: JsonObject | None = None
    """Payload of a root `updates` event that waits for the ends of its tasks."""
    task: str | None = None
    """The root task whose run has ended (an `events` event) or whose output this is part of (a message)."""


class View:
    """Turns the events of a recording into those of another request, one at a time.

    Args:
        recorded: what the recording was asked for.
        asked: what this request asks for.
        flat: the caller has looked through the whole recording and no event has a namespace, so there was no
            subgraph and nothing to put back (see `is_flat`).
        lenient: take the likelier case of an unknown shape and note it in `doubts`, instead of raising from `feed`
            (a payload that cannot be read still raises). For a live stream, which cannot be refused any more.

    Raises:
        ViewRefused: the recording cannot answer the request.
    """

    def __init__(
        self, recorded: StreamOptions, asked: StreamOptions, *, flat: bool = False, lenient: bool = False
    ) -> None:
        self._recorded = recorded
        self._asked = asked
        self._lenient = lenient
        self._had = _effective(recorded.modes)
        self._wants = _effective(asked.modes)
        self._strip_ids = recorded.resumable and not asked.resumable
        self._check(flat)
        narrowed = recorded.subgraphs and not asked.subgraphs and not flat
        self._outputs = RootOutputs(lenient=lenient) if narrowed and self._wants & _MESSAGE_MODES else None
        self._accumulation = Accumulation() if _MESSAGES in self._wants and _TUPLE in self._had else None
        # Levels of `events` in which the asked run has no messages handler, while the recorded one had.
        handled = bool(self._had & _MESSAGE_MODES) and "events" in self._wants
        self._untag_all = handled and not self._wants & _MESSAGE_MODES
        self._untag_inner = handled and recorded.subgraphs and not asked.subgraphs
        self._ends = "tasks" if "tasks" in self._had else "debug"
        self._inner: dict[str, JsonObject] = {}  # messages of inner levels in a `messages` recording, by id
        self._held: list[_Item] = []
        self._open: set[str] = set()  # what the held items wait for: ids of root tasks, `updates` of nodes
        self._doubts: list[str] = []

    def _check(self, flat: bool) -> None:
        had, wants = self._had, self._wants
        missing = sorted(wants - _MESSAGE_MODES - had)
        if missing:
            raise self._refused(f"The recording has no events of the mode {' and '.join(missing)}.")
        if _TUPLE in wants and _TUPLE not in had:
            raise self._refused(
                "The recording has no messages-tuple, and tokens cannot be made from other events."
            )
        if _MESSAGES in wants and not had & _MESSAGE_MODES:
            raise self._refused("The recording has neither messages nor messages-tuple.")
        if self._asked.subgraphs and not self._recorded.subgraphs and wants != {"events"}:
            raise self._refused("The recording was made without stream_subgraphs.")
        narrowed = self._recorded.subgraphs and not self._asked.subgraphs and not flat
        if narrowed and wants & _MESSAGE_MODES and "debug" not in had:
            raise self._refused(
                "The recording has messages of all levels; to tell what the root level alone would have sent, "
                "it must have the mode debug too."
            )

    @property
    def is_derived(self) -> bool:
        """Whether frames may be rebuilt instead of recorded."""
        return bool(self.derived)

    @property
    def derived(self) -> str:
        """What may be rebuilt, for the response header `graphtape-derived`; empty for nothing."""
        parts = {
            _ADDED_UP: self._accumulation is not None,
            _PUT_BACK: self._outputs is not None,
            _UNTAGGED: self._untag_all or self._untag_inner,
        }
        return ", ".join(part for part, applies in parts.items() if applies)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a lenient view did not rebuild, or rebuilt without proof."""
        return (*self._doubts, *(self._outputs.doubts if self._outputs else ()))

    def feed(self, block: Block, raw: bytes) -> list[Frame]:
        """The frames that this block releases, in order; events around a node's end may be held until its end record.

        Args:
            block: the next block of the recorded stream; one that is no event (a comment) passes at once, and the
                head of an event in which the recording breaks off passes if it would need no change.
            raw: its bytes, blank line included.

        Raises:
            ViewRefused: a shape that cannot be rebuilt truthfully, unless lenient.
        """
        if not block.is_event:
            return self._no_event(block, raw)
        name = block.name or "message"
        base, namespace = split_event_name(name)
        try:
            if base in ("metadata", "error"):
                frames = self._release()
                if base == "metadata":
                    self._restart()
                return [*frames, *self._render(_Item(block, raw, name))]
            if self._outputs is not None:
                self._follow(self._outputs, base, namespace, _Item(block, raw, name))
                return [] if self._open else self._release()
            return self._render(self._parsed(base, _Item(block, raw, name)))
        except UnknownShape as error:
            raise self._refused(
                f"The recording has {error}, of which a truthful answer cannot be made."
            ) from error

    def finish(self) -> list[Frame]:
        """The frames still held when the recording ends."""
        try:
            return self._release()
        except UnknownShape as error:
            raise self._refused(
                f"The recording has {error}, of which a truthful answer cannot be made."
            ) from error

    def _no_event(self, block: Block, raw: bytes) -> list[Frame]:
        if block.terminated:
            return [Frame(raw, None, "", None)]
        # The recording breaks off inside an event. Its head is shown if the whole would have been, unchanged.
        if self._outputs is not None or self._accumulation is not None:
            return []
        if self._had != self._wants or self._recorded.subgraphs != self._asked.subgraphs:
            known = raw.count(b"\n") > 0 and block.name is not None
            if not known or not self._is_wanted(block.name or ""):
                return []
        return [Frame(without_id(raw) if self._strip_ids else raw, None, "", None)]

    def _restart(self) -> None:
        # A new attempt begins with `metadata`; the server starts over with everything it remembers.
        self._inner.clear()
        if self._outputs is not None:
            self._outputs.restart()
        if self._accumulation is not None:
            self._accumulation = Accumulation()

    # --- narrowing to the root level

    def _follow(self, outputs: RootOutputs, base: str, namespace: tuple[str, ...], item: _Item) -> None:
        data = item.block.data or b""
        if base == "debug" and not _DEBUG_CHECKPOINT.match(data):
            record = as_object(loads(data))
            payload = as_object(record.get("payload"))
            if record.get("type") == "task":
                outputs.task_started(namespace, record.get("step"), payload)
            elif record.get("type") == "task_result":
                self._task_ended(outputs, base, namespace, payload, item.block)
        elif base == "tasks":
            payload = as_object(loads(data))
            if "result" in payload:
                self._task_ended(outputs, base, namespace, payload, item.block)
        elif base == "updates" and not namespace:
            update = loads(data)
            if isinstance(update, dict) and _CACHED in update:
                for node in update:
                    outputs.task_cached(node)
            elif isinstance(update, dict) and _INTERRUPT not in update:
                item.update = update
                self._open.update(f"updates {node}" for node in update)
        elif data.startswith(_RUN_END) and base == "events":
            item.task = outputs.root_task_of(loads(data))
            if item.task is not None:
                self._open.add(f"task {item.task}")
        elif base in _MESSAGE_EVENTS:
            self._message(outputs, base, namespace, item)
            return
        if not namespace:
            self._held.append(item)

    def _message(self, outputs: RootOutputs, base: str, namespace: tuple[str, ...], item: _Item) -> None:
        if base == "messages":
            item = self._parsed(base, item, always=True)
            message, metadata = item.message, item.metadata
        elif base == "messages/metadata":
            payload = loads(item.block.data or b"")
            if not isinstance(payload, dict) or len(payload) != 1:
                raise UnknownShape("a messages/metadata event of several messages")
            ((message_id, value),) = payload.items()
            message, metadata = {"id": message_id}, as_object(as_object(value).get("metadata"))
            namespace = namespace_of(metadata)
            if namespace:
                self._inner[message_id] = metadata
        else:
            shown = loads(item.block.data or b"")
            if not (isinstance(shown, list) and len(shown) == 1 and is_message(shown[0])):
                raise UnknownShape(f"a {base} event that is no list of one message")
            inner = self._inner.get(shown[0]["id"])
            if inner is None:
                item.task = next((i.task for i in self._held if i.message_id == shown[0]["id"]), None)
                self._held.append(item)
            elif outputs.has_ended(inner):
                raise UnknownShape(f"messages of two levels with the id {shown[0]['id']}")
            return
        assert message is not None
        assert metadata is not None
        task = outputs.message_sent(namespace, message, metadata)
        if namespace:
            return
        item.message_id = str(message.get("id"))
        if task is not None:
            item.task = task
            self._open.add(f"task {task}")
        self._held.append(item)

    def _task_ended(
        self, outputs: RootOutputs, base: str, namespace: tuple[str, ...], payload: JsonObject, cause: Block
    ) -> None:
        if namespace:
            outputs.inner_task_ended(namespace, payload)
            return
        if base != self._ends:
            return
        node, task = str(payload.get("name")), str(payload.get("id"))
        # Its `updates` event stands before it, if that mode was recorded.
        place = next((n for n, i in enumerate(self._held) if i.update and node in i.update), len(self._held))
        update = None
        if place < len(self._held):
            shown = self._held[place].update
            assert shown is not None
            update = shown.pop(node)
        self._open -= {f"task {task}", f"updates {node}"}
        # What it returned stands behind what is recorded of its output, and behind the end of its run in `events`.
        place = max((n for n, i in enumerate(self._held, 1) if i.task == task), default=place)
        try:
            rebuilt = outputs.root_task_ended(payload, update)
        except UnknownShape as error:
            if not self._lenient:
                raise
            self._doubts.append(str(error))
            return
        self._insert(rebuilt, place, cause)

    def _insert(self, rebuilt: list[Rebuilt], place: int, cause: Block) -> None:
        for one in rebuilt:
            at = place
            if one.before is not None:
                at = next((n for n, i in enumerate(self._held) if i.message_id == one.before), place)
            self._held.insert(at, _Item(cause, None, "messages", one.message, one.metadata))
            place += 1

    def _release(self) -> list[Frame]:
        held, self._held = self._held, []
        self._open.clear()
        return [frame for item in held for frame in self._render(item)]

    # --- out

    def _parsed(self, base: str, item: _Item, *, always: bool = False) -> _Item:
        if base == "messages" and (always or self._accumulation is not None):
            pair = loads(item.block.data or b"")
            if not (
                isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, dict) for part in pair)
            ):
                raise UnknownShape("a messages event that is no pair of message and metadata")
            item.message, item.metadata = pair
        return item

    def _render(self, item: _Item) -> list[Frame]:
        if item.message is not None and item.metadata is not None:
            if self._accumulation is not None:
                return self._made(item, self._accumulation.feed(item.message, item.metadata))
            if item.raw is None and _MESSAGES in self._wants:
                return self._made(item, Accumulation().feed(item.message, item.metadata))
            if item.raw is None:
                return self._made(item, [("messages", dumps([item.message, item.metadata]))])
        assert item.raw is not None
        if not self._is_wanted(item.name):
            return []
        if item.name == "events" and (self._untag_all or self._untag_inner):
            data = self._untagged(item.block.data or b"")
            if data is not None:
                return self._made(item, [("events", data)])
        if self._strip_ids and item.block.id is not None:
            return [Frame(without_id(item.raw), item.block, item.name, None)]
        return [Frame(item.raw, item.block, item.name, item.block.id)]

    def _made(self, item: _Item, events: list[tuple[str, bytes]]) -> list[Frame]:
        event_id = None if self._strip_ids else item.block.id
        return [
            Frame(encode(name, data, event_id), item.block, name, event_id, derived=True)
            for name, data in events
        ]

    def _untagged(self, data: bytes) -> bytes | None:
        """An `events` payload without the tags that the messages mode left in it; None if it has none."""
        if not data.startswith(_MODEL_EVENT):
            return None
        payload = as_object(loads(data))
        metadata = payload.get("metadata")
        if not isinstance(metadata, dict) or not metadata or next(reversed(metadata)) != _TAGS:
            return None
        if not self._untag_all and not namespace_of(metadata):
            return None
        del metadata[_TAGS]
        return dumps(payload)

    def _is_wanted(self, name: str) -> bool:
        base, namespace = split_event_name(name)
        if namespace and not self._asked.subgraphs:
            return False
        if base == "messages":
            return _TUPLE in self._wants
        if base.startswith("messages/"):
            return _MESSAGES in self._wants
        # What is no mode is sent whatever was asked: metadata, error, feedback.
        return base not in STREAM_MODES or base in self._wants

    def _unknown(self, error: UnknownShape) -> ViewRefused:
        asked = " and ".join(sorted(self._wants & _MESSAGE_MODES))
        return ViewRefused(
            reason=f"The recording has {error}; what the server would send of it as {asked} is not known.",
            recorded_modes=tuple(sorted(self._recorded.modes)),
            how=f"Record a run of its own with stream_mode {asked} and stream_subgraphs "
            f"{str(self._asked.subgraphs).lower()}.",
        )

    def _refused(self, reason: str) -> ViewRefused:
        modes = ", ".join(sorted(self._had | self._wants | {"debug"}))
        return ViewRefused(
            reason=reason,
            recorded_modes=tuple(sorted(self._recorded.modes)),
            how=f"Record again with stream_mode [{modes}] and stream_subgraphs true, "
            "or with `graphtape record --widen`.",
        )


def narrowable(recorded: StreamOptions, asked: StreamOptions) -> bool:
    """Whether a run recorded with `recorded` can answer `asked`, as far as the requests tell (for `--widen`)."""
    try:
        View(recorded, asked)
    except ViewRefused:
        return False
    return True


def is_flat(recorded: StreamOptions, names: frozenset[str] | set[str]) -> bool:
    """Whether the event names of a whole recording prove that no subgraph ran.

    Messages alone prove nothing: a subgraph may say nothing. The other modes show every level that ran.
    """
    shows_levels = recorded.modes & {"values", "updates", "debug", "tasks", "checkpoints"}
    return recorded.subgraphs and bool(shows_levels) and not any("|" in name for name in names)


def _effective(modes: frozenset[str]) -> frozenset[str]:
    return modes - {_MESSAGES} if _TUPLE in modes else modes


__all__ = ["Frame", "View", "frame_with_id", "is_flat", "narrowable", "with_id", "without_id"]
