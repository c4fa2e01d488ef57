"""Counting events cheaply."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.recorder.tally import EventCounter, Tally

STREAM = (
    b'event: metadata\r\ndata: {"a":1}\r\nid: 1\r\n\r\n'
    b": heartbeat\r\n\r\n"
    b"event:values|sub:1\ndata: x\n\n"
    b"data\n\n"
    b"id: 7\n\n"
    b"\n\n"
    b"data: cut off"
)


def fed(counter: EventCounter, data: bytes) -> int:
    """How many events a read completes."""
    before = counter.events
    counter.feed(data)
    return counter.events - before


def test_events_at_every_cut() -> None:
    """Events with data count; comments, lone ids and the unfinished rest do not, however the reads fall."""
    for cut in range(len(STREAM)):
        counter = EventCounter()
        assert fed(counter, STREAM[:cut]) + fed(counter, STREAM[cut:]) == 3
        assert counter.events == 3
        assert counter.last_name == "message"


def test_the_servers_own_form_at_every_cut() -> None:
    """The fast lane counts and names as the slow one does, also with a heartbeat between and an event cut in two."""
    usual = b"".join(b'event: n%d\r\ndata: {"a":%d}\r\nid: 7\r\n\r\n' % (n, n) for n in range(4))
    stream = usual + b": heartbeat\r\n\r\n" + usual
    for cut in range(len(stream)):
        counter = EventCounter()
        assert fed(counter, stream[:cut]) + fed(counter, stream[cut:]) == 8
        assert counter.last_name == "n3"


@pytest.mark.parametrize(
    ("read", "events", "name"),
    [
        (b"event: a\r\ndata: 1\r\nid: 1\r\n\r\n", 1, "a"),
        (b"event: a\r\ndata: 1\r\ndata: 2\r\n\r\n", 1, "a"),
        (b"event: a\r\n\r\n", 0, "b"),
        (b"event: a\r\ndata: 1\r\n\r\nevent: c\r\ndata: 1\r\n\r\n", 2, "c"),
        (b"\r\n\r\n", 0, "b"),
        (b"eve", 0, "b"),
    ],
)
def test_reads_of_one_event(read: bytes, events: int, name: str) -> None:
    """A read that is one whole event has a lane of its own; what only looks like it counts as anywhere."""
    counter = EventCounter()
    assert fed(counter, b"event: b\r\ndata: 1\r\n\r\n") == 1
    assert fed(counter, read) == events
    assert counter.last_name == name


def test_one_event_behind_an_open_one() -> None:
    """What a cut event has left open is joined to it, not counted as a second one."""
    counter = EventCounter()
    assert fed(counter, b"event: a\r\nid: 3\r\n") == 0
    assert fed(counter, b"event: b\r\ndata: 1\r\n\r\n") == 1
    assert counter.last_name == "a"


def test_reads_are_counted_together() -> None:
    """Small ones wait for each other or for the question; large ones are not kept."""
    counter = EventCounter()
    for number in range(100):
        counter.feed(b"event: n%d\r\ndata: 1\r\n\r\n" % number)
        assert len(counter._gathered) < 16
    assert (counter.events, counter.last_name) == (100, "n99")
    counter.feed(b"event: a\r\ndata: " + b"x" * 10_000)
    assert not counter._gathered


@pytest.mark.slow
def test_a_large_event_in_many_reads() -> None:
    """An event of megabytes is counted once and not kept."""
    counter = EventCounter()
    counter.feed(b"event: big\ndata: ")
    for _ in range(100):
        counter.feed(b"x" * 50_000)
    assert len(counter._open) < 2000
    assert fed(counter, b"\n\n") == 1
    assert counter.last_name == "big"


def test_compressed_streams_are_not_counted() -> None:
    """What cannot be read is not guessed at."""
    assert fed(EventCounter(readable=False), STREAM) == 0


@pytest.mark.parametrize(
    ("endings", "unfinished"), [({}, 0), ({Ending.COMPLETE: 5, Ending.CLIENT_LEFT: 2}, 2)]
)
def test_unfinished(endings: Any, unfinished: Any) -> None:
    """All that the upstream did not end itself."""
    assert Tally(endings=endings).unfinished == unfinished
