"""Where the members of a JSON text stand, so that one value can be exchanged and every other byte kept.

Pure. Knows JSON and no message. One rule: what is not replaced stays as it was written: order, spacing, spelling,
repeated keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

# Numbers stay text: nothing is computed with them, and some are larger than a number may be.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_BLANK = " \t\n\r"


class NotJson(ValueError):
    """The text is not what was expected."""


class Member(NamedTuple):
    """One member of an object: its name, and where its value starts and ends in the text."""

    name: str
    start: int
    end: int


class Edit(NamedTuple):
    """A range of the text and what shall stand there."""

    start: int
    end: int
    text: str


def members(text: str, at: int = 0) -> tuple[list[Member], int]:
    """The members of the object that starts at `at` (blanks before it skipped), and where its `}` stands.

    Raises:
        NotJson: no object stands there.
    """
    found: list[Member] = []
    at = _expect(text, at, "{")
    if text[at : at + 1] == "}":
        return found, at
    try:
        while True:
            if text[at : at + 1] != '"':
                raise NotJson(f"no name at character {at}")
            name, at = _DECODER.raw_decode(text, at)
            start = _expect(text, _skip(text, at), ":")
            _, end = _DECODER.raw_decode(text, start)
            found.append(Member(name, start, end))
            at = _skip(text, end)
            if text[at : at + 1] == "}":
                return found, at
            at = _expect(text, at, ",")
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def elements(text: str, at: int = 0) -> list[tuple[int, int]]:
    """Where the elements of the array that starts at `at` start and end.

    Raises:
        NotJson: no array stands there.
    """
    found: list[tuple[int, int]] = []
    at = _expect(text, at, "[")
    if text[at : at + 1] == "]":
        return found
    try:
        while True:
            _, end = _DECODER.raw_decode(text, at)
            found.append((at, end))
            at = _skip(text, end)
            if text[at : at + 1] == "]":
                return found
            at = _expect(text, at, ",")
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with these ranges replaced; they do not overlap."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits):
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])


def with_members(text: str, values: dict[str, str]) -> str:
    """The object `text` with these members set: in their place where they are, else behind the last one.

    Args:
        values: JSON texts by name.

    Raises:
        NotJson: the text is no object.
    """
    found, close = members(text)
    edits = [Edit(member.start, member.end, values[member.name]) for member in found if member.name in values]
    present = {member.name for member in found}
    added = [f"{json.dumps(name)}:{value}" for name, value in values.items() if name not in present]
    if added:
        behind = found[-1].end if found else close
        edits.append(Edit(behind, behind, ("," if found else "") + ",".join(added)))
    return edited(text, edits)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANK:
        at += 1
    return at


def _expect(text: str, at: int, mark: str) -> int:
    """Where the next thing stands behind `mark`."""
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise NotJson(f"no {mark} at character {at}")
    return _skip(text, at + 1)
