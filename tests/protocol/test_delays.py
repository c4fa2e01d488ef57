"""How long a run is to wait."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.delays import delay_ns


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, 0),
        ("5", 0),
        (0, 0),
        (-1, 0),
        (2, 2_000_000_000),
        (0.25, 250_000_000),
        (10**30, 10**18),
        (1e300, 10**18),
    ],
)
def test_delay(asked: Any, expected: int) -> None:
    """Any number of seconds, within reason; what is no number asks for none."""
    assert delay_ns({"after_seconds": asked}) == expected
    assert delay_ns({}) == 0
