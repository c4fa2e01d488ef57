"""JSON from the wire, no deeper than can be walked."""

from __future__ import annotations

import orjson
import pytest

from graphtape.protocol.jsonvalue import MAX_DEPTH, TooDeep, is_too_deep, loads


def nested(depth: int, inner: bytes = b"1") -> bytes:
    return b'{"a":' * depth + inner + b"}" * depth


def test_deepest_allowed() -> None:
    """A value of exactly the allowed depth is read, in objects as in lists."""
    assert isinstance(loads(nested(MAX_DEPTH)), dict)
    assert isinstance(loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH), list)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 480, 1000])
def test_one_level_too_deep(depth: int) -> None:
    """One level more is refused, and so is whatever is deeper."""
    with pytest.raises(TooDeep):
        loads(nested(depth))
    assert is_too_deep(nested(depth))


def test_deeper_than_the_parser() -> None:
    """What the parser itself refuses is an error of the same family."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(nested(5000))


def test_wide() -> None:
    """Many brackets side by side are no depth."""
    assert len(loads(b"[" + b",".join([b"{}"] * 1000) + b"]")) == 1000


def test_no_json() -> None:
    """What is no JSON is not called deep."""
    with pytest.raises(orjson.JSONDecodeError):
        loads(b"[" * 500)
    assert not is_too_deep(b"{")
    assert not is_too_deep(b"null")
