"""The events of one run as one stream showed them, and how several streams of a run are one.

Pure. One rule: a tape holds only events that the cassette proves to follow each other without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from graphtape.cassettes.calls import RecordedCall
from graphtape.cassettes.model import Ending
from graphtape.cassettes.streams import iter_blocks
from graphtape.protocol.headers import get
from graphtape.protocol.sse import Block


@dataclass(frozen=True, slots=True)
class TapeBlock:
    """One block of a run's stream, with the time since the run was asked for."""

    at_ns: int
    block: Block
    raw: bytes


@dataclass(frozen=True)
class Tape:
    """All that a cassette holds of one run's stream."""

    exchange: int
    """The exchange whose head and times it has."""
    head_ns: int
    blocks: tuple[TapeBlock, ...]
    end_ns: int
    whole: bool
    """The upstream ended the stream itself: nothing is missing."""
    detail: str = ""
    """Why it is not whole."""
    continued: bool = False
    """Its end comes from another exchange than its start."""

    @cached_property
    def events(self) -> list[TapeBlock]:
        return [entry for entry in self.blocks if entry.block.is_event]


def tape_of(call: RecordedCall, zero_ns: int) -> Tape:
    """The stream of one exchange, its times since `zero_ns`."""
    exchange = call.exchange()
    head_ns = exchange.response.at_ns if exchange.response else exchange.request.at_ns
    blocks = []
    last_ns = head_ns
    if exchange.response is not None:
        for timed in iter_blocks(exchange):
            if timed.block.terminated:
                blocks.append(TapeBlock(timed.at_ns - zero_ns, timed.block, timed.raw))
            last_ns = timed.at_ns
    whole = exchange.ending is Ending.COMPLETE
    end_ns = exchange.ended_ns if exchange.ended_ns is not None else last_ns
    detail = (
        "" if whole else f"exchange {call.number} of {call.cassette.path} ended as {exchange.ending.value}"
    )
    return Tape(call.number, head_ns - zero_ns, tuple(blocks), end_ns - zero_ns, whole, detail)


def begins_run(tape: Tape) -> bool:
    return bool(tape.events) and tape.events[0].block.name == "metadata"


def is_begun_by(whole: Tape, part: Tape) -> bool:
    """Whether the events of a part are the first ones of the whole, which has no other events but more."""
    return len(whole.events) > len(part.events) and agree(part, whole)


def agree(one: Tape, other: Tape) -> bool:
    """Whether both have the same events, ids aside, as far as both go."""
    return all(
        (ours.block.name, ours.block.data) == (theirs.block.name, theirs.block.data)
        for ours, theirs in zip(one.events, other.events, strict=False)
    )


def continued(tape: Tape, call: RecordedCall, part: Tape) -> Tape:
    """`tape` with the events of `part` that follow its last one, if it is proven that nothing lies between."""
    overlap = _overlap(tape.events, part.events)
    if not overlap and not _resumed_from(call, tape):
        return tape
    after = part.events[overlap:]
    if not after and not part.whole:
        return tape
    blocks = (*tape.blocks, *(TapeBlock(max(e.at_ns, tape.end_ns), e.block, e.raw) for e in after))
    end_ns = max(part.end_ns, tape.end_ns)
    return Tape(tape.exchange, tape.head_ns, blocks, end_ns, part.whole, part.detail, continued=True)


def _overlap(ours: list[TapeBlock], theirs: list[TapeBlock]) -> int:
    """How many of `theirs`, from their first on, are the end of `ours`; 0 if they do not meet.

    Events are compared with their ids: without one, equal bytes need not be the same event.
    """
    if not theirs or theirs[0].block.id is None:
        return 0
    for start in range(max(0, len(ours) - len(theirs)), len(ours)):
        if ours[start].raw == theirs[0].raw and all(
            one.raw == other.raw for one, other in zip(ours[start:], theirs, strict=False)
        ):
            return len(ours) - start
    return 0


def _resumed_from(call: RecordedCall, tape: Tape) -> bool:
    """Whether a join asked for what follows the last event of the tape."""
    last_id = next((entry.block.id for entry in reversed(tape.events) if entry.block.id), None)
    cursor = get(call.cassette.request(call.number)[0].headers, b"last-event-id")
    return last_id is not None and cursor is not None and cursor.decode("latin-1") == last_id
