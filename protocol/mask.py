"""What stands in a recording where a credential stood.

Knows nothing of what a credential is. One rule: what was masked when it was recorded can never make a request differ.
"""

from __future__ import annotations

from typing import Final

MASK: Final = "[redacted]"
"""The text that replaces a masked value."""

_SHORTEST_STARS: Final = 3


def may_be(recorded: str, asked: str) -> bool:
    """Whether the text that was asked is the recorded one, as far as its masks let it be seen. In linear time."""
    if recorded == asked or is_masked(recorded):
        return True
    first, *parts = recorded.split(MASK)
    if not parts or not asked.startswith(first):
        return False
    *middle, last = parts
    at = len(first)
    for part in middle:
        at = asked.find(part, at) + len(part)
        if at < len(part):
            return False
    return asked.endswith(last) and at + len(last) <= len(asked)


def is_masked(value: object) -> bool:
    """Whether a recorded value is a mask: `MASK`, or nothing but three or more `*` (masks that keep a length)."""
    return isinstance(value, str) and (
        value == MASK or (len(value) >= _SHORTEST_STARS and value.count("*") == len(value))
    )
