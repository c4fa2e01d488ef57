"""What counts as a mask."""

from __future__ import annotations

import pytest

from graphtape.protocol.mask import MASK, is_masked


@pytest.mark.parametrize("value", [MASK, "***", "*" * 40])
def test_a_mask_is_seen(value: str) -> None:
    """The text that replaces a value, and stars of any length from three."""
    assert is_masked(value)


@pytest.mark.parametrize("value", ["", "**", "*", "***a", "*** ***", f"x{MASK}", None, 3, ["***"], b"***"])
def test_other_values_are_no_masks(value: object) -> None:
    """A mask is the whole of a text, and a text."""
    assert not is_masked(value)
