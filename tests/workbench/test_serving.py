"""Tests of `workbench/serving.py`; whole servers are stopped in tests/cli."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import weakref
from collections.abc import Callable

import pytest

from graphtape.protocol.errors import GraphtapeError
from graphtape.workbench import serving
from graphtape.workbench.serving import YOUNG_OBJECTS, loop_factory, run_until_stopped, spare_the_collector


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("fast", [True, False])
def test_signal(number: signal.Signals, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal asks the server to stop, on both event loops; what it does then is its own."""
    if not fast:
        monkeypatch.setitem(sys.modules, "uvloop", None)
        assert loop_factory() is None
    done = []

    async def serve(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()
        done.append("closed")

    run_until_stopped(serve)
    assert done == ["closed"]


def test_second_signal() -> None:
    """Whoever cannot wait interrupts the stopping."""

    async def serve(stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(serve)


def test_server_that_fails() -> None:
    """An error of the server comes through as it is."""

    async def serve(_: asyncio.Event) -> None:
        raise GraphtapeError("the port")

    with pytest.raises(GraphtapeError, match="the port"):
        run_until_stopped(serve)


def test_the_collector_is_spared() -> None:
    """What lives as long as the server is not walked again; new garbage is still found."""
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_freeze_count() > before
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
        found = weakref.ref(owner := Cycle())
        owner.itself = owner
        del owner
        gc.collect()
        assert found() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


class Cycle:
    """Refers to itself."""

    itself: Cycle


def test_open_to_the_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A replay that others can reach is warned about once it listens, unless it is to be quiet."""

    async def run(*_: object, announce: Callable[[str], None], **__: object) -> None:
        assert capsys.readouterr().err == ""
        announce("listening")

    monkeypatch.setattr("graphtape.replayer.run", run)
    said = ""
    for quiet in (False, True):
        serving.replay_until_stopped(["a.tape"], host="0.0.0.0", announce=print, quiet=quiet)
        said += capsys.readouterr().err
    assert said.count("0.0.0.0 is not a loopback address") == 1
