"""Ids on the wire: which they are, how new ones are derived, how old ones are replaced in bytes.

Pure; knows no session and no file. One rule: ids are replaced in the bytes as they stand, never by parsing a body and
writing it again. Which fields hold ids: docs/agent-server.md, section 11.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from graphtape.protocol.jsonvalue import loads

_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What is replaced wherever it stands; `places_of_ids` finds the same.
_UUID_OR_HEX = re.compile(_UUID + rb"|(?<![0-9a-f-])[0-9a-f]{32}(?![0-9a-f-])")
_UUID_TEXT = re.compile(_UUID.decode())
_HEX_TEXT = re.compile(r"[0-9a-f]{32}")
# Ids that model providers give to messages: worth renewing when a recorded answer is played a second time into one
# thread, because clients merge messages by id. Anything else that is no UUID was chosen by the app and stays.
_PROVIDER_PREFIXES = ("chatcmpl-", "msg_", "resp_", "run-", "gen-")
_PROVIDER_ID = re.compile(rf"(?:{'|'.join(_PROVIDER_PREFIXES)})[A-Za-z0-9_-]{{12,}}")


# The shape of a text: x for a hexadecimal digit, a dash, or a space for anything else. Searching a shape for a literal
# takes a twentieth of the time that a regular expression takes over a text in which there is little to find.
_SHAPE = bytes(
    ord("x" if chr(code) in "0123456789abcdef" else "-" if chr(code) == "-" else " ") for code in range(256)
)
_SHAPE_OF_ANY_CASE = bytes(_SHAPE[ord(chr(code).lower())] if code < 128 else ord(" ") for code in range(256))
_UUID_SHAPE = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
_HEX_SHAPE = b"x" * 32

_MESSAGE_TYPES = frozenset(
    "ai human system tool function chat remove AIMessageChunk HumanMessageChunk SystemMessageChunk "
    "ToolMessageChunk FunctionMessageChunk ChatMessageChunk".split()
)
_ID_KEYS = frozenset(
    "run_id thread_id checkpoint_id parent_checkpoint_id langgraph_request_id parent_run_id task_id".split()
)
_NAMESPACE_KEYS = frozenset(("langgraph_checkpoint_ns", "checkpoint_ns", "ns"))
_ID_MAP_KEYS = frozenset(("checkpoint_map", "parents"))
_MAX_DEPTH = 200


def is_uuid(text: str) -> bool:
    """Whether `text` is a lower- or upper-case dashed UUID."""
    return _UUID_TEXT.fullmatch(text.lower()) is not None


def canonical_uuid(text: str) -> str | None:
    """The lower-case dashed form of a UUID in any spelling that the server takes; None if it is none.

    Those are the spellings of Python's `uuid.UUID`: any case, dashes anywhere or nowhere, braces, `urn:uuid:`.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def uuid_unix_ms(text: str) -> int | None:
    """The Unix time in milliseconds inside a UUID of version 7, or of version 6; None for others.

    Source: RFC 9562, sections 5.6 and 5.7.
    """
    us = uuid_unix_us(text)
    return None if us is None else us // 1000


def uuid_unix_us(text: str) -> int | None:
    """The Unix time in microseconds inside a UUID of version 7 (exact to the millisecond) or 6; None for others."""
    if not is_uuid(text):
        return None
    digits = text.replace("-", "")
    if digits[12] == "7":
        return int(digits[:12], 16) * 1000
    if digits[12] == "6":
        ticks = int(digits[:12] + digits[13:16], 16)  # 100 ns since 1582-10-15
        return (ticks - 0x01B21DD213814000) // 10
    return None


_AFTER_THE_COUNTER = 32
"""Random bits behind the counter of a UUID of version 7, as the server makes them."""


def is_made_next(one: str, other: str) -> bool:
    """Whether the server made one id right before the other, within one millisecond.

    Both are of version 7, and the counter in them is one higher (RFC 9562, section 6.2, method 1; 42 bits, as in
    Python's `uuid7`).
    """
    counts = []
    for text in (one, other):
        if not is_uuid(text) or text[14] != "7":
            return False
        number = int(text.replace("-", ""), 16)
        high, low = number >> 64 & 0xFFF, number >> _AFTER_THE_COUNTER & 0x3FFFFFFF
        counts.append((number >> 80, high << 30 | low))
    return counts[1] == (counts[0][0], counts[0][1] + 1)


