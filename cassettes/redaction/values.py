"""Values that the user named, in whatever form they are sent: found in bytes, and replaced by as many `*`.

Knows bytes and encodings, nothing of names or of cassettes. One rule: what is sent is read as its reader would, JSON
escapes (also of JSON in JSON) and percent-encoding undone, however they are mixed.

Reading everything like that would take a hundred times as long as looking for the usual forms: it is done only where
an escape stands for a character of a value. Base64 is looked for in the three ways in which a value can fall inside a
longer text, as the password of `Basic`.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

from graphtape.cassettes.redaction.masking import once
from graphtape.protocol.errors import UsageMistake

SHORTEST_VALUE: Final = 4
"""A named value must have this many characters: a shorter one would be found in any text."""

_BACKSLASH: Final = ord("\\")
_MOST_BACKSLASHES: Final = 16
"""In a row, that are counted; a body may hold nothing else."""

_LONGEST_ESCAPE: Final = 13
"""Bytes that may stand for one byte of a value: `\\\\\\\\\\\\\\\\u0041`."""

_ESCAPE: Final = re.compile(
    rb"\\{1,8}(?:u[dD][89abAB][0-9a-fA-F]{2}\\{1,8}u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[/'bfnrt])"
    rb"|(?:\\\\){0,3}\\\"|\\+|%(?:25){0,2}[0-9a-fA-F]{2}|\+"
)
_SHORT_ESCAPES: Final = {
    "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", '"': b'"', "'": b"'", "/": b"/"
}  # fmt: skip


class RedactionError(UsageMistake):
    """A name or value to mask that cannot be used."""


class Found(NamedTuple):
    """Where a value stands."""

    start: int
    stop: int
    label: str


class ValueMasker:
    """Finds known values, and masks them.

    Args:
        values: (label, value) pairs.

    Raises:
        RedactionError: a value is shorter than `SHORTEST_VALUE` characters.
    """

    def __init__(self, values: Iterable[tuple[str, str]] = ()) -> None:
        forms: dict[bytes, str] = {}
        read: dict[bytes, str] = {}
        characters: set[str] = set()
        for label, value in values:
            if len(value) < SHORTEST_VALUE:
                raise RedactionError(
                    f"the value of {label} has {len(value)} characters; only values of {SHORTEST_VALUE} or more "
                    "can be masked without masking everything (use --redact with a field name instead)"
                )
            for form in forms_of(value):
                forms.setdefault(form, f"value {label}")
            raw = value.encode("utf-8", "surrogateescape")
            # A value may hold what looks like an escape itself.
            for text in (_read(raw)[0], re.sub(rb"\\+", rb"\\", raw).replace(b" ", b"+")):
                read.setdefault(text, f"value {label}")
            characters.update(value)
        self._take(forms, read, _escapes_of(characters))

    def _take(
        self, forms: Mapping[bytes, str], read: Mapping[bytes, str], escapes: re.Pattern[bytes] | None
    ) -> None:
        self.forms: Mapping[bytes, str] = forms
        """What is looked for as it is, and the label of each."""
        self._read = read
        self._escapes = escapes
        self._as_is = _any_of(forms)
        self._as_read = _any_of(read)
        self.longest_bytes = max(
            [*map(len, forms), *(_LONGEST_ESCAPE * len(value) for value in read)], default=0
        )
        """That a value may have."""

    def with_forms(self, forms: Mapping[bytes, str]) -> ValueMasker:
        """A masker that looks for these too, as they are."""
        if not forms:
            return self
        both = ValueMasker()
        both._take({**forms, **self.forms}, self._read, self._escapes)
        return both

    def __bool__(self) -> bool:
        return self._as_is is not None

    def find(self, data: bytes) -> list[Found]:
        """The values in `data`, in order; they may overlap."""
        if self._as_is is None:
            return []
        found = [Found(*match.span(), self.forms[match[0]]) for match in self._as_is.finditer(data)]
        if self._escapes is not None and self._as_read is not None and self._escapes.search(data):
            known = {(one.start, one.stop) for one in found}
            text, places = _read(data)
            for match in self._as_read.finditer(text):
                start, stop = places.before(match.start()), places.before(match.end())
                if (start, stop) not in known:
                    found.append(Found(start, stop, self._read[match[0]]))
            found.sort()
        for at, one in enumerate(found):
            start, stop = _escape_at(data, one.start)
            found[at] = one._replace(start=start, stop=max(stop, one.stop))
        return found

    def mask(self, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """(`data` of the same length, the labels of what was masked)."""
        found = self.find(data)
        if not found:
            return data, ()
        clean = bytearray(data)
        for one in found:
            clean[one.start : one.stop] = b"*" * (one.stop - one.start)
        return bytes(clean), once(one.label for one in found)


def _any_of(forms: Iterable[bytes]) -> re.Pattern[bytes] | None:
    # The longest first, so that a value that begins another does not hide it.
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None


def _escape_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the JSON escape begins and ends inside which `at` lies; twice `at` if it lies in none.

    `2026` in `\\u2026` is no value; but half an escape would not be JSON any more, so all of it is masked.
    """
    for start in range(max(0, at - 5), at):
        if data[start] != _BACKSLASH:
            continue
        before = start
        while before > max(0, start - _MOST_BACKSLASHES) and data[before - 1] == _BACKSLASH:
            before -= 1
        stop = start + (6 if data[start + 1 : start + 2] == b"u" else 2)
        if (start - before) % 2 == 0 and at < stop <= len(data):
            return start, stop
    return at, at


