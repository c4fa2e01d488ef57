"""What the log says of a cassette when a replay of it starts: only what keeps it from being replayed as it was.

Pure. One rule: what is missing, where, and what to do next, in one line.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette

_NAMED = 5
"""So many exchanges without an end are named; of more, their number."""


def notes_on(cassettes: Iterable[Cassette]) -> Iterator[str]:
    """A line for each cassette that holds less than a recorder would have written to its end."""
    for cassette in cassettes:
        if parts := list(_parts(cassette)):
            yield f"{cassette.path}: {'; '.join(parts)}"


def _parts(cassette: Cassette) -> Iterator[str]:
    path = shlex.quote(cassette.path)
    numbers = [exchange.number for exchange in cassette.exchanges if exchange.ending is Ending.UNFINISHED]
    if not cassette.finished:
        yield "unfinished: its recorder was killed, or is still recording"
    if cassette.torn_at is not None:
        yield f"nothing after byte {cassette.torn_at} could be read"
    if numbers:
        yield (
            f"{_named(numbers)} without an end: where nothing equal is whole, what was recorded of it is played, then "
            "the connection breaks, unless another exchange holds the rest"
        )
    if not cassette.exchanges:
        yield "it holds no exchange, so there is nothing to replay"
    if not cassette.finished or not cassette.exchanges:
        yield f"graphtape verify {path} says what is whole, graphtape record URL -o {path} --append records on"
    elif numbers:
        yield f"graphtape ls {path} shows it"


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"exchange{'s' if len(numbers) > 1 else ''} {shown}{more}"
