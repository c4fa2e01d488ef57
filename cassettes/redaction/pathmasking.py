"""Masks values at paths that the user named, in JSON that passes in pieces of any size.

A path is what `graphtape diff` and `verify` print: `input.customer.ssn`, `input.messages[*].content`, `tags[0]`,
`context.*`, `["a.b"].c`; a leading `$.` may stand. Knows bytes and paths, no registry. One rule: as in
`graphtape.cassettes.redaction.masking`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from graphtape.cassettes.redaction.masking import JsonMasker, json_name
from graphtape.protocol.credentials import CredentialNames

ANY: Final = None
"""A step that every member or item answers to."""

Step = str | int | None
Path = tuple[Step, ...]

DEEPEST: Final = 512
"""Nothing that is nested deeper is at a path."""

_EXAMPLE: Final = "Write it like input.messages[*].content"
_STEP = re.compile(
    r"""\.?(?P<name>[^.\[\]"\s*]+)
      | \.?(?P<any>\*)
      | \[(?P<index>\d{1,9})\]
      | \[(?P<every>\*)\]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*")\]""",
    re.VERBOSE,
)
_NEXT = re.compile(rb"[^ \t\r\n\xef\xbb\xbf]")
_BARE = re.compile(rb"[^ \t\r\n,\]}\"{\[:]+")
_QUOTE, _OPEN_MAP, _CLOSE_MAP, _OPEN_LIST, _CLOSE_LIST, _COMMA, _COLON = b'"{}[],:'


class BadPath(ValueError):
    """A path that cannot be read."""


def parse_path(text: str) -> Path:
    """The steps of a path; raises `BadPath`."""
    rest = text.removeprefix("$").removeprefix(".")
    steps: list[Step] = []
    at = 0
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None or (at == 0 and match[0].startswith(".")):
            raise BadPath(
                f"{text!r} is no path: it cannot be read from {rest[at : at + 20]!r} on. {_EXAMPLE}"
            )
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["quoted"] is not None:
            try:
                steps.append(str(json.loads(match["quoted"])))
            except ValueError:
                raise BadPath(
                    f"{text!r} is no path: {match['quoted']} is no JSON string. {_EXAMPLE}"
                ) from None
        else:
            steps.append(ANY)
        at = match.end()
    if not steps:
        raise BadPath(f"{text!r} is no path: it names nothing. {_EXAMPLE}")
    return tuple(steps)


class PathMasker(JsonMasker):
    """As `JsonMasker`, but by place instead of by name.

    Args:
        paths: (the path as the user wrote it, its steps).
    """

    def __init__(self, paths: Iterable[tuple[str, Path]]) -> None:
        super().__init__(CredentialNames())
        self._paths = tuple(paths)
        self._depths = frozenset(len(path) for _, path in self._paths)
        self._stack: list[Step] = []  # key or position of what is being read; an unknown key is None
        self._kinds: list[bool] = []  # for each, whether it is an array
        self._below = 0  # containers open below `DEEPEST`

    def _between(self, data: bytes, at: int) -> int:
        match = _NEXT.search(data, at)
        if match is None:
            self._out.append(data[at:])
            return len(data)
        start = match.start()
        first = data[start]
        self._out.append(data[at:start])
        if first in (_CLOSE_MAP, _CLOSE_LIST):
            self._close()
        elif first == _COMMA:
            self._advance()
        elif first == _COLON:
            pass
        elif first == _QUOTE and self._wants_key():
            self._string = b""
            self._escaped = False
            self._step = self._within
        else:
            return self._item(data, start)
        self._out.append(data[start : start + 1])
        return start + 1

    def _item(self, data: bytes, start: int) -> int:
        """A value begins at `start`."""
        first = data[start]
        if self._is_named():
            self._step = self._value  # which masks it
            return start
        if first in (_OPEN_MAP, _OPEN_LIST):
            self._open(is_list=first == _OPEN_LIST)
        elif first == _QUOTE:
            self._escaped = False
            self._step = self._skip_string
        else:
            match = _BARE.match(data, start)
            end = match.end() if match else start + 1
            self._out.append(data[start:end])
            self._step = self._skip_bare
            return end
        self._out.append(data[start : start + 1])
        return start + 1

    def _skip_string(self, data: bytes, at: int) -> int:
        end, closed = self._string_end(data, at)
        self._out.append(data[at:end])
        if closed:
            self._step = self._between
        return end

    def _skip_bare(self, data: bytes, at: int) -> int:
        """The rest of a number or word that a read may have cut."""
        match = _BARE.match(data, at)
        end = match.end() if match else at
        self._out.append(data[at:end])
        if end < len(data):
            self._step = self._between
        return end

    def _after(self, data: bytes, at: int) -> int:
        """Behind a string where a key is due."""
        name = json_name(self._string)
        if not self._below:
            self._stack[-1] = name if name is not None else "\0"
        self._step = self._between
        return at

    def _wants_key(self) -> bool:
        if self._below:
            return False  # what is that deep is passed as it is: keys and values alike
        return bool(self._kinds) and not self._kinds[-1] and self._stack[-1] is None

    def _open(self, *, is_list: bool) -> None:
        if self._below or len(self._stack) >= DEEPEST:
            self._below += 1
        else:
            self._stack.append(0 if is_list else None)
            self._kinds.append(is_list)

    def _close(self) -> None:
        if self._below:
            self._below -= 1
        elif self._stack:
            self._stack.pop()
            self._kinds.pop()

    def _advance(self) -> None:
        if self._below or not self._stack:
            return
        at = self._stack[-1]
        self._stack[-1] = at + 1 if self._kinds[-1] and isinstance(at, int) else None

    def _is_named(self) -> bool:
        if self._below or len(self._stack) not in self._depths:
            return False
        for text, path in self._paths:
            if len(path) == len(self._stack) and all(
                step is ANY or step == here for step, here in zip(path, self._stack, strict=True)
            ):
                self._name = text
                return True
        return False
