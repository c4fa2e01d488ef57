"""What stands in a recording where a credential stood.

Knows nothing of what a credential is. One rule: what was masked when it was recorded can never make a request differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

MASK: Final = "[redacted]"
"""The text that replaces a masked value."""

_SHORTEST_STARS: Final = 3

_STARS: Final = re.compile(rb"\*{4,}")
"""A mask that keeps a length, inside a text: no value is masked there that has fewer bytes."""

_ANY: Final = re.compile(r"\[redacted\]|\*{4,}")


def may_be(recorded: str, asked: str) -> bool:
    """Whether the text that was asked is the recorded one, as far as its masks let it be seen. In linear time.

    `MASK` stands for any text, stars for as many bytes. Beside a `MASK` stars stand for any text too: what has no place
    of its own would have to be tried everywhere.
    """
    if recorded == asked or is_masked(recorded):
        return True
    if MASK in recorded:
        return _stand_in_order(_ANY.split(recorded), asked)
    return "****" in recorded and any(map(same_but_stars, _spellings(recorded), _spellings(asked)))


def same_but_stars(recorded: bytes, asked: bytes) -> bool:
    """Whether two spellings are equal, of the same length where four or more stars were recorded. In linear time."""
    if len(recorded) != len(asked):
        return False
    at = 0
    for stars in _STARS.finditer(recorded):
        if recorded[at : stars.start()] != asked[at : stars.start()]:
            return False
        at = stars.end()
    return recorded[at:] == asked[at:]


def is_masked(value: object) -> bool:
    """Whether a recorded value is a mask: `MASK`, or nothing but three or more `*` (masks that keep a length)."""
    return isinstance(value, str) and (
        value == MASK or (len(value) >= _SHORTEST_STARS and value.count("*") == len(value))
    )


def _stand_in_order(parts: list[str], asked: str) -> bool:
    """Whether a text is made of these parts, with any text between them."""
    first, *middle, last = parts
    if not asked.startswith(first):
        return False
    at = len(first)
    for part in middle:
        at = asked.find(part, at) + len(part)
        if at < len(part):
            return False
    return asked.endswith(last) and at + len(last) <= len(asked)


def _spellings(text: str) -> Iterator[bytes]:
    """How clients write a text, which decides how many bytes of it were masked."""
    for only_ascii in (False, True):
        spelled = json.dumps(text, ensure_ascii=only_ascii).encode("utf-8", "surrogatepass")
        yield spelled
        yield spelled.replace(b"/", rb"\/")  # PHP
    yield quote(text, safe="*", errors="surrogatepass").encode("ascii")  # in a query
