"""Faults that a user wants: where the connection of a stream breaks, or its response ends too early.

Pure; no clock, no chance, no sockets. One rule: what happens to a response depends only on its number among the
responses of its stream (a run, a thread, a plain path), counted in the order of their requests.

A fault is told by where it happens and by what it does. Each member of the family is an option; all share the words for
the place:

    5           behind the fifth event of the response; 0: behind its head
    5.5         in the middle of the sixth event; 5.25 behind a quarter of its bytes
    5:20        behind 20 bytes of the sixth event
    last        behind the last event, before the response's end
    -           nowhere: this response is whole
    4,-,last    of the first response of each stream, of its second, of its third; those after them are whole
    4,...       of the first, and of every response after it

Heartbeats are no events. A response that ends before the place comes is whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from graphtape.protocol.errors import UsageMistake
from graphtape.protocol.sse import Decoder
from graphtape.replayer.plan import PlanEnd

# The members of the family: option, and how the response ends there.
FAULTS = {"--cut-after": PlanEnd.BREAK, "--end-after": PlanEnd.CLOSE}

_PLACE = re.compile(r"(?P<events>\d{1,9})(?:\.(?P<part>\d{1,9})|:(?P<inside>\d{1,9}))?", re.ASCII)
_AGAIN = "..."
_NOWHERE = "-"
_LAST = "last"


class InvalidFault(UsageMistake):
    """`--cut-after` or `--end-after` names no place in a stream."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one response.

    Args:
        place: as the user wrote it.
        option: the option that asked for it.
        events: whole events before it; None: all of them.
        part: which part of the next event's bytes is still sent.
        inside: how many of the next event's bytes are still sent; None: `part` decides, or the place is between events.
    """

    place: str
    option: str
    events: int | None
    part: Fraction = Fraction(0)
    inside: int | None = None

    @property
    def end(self) -> PlanEnd:
        """How the response ends there."""
        return FAULTS[self.option]

    @property
    def between_events(self) -> bool:
        return not self.part and self.inside is None

    def bytes_of(self, size: int) -> int:
        """How many of an event's bytes are still sent: with a part at least one, and not all."""
        if self.inside is not None:
            return min(self.inside, size)
        return min(max(int(size * self.part), 1), size - 1)


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of the responses of a stream, in order.

    Args:
        first: those of the first responses; None for a whole one.
        again: that of every response behind them.
    """

    first: tuple[Fault | None, ...] = ()
    again: Fault | None = None

    @classmethod
    def parse(cls, cut_after: str | int | None = None, end_after: str | int | None = None) -> Faults:
        """From the words of the command line.

        Raises:
            InvalidFault: a word is no place, or one response is to be cut and ended.
        """
        cuts, ends = _schedule("--cut-after", cut_after), _schedule("--end-after", end_after)
        merged: list[Fault | None] = []
        # One more than the longer list: all the responses behind both.
        for number in range(max(len(cuts.first), len(ends.first)) + 1):
            cut, end = cuts.of(number), ends.of(number)
            if cut is not None and end is not None:
                raise InvalidFault(
                    f"--cut-after {cut_after} and --end-after {end_after} both end response {number + 1} of a stream; "
                    f"put {_NOWHERE} for it into one of them, e.g. --cut-after 5 --end-after {_NOWHERE},3"
                )
            merged.append(cut or end)
        return cls(tuple(merged[:-1]), merged[-1])

    def __bool__(self) -> bool:
        return any(self.first) or self.again is not None

    def of(self, number: int) -> Fault | None:
        """The fault of the response of this number, from 0."""
        return self.first[number] if number < len(self.first) else self.again


NO_FAULTS = Faults()


def _schedule(option: str, given: str | int | None) -> Faults:
    if given is None:
        return Faults()
    words = [word.strip() for word in str(given).split(",")]
    repeats = len(words) > 1 and words[-1] == _AGAIN
    faults = [_fault(option, word, str(given)) for word in (words[:-1] if repeats else words)]
    return Faults(tuple(faults), faults[-1] if repeats else None)


def _fault(option: str, word: str, given: str) -> Fault | None:
    if word == _NOWHERE:
        return None
    if word == _LAST:
        return Fault(word, option, None)
    place = _PLACE.fullmatch(word)
    if place is None:
        raise InvalidFault(f"{option} {given!r}: {_what_is_wrong(word, given)}")
    part, inside = place["part"] or "0", place["inside"]
    return Fault(
        word,
        option,
        int(place["events"]),
        Fraction(int(part), 10 ** len(part)),
        None if inside is None else int(inside),
    )


def _what_is_wrong(word: str, given: str) -> str:
    if not word and "," in given:
        return (
            f"a comma has no place beside it; leave it out, or give {_NOWHERE} for a response that is whole"
        )
    if word == _AGAIN:
        return f"{_AGAIN} repeats the place before it, so it stands at the end and behind one: 5,{_AGAIN}"
    what = f"{word!r} is no place in a stream" if word else "it names no place in a stream"
    return (
        f"{what}; give a number of events (5), 5.5 for the middle of the sixth, 5:20 for 20 bytes of it, or {_LAST}; "
        f"for one response after the other with commas (5,3), {_NOWHERE} for a whole one, and {_AGAIN} at the end "
        "to repeat the place before it"
    )


class Breaker:
    """Watches one response go out, and says where it is over.

    Args:
        fault: what happens to it.
    """

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.over = fault.events == 0 and fault.between_events
        """Nothing more goes out."""
        self._decoder = Decoder()
        self._events = 0

    def let_through(self, data: bytes) -> bytes:
        """What of the next bytes goes out.

        Args:
            data: whole blocks, or the unterminated end of a stream.
        """
        if self.over:
            return b""
        start = self._decoder.offset
        for block in self._decoder.feed(data):
            if not block.is_event:
                continue
            if self._events == self.fault.events:
                self.over = True
                return data[: block.start - start + self.fault.bytes_of(block.end - block.start)]
            self._events += 1
            if self._events == self.fault.events and self.fault.between_events:
                self.over = True
                return data[: block.end - start]
        return data

    def end(self, planned: PlanEnd) -> PlanEnd:
        """How a response ends that has come to its planned end."""
        return self.fault.end if self.fault.events is None and planned is PlanEnd.CLOSE else planned
