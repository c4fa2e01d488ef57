"""Ids and times set aside: two strings are the same if a consistent renaming of ids makes them so.

Knows strings and JSON values, no cassette and no exchange. Its one rule: an id of the left side stands for exactly
one id of the right side, everywhere and in both directions; a time stands for any time. Which values differ
between two identical runs is listed in docs/agent-server.md, section 11.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

# In order of precedence. `uuid` in any version; `hex` are the interrupt ids and uuids without dashes; `origin`
# is where a server of this machine happened to listen (`langgraph_api_url`, an absolute Location).
_TOKEN = re.compile(
    r"""
    (?P<time>(?<![0-9a-zA-Z-])\d{4}-\d{2}-\d{2}
        (?:[T\ ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![0-9a-fA-F-]))
  | (?P<uuid>(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F]))
  | (?P<hex>(?<![0-9a-zA-Z])[0-9a-fA-F]{32}(?![0-9a-zA-Z]))
  | (?P<event>(?<![0-9a-zA-Z])\d{13}-\d{1,10}(?![0-9a-zA-Z-]))
  | (?P<origin>https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::\d+)?)
    """,
    re.VERBOSE,
)

_ID_KINDS = frozenset({"uuid", "hex"})

TIME_FIELDS = frozenset({"__request_start_time_ms__"})
"""JSON fields that hold a time as a number; strings are recognised by their form, whatever the field."""

_MARK = {"time": "<time>", "uuid": "<uuid>", "hex": "<id>", "event": "<event id>", "origin": "<origin>"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where two values part."""

    path: str
    """JSON path from `$`."""
    left: Any
    right: Any
    note: str = ""
    """Why, when the two values alone do not show it: an id that stands for two."""


ABSENT = type("Absent", (), {"__repr__": lambda self: "(absent)"})()
"""Stands in a `Mismatch` for a field or item that one side lacks."""


def mask(text: str) -> str:
    """`text` with every id and time replaced by its kind: equal masks are candidates for being the same."""
    return _taken_apart(text)[0]


def _taken_apart(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The mask of a text, and what was masked: (kind, what stood there)."""
    if len(text) < 8:
        return text, ()
    # The strings of a `values` stream come again with every event.
    return _search_cached(text) if len(text) <= _CACHED_CHARACTERS else _search(text)


def _search(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    tokens: list[tuple[str, str]] = []

    def replaced(found: re.Match[str]) -> str:
        kind = found.lastgroup or ""
        tokens.append((kind, found.group().lower() if kind in _ID_KINDS else found.group()))
        return _MARK[kind]

    return _TOKEN.sub(replaced, text), tuple(tokens)


_CACHED_CHARACTERS = 512
_search_cached = lru_cache(maxsize=1 << 14)(_search)


def mask_value(value: Any) -> Any:
    """A JSON value with ids and times masked, in keys as in values, as something hashable."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return (
            "{}",
            *sorted(
                (mask(key), "<time>" if key in TIME_FIELDS else mask_value(item))
                for key, item in value.items()
            ),
        )
    if isinstance(value, list):
        return ("[]", *(mask_value(item) for item in value))
    # 1, 1.0 and True are one to Python and three to JSON.
    return (type(value).__name__, value)


