"""Exchanges as calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from graphtape.cassettes.model import Ending
from graphtape.tests.cassettes.taping import BODY, Tape


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    with ExitStack() as stack:
        yield Tape(tmp_path, stack)


def test_what_was_never_answered(tape: Tape) -> None:
    """An exchange whose upstream was never reached is a call, and no run."""
    tape.call("POST", "/runs/stream", BODY, json={}, status=502, ending=Ending.UNREACHED)
    tapes = tape.tapes()
    assert (len(tapes.calls), tapes.runs) == (1, [])


def test_long_target(tape: Tape) -> None:
    """A target longer than the index keeps is read whole."""
    tape.call("GET", f"/store/items?key={'k' * 500}", json={})
    (call,) = tape.tapes().calls
    assert call.query == (("key", "k" * 500),)


@pytest.mark.parametrize(
    ("target", "path"), [("//[x", "//[x"), ("//evil/x?a=1", "//evil/x"), ("/caf\udce9", "/caf\udce9")]
)
def test_target_that_is_no_url(tape: Tape, target: str, path: str) -> None:
    """A target is cut at its question mark and nowhere else, whatever it holds."""
    tape.call("GET", target)
    assert [call.path for call in tape.tapes().calls] == [path]
