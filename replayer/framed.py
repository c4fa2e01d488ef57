"""The events of a view as HTTP chunks, framed once and handed out many at a time.

Pure; knows bytes and ids, no transport. One write per event, not Python, is what makes a replay slow: so chunks are
joined to blocks, and a session's own ids are put into a block where the recorded ones stand in it. One rule: a block
is, byte for byte, what writing its events one after another would send.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from graphtape.protocol.ids import IdMap, places_of_ids

BLOCK_BYTES = 1 << 18
"""A block ends with the event that reaches this size."""

_KEPT_BYTES = 1 << 26
"""Blocks that are kept; what is dropped is framed again when it is needed."""


def chunk(data: bytes) -> bytes:
    """Bytes as one HTTP chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Block:
    """Some events in a row, each as one HTTP chunk."""

    first: int
    """Position of its first event."""
    data: bytes
    ends: array[int]
    """Where in `data` each event's chunk ends."""
    places: Mapping[bytes, array[int]]
    """Where in `data` each UUID and each 32-digit id stands."""
    holds_ids: bytes
    """1 for each event in which one of them stands, 0 for the others: most of them."""

    @classmethod
    def of(cls, first: int, events: Sequence[bytes]) -> Block:
        """Frame these events, the first of which has the position `first`."""
        chunks = [chunk(event) for event in events]
        data = b"".join(chunks)
        ends, places = array("I", accumulate(map(len, chunks))), _places(data)
        holds_ids = bytearray(len(ends))
        for starts in places.values():
            for start in starts:
                holds_ids[bisect_right(ends, start)] = 1
        return cls(first, data, ends, places, bytes(holds_ids))

    @property
    def stop(self) -> int:
        """The position behind its last event."""
        return self.first + len(self.ends)

    def named(self, ids: Mapping[bytes, bytes]) -> bytes | bytearray:
        """Its bytes with these ids for recorded ones; the very same object if none of them stands in it.

        Args:
            ids: recorded id -> its replacement, of the same length.
        """
        found = ids.keys() & self.places.keys() if ids else ()
        if not found:
            return self.data
        copy = bytearray(self.data)
        for old in found:
            new, size = ids[old], len(old)
            for place in self.places[old]:
                copy[place : place + size] = new
        return copy

    def event(self, position: int, ids: IdMap) -> bytes:
        """One event's chunk, with these ids, none of which changes a length, for recorded ones."""
        at = position - self.first
        data = self.data[self.ends[at - 1] if at else 0 : self.ends[at]]
        return ids.apply(data) if self.holds_ids[at] else data

    def cut(self, data: bytes | bytearray, start: int, stop: int) -> bytes | bytearray | memoryview:
        """The part of `data`, this block's bytes under any ids, that holds the events from `start` to before `stop`."""
        if start <= self.first and stop >= self.stop:
            return data
        begin = self.ends[start - self.first - 1] if start > self.first else 0
        return memoryview(data)[begin : self.ends[min(stop, self.stop) - self.first - 1]]


def _places(data: bytes) -> dict[bytes, array[int]]:
    found: dict[bytes, array[int]] = {}
    for start, stop in places_of_ids(data):
        found.setdefault(data[start:stop], array("I")).append(start)
    return found


def cuts(sizes: Iterable[int]) -> array[int]:
    """The positions at which blocks begin, for events of these sizes."""
    begins = array("I", (0,))
    room = BLOCK_BYTES
    for position, size in enumerate(sizes):
        if room <= 0:
            begins.append(position)
            room = BLOCK_BYTES
        room -= size
    return begins


class Framable(Protocol):
    """Events that can be framed: a view."""

    @property
    def cuts(self) -> array[int]:
        """Where its blocks begin."""
        ...

    def raw(self, start: int, stop: int | None) -> list[bytes]:
        """The bytes of its events from `start` to before `stop`."""
        ...


class Blocks:
    """Blocks of views, made when they are needed and kept while there is room.

    Args:
        limit_bytes: of all that is kept; the block that was used longest ago goes first.
    """

    def __init__(self, limit_bytes: int = _KEPT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept_bytes = 0
        self._kept: OrderedDict[tuple[Framable, int], Block] = OrderedDict()

    def at(self, seen: Framable, position: int) -> Block:
        """The block of a view that holds the event at this position."""
        index = bisect_right(seen.cuts, position) - 1
        key = seen, index
        block = self._kept.get(key)
        if block is not None:
            self._kept.move_to_end(key)
            return block
        start, stop = seen.cuts[index], seen.cuts[index + 1] if index + 1 < len(seen.cuts) else None
        block = self._kept[key] = Block.of(start, seen.raw(start, stop))
        self._kept_bytes += len(block.data)
        while self._kept_bytes > self._limit_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped.data)
        return block
