"""What stands in a recording where a credential stood.

Knows nothing of what a credential is. One rule: what was masked when it was recorded can never make a request differ.
"""

from __future__ import annotations

from typing import Final

MASK: Final = "[redacted]"
"""The text that replaces a masked value."""

_SHORTEST_STARS: Final = 3


def is_masked(value: object) -> bool:
    """Whether a recorded value is a mask: `MASK`, or nothing but three or more `*` (masks that keep a length)."""
    return isinstance(value, str) and (
        value == MASK or (len(value) >= _SHORTEST_STARS and value.count("*") == len(value))
    )
