"""Which item of one sequence belongs to which of another.

Knows hashable keys, nothing of what they stand for. Its one rule: every item of both sides comes out exactly once, so
that one inserted item is one difference and not a shift of all that follow.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORK_LIMIT = 4_000_000
"""Above this many candidate pairs the exact alignment would take seconds; items are then paired in order."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An item of the left and the one of the right it belongs to, as indexes from 0; one of them may be None."""

    left: int | None
    right: int | None
    moved: bool = False
    """The two are the same, but others that stand before one of them stand after the other."""


def align(
    left: Sequence[tuple[Hashable, Hashable]], right: Sequence[tuple[Hashable, Hashable]]
) -> list[Pair]:
    """Pair two sequences of (exact key, loose key).

    Items with equal exact keys are paired first, in order; then out of order, as moved; then what stands at the same
    place with equal loose keys, as changed. The rest has no partner.

    Returns:
        All pairs in the order of the left side, what is only on the right standing where it is found there.
    """
    start = 0
    while start < len(left) and start < len(right) and left[start][0] == right[start][0]:
        start += 1
    tail = 0
    while tail < min(len(left), len(right)) - start and left[-1 - tail][0] == right[-1 - tail][0]:
        tail += 1
    middle_left, middle_right = left[start : len(left) - tail], right[start : len(right) - tail]

    partner: dict[int, int] = {}
    gaps: list[tuple[range, range]] = []
    for same, a, b in _blocks([key for key, _ in middle_left], [key for key, _ in middle_right]):
        if same:
            partner.update(zip(a, b, strict=True))
        else:
            gaps.append((a, b))

    free: dict[Hashable, deque[int]] = defaultdict(deque)
    for _, b in gaps:
        for index in b:
            free[middle_right[index][0]].append(index)
    moved: dict[int, int] = {}
    for a, _ in gaps:
        for index in a:
            waiting = free.get(middle_left[index][0])
            if waiting:
                moved[index] = waiting.popleft()

    taken = set(moved.values())
    for a, b in gaps:
        rest_left = [index for index in a if index not in moved]
        rest_right = [index for index in b if index not in taken]
        loose_left = [middle_left[index][1] for index in rest_left]
        loose_right = [middle_right[index][1] for index in rest_right]
        for same, one, two in _blocks(loose_left, loose_right):
            if same:
                partner.update({rest_left[i]: rest_right[j] for i, j in zip(one, two, strict=True)})

    pairs = [Pair(index, index) for index in range(start)]
    pairs += _in_order(len(middle_left), len(middle_right), partner, moved, start)
    pairs += [
        Pair(len(left) - tail + index, len(right) - tail + index)
        for index in range(tail)
    ]  # fmt: skip
    return pairs


def _blocks(left: list[Hashable], right: list[Hashable]) -> list[tuple[bool, range, range]]:
    """The two lists cut into runs that are equal (True) and runs that are not.

    Items that each side has exactly once are paired first, as many as keep their order (the patience of Bram
    Cohen's diff); only what lies between them is searched, so that thousands of small gaps cost no thousand searches.
    """
    blocks: list[tuple[bool, range, range]] = []
    at_left = at_right = 0
    for one, two in [*_anchors(left, right), (len(left), len(right))]:
        blocks += _searched(left, right, range(at_left, one), range(at_right, two))
        if one < len(left):
            blocks.append((True, range(one, one + 1), range(two, two + 1)))
        at_left, at_right = one + 1, two + 1
    return blocks


def _anchors(left: list[Hashable], right: list[Hashable]) -> list[tuple[int, int]]:
    """The longest row of pairs of items unique on both sides that rises on both."""
    count_left, count_right = Counter(left), Counter(right)
    where = {key: index for index, key in enumerate(right) if count_right[key] == 1}
    pairs = [(index, where[key]) for index, key in enumerate(left) if count_left[key] == 1 and key in where]
    # Longest increasing subsequence: for each length the pair with the smallest right index that ends it.
    ends: list[int] = []
    chosen: list[int] = []
    before: list[int] = []
    for number, (_, two) in enumerate(pairs):
        length = bisect.bisect_left(ends, two)
        ends[length : length + 1] = [two]
        chosen[length : length + 1] = [number]
        before.append(chosen[length - 1] if length else -1)
    row: list[tuple[int, int]] = []
    at = chosen[-1] if chosen else -1
    while at >= 0:
        row.append(pairs[at])
        at = before[at]
    return row[::-1]


def _searched(
    left: list[Hashable], right: list[Hashable], a: range, b: range
) -> list[tuple[bool, range, range]]:
    if not a and not b:
        return []
    if not a or not b:
        return [(False, a, b)]
    one, two = left[a.start : a.stop], right[b.start : b.stop]
    counts = Counter(two)
    if sum(counts[key] for key in one) > _WORK_LIMIT:
        found = _in_place(one, two)
    else:
        found = [
            (tag == "equal", range(i, j), range(k, n))
            for tag, i, j, k, n in SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
        ]
    return [
        (same, range(a.start + c.start, a.start + c.stop), range(b.start + d.start, b.start + d.stop))
        for same, c, d in found
    ]


def _in_place(left: list[Hashable], right: list[Hashable]) -> list[tuple[bool, range, range]]:
    shared = min(len(left), len(right))
    blocks = [
        (left[index] == right[index], range(index, index + 1), range(index, index + 1))
        for index in range(shared)
    ]
    if len(left) != len(right):
        blocks.append((False, range(shared, len(left)), range(shared, len(right))))
    return blocks


def _in_order(
    left: int, right: int, partner: dict[int, int], moved: dict[int, int], start: int
) -> list[Pair]:
    pairs: list[Pair] = []
    taken = set(partner.values()) | set(moved.values())
    lonely = deque(index for index in range(right) if index not in taken)
    for index in range(left):
        other = partner.get(index)
        while other is not None and lonely and lonely[0] < other:
            pairs.append(Pair(None, start + lonely.popleft()))
        if other is not None:
            pairs.append(Pair(start + index, start + other))
        elif index in moved:
            pairs.append(Pair(start + index, start + moved[index], moved=True))
        else:
            pairs.append(Pair(start + index, None))
    return pairs + [Pair(None, start + index) for index in lonely]
