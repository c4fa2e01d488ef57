"""Blocks of HTTP chunks: the bytes of one write per event, with few writes."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from graphtape.protocol.ids import IdMap
from graphtape.replayer.framed import BLOCK_BYTES, Block, Blocks, chunk, cuts

A, B, C = (f"019f0000-0000-7000-8000-00000000000{digit}" for digit in "abc")
HEX = "0123456789abcdef0123456789abcdef"
EVENTS = [f"event: {name}\r\ndata: {data}\r\n\r\n".encode() for name, data in (
    ("metadata", f'{{"run_id":"{A}"}}'), (f"updates|n:{B}", "{}"), ("values", f'["{HEX}","{A}",1]'), ("values", "2"),
)]  # fmt: skip


class Seen:
    """Events that can be framed."""

    def __init__(self, events: list[bytes]) -> None:
        self.events = events
        self.cuts = cuts(map(len, events))
        self.asked: list[int] = []

    def raw(self, start: int, stop: int | None) -> list[bytes]:
        self.asked.append(start)
        return self.events[start:stop]


def test_chunk() -> None:
    """The size in hexadecimal, the bytes, and a line end behind each."""
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@pytest.mark.parametrize("pairs", [{}, {A: C}, {A: B, B: A}, {HEX: HEX[::-1], C: A}])
def test_names(pairs: dict[str, str]) -> None:
    """Ids put into a block are where replacing them event by event would have put them."""
    ids = IdMap(pairs)
    assert ids.in_place is not None
    named = Block.of(0, EVENTS).named(ids.in_place)
    assert named == b"".join(chunk(ids.apply(event)) for event in EVENTS)
    block = Block.of(5, EVENTS)
    assert [block.event(5 + at, ids) for at in range(4)] == [chunk(ids.apply(event)) for event in EVENTS]
    assert block.holds_ids == bytes((1, 1, 1, 0))


def test_nothing_to_name() -> None:
    """Where none of the ids stands, every stream is given the very same bytes."""
    block = Block.of(0, EVENTS[3:])
    assert block.named({A.encode(): B.encode()}) is block.data
    assert Block.of(0, EVENTS).named({}) == b"".join(map(chunk, EVENTS))


def test_part_of_a_block() -> None:
    """Any events of a block in a row, and not more than it has."""
    block = Block.of(10, EVENTS)
    chunks = [chunk(event) for event in EVENTS]
    for start in range(10, 14):
        for stop in range(start + 1, 16):
            assert block.cut(block.data, start, stop) == b"".join(chunks[start - 10 : stop - 10])


@pytest.mark.parametrize(
    ("sizes", "begins"),
    [
        ([], [0]),
        ([1], [0]),
        ([BLOCK_BYTES, 1], [0, 1]),
        ([BLOCK_BYTES - 1, 1, 1, BLOCK_BYTES * 2, 1], [0, 2, 4]),
    ],
)
def test_cuts(sizes: list[int], begins: list[int]) -> None:
    """A block ends with the event that fills it."""
    assert cuts(sizes) == array("I", begins)


def test_blocks_are_kept_while_there_is_room() -> None:
    """A block is framed once; the one that was used longest ago makes room for a new one."""
    seen = Seen([b"x" * BLOCK_BYTES] * 3)
    blocks = Blocks(int(2.5 * BLOCK_BYTES))
    assert blocks.at(seen, 0) is blocks.at(seen, 0)
    for position in (1, 0, 2, 0, 1):
        assert blocks.at(seen, position).data == chunk(b"x" * BLOCK_BYTES)
    assert seen.asked == [0, 1, 2, 1]


def test_events_that_are_not_the_first_of_a_block() -> None:
    """The block of an event is the one it stands in."""
    seen = Seen([b"x" * (BLOCK_BYTES // 2)] * 5)
    found: list[Any] = [(block.first, block.stop) for block in (Blocks().at(seen, at) for at in range(5))]
    assert found == [(0, 2), (0, 2), (2, 4), (2, 4), (4, 5)]
