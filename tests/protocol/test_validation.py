"""Rules for JSON values, and the words of the server's validator."""

from __future__ import annotations

import pytest

from graphtape.protocol.validation import Rule, format_json, violation

# A value, and how the server printed it in a refusal.
PRINTED: list[tuple[object, str]] = [
    ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
    ({"é": []}, '{"é":[]}'),
    ('é"x\n\u2028', '"é\\"x\\n\u2028"'),
    ("a\x7f\x01/\\", '"a\x7f\\u0001/\\\\"'),
    (1e20, "1e+20"),
    (1e-7, "1e-7"),
    (1e-5, "0.00001"),
    (-1.5e-5, "-0.000015"),
    (1.23456789e-05, "0.0000123456789"),
    (0.0001, "0.0001"),
    (5.0, "5.0"),
    (-0.0, "-0.0"),
    (1e15, "1000000000000000.0"),
    (1e16, "1e+16"),
    (2**64 - 1, "18446744073709551615"),
    (2**64, "1.8446744073709552e+19"),
    (True, "true"),
    (None, "null"),
]

TEXT = Rule(("string",))
SHORT = Rule(("string",), min_length=2, max_length=3)
COUNT = Rule(("integer",), minimum=0, maximum=9)
NAMED = Rule(("object",), properties={"name": TEXT}, reference="Named")
# Rule, value, and the words of the refusal: what is wrong, the keyword, the rule's place, the value's place.
REFUSED: list[tuple[Rule, object, tuple[str, str, str, str]]] = [
    (TEXT, 1, ('1 is not of type "string"', "type", "schema", "")),
    (
        Rule(("object", "null")),
        [],
        ('[] is not of type "object", "null"', "type", "schema", ""),
    ),
    (COUNT, True, ('true is not of type "integer"', "type", "schema", "")),
    (COUNT, 1.5, ('1.5 is not of type "integer"', "type", "schema", "")),
    (COUNT, -1, ("-1 is less than the minimum of 0", "minimum", "schema", "")),
    (COUNT, 10, ("10 is greater than the maximum of 9", "maximum", "schema", "")),
    (SHORT, "x", ('"x" is shorter than 2 characters', "minLength", "schema", "")),
    (SHORT, "four", ('"four" is longer than 3 characters', "maxLength", "schema", "")),
    (Rule(min_length=1), "", ('"" is shorter than 1 character', "minLength", "schema", "")),
    (Rule(enum=("a", "b")), "c", ('"c" is not one of "a" or "b"', "enum", "schema", "")),
    (Rule(enum=("a", "b", "c")), "d", ('"d" is not one of "a", "b" or "c"', "enum", "schema", "")),
    (
        Rule(enum=("a", "b", "c", "d")),
        "e",
        ('"e" is not one of "a", "b" or 2 other candidates', "enum", "schema", ""),
    ),
    (
        Rule(any_of=(TEXT, COUNT)),
        [],
        ("[] is not valid under any of the schemas listed in the 'anyOf' keyword", "anyOf", "schema", ""),
    ),
    (
        Rule(one_of=(TEXT, COUNT)),
        [],
        ("[] is not valid under any of the schemas listed in the 'oneOf' keyword", "oneOf", "schema", ""),
    ),
    (
        Rule(one_of=(Rule(), TEXT)),
        "x",
        (
            "\"x\" is valid under more than one of the schemas listed in the 'oneOf' keyword",
            "oneOf",
            "schema",
            "",
        ),
    ),
    (
        Rule(all_of=(Rule(), TEXT)),
        1,
        ('1 is not of type "string"', "type", 'schema["allOf"][1]', ""),
    ),
    (
        Rule(items=TEXT),
        ["a", 2],
        ('2 is not of type "string"', "type", 'schema["items"]', "[1]"),
    ),
    (
        Rule(required=("a", "b")),
        {"a": 1},
        ('"b" is a required property', "required", "schema", ""),
    ),
    (
        Rule(properties={"a": COUNT, "b": TEXT}),
        {"b": 1, "a": "x"},
        ('"x" is not of type "integer"', "type", 'schema["properties"]["a"]', '["a"]'),
    ),
    (
        Rule(additional=TEXT, most_members=2),
        {"a": 1},
        ('1 is not of type "string"', "type", 'schema["additionalProperties"]', '["a"]'),
    ),
    (
        Rule(additional=TEXT, most_members=1),
        {"a": 1, "b": 2},
        ('{"a":1,"b":2} has more than 1 properties', "maxProperties", "schema", ""),
    ),
    (
        Rule(properties={"of": NAMED}),
        {"of": {"name": 1}},
        (
            '1 is not of type "string"',
            "type",
            'schema["components"]["schemas"]["Named"]["properties"]["name"]',
            '["of"]["name"]',
        ),
    ),
]


@pytest.mark.parametrize(("value", "printed"), PRINTED, ids=repr)
def test_values_are_printed_as_the_validator_does(value: object, printed: str) -> None:
    """Keys sorted, nothing escaped that JSON does not require, numbers as the server writes them."""
    assert format_json(value) == printed


@pytest.mark.parametrize(("rule", "value", "words"), REFUSED, ids=lambda one: repr(one)[:40])
def test_what_is_wrong_and_where(rule: Rule, value: object, words: tuple[str, str, str, str]) -> None:
    """What the value is not, which keyword says so, where it stands, and the value itself."""
    said = violation(value, rule)
    assert said is not None
    first, keyword, place, at = words
    assert said.startswith(f'{first}\n\nFailed validating "{keyword}" in {place}\n\nOn instance{at}:\n    ')


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (Rule(), None),
        (COUNT, 3.0),
        (COUNT, 0),
        (Rule(("number",)), 1.5),
        (SHORT, "abc"),
        (Rule(any_of=(TEXT, Rule(("null",)))), None),
        (Rule(any_of=(TEXT, Rule())), "x"),
        (Rule(one_of=(TEXT, COUNT)), "x"),
        (Rule(items=TEXT, required=("a",)), "neither"),
        (Rule(properties={"a": TEXT}), {"b": 1}),
        (NAMED, {"name": "x", "more": []}),
    ],
    ids=repr,
)
def test_what_is_right(rule: Rule, value: object) -> None:
    """Keywords speak of their own type of value only; members that no rule names are taken."""
    assert violation(value, rule) is None


def test_a_deeply_nested_value_is_printed_in_bounded_depth() -> None:
    """A hostile body is a refusal, not a crash."""
    value: object = 1
    for _ in range(5000):
        value = [value]
    said = violation(value, TEXT)
    assert said is not None
    assert "..." in said


def test_a_value_that_is_right_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several rules one fits: that the others do not is nothing to say, however large the value."""
    monkeypatch.delattr("graphtape.protocol.validation.format_json")
    assert violation(["large"], Rule(any_of=(TEXT, NAMED, Rule(("array",))))) is None
