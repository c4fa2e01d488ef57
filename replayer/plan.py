"""When bytes are due: plans are data, transforms are functions plan -> plan.

Pure; knows no clock, no session and no aiohttp. Times are integer nanoseconds since the request was received.
One rule: a plan keeps every byte; a transform moves times, it never drops or reorders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from graphtape.cassettes.model import Headers
from graphtape.protocol.errors import UsageMistake

HEARTBEAT = b": heartbeat\r\n\r\n"
HEARTBEAT_EVERY_NS = 5_000_000_000
"""The server sends one 5, 10, 15 ... s after the start of a response, whatever else it sends."""


class PlanEnd(StrEnum):
    """How a response ends."""

    CLOSE = "close"
    """As HTTP says: the terminating chunk, or the whole content-length."""
    BREAK = "break"
    """The connection is broken: the recording did not see the end, and a clean end would claim it did."""


@dataclass(frozen=True, slots=True)
class Head:
    """A response head, ready to send."""

    status: int
    reason: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes that go out together, as one HTTP chunk."""

    due_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes out, when, and how it ends."""

    head: Head
    head_due_ns: int
    parts: tuple[Part, ...]
    end_due_ns: int
    end: PlanEnd = PlanEnd.CLOSE
    detail: str = ""
    """Why the connection is broken; for the log."""

    @property
    def body(self) -> bytes:
        return b"".join(part.data for part in self.parts)


@dataclass(frozen=True, slots=True)
class Pace:
    """How recorded time becomes replayed time.

    Args:
        speed: 1 keeps recorded gaps, N divides them; None (`max`) sends without waiting.
        idle_limit_ns: no replayed gap is longer than this.
    """

    speed: float | None = 1.0
    idle_limit_ns: int | None = None

    @classmethod
    def parse(cls, speed: str | float, idle_limit: float | None = None) -> Pace:
        """From the words of the command line: `1`, any positive number, or `max`; the limit in seconds.

        Raises:
            InvalidPace: for anything else.
        """
        limit_ns = None
        if idle_limit is not None:
            if not 0 <= idle_limit < 1e9:
                raise InvalidPace(f"--idle-limit {idle_limit!r} is not a number of seconds from 0 up")
            limit_ns = round(idle_limit * 1e9)
        if speed == "max":
            return cls(None, limit_ns)
        try:
            factor = float(speed)
        except ValueError:
            factor = 0.0
        if not 0 < factor < 1e9:
            raise InvalidPace(
                f"--speed {speed!r} is neither a positive number nor 'max'; 1 is the recorded speed"
            )
        return cls(factor, limit_ns)

    @property
    def is_max(self) -> bool:
        return self.speed is None

    @property
    def is_recorded(self) -> bool:
        """Whether replayed time is recorded time, to the nanosecond."""
        return self.speed == 1.0 and self.idle_limit_ns is None

    def schedule(self, times_ns: Sequence[int]) -> list[int]:
        """Replayed times for recorded ones; both since the request.

        Rounding never accumulates: without an idle limit each time is scaled from the zero of the request.
        """
        if self.speed is None:
            return [0] * len(times_ns)
        speed = self.speed
        scaled = list(times_ns) if speed == 1.0 else [round(time / speed) for time in times_ns]
        if self.idle_limit_ns is None:
            return scaled
        saved = 0
        due: list[int] = []
        for before, after in pairwise([0, *scaled]):
            saved += max(0, after - before - self.idle_limit_ns)
            due.append(after - saved)
        return due


class InvalidPace(UsageMistake):
    """`--speed` or `--idle-limit` is not a pace."""


def paced(plan: Plan, pace: Pace) -> Plan:
    """The plan at another pace."""
    times = [plan.head_due_ns, *(part.due_ns for part in plan.parts), plan.end_due_ns]
    head_due_ns, *due, end_due_ns = pace.schedule(times)
    parts = tuple(Part(due_ns, part.data) for due_ns, part in zip(due, plan.parts, strict=True))
    return Plan(plan.head, head_due_ns, parts, end_due_ns, plan.end, plan.detail)
