"""File first, then the client."""

from __future__ import annotations

import asyncio

import pytest

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.errors import CassetteWriteFailed
from graphtape.recorder.turn import ALONE_NS, FlushTurn


class Log(list[str]):
    """What happened, in order; and a clock to make it happen at times."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(autojump=False)

    def turn(self) -> FlushTurn:
        return FlushTurn(lambda: self.append("flush"), lambda error: None, self.clock.now_ns)


async def test_what_comes_alone_goes_at_once() -> None:
    """A read that no flush came just before waits for nobody."""
    log = Log()
    turn = log.turn()
    turn.then(lambda: log.append("a"))
    assert log == ["flush", "a"]
    log.clock.advance(ALONE_NS)
    turn.then(lambda: log.append("b"))
    assert log == ["flush", "a", "flush", "b"]


async def test_one_flush_for_all_of_a_turn() -> None:
    """What comes close behind a flush is captured together and shares the next one; actions follow it in order."""
    log = Log()
    turn = log.turn()
    turn.then(lambda: log.append("a"))
    log.clock.advance(ALONE_NS - 1)
    turn.then(lambda: log.append("b"))
    turn.then(lambda: log.append("c"))
    assert log == ["flush", "a"]
    await asyncio.sleep(0)
    assert log == ["flush", "a", "flush", "b", "c"]
    await asyncio.sleep(0)
    assert log == ["flush", "a", "flush", "b", "c"]


async def test_what_is_only_added_waits() -> None:
    """Until somebody goes or settles; then all of it runs, in order."""
    log = Log()
    turn = log.turn()
    turn.add(lambda: log.append("a"))
    await asyncio.sleep(0)
    assert log == []
    turn.then(lambda: log.append("b"))
    assert log == ["flush", "a", "b"]


async def test_settle_at_once() -> None:
    """Whoever cannot wait settles now, what waits included; nothing runs twice."""
    log = Log()
    turn = log.turn()
    turn.then(lambda: log.append("a"))
    turn.then(lambda: log.append("b"))
    turn.settle()
    assert log == ["flush", "a", "flush", "b"]
    await asyncio.sleep(0)
    assert [word for word in log if word != "flush"] == ["a", "b"]


async def test_an_action_that_adds_another() -> None:
    """What an action adds runs behind those given before it."""
    log = Log()
    turn = log.turn()
    log.clock.advance(ALONE_NS)

    def first() -> None:
        log.append("a")
        log.clock.advance(ALONE_NS)
        turn.then(lambda: log.append("c"))

    turn.add(first)
    turn.add(lambda: log.append("b"))
    turn.go()
    await asyncio.sleep(0)
    assert [word for word in log if word != "flush"] == ["a", "b", "c"]


async def test_what_can_wait_for_the_clients() -> None:
    """It comes after the actions of each flush, and not after one that failed."""
    log: list[object] = []
    fails = False

    def flush() -> None:
        if fails:
            raise CassetteWriteFailed("x.tape", "disk full")

    turn = FlushTurn(flush, lambda error: None, FakeClock().now_ns, flushed=lambda: log.append("flushed"))
    turn.add(lambda: log.append("sent"))
    turn.settle()
    assert log == ["sent", "flushed"]
    fails = True
    turn.run()
    assert log == ["sent", "flushed"]


async def test_a_failed_flush_sends_nothing() -> None:
    """The actions are dropped, those who settle get the error, and the recorder is told."""
    error = CassetteWriteFailed("x.tape", "disk full")
    log: list[object] = []

    def flush() -> None:
        raise error

    turn = FlushTurn(flush, log.append, FakeClock().now_ns)
    turn.add(lambda: log.append("sent"))
    with pytest.raises(CassetteWriteFailed):
        turn.settle()
    assert log == [error]
    assert turn.run() is error
    assert log == [error, error]
