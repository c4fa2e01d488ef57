"""What counts as a mask."""

from __future__ import annotations

import time

import pytest

from graphtape.protocol.mask import MASK, is_masked, may_be


@pytest.mark.parametrize("value", [MASK, "***", "*" * 40])
def test_a_mask_is_seen(value: str) -> None:
    """The text that replaces a value, and stars of any length from three."""
    assert is_masked(value)


@pytest.mark.parametrize("value", ["", "**", "*", "***a", "*** ***", f"x{MASK}", None, 3, ["***"], b"***"])
def test_other_values_are_no_masks(value: object) -> None:
    """A mask is the whole of a text, and a text."""
    assert not is_masked(value)


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (MASK, "b", True),
        ("***", "b", True),
        (f"u={MASK}&b=1", "u=secret&b=1", True),
        (f"u={MASK}&b=1", "u=secret&b=2", False),
        (f"u={MASK}&v={MASK}", "u=&v=", True),
        (f"u={MASK}&v={MASK}&", "u=1&v=", False),
        (f"aa{MASK}aa", "aaa", False),
        (f"{MASK}a{MASK}", "xay", True),
        (f"{MASK}a{MASK}", "xy", False),
    ],
)
def test_what_a_mask_may_hide(recorded: str, asked: str, same: bool) -> None:
    """Any text, and what stands around it has to be there."""
    assert may_be(recorded, asked) is same


def test_many_masks_take_linear_time() -> None:
    """A hostile cassette may hold a text of nothing but masks and letters."""
    begun = time.process_time()
    assert not may_be(f"{MASK}a" * 2000 + "b", "a" * 20_000)
    assert time.process_time() - begun < 1
