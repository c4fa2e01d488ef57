"""Exchanging values in a JSON text and keeping every other byte."""

from __future__ import annotations

import json

import pytest

from graphtape.recorder.spans import Edit, NotJson, edited, elements, members, with_members


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("{}", '{"a":1}'),
        (" { } ", ' { "a":1} '),
        ('{"b" : [1, {"a": 2}] }', '{"b" : [1, {"a": 2}],"a":1 }'),
        ('{"a":{"x":"}"}, "b":0}', '{"a":1, "b":0}'),
        ('{ "a" : null , "a":\n2}', '{ "a" : 1 , "a":\n1}'),
        ('{"\\u0061": "x\\"y", "é": 1e999}', '{"\\u0061": 1, "é": 1e999}'),
        ('{"n":' + "9" * 5000 + "}", '{"n":' + "9" * 5000 + ',"a":1}'),
    ],
)
def test_a_member_is_set(text: str, changed: str) -> None:
    """In its place, each time it is there; else behind the last; all else stays as it was written."""
    assert with_members(text, {"a": "1"}) == changed
    assert json.loads(changed, parse_int=float)["a"] == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "1", '{"a"', '{"a":', '{"a":1', '{"a":1,}', "{a:1}", "{1:1}", "{" * 3000]
)
def test_what_is_no_object(text: str) -> None:
    """Is an error of ours, whatever is wrong."""
    with pytest.raises(NotJson):
        with_members(text, {"a": "1"})


def test_what_is_too_deep() -> None:
    """A text that the parser cannot follow is no foreign error."""
    with pytest.raises(NotJson):
        members('{"a":' + "[" * 100_000)
    with pytest.raises(NotJson):
        elements("[" * 100_000)


def test_where_members_stand() -> None:
    """Names are decoded; ranges are those of the values."""
    text = '  {"a": 1, "b\\n": [2]}'
    found, close = members(text)
    assert [(name, text[start:end]) for name, start, end in found] == [("a", "1"), ("b\n", "[2]")]
    assert text[close] == "}"


@pytest.mark.parametrize(("text", "parts"), [("[]", []), (' [ 1 , {"a":[2]} ]', ["1", '{"a":[2]}'])])
def test_where_elements_stand(text: str, parts: list[str]) -> None:
    """The ranges of an array's elements."""
    assert [text[start:end] for start, end in elements(text)] == parts


@pytest.mark.parametrize("text", ["", "{}", "[1", "[1,", "[1 2]", "[,]"])
def test_what_is_no_array(text: str) -> None:
    """Is an error of ours."""
    with pytest.raises(NotJson):
        elements(text)


def test_edits_in_any_order() -> None:
    """Ranges are those of the text as it was."""
    assert edited("abcdef", [Edit(4, 5, ""), Edit(0, 1, "xyz")]) == "xyzbcdf"
