"""Tests of `graphtape.cassettes.redaction.jsontext`: strings of JSON and where they stand."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes.redaction.jsontext import iter_strings

PATHS = [
    ('"a"', [("", "a")]),
    ('{"a":"b"}', [("a", "b")]),
    ('{"a":{"b":["x","y",{"c":"z"}]}}', [("a.b[0]", "x"), ("a.b[1]", "y"), ("a.b[2].c", "z")]),
    ('[1,"x",{"a" : "y"} , "z"]', [("[1]", "x"), ("[2].a", "y"), ("[3]", "z")]),
    ('{"a":1,"b":"x","c":[[],["y"]]}', [("b", "x"), ("c[1][0]", "y")]),
    ('{"\\u0061":"\\u00e9\\n\\"\\ud83d\\ude00"}', [("a", 'é\n"😀')]),
    ('{"a":"x', [("a", "x")]),
    ('{"a":"x\\', [("a", "x")]),
    ("}}]]", []),
    ("", []),
    ("{:,:,}", []),
]


@pytest.mark.parametrize(("text", "expected"), PATHS)
def test_paths(text: str, expected: list[tuple[str, str]]) -> None:
    """Each string has its path and its text; what is broken is read as far as it goes."""
    assert [(string.path, string.text) for string in iter_strings(text.encode())] == expected


def leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [leaf for item in items for leaf in leaves(item)]


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.mark.slow
@settings(max_examples=40)
@given(JSON, st.booleans())
def test_every_string_is_found(value: Any, ascii_only: bool) -> None:
    """As many strings as the document has, with the same text, and ranges that cut out each character."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if b"\xed" in data:
        return
    strings = list(iter_strings(data))
    assert [string.text for string in strings] == leaves(value)
    for string in strings:
        for at in range(len(string.text)):
            ((start, stop),) = string.ranges(at, at + 1)
            assert json.loads(b'"' + data[start:stop] + b'"') == string.text[at]


@pytest.mark.slow
@settings(max_examples=50)
@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """Nothing is refused, and every range lies in the data."""
    for string in iter_strings(data):
        assert 0 <= string.start <= string.stop <= len(data)
        assert string.path is not None
        assert len(string.text) == 0 or string.ranges(0, len(string.text)) == [(string.start, string.stop)]


def test_messages() -> None:
    """The outermost id names the message, also if it comes last; pieces are told apart by their index."""
    data = b"""[{"content":[{"index":1,"text":"a"}],"tool_call_chunks":[{"index":0,"args":"b","id":"call"}],
               "id":"run--1"},{"node":"n"}]"""
    content, args, call, own, node = list(iter_strings(data))
    assert content.message() == ("run--1", "content[1].text")
    assert content.path == "[0].content[0].text"
    assert content.stream_path() == "[0].content[1].text"
    assert args.message() == ("run--1", "tool_call_chunks[0].args")
    assert (call.name, call.text) == ("id", "call")
    assert own.message() == ("run--1", "id")
    assert node.message() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b'"' * 50_000,
        b'{"a":"' + b'\\"' * 25_000,
        b"[" * 20_000 + b'"x",' * 10_000,
        b'[{"a":"x",' * 10_000,
        b'\\"' * 25_000,
    ],
)
def test_hostile_text_takes_linear_time(data: bytes) -> None:
    """Quotes, escapes and brackets without end are read once."""
    before = time.perf_counter()
    for string in iter_strings(data):
        assert string.path or string.message() is None
    assert time.perf_counter() - before < 1
