"""Checks JSON values by rules, and says what is wrong in the words of the server's validator.

Knows the few keywords of JSON Schema that the server's request bodies use; no body and no route: those are in
`bodies.py`. One rule: keywords are looked at in the order in which the server looks, so that of several faults the same
one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

_UNDER_NONE: Final = "is not valid under any of the schemas listed in the '{keyword}' keyword"
_UNDER_SEVERAL: Final = "is valid under more than one of the schemas listed in the '{keyword}' keyword"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a JSON value must be like; an empty rule takes everything.

    Args:
        types: names of JSON types; a number without a fraction is an `integer` too.
        enum: the strings that are allowed.
        minimum: of a number, inclusive; `maximum` likewise.
        min_length: of a string, in characters; `max_length` likewise.
        any_of: at least one of these.
        one_of: one of these, and no other.
        all_of: each of these.
        items: for each member of an array.
        required: members that an object must have.
        properties: for the members of an object, if they are there.
        additional: for all other members.
        most_members: how many members an object may have.
        reference: the server names this rule by itself, wherever it is used.
    """

    types: tuple[str, ...] = ()
    enum: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    any_of: tuple[Rule, ...] = ()
    one_of: tuple[Rule, ...] = ()
    all_of: tuple[Rule, ...] = ()
    items: Rule | None = None
    required: tuple[str, ...] = ()
    properties: Mapping[str, Rule] = field(default_factory=dict)
    additional: Rule | None = None
    most_members: int | None = None
    reference: str = ""


class _Place(NamedTuple):
    """Where a rule stands in its schema, and a value in what was sent."""

    rule: str
    value: str

    def down(self, rule: str, value: str = "") -> _Place:
        return _Place(self.rule + rule, self.value + value)


class _Fault(NamedTuple):
    keyword: str
    words: str
    """What is said of the value; of which text is made only when it is said, since one of several rules may fit."""
    value: object
    place: _Place
    missing: str | None = None
    """The member that is not there, of which it is said instead."""


_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    ),
}


def violation(value: object, rule: Rule) -> str | None:
    """What the server says is wrong with a value; None if nothing is.

    Args:
        value: parsed JSON.
    """
    fault = next(_faults(value, rule, _Place("schema", "")), None)
    if fault is None:
        return None
    subject = format_json(fault.value if fault.missing is None else fault.missing)
    return (
        f'{subject} {fault.words}\n\nFailed validating "{fault.keyword}" in {fault.place.rule}\n\n'
        f"On instance{fault.place.value}:\n    {format_json(fault.value)}"
    )


def _faults(value: object, rule: Rule, place: _Place) -> Iterator[_Fault]:
    if rule.reference:
        place = _Place(f'schema["components"]["schemas"]["{rule.reference}"]', place.value)
    if rule.types and not any(_TYPES[name](value) for name in rule.types):
        yield _Fault("type", f"is not of type {_listed(rule.types)}", value, place)
        return
    yield from _scalar_faults(value, rule, place)
    for position, one in enumerate(rule.all_of):
        yield from _faults(value, one, place.down(f'["allOf"][{position}]'))
    if isinstance(value, Mapping):
        yield from _member_faults(value, rule, place)
    if isinstance(value, list) and rule.items is not None:
        for position, item in enumerate(value):
            yield from _faults(item, rule.items, place.down('["items"]', f"[{position}]"))
    for keyword, rules, most in (("anyOf", rule.any_of, len(rule.any_of)), ("oneOf", rule.one_of, 1)):
        right = sum(next(_faults(value, one, place), None) is None for one in rules)
        if rules and not 0 < right <= most:
            words = (_UNDER_SEVERAL if right else _UNDER_NONE).format(keyword=keyword)
            yield _Fault(keyword, words, value, place)


def _scalar_faults(value: object, rule: Rule, place: _Place) -> Iterator[_Fault]:
    if rule.enum and value not in rule.enum:
        yield _Fault("enum", f"is not one of {_candidates(rule.enum)}", value, place)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if rule.maximum is not None and value > rule.maximum:
            words = f"is greater than the maximum of {rule.maximum}"
            yield _Fault("maximum", words, value, place)
        if rule.minimum is not None and value < rule.minimum:
            words = f"is less than the minimum of {rule.minimum}"
            yield _Fault("minimum", words, value, place)
    if isinstance(value, str):
        if rule.max_length is not None and len(value) > rule.max_length:
            words = f"is longer than {rule.max_length} characters"
            yield _Fault("maxLength", words, value, place)
        if rule.min_length is not None and len(value) < rule.min_length:
            plural = "" if rule.min_length == 1 else "s"
            words = f"is shorter than {rule.min_length} character{plural}"
            yield _Fault("minLength", words, value, place)


def _member_faults(value: Mapping[str, object], rule: Rule, place: _Place) -> Iterator[_Fault]:
    for name in rule.required:
        if name not in value:
            yield _Fault("required", "is a required property", value, place, name)
    if rule.most_members is not None and len(value) > rule.most_members:
        words = f"has more than {rule.most_members} properties"
        yield _Fault("maxProperties", words, value, place)
    for name in sorted(rule.properties):
        if name in value:
            at = place.down(f'["properties"]["{name}"]', f"[{format_json(name)}]")
            yield from _faults(value[name], rule.properties[name], at)
    if rule.additional is not None:
        for name in sorted(value.keys() - rule.properties.keys()):
            at = place.down('["additionalProperties"]', f"[{format_json(name)}]")
            yield from _faults(value[name], rule.additional, at)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_NAMED: Final = 3
"""Of more candidates the validator names two and counts the rest."""


def _candidates(names: tuple[str, ...]) -> str:
    shown = [f'"{name}"' for name in names]
    if len(shown) > _NAMED:
        shown = [*shown[:2], f"{len(shown) - 2} other candidates"]
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


_MOST_NESTED: Final = 200


def format_json(value: object, depth: int = 0) -> str:
    """JSON as the server's validator prints it: compact, keys sorted, not escaped to ASCII."""
    if depth > _MOST_NESTED:
        return "..."
    if isinstance(value, Mapping):
        members = (f"{format_json(key)}:{format_json(value[key], depth + 1)}" for key in sorted(value))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(format_json(item, depth + 1) for item in value) + "]"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        # As JSON parsers read them; beyond the range of a float there is nothing to be like.
        value = float(value) if abs(value) < 2**1023 else float("inf")
    if isinstance(value, float):
        mantissa, _, exponent = repr(value).partition("e")
        if exponent == "-05":
            # The validator, unlike Python, writes five zeros before it turns to exponents.
            sign = "-" if value < 0 else ""
            return f"{sign}0.0000{mantissa.lstrip('-').replace('.', '')}"
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}" if exponent else mantissa
    return orjson.dumps(value).decode()
