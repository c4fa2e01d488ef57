"""Tests of `cassettes/showing/alignment.py`."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphtape.cassettes.showing import alignment
from graphtape.cassettes.showing.alignment import Pair, align


def keyed(text: str) -> list[tuple[str, str]]:
    """Letters are exact keys, their lower case is the loose one."""
    return [(letter, letter.lower()) for letter in text]


def pairs(left: str, right: str) -> str:
    """`aa` same, `aA` changed, `a-` only left, `-a` only right, `a~a` moved."""
    shown = []
    for pair in align(keyed(left), keyed(right)):
        one = "-" if pair.left is None else left[pair.left]
        two = "-" if pair.right is None else right[pair.right]
        shown.append(f"{one}{'~' if pair.moved else ''}{two}")
    return " ".join(shown)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("", "", ""),
        ("abc", "abc", "aa bb cc"),
        ("abcd", "abxcd", "aa bb -x cc dd"),
        ("abxcd", "abcd", "aa bb x- cc dd"),
        ("abcd", "abCd", "aa bb cC dd"),
        ("abcd", "acbd", "aa b~b cc dd"),
        ("abc", "", "a- b- c-"),
        ("", "abc", "-a -b -c"),
        ("aaaa", "aaa", "aa aa aa a-"),
        ("aBcdE", "abxcde", "aa Bb -x cc dd Ee"),
        ("ab", "xy", "a- b- -x -y"),
    ],
)
def test_two_sequences(left: str, right: str, expected: str) -> None:
    """Same, changed, moved, inserted and dropped items are told apart, and nothing after them shifts."""
    assert sorted(pairs(left, right).split()) == sorted(expected.split())
    lefts = [pair.left for pair in align(keyed(left), keyed(right)) if pair.left is not None]
    assert lefts == sorted(lefts)


@pytest.mark.slow
@given(st.text("abAB", max_size=12), st.text("abAB", max_size=12))
def test_any_two_sequences(left: str, right: str) -> None:
    """Every item of both sides comes out once; equal sequences come out equal."""
    found = align(keyed(left), keyed(right))
    assert [pair.left for pair in found if pair.left is not None] == list(range(len(left)))
    assert sorted(pair.right for pair in found if pair.right is not None) == list(range(len(right)))
    for pair in found:
        if pair.left is not None and pair.right is not None:
            assert left[pair.left].lower() == right[pair.right].lower()
            if pair.moved:
                assert left[pair.left] == right[pair.right]
    if left == right:
        assert found == [Pair(index, index) for index in range(len(left))]


@pytest.mark.slow
def test_many_small_gaps() -> None:
    """Thousands of dropped items are found without a search for each."""
    left = [(number, "loose") for number in range(4000)]
    start = time.perf_counter()
    found = align(left, left[::2])
    assert time.perf_counter() - start < 1
    assert [pair for pair in found if pair.right is None] == [
        Pair(number, None) for number in range(1, 4000, 2)
    ]


def test_sequences_too_alike_to_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the work limit items are paired by place: quick, and still complete."""
    monkeypatch.setattr(alignment, "_WORK_LIMIT", 10)
    found = align(keyed("xaaaaaaaa"), keyed("yaaaaaaaaaa"))
    assert len([pair for pair in found if pair.left is not None]) == 9
    assert len([pair for pair in found if pair.right is not None]) == 11
