"""Reading JSON that came over the wire, no deeper than the rest of the program can walk.

Pure. One rule: a value that this gives out can be walked by recursion and printed again; what is nested deeper is no
JSON to graphtape, but bytes, and is compared and sent as such.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

MAX_DEPTH: Final = 200
"""Containers within containers. orjson prints 254 (and reads 1024); Python walks about 450 before it gives up."""

_PRINTED_DEPTH: Final = 254


class TooDeep(ValueError):
    """JSON that is nested deeper than `MAX_DEPTH`."""


def loads(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        TooDeep: it is nested deeper than `MAX_DEPTH` levels.
        ValueError: it is no JSON.
    """
    value = orjson.loads(data)
    # A text with few opening brackets cannot be deep; only of others the depth is asked, of orjson's own limit.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and not _printable(value):
        raise TooDeep(f"JSON nested deeper than {MAX_DEPTH} levels")
    return value


def is_too_deep(data: bytes) -> bool:
    """Whether `data` is JSON, but nested too deep to be looked into."""
    try:
        loads(data)
    except TooDeep:
        return True
    except ValueError:
        return False
    return False


def _printable(value: Any) -> bool:
    for _ in range(_PRINTED_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        # Text that UTF-8 does not have fails alike, but orjson does not read it either.
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return False
    return True
