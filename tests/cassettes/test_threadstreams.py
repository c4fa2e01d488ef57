"""Runs within a recorded stream of their thread."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graphtape.cassettes.tape import Tape, TapeBlock
from graphtape.cassettes.threadstreams import run_ends, run_within, state_updates
from graphtape.protocol.sse import Decoder

ONE, OTHER = "one", "other"


def began(run: str, attempt: int = 1) -> tuple[str, Any]:
    return "metadata", {"run_id": run, "attempt": attempt}


def done(run: str) -> tuple[str, Any]:
    return "metadata", {"status": "run_done", "run_id": run}


def stream(*events: tuple[str, Any]) -> Tape:
    """A stream of these events, one per millisecond, that its client left in the end."""
    blocks = []
    for number, (name, data) in enumerate(events):
        raw = (
            f"event: {name}\r\ndata: ".encode() + orjson.dumps(data) + f"\r\nid: {number}-0\r\n\r\n".encode()
        )
        (block,) = Decoder().feed(raw)
        blocks.append(TapeBlock(number, block, raw))
    return Tape(7, 0, tuple(blocks), 99, whole=False, detail="left")


def names(tape: Tape | None) -> list[str | None] | None:
    return None if tape is None else [entry.block.name for entry in tape.events]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ((began(ONE), ("values", 1), done(ONE), began(OTHER), ("custom", 1)), ["metadata", "values"]),
        ((began(OTHER), ("custom", 1), done(OTHER), began(ONE), done(ONE)), ["metadata"]),
        ((began(ONE), done(OTHER), ("values", 1), done(ONE)), ["metadata", "values"]),
        ((began(ONE), ("state_update", {}), ("error", {}), done(ONE)), ["metadata", "error"]),
        ((began(ONE), ("values", 1), began(ONE, 2), done(ONE)), ["metadata", "values", "metadata"]),
        ((("values", 1), done(ONE)), None),
        ((began(ONE), began(OTHER), ("values", 1), done(ONE)), None),
        ((began(OTHER), done(OTHER)), None),
    ],
)
def test_events_of_a_run(events: tuple[tuple[str, Any], ...], found: list[str] | None) -> None:
    """From its first `metadata`, also of a second attempt, to its end; alone, or not at all."""
    assert names(run_within(stream(*events), ONE, with_ids=True)) == found


def test_end_of_a_run() -> None:
    """The run is whole where its end was told, however the stream itself ended."""
    whole = run_within(stream(began(ONE), done(ONE)), ONE, with_ids=False)
    assert whole is not None
    assert (whole.whole, whole.end_ns, whole.detail) == (True, 1, "")
    torn = run_within(stream(began(ONE)), ONE, with_ids=False)
    assert torn is not None
    assert (torn.whole, torn.end_ns, torn.detail) == (False, 99, "left")
    assert run_ends(stream(began(ONE), done(ONE), done(OTHER))) == {ONE: 1, OTHER: 2}


def test_id_lines() -> None:
    """A run that is not resumable has no id lines in its own stream; its blocks keep the ids."""
    tape = run_within(stream(began(ONE), done(ONE)), ONE, with_ids=False)
    assert tape is not None
    (entry,) = tape.events
    assert b"id:" not in entry.raw
    assert entry.block.id == "0-0"


def test_state_updates_by_checkpoint() -> None:
    """The last event of a checkpoint counts; one of another shape does not."""
    told = [("state_update", {"state": {"checkpoint_id": "c", "n": n}}) for n in range(2)]
    found = state_updates(stream(*told, ("state_update", []), ("state_update", {"state": 1})))
    assert {made: entry.at_ns for made, entry in found.items()} == {"c": 1}
