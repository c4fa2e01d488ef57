"""Rounds, medians, spreads, and what a row of the table says.

Pure but for the calls it is given. One rule: contenders take turns (A B A B), and a ratio is made within a round, of
neighbours, before its median is taken; so a machine that slows down slows both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

Numbers = dict[str, float]
Rounds = list[dict[str, Numbers]]


@dataclass(frozen=True)
class Spread:
    """A median and the extremes of its rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Line:
    """One comparison.

    Args:
        what: what was measured, in words.
        ours, theirs: the medians with their units, as shown.
        ratio: what is judged: ours in terms of the reference, or a plain number with `unit`.
        must, aim: bounds of `ratio`; None if it is shown only.
        at_least: the bounds are lower ones.
    """

    what: str
    ours: str
    theirs: str
    ratio: Spread
    must: float | None = None
    aim: float | None = None
    at_least: bool = False
    unit: str = "x"

    def holds(self, bound: float) -> bool:
        return self.ratio.median >= bound if self.at_least else self.ratio.median <= bound

    @property
    def verdict(self) -> str:
        """`aim`, `must`, `FAIL`, or nothing where nothing is asked."""
        if self.must is None:
            return ""
        if self.aim is not None and self.holds(self.aim):
            return "aim"
        return "must" if self.holds(self.must) else "FAIL"


@dataclass(frozen=True)
class Anchor:
    """What a reference is known to reach, as a ratio; a yardstick that is off by more than 30 % measures nothing."""

    what: str
    measured: float
    expected: float

    @property
    def is_near(self) -> bool:
        return 0.7 <= self.measured / self.expected <= 1.3


@dataclass
class Row:
    """One row of the table, measured."""

    name: str
    title: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    events: int = 0
    """How many events were checked for loss, repetition and order."""


def interleave(
    contenders: Mapping[str, Callable[[], Numbers]], rounds: int, *, once: Collection[str] = ()
) -> Rounds:
    """Each contender once per round, in turn; those of `once`, which nothing is judged by, in the first round only."""
    return [
        {name: measure() for name, measure in contenders.items() if number == 0 or name not in once}
        for number in range(rounds)
    ]


def values(rounds: Rounds, name: str, key: str) -> list[float]:
    return [found[name][key] for found in rounds if name in found]


def median(rounds: Rounds, name: str, key: str) -> float:
    return statistics.median(values(rounds, name, key))


def ratio(rounds: Rounds, ours: str, theirs: str, key: str) -> Spread:
    """Ours over theirs, round by round."""
    return Spread.of([found[ours][key] / found[theirs][key] for found in rounds if ours in found])


def added(rounds: Rounds, name: str, key: str, *, to: str = "direct") -> list[float]:
    """What a proxy adds to the direct way, round by round."""
    return [found[name][key] - found[to][key] for found in rounds if name in found]


def added_ratio(rounds: Rounds, ours: str, theirs: str, key: str) -> Spread:
    """What ours adds over what theirs adds.

    The difference of two noisy numbers is noisier than either: theirs is the median of its rounds, so that one
    round in which it happened to add almost nothing does not make a ratio of a hundred.
    """
    base = max(statistics.median(added(rounds, theirs, key)), 1.0)
    return Spread.of([value / base for value in added(rounds, ours, key)])


def format_ns(value: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} ns"


def format_bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def format_rate(value: float) -> str:
    return f"{value / 1e6:.2f} M/s" if value >= 1e6 else f"{value / 1e3:.3g} k/s"
