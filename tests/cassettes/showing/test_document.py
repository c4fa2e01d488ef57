"""Tests of `graphtape.cassettes.showing.document`: JSON for machines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphtape.cassettes.showing.document import document_bytes

NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]

CASES = [
    ({"target": "/caf\udce9"}, {"target": "/caf\\xe9"}),
    ({"é": "☃"}, {"é": "☃"}),
    ({"é\udcff": ["\udc80"]}, {"é\\xff": ["\\x80"]}),
    ({1: 2}, {"1": 2}),
    ({"a": {b"k": b"v"}}, {"a": {"b'k'": "b'v'"}}),
    ({"a": b"\xff"}, {"a": "b'\\xff'"}),
]


@pytest.mark.parametrize(("document", "expected"), CASES)
@pytest.mark.parametrize("indent", [False, True])
def test_what_json_cannot_say(document: Any, expected: Any, indent: bool) -> None:
    """Foreign bytes, keys and values are spelt out; nothing is refused."""
    assert json.loads(document_bytes(document, indent=indent)) == expected


def test_nested_too_deeply() -> None:
    """A container too deep for the encoder is named instead of shown."""
    assert b"nested too deeply" in document_bytes(NESTED)