class IdMapping:
    """The renaming found so far. It grows with every pair of strings compared."""

    def __init__(self) -> None:
        self._rightward: dict[str, str] = {}
        self._leftward: dict[str, str] = {}
        self._clocks: dict[str, EventClock] = {}

    @property
    def count(self) -> int:
        """How many ids of the left side stand for one of the right."""
        return len(self._rightward)

    def clock(self, scope: str) -> EventClock:
        """The event ids of one thread (or, without a thread, of one exchange)."""
        return self._clocks.setdefault(scope, EventClock())

    def strings(self, left: str, right: str) -> str | None:
        """None if the two are the same under the renaming, else why not ('' when plainly different)."""
        left_mask, left_tokens = _taken_apart(left)
        right_mask, right_tokens = _taken_apart(right)
        if left_mask != right_mask or len(left_tokens) != len(right_tokens):
            return ""
        for (kind, one), (other, two) in zip(left_tokens, right_tokens, strict=True):
            if kind != other:
                return ""
            if kind in _ID_KINDS and (reason := self._bind(one, two)) is not None:
                return reason
        return None

    def _bind(self, left: str, right: str) -> str | None:
        known = self._rightward.setdefault(left, right)
        if known != right:
            return f"{left} on the left was {known} on the right before, and is {right} here"
        known = self._leftward.setdefault(right, left)
        if known != left:
            return f"{right} on the right was {known} on the left before, and is {left} here"
        return None

    def values(self, left: Any, right: Any, path: str = "$") -> Iterator[Mismatch]:
        """Where two JSON values part, ids and times aside; nothing if they are the same."""
        if isinstance(left, str) and isinstance(right, str):
            reason = self.strings(left, right)
            if reason is not None:
                yield Mismatch(path, left, right, reason)
        elif isinstance(left, dict) and isinstance(right, dict):
            yield from self._objects(left, right, path)
        elif isinstance(left, list) and isinstance(right, list):
            for index, (one, two) in enumerate(zip(left, right, strict=False)):
                yield from self.values(one, two, f"{path}[{index}]")
            for index in range(len(right), len(left)):
                yield Mismatch(f"{path}[{index}]", left[index], ABSENT)
            for index in range(len(left), len(right)):
                yield Mismatch(f"{path}[{index}]", ABSENT, right[index])
        elif type(left) is not type(right) or left != right:
            yield Mismatch(path, left, right)

    def _objects(self, left: dict[str, Any], right: dict[str, Any], path: str) -> Iterator[Mismatch]:
        """Fields are matched by name; a name that holds an id (a namespace, a message id) by its mask."""
        unmatched = {key: item for key, item in right.items() if key not in left}
        by_mask: dict[str, list[str]] = {}
        for key in unmatched:
            by_mask.setdefault(mask(key), []).append(key)
        for key, item in left.items():
            where = f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{key!r}]"
            if key in right:
                if key not in TIME_FIELDS:
                    yield from self.values(item, right[key], where)
                continue
            other = self._partner(key, by_mask.get(mask(key), []))
            if other is None:
                yield Mismatch(where, item, ABSENT)
                continue
            by_mask[mask(key)].remove(other)
            del unmatched[other]
            reason = self.strings(key, other)
            if reason is not None:
                yield Mismatch(where, key, other, reason or "another field name")
            yield from self.values(item, right[other], where)
        for key, item in unmatched.items():
            where = f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{key!r}]"
            yield Mismatch(where, ABSENT, item)

    def _partner(self, key: str, candidates: list[str]) -> str | None:
        """The right side's key for `key`: the one the renaming already knows, else the first."""
        if len(candidates) > 1:
            renamed = _TOKEN.sub(lambda found: self._rightward.get(found.group().lower(), found.group()), key)
            if renamed in candidates:
                return renamed
        return candidates[0] if candidates else None


_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_EVENT_ID = re.compile(r"(\d{13})-(\d{1,10})")


@dataclass(slots=True)
class EventClock:
    """The event ids of one thread: `<milliseconds>-<number>`.

    They are times, and several events of one millisecond share one (docs/agent-server.md, section 5), so two
    identical runs need not have the same ones equal: no bijection holds. What must hold: within one response they
    keep their order, and an id seen in an earlier exchange stands for one that it stood for there.
    """

    _pairs: set[tuple[str, str]] = field(default_factory=set)
    _left_first: dict[str, int] = field(default_factory=dict)
    _right_first: dict[str, int] = field(default_factory=dict)
    _order: list[tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=list)
    _ordered_exchange: int = 0

    def same(self, left: str | None, right: str | None, exchange: int) -> str | None:
        """None if the two ids may name the same event, else why not ('' when plainly different)."""
        if left is None or right is None:
            return None if left is right else ""
        one, two = _EVENT_ID.fullmatch(left), _EVENT_ID.fullmatch(right)
        if one is None or two is None:
            return None if left == right else ""
        if self._ordered_exchange != exchange:
            self._order, self._ordered_exchange = [], exchange
        if (left, right) in self._pairs:
            return None
        for known, side, name in ((self._left_first, left, "left"), (self._right_first, right, "right")):
            if known.get(side, exchange) < exchange:
                return f"{side} on the {name} named another event before"
        pair = ((int(one[1]), int(one[2])), (int(two[1]), int(two[2])))
        if not self._keeps_order(pair):
            return "the ids go up on one side and down on the other"
        bisect.insort(self._order, pair)
        self._pairs.add((left, right))
        self._left_first.setdefault(left, exchange)
        self._right_first.setdefault(right, exchange)
        return None

    def _keeps_order(self, pair: tuple[tuple[int, int], tuple[int, int]]) -> bool:
        """Whether no earlier left id has a later right id, and no later one an earlier."""
        left, right = pair
        first = bisect.bisect_left(self._order, (left, (-1, -1)))
        if first > 0 and self._order[first - 1][1] > right:
            return False
        last = bisect.bisect_left(self._order, ((left[0], left[1] + 1), (-1, -1)))
        return last >= len(self._order) or self._order[last][1] >= right
