"""Where the drill breaks connections: the cases, and the runs that they break.

Knows graphs and places; nothing of servers or clients. One rule: a case says the same to the proxy that breaks the
server's streams and, in the words of its own options, to the mock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphtape.tests.live.conformance.cutting import Cut

ASKED: dict[str, dict[str, Any]] = {
    "spaced": {"input": {"n": 0}, "stream_mode": ["custom", "updates", "values"]},
    "tokens": {
        "input": {"messages": [{"role": "user", "content": "hello", "id": "u1"}]},
        "stream_mode": ["messages-tuple", "updates"],
    },
    "failing": {"input": {"n": 1}, "stream_mode": ["values", "updates", "tasks"]},
}
EVENTS = {"spaced": 8, "tokens": 13, "failing": 9}
"""How many events their streams have; asserted when they are recorded."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run whose responses are broken.

    Args:
        cuts: of its first responses, in order; all clean or none.
        again: break all later responses like the last of these.
    """

    graph: str
    cuts: tuple[Cut | None, ...]
    resumable: bool = True
    again: bool = False

    @property
    def clean(self) -> bool:
        return any(cut.clean for cut in self.cuts if cut is not None)

    @property
    def place(self) -> str:
        """In the words of the mock's options."""
        words = ["-" if cut is None else _words(cut) for cut in self.cuts]
        return ",".join([*words, "..."] if self.again else words)

    @property
    def choices(self) -> dict[str, Any]:
        """As options of the mock."""
        return {"end_after" if self.clean else "cut_after": self.place}

    @property
    def name(self) -> str:
        return f"{self.graph}, {'ended' if self.clean else 'cut'} after {self.place}"

    @property
    def kept(self) -> int | None:
        """Whole events of the first response; None for all of them."""
        return self.cuts[0].after if self.cuts[0] is not None else None


def _words(cut: Cut) -> str:
    return "last" if cut.after is None else f"{cut.after}.5" if cut.inside else str(cut.after)


def every_place(graph: str, *, resumable: bool = True) -> list[Case]:
    """Behind every event, inside every event, behind the head and behind the end."""
    count = EVENTS[graph]
    cuts = [Cut(n) for n in range(count + 1)] + [Cut(n, inside=True) for n in range(count)] + [Cut(None)]
    return [Case(graph, (cut,), resumable) for cut in cuts]


def twice(graph: str) -> list[Case]:
    """The reconnection is cut too, everywhere; and only the reconnection's reconnection."""
    return [Case(graph, (Cut(n), Cut(1))) for n in range(1, EVENTS[graph] - 2)] + [
        Case(graph, (Cut(2), Cut(1, inside=True))),
        Case(graph, (Cut(2), Cut(0), Cut(1))),
        Case(graph, (Cut(2), None, Cut(1))),
    ]


def ended(graph: str, *, resumable: bool = True) -> list[Case]:
    """Ends that look like the whole, the last of them rightly.

    Not behind the two events before the last: the run is over two milliseconds later, and whether a client that asks
    at once still finds it running is chance.
    """
    count = EVENTS[graph]
    return [Case(graph, (Cut(n, clean=True),), resumable) for n in (*range(count - 2), count)]


def ended_inside(graph: str) -> list[Case]:
    """Half an event, then an end that looks like the whole."""
    return [Case(graph, (Cut(n, inside=True, clean=True),)) for n in range(EVENTS[graph] - 3)]


DIFFERENTIAL: tuple[Case, ...] = (
    *every_place("spaced"),
    *every_place("spaced", resumable=False),
    *twice("spaced"),
    *ended("spaced"),
    *ended("spaced", resumable=False),
    *ended_inside("spaced"),
    Case("spaced", (Cut(2), Cut(1)), resumable=False),
    *every_place("tokens"),
    *every_place("failing"),
    *twice("failing"),
    Case("tokens", (Cut(1),), again=True),
    Case("spaced", (Cut(2), Cut(0)), again=True),
)
DIFFERENTIAL_SAMPLE: tuple[Case, ...] = (
    Case("spaced", (Cut(0),)),
    Case("spaced", (Cut(3),)),
    Case("spaced", (Cut(4, inside=True),)),
    Case("spaced", (Cut(3), Cut(1))),
    Case("spaced", (Cut(3, clean=True),)),
    Case("spaced", (Cut(3),), resumable=False),
    Case("tokens", (Cut(5),)),
)
UNIQUE: dict[str, tuple[Case, ...]] = {
    "1": (*every_place("spaced"), *twice("spaced"), *ended("spaced")),
    "max": (*every_place("tokens"), *twice("tokens")),
}
UNIQUE_SAMPLE: dict[str, tuple[Case, ...]] = {
    "1": (Case("spaced", (Cut(3), Cut(1, inside=True))), Case("spaced", (Cut(3, clean=True),))),
    "max": tuple(every_place("tokens")[::4]),
}
