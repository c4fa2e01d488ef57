"""Pace and plans."""

from __future__ import annotations

import pytest

from graphtape.replayer.plan import (
    Head,
    InvalidPace,
    Pace,
    Part,
    Plan,
    PlanEnd,
    paced,
)

S = 1_000_000_000


@pytest.mark.parametrize(
    ("speed", "idle", "times", "due"),
    [
        (1, None, [3, 5, 11], [3, 5, 11]),
        ("2", None, [3 * S, 5 * S], [3 * S // 2, 5 * S // 2]),
        (0.5, None, [3, 5], [6, 10]),
        ("max", None, [3, 5, 11], [0, 0, 0]),
        ("max", 1.0, [3, 5, 11], [0, 0, 0]),
        (1, 2.0, [1 * S, 9 * S, 10 * S, 20 * S], [1 * S, 3 * S, 4 * S, 6 * S]),
        (2, 1.0, [1 * S, 9 * S, 10 * S], [S // 2, 3 * S // 2, 2 * S]),
        (1, 0.0, [1 * S, 2 * S], [0, 0]),
    ],
)
def test_schedule(speed: str | float, idle: float | None, times: list[int], due: list[int]) -> None:
    """Speed divides recorded times, max sends at once, and an idle limit caps every gap and nothing else."""
    assert Pace.parse(speed, idle).schedule(times) == due


def test_rounding_does_not_accumulate() -> None:
    """At an odd speed the last of many times is still right to the nanosecond."""
    times = list(range(0, 100_000, 7))
    assert Pace.parse(3).schedule(times)[-1] == round(times[-1] / 3)


@pytest.mark.parametrize("speed", ["", "fast", "0", "-1", "nan", "inf", "1e12"])
def test_speed_that_is_none(speed: str) -> None:
    """What is neither a positive number nor max is refused in words that say what is."""
    with pytest.raises(InvalidPace, match="neither a positive number nor 'max'"):
        Pace.parse(speed)


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_idle_limit_that_is_none(limit: float) -> None:
    """An idle limit is a number of seconds from 0 up."""
    with pytest.raises(InvalidPace, match="--idle-limit"):
        Pace.parse(1, limit)


def test_only_speed_one_is_recorded_time() -> None:
    """Speed 1 is recorded time; any other speed or an idle limit is not."""
    paces = [Pace.parse(1), Pace.parse(2), Pace.parse(1, 5), Pace.parse("max")]
    assert [pace.is_recorded for pace in paces] == [True, False, False, False]


def test_paced_plan() -> None:
    """A plan at another pace has the same bytes in the same order, and ends the same way."""
    head = Head(200, "OK", ())
    plan = Plan(head, 2, (Part(4, b"a"), Part(8, b"b")), 10, PlanEnd.BREAK, "why")
    assert paced(plan, Pace.parse(2)) == Plan(
        head, 1, (Part(2, b"a"), Part(4, b"b")), 5, PlanEnd.BREAK, "why"
    )
