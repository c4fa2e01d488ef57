"""Tests of `graphtape.cassettes.model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from graphtape.cassettes import Chunk, Ending, Exchange

MakeExchange = Callable[..., Exchange]


def test_body_is_the_chunks_joined(make_exchange: MakeExchange) -> None:
    """Nothing is between the reads."""
    assert make_exchange(b"ab", b"", b"c").body == b"abc"


def test_values_do_not_change(make_exchange: MakeExchange) -> None:
    """What a cassette says is not to be written to."""
    exchange = make_exchange(b"a")
    with pytest.raises(FrozenInstanceError):
        exchange.number = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        exchange.chunks[0].data = b""  # type: ignore[misc]


def test_chunk_is_not_delayed_unless_said() -> None:
    """The usual chunk is in time."""
    assert Chunk(1, b"") == Chunk(at_ns=1, data=b"", delayed=False)


def test_names_of_endings_are_those_of_the_format() -> None:
    """They stand in files: they never change."""
    assert {ending.value for ending in Ending} == {
        "complete",
        "upstream-broke",
        "client-left",
        "recorder-stopped",
        "unreached",
        "unfinished",
    }
