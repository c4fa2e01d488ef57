"""How long a run is to wait before it may begin, as the body that starts it asks.

Pure. One rule: it is any number of seconds, as the server takes it (docs/agent-server.md, section 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_LONGEST_S: Final = 1_000_000_000
"""Thirty years: longer than any session, and small enough to add to a time."""


def delay_ns(body: Mapping[str, Any]) -> int:
    """The nanoseconds of `after_seconds`; 0 if the body does not ask for any."""
    seconds = body.get("after_seconds")
    if not isinstance(seconds, int | float):
        return 0
    return int(min(max(seconds, 0), _LONGEST_S) * 1_000_000_000)