def derive(identifier: str, *salt: int) -> str:
    """A new id in the place of a recorded one, the same for the same salt.

    A UUID keeps its first 64 bits and its variant, so version, time and order stay; a 32-digit id keeps its first half;
    a provider's id keeps its prefix and length. The salt of zeros is the id itself. Within one salt the mapping is one
    to one.
    """
    if not any(salt):
        return identifier
    digest = hashlib.blake2b(repr(salt).encode(), digest_size=8).digest()
    mask = int.from_bytes(digest, "big")
    if is_uuid(identifier):
        digits = identifier.replace("-", "")
        low = int(digits[16:], 16) ^ (mask & 0x3FFFFFFFFFFFFFFF)
        digits = digits[:16] + f"{low:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if _HEX_TEXT.fullmatch(identifier):
        return identifier[:16] + f"{int(identifier[16:], 16) ^ mask:016x}"
    kept = re.match(r"[A-Za-z]+[-_]", identifier)
    prefix = kept.group() if kept else ""
    tail = hashlib.blake2b(identifier.encode() + digest).hexdigest()
    return prefix + tail[: len(identifier) - len(prefix)]


def harvest(value: Any) -> set[str]:
    """The run, thread, checkpoint, task, interrupt and message ids in a parsed body or event.

    Ids are found by their field, never by their looks alone, so a UUID of the app's own data is not among them.
    """
    found: set[str] = set()
    _walk(value, found, 0)
    return found


def harvest_events(events: Iterable[tuple[str, bytes]]) -> set[str]:
    """The ids in events given as (name, data); data that is no JSON holds none."""
    found: set[str] = set()
    for name, data in events:
        found.update(_UUID_TEXT.findall(name))
        try:
            value = loads(data)
        except ValueError:
            continue
        if name == "messages/metadata" and isinstance(value, dict):
            for key in value:  # the message id is the object's key
                _add_message_id(key, found)
        _walk(value, found, 0)
    return found


def may_hold_ids(data: bytes) -> bool:
    """Whether `harvest_events` could find an id in these bytes of a stream; most events of tokens have none.

    A hundred times faster than looking, and never wrong about a no.
    """
    shape = data.translate(_SHAPE_OF_ANY_CASE)
    return (
        _UUID_SHAPE in shape
        or _HEX_SHAPE in shape
        or b"\\u00" in data  # digits, letters and the names of fields may be written so
        or (
            (b'"id"' in data or b"messages/metadata" in data)
            and any(prefix.encode() in data for prefix in _PROVIDER_PREFIXES)
        )
    )


def places_of_ids(data: bytes) -> list[tuple[int, int]]:
    """(start, stop) of every UUID and 32-digit id in `data`: where `IdMap` looks, first all UUIDs, then the others."""
    shape = data.translate(_SHAPE)
    places: list[tuple[int, int]] = []
    start = shape.find(_UUID_SHAPE)
    while start >= 0:
        places.append((start, start + 36))
        start = shape.find(_UUID_SHAPE, start + 36)
    start = shape.find(_HEX_SHAPE)
    while start >= 0:
        stop = start + 32
        if shape[stop : stop + 1] not in (b"x", b"-") and (not start or shape[start - 1] not in b"x-"):
            places.append((start, stop))
        else:
            while shape[stop : stop + 1] == b"x":
                stop += 1
        start = shape.find(_HEX_SHAPE, stop)
    return places


