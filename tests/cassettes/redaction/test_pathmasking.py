"""Tests of `graphtape.cassettes.redaction.pathmasking`: values at paths of JSON bodies."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes.redaction.pathmasking import ANY, BadPath, PathMasker, parse_path

M = '"[redacted]"'


def mask(text: str, *paths: str, cuts: tuple[int, ...] = ()) -> str:
    data = text.encode()
    masker = PathMasker([(path, parse_path(path)) for path in paths])
    parts = [masker.feed(data[a:b]) for a, b in pairwise([0, *cuts, len(data)])]
    return (b"".join(parts) + masker.finish()).decode()


PATHS = [
    ("input.messages[*].content", ("input", "messages", ANY, "content")),
    ("$.a[0][12]", ("a", 0, 12)),
    ("[*].a", (ANY, "a")),
    ('["a.b"].c', ("a.b", "c")),
    ("a.*.c", ("a", ANY, "c")),
    ("x-y z_é", None),
    ("", None),
    ("$", None),
    ("a..b", None),
    ("a[", None),
    ("a[-1]", None),
    ('a["\\x"]', None),
    ("..a", None),
]


@pytest.mark.parametrize(("text", "steps"), PATHS)
def test_path(text: str, steps: Any) -> None:
    """Paths are read as `diff` and `verify` print them; others are refused with an example."""
    if steps is None:
        with pytest.raises(BadPath, match=r"input\.messages\[\*\]\.content"):
            parse_path(text)
    else:
        assert parse_path(text) == steps


CASES = [
    ('{"a":{"b":"x","c":"y"},"b":"z"}', ["a.b"], f'{{"a":{{"b":{M},"c":"y"}},"b":"z"}}'),
    ('{ "a" : [ "x" , {"b":1} , [2] ] }', ["a[*]"], f'{{ "a" : [ {M} , {M} , {M} ] }}'),
    ('{"a":["x","y","z"]}', ["a[1]"], f'{{"a":["x",{M},"z"]}}'),
    ('{"a":[{"b":"x"},{"b":"y","c":["z"]}]}', ["a[*].b"], f'{{"a":[{{"b":{M}}},{{"b":{M},"c":["z"]}}]}}'),
    ('{"a":{"x":1,"y":[1,{"b":"]"}],"z":"}"}}', ["a.*"], f'{{"a":{{"x":{M},"y":{M},"z":{M}}}}}'),
    ('[["x","y"],["z"]]', ["[0][1]", "[1]"], f'[["x",{M}],{M}]'),
    ('{"a":null,"b":true,"c":-1.5e3}', ["a", "b", "c"], f'{{"a":null,"b":true,"c":{M}}}'),
    ('{"\\u0061":"x","a\\"b":"y"}', ["a", '["a\\"b"]'], f'{{"\\u0061":{M},"a\\"b":{M}}}'),
    ('{"a":{"a":{"a":"x"}}}', ["a.a.a"], f'{{"a":{{"a":{{"a":{M}}}}}}}'),
    (
        '{"n":12,"a":"x","t":true,"b":[1,2.5,"q"],"c":"y"}',
        ["c"],
        f'{{"n":12,"a":"x","t":true,"b":[1,2.5,"q"],"c":{M}}}',
    ),
    ('{"a":"x"', ["a"], f'{{"a":{M}'),
    ('{"a":"x', ["a"], f'{{"a":{M}'),
    ('{"a":{"b":"x"}', ["a"], f'{{"a":{M}'),
    ('{"b":[}],"a":"x"}', ["a"], '{"b":[}],"a":"x"}'),
    ("plain text", ["a"], "plain text"),
    ("", ["a"], ""),
]


@pytest.mark.parametrize(("text", "paths", "expected"), CASES)
def test_masks_at_every_cut(text: str, paths: list[str], expected: str) -> None:
    """The same result whole, byte by byte and at every split point."""
    assert mask(text, *paths) == expected
    size = len(text.encode())
    assert mask(text, *paths, cuts=tuple(range(1, size))) == expected
    for cut in range(1, size):
        assert mask(text, *paths, cuts=(cut,)) == expected


KEYS = st.sampled_from(["a", "b", "c", "a.b", "é"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


def expected_of(value: Any, path: tuple[str | int | None, ...]) -> Any:
    if not path:
        return value if value is None else "[redacted]"
    step = path[0]
    if isinstance(value, dict) and not isinstance(step, int):
        for key in value if step is None else [step] if step in value else []:
            value[key] = expected_of(value[key], path[1:])
    if isinstance(value, list) and not isinstance(step, str):
        for at in range(len(value)) if step is None else [step] if step < len(value) else []:
            value[at] = expected_of(value[at], path[1:])
    return value


@pytest.mark.slow
@settings(max_examples=60)
@given(JSON, st.lists(st.none() | st.integers(0, 2) | KEYS, min_size=1, max_size=3), st.booleans())
def test_as_a_parser_would(value: Any, steps: list[str | int | None], spaced: bool) -> None:
    """On any document it does what changing the parsed value would do."""
    if not isinstance(value, dict | list):
        return
    text = json.dumps(value, indent=1 if spaced else None, ensure_ascii=not spaced)
    masker = PathMasker([("p", tuple(steps))])
    out = masker.feed(text.encode()) + masker.finish()
    assert json.loads(out) == expected_of(copy.deepcopy(value), tuple(steps))


@pytest.mark.slow
@settings(max_examples=40)
@given(st.binary(), st.lists(st.integers(0, 50), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Whatever comes is passed, and reads do not matter."""
    whole = PathMasker([("a", ("a",)), ("*", (ANY, ANY))])
    expected = whole.feed(data) + whole.finish()
    masker = PathMasker([("a", ("a",)), ("*", (ANY, ANY))])
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    parts = [masker.feed(data[a:b]) for a, b in pairwise(edges)]
    assert b"".join(parts) + masker.finish() == expected


@pytest.mark.slow
def test_deep_nesting_is_bounded() -> None:
    """Nothing grows with the depth, and what follows is still found."""
    text = '{"x":' + "[" * 3000 + '"a"' + "]" * 3000 + ',"a":"x"}'
    assert mask(text, "a") == text.replace(',"a":"x"', f',"a":{M}')
    masker = PathMasker([("a", ("a",))])
    masker.feed(b'{"a":' * 5000)
    assert len(masker._stack) <= 512
