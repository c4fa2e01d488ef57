"""Scanners that take credentials out of bodies while they pass: form data and JSON, in pieces of any size.

Work on bytes; what a credential is, `graphtape.protocol.credentials` says. Know no file and no network. One rule: a
mask never makes valid JSON invalid, never depends on where reads were cut, and nothing grows with the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import unquote_plus

from graphtape.protocol.credentials import LONGEST_NAME, CredentialNames
from graphtape.protocol.mask import MASK

_MASK = MASK.encode("ascii")
_JSON_MASK = b'"' + _MASK + b'"'
_NAME_END = re.compile(rb"[=&]")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_QUOTE_OR_ESCAPE = re.compile(rb'["\\]')
_BARE_END = re.compile(rb'[,}\]\s"]')

NOT_BLANK: Final = re.compile(rb"[^ \t\r\n\xef\xbb\xbf]")
"""What is neither a blank of JSON nor of a byte order mark, which may stand at the start."""

JSON_STARTS: Final = frozenset({b"{", b"[", b'"'})
"""A body whose first byte that is not blank is one of these is read as JSON."""

LONGEST_SEEN_BYTES: Final = 4096
"""Of a masked value, this much is remembered for whoever looks for its echo; a longer one is not looked for."""

MOST_SEEN: Final = 32
"""As above: so many values of one body."""


class FormMasker:
    """`a=1&password=x`: masks the values of listed names, whatever the reads."""

    _START, _PASS, _DROP = range(3)

    def __init__(self, names: CredentialNames) -> None:
        self.redacted: tuple[str, ...] = ()
        self.seen: list[str] = []
        """The values that were masked."""
        self._dropped = b""
        self._names = names
        self._name = b""
        self._state = self._START

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._state == self._START:
                match = _NAME_END.search(data, at)
                end = match.start() if match else len(data)
                # A name too long to be one is remembered only so far that it stays too long.
                self._name = (self._name + data[at:end])[: 3 * LONGEST_NAME + 1]
                out.append(data[at : end + 1])
                if match and match[0] == b"=":
                    name = form_name(self._name)
                    secret = self._names.query(name)
                    self._state = self._DROP if secret else self._PASS
                    if secret:
                        out.append(_MASK)
                        self.redacted = once([*self.redacted, f"body {name.lower()}"])
                if match:
                    self._name = b""
                at = end + 1
            else:
                end = data.find(b"&", at)
                stop = len(data) if end < 0 else end
                if self._state == self._PASS:
                    out.append(data[at:stop])
                else:
                    self._dropped = (self._dropped + data[at:stop])[: LONGEST_SEEN_BYTES + 1]
                if end >= 0:
                    self._remember()
                    out.append(b"&")
                    self._state = self._START
                at = stop + 1
        return b"".join(out)

    def finish(self) -> bytes:
        self._remember()
        return b""

    def _remember(self) -> None:
        if self._dropped and len(self._dropped) <= LONGEST_SEEN_BYTES and len(self.seen) < MOST_SEEN:
            self.seen.append(form_name(self._dropped))
        self._dropped = b""


class JsonMasker:
    """Masks the values of listed members in JSON that passes in pieces of any size.

    A scanner, not a parser: it follows strings, colons and brackets, so broken JSON is masked as far as it can be read.
    A masked value (string, number, object or array) becomes one string; `true`, `false` and `null` tell nothing
    and stay. Text that does not begin with `{`, `[` or `"` is no JSON and passes unread.
    """

    def __init__(self, names: CredentialNames) -> None:
        self.redacted: tuple[str, ...] = ()
        self.seen: list[str] = []
        """The strings that were masked, whole ones."""
        self._dropped = b""
        self._names = names
        self._step: Callable[[bytes, int], int] = self._begin
        self._out: list[bytes] = []
        self._string = b""
        self._bare = b""
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        at = 0
        while at < len(data):
            at = self._step(data, at)
        done = b"".join(self._out)
        self._out.clear()
        return done

    def finish(self) -> bytes:
        if self._step == self._drop_bare:
            self._end_bare()
        self._step = _ended  # a method of its own would be a circle that only a collection finds
        done = b"".join(self._out)
        self._out.clear()
        return done

    # Each step reads from `at`, appends to `_out` what passes, sets the next step, and returns where it stopped.

    def _begin(self, data: bytes, at: int) -> int:
        match = NOT_BLANK.search(data, at)
        if match is None:
            self._out.append(data[at:])
            return len(data)
        start = match.start()
        self._step = self._between if match[0] in JSON_STARTS else self._pass
        self._out.append(data[at:start])
        return start

    def _pass(self, data: bytes, at: int) -> int:
        self._out.append(data[at:])
        return len(data)

    def _between(self, data: bytes, at: int) -> int:
        quote_at = data.find(b'"', at)
        if quote_at < 0:
            self._out.append(data[at:])
            return len(data)
        self._out.append(data[at : quote_at + 1])
        self._string = b""
        self._escaped = False
        self._step = self._within
        return quote_at + 1

    def _within(self, data: bytes, at: int) -> int:
        end, closed = self._string_end(data, at)
        room = 6 * LONGEST_NAME + 2 - len(self._string)  # each character may be spelt \uXXXX
        if room > 0:
            self._string += data[at : min(end, at + room)]
        self._out.append(data[at:end])
        if closed:
            self._step = self._after
        return end

    def _after(self, data: bytes, at: int) -> int:
        match = NOT_BLANK.search(data, at)
        if match is None:
            self._out.append(data[at:])
            return len(data)
        start = match.start()
        if data[start] != ord(":"):
            self._out.append(data[at:start])
            self._step = self._between
            return start
        self._out.append(data[at : start + 1])
        name = json_name(self._string)
        if name is not None and self._names.field(name):
            self._name = name
            self._step = self._value
        else:
            self._step = self._between
        return start + 1

    def _value(self, data: bytes, at: int) -> int:
        match = NOT_BLANK.search(data, at)
        if match is None:
            self._out.append(data[at:])
            return len(data)
        start = match.start()
        self._out.append(data[at:start])
        first = data[start]
        if first in b",}]":
            self._step = self._between
            return start
        if first == ord('"'):
            self._found()
            self._escaped = False
            self._step = self._drop_string
            return start + 1
        if first in b"{[":
            self._found()
            self._depth = 0
            self._in_string = False
            self._step = self._drop_nested
            return start
        self._bare = b""
        self._step = self._drop_bare
        return start

    def _drop_string(self, data: bytes, at: int) -> int:
        end, closed = self._string_end(data, at)
        self._dropped = (self._dropped + data[at:end])[: LONGEST_SEEN_BYTES + 2]
        if closed:
            if len(self._dropped) <= LONGEST_SEEN_BYTES + 1 and len(self.seen) < MOST_SEEN:
                self.seen.append(json_name(self._dropped) or "")
            self._dropped = b""
            self._step = self._between
        return end

    def _drop_nested(self, data: bytes, at: int) -> int:
        if self._in_string:
            end, closed = self._string_end(data, at)
            self._in_string = not closed
            return end
        match = _STRUCTURE.search(data, at)
        if match is None:
            return len(data)
        mark = match[0]
        if mark == b'"':
            self._in_string = True
            self._escaped = False
        else:
            self._depth += 1 if mark in b"{[" else -1
            if self._depth <= 0:
                self._step = self._between
        return match.end()

    def _drop_bare(self, data: bytes, at: int) -> int:
        match = _BARE_END.search(data, at)
        end = match.start() if match else len(data)
        self._bare = (self._bare + data[at:end])[:8]
        if match:
            self._end_bare()
            self._step = self._between
        return end

    def _end_bare(self) -> None:
        if self._bare in (b"true", b"false", b"null"):
            self._out.append(self._bare)
        else:
            self._found()
        self._bare = b""
        self._step = self._between

    def _string_end(self, data: bytes, at: int) -> tuple[int, bool]:
        """(where the string that is open at `at` ends in this piece, whether it does)."""
        if self._escaped:
            self._escaped = False
            at += 1
        while True:
            match = _QUOTE_OR_ESCAPE.search(data, at)
            if match is None:
                return len(data), False
            if match[0] == b'"':
                return match.end(), True
            at = match.start() + 2
            if at > len(data):
                self._escaped = True
                return len(data), False

    def _found(self) -> None:
        self._out.append(_JSON_MASK)
        self.redacted = once([*self.redacted, f"body {self._name}"])


def _ended(data: bytes, at: int) -> int:
    """The step behind the end of a body."""
    raise AssertionError("a body goes on behind its end")


def json_name(string: bytes) -> str | None:
    """The name in `string` (its closing quote included), unescaped; None if it is no name worth comparing."""
    if not string.endswith(b'"'):
        return None
    if b"\\" not in string:
        return string[:-1].decode("utf-8", "replace")
    try:
        name = json.loads(b'"' + string)
    except ValueError:
        return None
    return name if isinstance(name, str) else None


def form_name(name: bytes) -> str:
    """The decoded name of a form field or query parameter."""
    text = name.decode("latin-1")
    return unquote_plus(text) if "%" in text or "+" in text else text


def once(items: Iterable[str]) -> tuple[str, ...]:
    """Each of them, once, in the order of first sight."""
    return tuple(dict.fromkeys(items)) if items else ()