def _walk(value: Any, found: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            _walk(item, found, depth + 1)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if isinstance(item, str):
            if key in _ID_KEYS:
                if is_uuid(item):
                    found.add(item)
            elif key in _NAMESPACE_KEYS:
                found.update(_UUID_TEXT.findall(item))
            elif key == "id":
                _add_id_of(value, item, found)
        elif key in _ID_MAP_KEYS and isinstance(item, dict):
            for namespace, checkpoint in item.items():
                found.update(_UUID_TEXT.findall(namespace))
                if isinstance(checkpoint, str) and is_uuid(checkpoint):
                    found.add(checkpoint)
        elif key == "parent_ids" and isinstance(item, list):
            found.update(run for run in item if isinstance(run, str) and is_uuid(run))
        elif key == "interrupts" and isinstance(item, dict):
            found.update(task for task in item if is_uuid(task))  # thread objects: {task id: [...]}
            _walk(item, found, depth + 1)
        elif isinstance(item, (dict, list)):
            _walk(item, found, depth + 1)


def _add_id_of(owner: dict[str, Any], identifier: str, found: set[str]) -> None:
    """Add `owner["id"]` if `owner` is a message, a task or an interrupt."""
    if owner.get("type") in _MESSAGE_TYPES:
        _add_message_id(identifier, found)
    elif "name" in owner and is_uuid(identifier):
        if not owner.keys().isdisjoint(("triggers", "interrupts", "path", "result")):
            found.add(identifier)
    elif "value" in owner and _HEX_TEXT.fullmatch(identifier):
        found.add(identifier)


def _add_message_id(identifier: str, found: set[str]) -> None:
    uuids = _UUID_TEXT.findall(identifier)
    if uuids:
        found.update(uuids)
    elif _PROVIDER_ID.fullmatch(identifier):
        found.add(identifier)


def _may_hold_replaced(data: bytes) -> bool:
    """Whether `_UUID_OR_HEX` may be in the data; a fraction of the time of a search that finds nothing."""
    shape = data.translate(_SHAPE)
    return _UUID_SHAPE in shape or _HEX_SHAPE in shape


_Tables = tuple[dict[bytes, bytes], dict[bytes, bytes], re.Pattern[bytes] | None]
"""Ids replaced wherever they stand; quoted ones, and what finds those."""


class IdMap:
    """A consistent replacement of ids in bytes.

    Args:
        pairs: old id -> new id. UUIDs and 32-digit ids are replaced wherever they stand; other ids only as whole JSON
            strings, and those shorter than six characters only as the value of an `id` field.
    """

    __slots__ = ("_tables", "pairs")

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self.pairs: dict[str, str] = {old: new for old, new in pairs.items() if old != new}
        self._tables: _Tables | None = None

    def forget_tables(self) -> None:
        """Hold no more than the pairs, until it is applied again."""
        self._tables = None

    def __bool__(self) -> bool:
        return bool(self.pairs)

    @property
    def in_place(self) -> Mapping[bytes, bytes] | None:
        """All replacements, if they are of UUIDs and 32-digit ids and change no length; else None."""
        ids, _, pattern = self._tables or self._made_tables()
        same_length = all(len(old) == len(new) for old, new in ids.items())
        return ids if same_length and pattern is None else None

    def apply(self, data: bytes) -> bytes:
        """`data` with every known id replaced; the very same object if there is none."""
        ids, quoted, pattern = self._tables or self._made_tables()
        if ids and _may_hold_replaced(data):
            data = _UUID_OR_HEX.sub(lambda match: ids.get(match.group(), match.group()), data)
        if pattern is not None:
            data = pattern.sub(lambda match: quoted[match.group()], data)
        return data

    def _made_tables(self) -> _Tables:
        ids: dict[bytes, bytes] = {}
        quoted: dict[bytes, bytes] = {}
        for old, new in self.pairs.items():
            if is_uuid(old) or _HEX_TEXT.fullmatch(old):
                ids[old.encode()] = new.encode()
            elif len(old) < 6:
                quoted[b'"id":' + orjson.dumps(old)] = b'"id":' + orjson.dumps(new)
            else:
                quoted[orjson.dumps(old)] = orjson.dumps(new)
        alternatives = b"|".join(re.escape(old) for old in sorted(quoted, key=len, reverse=True))
        self._tables = ids, quoted, re.compile(alternatives) if alternatives else None
        return self._tables

    def apply_text(self, text: str) -> str:
        """The same for a path or a header value."""
        return self.apply(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def inverse(self) -> IdMap:
        """The map back, from new ids to old ones."""
        return IdMap({new: old for old, new in self.pairs.items()})

    def merged(self, pairs: Mapping[str, str]) -> IdMap:
        """This map with more pairs; the later ones win."""
        return IdMap({**self.pairs, **pairs})


NO_IDS: Final = IdMap({})
"""Leaves every id as it is."""


# --- event ids: `<unix ms>-<sequence>` (docs/agent-server.md, section 5) ---

EventId = tuple[int, int]


def parse_event_id(text: str) -> EventId | None:
    """`(milliseconds, sequence)` of `<ms>-<n>` or `<ms>`; None for anything else."""
    head, dash, tail = text.partition("-")
    if not (head.isascii() and head.isdigit()):
        return None
    if not dash:
        return int(head), 0
    return (int(head), int(tail)) if tail.isascii() and tail.isdigit() else None


def format_event_id(event_id: EventId) -> str:
    """The text of an event id."""
    return f"{event_id[0]}-{event_id[1]}"


def strictly_rising(event_ids: Iterable[EventId]) -> list[EventId]:
    """The ids made unique: one that is not above the one before takes its milliseconds and the next sequence."""
    rising: list[EventId] = []
    last: EventId = (-1, 0)
    for event_id in event_ids:
        last = event_id if event_id > last else (last[0], last[1] + 1)
        rising.append(last)
    return rising
