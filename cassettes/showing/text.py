"""Words and numbers for people: times, sizes, safe and cut text, colours.

Knows no cassette and no terminal: the caller says how wide it is and whether it has colours. Its one rule:
nothing that came from the wire reaches a terminal as a control character.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x00": "\\0"}

# Separators and format characters (bidirectional overrides, BOM, soft hyphen) move or hide text too.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT = frozenset({"\u200d"})  # the zero-width joiner builds emoji

ELLIPSIS = "…"

_SIZES = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))

_ROLES = {
    "title": "1",
    "faint": "2",
    "good": "32",
    "warn": "33",
    "bad": "31",
    "name": "36",
    "namespace": "35",
    "left": "31",
    "right": "32",
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Wraps text in ANSI colours, or leaves it alone."""

    enabled: bool = False

    def __call__(self, role: str, text: str) -> str:
        """`text` in the colour of `role` (a key of the table in this module)."""
        code = _ROLES[role]
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and text else text


def visible(text: str) -> str:
    """`text` on one line, every control and invisible character as a backslash escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character in _KEPT or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def columns(text: str) -> int:
    """How many terminal cells `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if (
        unicodedata.combining(character)
        or character in _KEPT
        or unicodedata.category(character) in {"Mn", "Me"}
    ):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """`text` if it fits into `width` cells, else its beginning and an ellipsis."""
    # A text of megabytes is never measured whole; combining characters let a longer one fit.
    if len(text) <= 8 * width and columns(text) <= width:
        return text
    kept: list[str] = []
    used = 0
    for character in text:
        used += _cells(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """`text` if it fits, else its beginning and end around an ellipsis: for paths, whose end matters."""
    if columns(text) <= width:
        return text
    tail = max((width - 1) // 2, 0)
    head = max(width - 1 - tail, 0)
    return text[:head] + ELLIPSIS + text[len(text) - tail :]


_UUID = re.compile(r"([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{8}([0-9a-f]{4})")


def short_ids(text: str) -> str:
    """`text` with its UUIDs cut to `01a1…3f2c`: the beginning alone is a time, shared by the ids of one minute."""
    return _UUID.sub(rf"\1{ELLIPSIS}\2", text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled with spaces to `width` cells; with `right`, pushed to the right edge."""
    fill = " " * max(width - columns(text), 0)
    return fill + text if right else text + fill


def format_bytes(count: int) -> str:
    """A size in decimal units: `512 B`, `3.1 kB`, `3.00 MB`."""
    for size, unit in _SIZES:
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{count} B"


def format_span(span_ns: int) -> str:
    """A duration: `0.4 ms`, `37 ms`, `1.204 s`, `3 min 05 s`."""
    sign = "-" if span_ns < 0 else ""
    span_ns = abs(span_ns)
    if span_ns < 10_000_000:
        return f"{sign}{span_ns / 1e6:.1f} ms"
    if span_ns < 1_000_000_000:
        return f"{sign}{span_ns / 1e6:.0f} ms"
    if span_ns < 100_000_000_000:
        return f"{sign}{span_ns / 1e9:.3f} s"
    minutes, seconds = divmod(round(span_ns / 1e9), 60)
    if minutes < 60:
        return f"{sign}{minutes} min {seconds:02d} s"
    return f"{sign}{minutes // 60} h {minutes % 60:02d} min"


def format_clock(at_ns: int) -> str:
    """A position on a time line, in seconds to the millisecond: `1.204`."""
    return f"{at_ns / 1e9:.3f}"


def format_utc(unix_ns: int) -> str:
    """A wall-clock time: `2026-11-21 00:10:36 UTC`. A time no calendar holds is given as its number."""
    days, seconds = divmod(unix_ns // 1_000_000_000, 86_400)
    if not 0 <= days < 2_932_897:  # the year 10000
        return f"{unix_ns} ns since 1970"
    # Days to a date, counted in eras of 400 years that begin on the first of March.
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (month <= 2)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{year:04d}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d} UTC"


def plural(count: int, noun: str) -> str:
    """`1 event`, `2 events`, `10,412 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
