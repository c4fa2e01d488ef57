"""What a recorded stream of a thread shows: the runs that were played in it, and updates of its state.

Pure. One rule: what lies between a run's first `metadata` and its `run_done` belongs to that run, unless another began
meanwhile: then nobody can tell (docs/agent-server.md, section 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphtape.protocol.jsonvalue import loads
from graphtape.protocol.view import without_id

if TYPE_CHECKING:
    from graphtape.cassettes.tape import Tape, TapeBlock

STATE_UPDATE = "state_update"


def run_within(tape: Tape, run_id: str, *, with_ids: bool) -> Tape | None:
    """The events of one run in the stream of its thread, from its first on; None if it is not there or not alone.

    Args:
        tape: the stream of the thread.
        with_ids: the run's own stream has ids; a thread's has them always. Blocks keep theirs, bytes may not.
    """
    found: list[TapeBlock] = []
    end_ns: int | None = None
    for entry in tape.events:
        about = _metadata(entry)
        if about.get("status") == "run_done":
            if about.get("run_id") == run_id and found:
                end_ns = entry.at_ns
                break
        elif entry.block.name == STATE_UPDATE:
            continue
        elif about.get("run_id") == run_id or (found and "run_id" not in about):
            found.append(entry)
        elif found:
            return None  # another run has begun
    if not found:
        return None
    if not with_ids:
        found = [replace(entry, raw=without_id(entry.raw)) for entry in found]
    whole = end_ns is not None
    return replace(
        tape,
        head_ns=min(tape.head_ns, found[0].at_ns),
        blocks=tuple(found),
        end_ns=end_ns if end_ns is not None else tape.end_ns,
        whole=whole,
        detail="" if whole else tape.detail or f"exchange {tape.exchange} does not show the end of the run",
    )


def run_ends(tape: Tape) -> Mapping[str, int]:
    """By run: when its end was told."""
    found: dict[str, int] = {}
    for entry in tape.events:
        about = _metadata(entry)
        if about.get("status") == "run_done":
            found.setdefault(str(about.get("run_id")), entry.at_ns)
    return found


def state_updates(tape: Tape) -> Mapping[str, TapeBlock]:
    """By the checkpoint that an update of the state made: the event that told of it."""
    found: dict[str, TapeBlock] = {}
    for entry in tape.events:
        if entry.block.name == STATE_UPDATE:
            told = _object(entry)
            state = told.get("state")
            if isinstance(state, dict) and isinstance(state.get("checkpoint_id"), str):
                found[state["checkpoint_id"]] = entry
    return found


def _metadata(entry: TapeBlock) -> dict[str, Any]:
    return _object(entry) if entry.block.name == "metadata" else {}


def _object(entry: TapeBlock) -> dict[str, Any]:
    try:
        value = loads(entry.block.data or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
