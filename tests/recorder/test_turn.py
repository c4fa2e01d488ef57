"""File first, then the client."""

from __future__ import annotations

import asyncio

import pytest

from graphtape.cassettes.errors import CassetteWriteFailed
from graphtape.recorder.turn import FlushTurn


async def test_one_flush_for_all_of_a_turn() -> None:
    """Everything captured in one turn shares a flush; actions follow it in order."""
    log: list[str] = []
    turn = FlushTurn(lambda: log.append("flush"), lambda error: None)
    turn.then(lambda: log.append("a"))
    turn.then(lambda: log.append("b"))
    assert log == []
    await turn.settled()
    assert log == ["flush", "a", "b"]
    turn.then(lambda: log.append("c"))
    await turn.settled()
    assert log == ["flush", "a", "b", "flush", "c"]


async def test_run_at_once() -> None:
    """Whoever cannot wait runs the turn now; it does not run again."""
    log: list[str] = []
    turn = FlushTurn(lambda: log.append("flush"), lambda error: None)
    turn.then(lambda: log.append("a"))
    turn.run()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["flush", "a"]


async def test_a_failed_flush_sends_nothing() -> None:
    """The actions are dropped, those who wait get the error, and the recorder is told."""
    error = CassetteWriteFailed("x.tape", "disk full")
    log: list[object] = []

    def flush() -> None:
        raise error

    turn = FlushTurn(flush, log.append)
    turn.then(lambda: log.append("sent"))
    with pytest.raises(CassetteWriteFailed):
        await turn.settled()
    assert log == [error]