class _Places:
    """Where the bytes of a text stand in what it was read from."""

    def __init__(self) -> None:
        self._in_text: list[int] = []
        self._in_data: list[int] = []

    def note(self, in_text: int, in_data: int) -> None:
        """From here on one byte stands for one byte."""
        self._in_text.append(in_text)
        self._in_data.append(in_data)

    def before(self, at: int) -> int:
        """The first byte of the data that stands for what follows `at`."""
        index = bisect_right(self._in_text, at) - 1
        return at if index < 0 else self._in_data[index] + at - self._in_text[index]


def _read(data: bytes) -> tuple[bytes, _Places]:
    """The data with its escapes undone; a blank and a `+` are one, and so are backslashes in a row."""
    parts: list[bytes] = []
    places = _Places()
    at = size = 0
    for match in _ESCAPE.finditer(data):
        literal = data[at : match.start()]
        meant = _meant(match[0])
        parts += (literal, meant)
        size += len(literal)
        # The bytes of one escape are of one place: its first.
        for part in range(1, len(meant)):
            places.note(size + part, match.start())
        size += len(meant)
        at = match.end()
        places.note(size, at)
    parts.append(data[at:])
    return b"".join(parts).replace(b" ", b"+"), places


@lru_cache(maxsize=4096)
def _meant(escape: bytes) -> bytes:
    """The bytes that an escape stands for."""
    if escape[:1] == b"%":
        return bytes.fromhex(escape[-2:].decode("ascii"))
    if escape == b"+":
        return b"+"
    bare = escape.lstrip(b"\\")
    if not bare:
        return b"\\"
    if bare[:1] != b"u":
        return _SHORT_ESCAPES[bare.decode("ascii")]
    units = [int(unit, 16) for unit in re.findall(rb"u([0-9a-fA-F]{4})", bare)]
    raw = b"".join(unit.to_bytes(2, "big") for unit in units)
    return raw.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")


def _escapes_of(characters: Iterable[str]) -> re.Pattern[bytes] | None:
    """Matches what may stand for one of these characters, other than itself."""
    units: set[str] = set()
    percents: set[str] = set()
    shorts: set[str] = set()
    for character in characters:
        raw = character.encode("utf-8", "surrogateescape")
        percents.update(_digits(bytes([byte])) for byte in raw)
        units.add(_digits(character.encode("utf-16-be", "surrogatepass")[:2]))
        shorts.update(short for short, meant in _SHORT_ESCAPES.items() if meant == raw)
    if not percents:
        return None
    ways = [
        "%(?:25){0,2}(?:" + "|".join(sorted(percents)) + ")",
        r"\\\\{0,7}u(?:" + "|".join(sorted(units)) + ")",
    ]
    if shorts:
        ways.append(r"\\\\{0,7}[" + "".join(sorted(shorts)) + "]")
    return re.compile("|".join(ways).encode("ascii"))


def _digits(data: bytes) -> str:
    """Hexadecimal ones, in either case. (Ignoring case would make the search five times as slow.)"""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in data.hex())


def forms_of(value: str) -> set[bytes]:
    """The usual forms of a value: raw, JSON-escaped, percent-encoded, as form data, in base64."""
    raw = value.encode("utf-8", "surrogateescape")
    percent = quote(value, safe="", errors="surrogateescape")
    plus = quote_plus(value, safe="", errors="surrogateescape")
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    escaped |= {text.replace("/", "\\/") for text in escaped}
    forms = {raw, *(text.encode("utf-8", "surrogateescape") for text in escaped)}
    for text in (percent, plus):
        forms.add(text.encode("ascii"))
        forms.add(re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), text).encode("ascii"))
    # Base64 of "user:value" holds the value at one of three offsets; the characters at its edges also hold bits of
    # its neighbours, so the certain middle is looked for, if it is long enough to mean anything.
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")
        start = (0, 2, 3)[offset]
        end = (len(raw) + offset) * 8 // 6
        middle = coded[start:end]
        if len(middle) >= SHORTEST_VALUE + 1:
            forms.add(middle)
            forms.add(middle.translate(bytes.maketrans(b"+/", b"-_")))
    return {form for form in forms if len(form) >= SHORTEST_VALUE}
