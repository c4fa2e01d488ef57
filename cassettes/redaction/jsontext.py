"""The strings of a JSON text, each with its place in the bytes and in the document.

Knows bytes, not what they mean. One rule: linear in its input whatever comes, broken JSON read as far as it goes;
nothing is parsed twice and nothing recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

Range = tuple[int, int]
"""Bytes from the first to before the second."""

# The closing quote is optional, so that a string that does not end is read once and not once per quote in it.
_TOKEN = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"?|[{}\[\]:,]', re.DOTALL)
_INTEGER = re.compile(rb"\s*(\d{1,9})")
_UNIT = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[\xc0-\xff][\x80-\xbf]*|.",
    re.DOTALL,
)
"""What stands for one character: a pair of surrogates, an escape, a sequence of UTF-8, a byte."""
_ESCAPES: Final = {
    b"\\n": "\n", b"\\t": "\t", b"\\r": "\r", b"\\b": "\b", b"\\f": "\f", b'\\"': '"', b"\\\\": "\\", b"\\/": "/"
}  # fmt: skip
DEEPEST: Final = 100
"""Strings that are nested deeper are left out: their paths would take longer to spell than they are worth."""

_QUOTE, _OPEN_MAP, _CLOSE_MAP, _OPEN_LIST, _CLOSE_LIST, _COLON = b'"{}[]:'


class Container:
    """An object or array, while and after it is read."""

    __slots__ = ("depth", "id", "index", "is_list", "key", "parent", "place")

    def __init__(self, parent: Container | None, place: str | int | None, *, is_list: bool) -> None:
        self.parent = parent
        self.depth: int = 1 if parent is None else parent.depth + 1
        self.place = place
        """Its key or position in the parent."""
        self.is_list = is_list
        self.key: str | int | None = 0 if is_list else None
        """Of what is being read inside."""
        self.id: str | None = None
        """The value of its member `id`."""
        self.index: int | None = None
        """The value of its member `index`: which part of a message a piece belongs to."""


class JsonString:
    """One string value. Its container is complete only once the whole text has been read."""

    __slots__ = ("_data", "container", "place", "start", "stop")

    def __init__(
        self, data: bytes, container: Container | None, place: str | int | None, start: int, stop: int
    ) -> None:
        self._data = data
        self.container = container
        self.place = place
        self.start = start
        """Of what stands between the quotes."""
        self.stop = stop

    @property
    def text(self) -> str:
        """The string, unescaped; bytes that are not UTF-8 as surrogates."""
        return decoded(self._data[self.start : self.stop])

    @property
    def name(self) -> str:
        """The member it belongs to, also as an item of an array; empty at the top."""
        place, container = self.place, self.container
        while not isinstance(place, str) and container is not None:
            place, container = container.place, container.parent
        return place if isinstance(place, str) else ""

    @property
    def path(self) -> str:
        """Where it stands, e.g. `messages[1].content`; empty for a document that is a string."""
        return _spelt(self._steps(None, by_index=False))

    def message(self) -> tuple[str, str] | None:
        """(id of the outermost object that has one, path from there); None if none has."""
        owner, container = None, self.container
        while container is not None:
            if container.id is not None:
                owner = container
            container = container.parent
        if owner is None or owner.id is None:
            return None
        return owner.id, _spelt(self._steps(owner, by_index=True))

    def stream_path(self) -> str:
        """As `path`, but items that say their `index` by that: the same for every piece of one text."""
        return _spelt(self._steps(None, by_index=True))

    def ranges(self, first: int, stop: int) -> list[Range]:
        """The bytes of the characters from `first` to before `stop`."""
        raw = self._data[self.start : self.stop]
        if raw.isascii() and b"\\" not in raw:
            return [(self.start + first, self.start + stop)]
        places = [match.start() for match in _UNIT.finditer(raw)] + [len(raw)]
        return [(self.start + places[first], self.start + places[min(stop, len(places) - 1)])]

    def _steps(self, owner: Container | None, *, by_index: bool) -> list[str | int]:
        steps: list[str | int] = [] if self.place is None else [self.place]
        container = self.container
        while container is not None and container is not owner:
            place = container.place
            if by_index and isinstance(place, int) and container.index is not None:
                place = container.index
            if place is not None:
                steps.append(place)
            container = container.parent
        steps.reverse()
        return steps


def iter_strings(data: bytes) -> Iterator[JsonString]:
    """Every string value that is not nested below `DEEPEST`, in order.

    Exhaust it before asking a string for its message: ids may follow.
    """
    top: Container | None = None
    key: Range | None = None
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first == _QUOTE:
            if top is not None and not top.is_list and top.key is None:
                key = token.span(1)
                continue
            if top is not None and top.depth > DEEPEST:
                continue
            place = None if top is None else top.key
            string = JsonString(data, top, place, *token.span(1))
            if place == "id" and top is not None and top.id is None:
                top.id = string.text
            yield string
        elif first == _COLON:
            if top is not None and not top.is_list and key is not None:
                top.key = decoded(data[key[0] : key[1]])
                if top.key == "index" and (number := _INTEGER.match(data, token.end())):
                    top.index = int(number[1])
                key = None
        elif first in (_OPEN_MAP, _OPEN_LIST):
            top = Container(top, None if top is None else top.key, is_list=first == _OPEN_LIST)
            key = None
        elif first in (_CLOSE_MAP, _CLOSE_LIST):
            top = None if top is None else top.parent
            key = None
        elif top is not None:
            top.key = top.key + 1 if isinstance(top.key, int) else None
            key = None


def decoded(raw: bytes) -> str:
    """The text of a JSON string's inside."""
    if b"\\" not in raw:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return "".join(_character(match[0]) for match in _UNIT.finditer(raw))


def _character(unit: bytes) -> str:
    if unit[:1] != b"\\":
        text = unit.decode("utf-8", "surrogateescape")
        return (
            text if len(text) == 1 else "\ufffd"
        )  # one character per unit, so that places can be found again
    if unit[1:2] != b"u" or len(unit) < 6:
        return _ESCAPES.get(unit, "\ufffd")
    if len(unit) == 12:
        text = json.loads(b'"' + unit + b'"')
        return str(text)
    return chr(int(unit[2:], 16))  # noqa: FURB166


def _spelt(steps: list[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")
