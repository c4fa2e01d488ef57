"""Conversations that broke off with their recorder and were recorded again.

Pure. One rule: a conversation is redone if another has all its runs, equal and whole, up to the one that broke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from graphtape.cassettes.runs import RecordedRun, RecordedStep, RecordedThread

_NEAR: Final = 50
"""Among so many conversations before and after, what was recorded again is looked for: many must cost little."""


def redone(
    threads: Iterable[RecordedThread], same: Callable[[RecordedRun, RecordedRun], bool]
) -> frozenset[RecordedThread]:
    """Those that were recorded again, so that nobody needs them.

    Args:
        threads: in recorded order.
        same: whether two runs were asked for the same.
    """
    ordered = list(threads)
    return frozenset(
        thread
        for place, thread in enumerate(ordered)
        if (wanted := _until_broken(thread.steps))
        and any(
            _has(other.steps[: len(wanted)], wanted, same)
            for other in ordered[max(0, place - _NEAR) : place + _NEAR + 1]
        )
    )


def _until_broken(steps: list[RecordedStep]) -> list[RecordedStep]:
    """The steps to the first that broke, with it; none if none did."""
    for place, step in enumerate(steps, 1):
        if step.run is not None and step.run.broken:
            return steps[:place]
    return []


def _has(
    steps: list[RecordedStep], wanted: list[RecordedStep], same: Callable[[RecordedRun, RecordedRun], bool]
) -> bool:
    """Whether the steps are those that are wanted, and whole."""
    if len(steps) < len(wanted) or _until_broken(steps):
        return False
    for one, other in zip(steps, wanted, strict=True):
        if one.run is None or other.run is None:
            if one.run is not other.run:
                return False
        elif not same(one.run, other.run):
            return False
    return True
