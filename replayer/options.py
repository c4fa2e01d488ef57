"""What a user can choose for a replay, by the names of the command line.

Pure. One rule: `ReplayChoices` are the keyword arguments of `make_app`, `serve` and `run`, so that a type checker knows
them; `ReplayOptions` are the same with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from graphtape.cassettes.clock import Clock

Log = Callable[[str], None]
"""Called with one line per request, and first with one per cassette that is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Everything that can be chosen for a replay.

    Args:
        speed: 1 keeps recorded times, N divides them (2 is twice as fast), `"max"` sends without waiting.
        idle_limit: no gap between events longer than this many seconds.
        match: `strict` plays only equal recordings, `nearest` the likeliest too.
        ids: `recorded` serves event ids as they were; `unique` makes them unique, so that every resume is whole.
        ignore: paths in a run-starting body that are not compared, e.g. `input.now` or `input.messages[0].name`.
        broken_last: of equal recordings, those that the recorder's own end broke play only if no other does; if false,
            all play in recorded order.
        docs_semantics: thread streams as the official page describes them where the observed server differs: repeated
            `stream_modes` add up, and `state_update` comes after each run.
        cut_after: where the connection of a stream breaks: events before it, or the words of `replayer.faults`.
        end_after: where the response of a stream ends as if it were whole; the same words.
        host: the address that is listened on; decides which `Host` headers are served.
        allow_hosts: further names to be served as; `*` for all.
        cors_origins: origins of web pages allowed beside those on loopback; `*` for all.
        expose_location: let pages read `Location`, which arms the JavaScript SDK's reconnection.
        clock: decides when bytes are due; None for the machine's.
    """

    speed: str | float = 1.0
    idle_limit: float | None = None
    match: Literal["strict", "nearest"] = "nearest"
    ids: Literal["recorded", "unique"] = "recorded"
    ignore: Sequence[str] = ()
    broken_last: bool = True
    docs_semantics: bool = False
    cut_after: str | int | None = None
    end_after: str | int | None = None
    host: str = "127.0.0.1"
    allow_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    expose_location: bool = False
    clock: Clock | None = None


class ReplayChoices(TypedDict, total=False):
    """The fields of `ReplayOptions` as keyword arguments, all optional; see there."""

    speed: str | float
    idle_limit: float | None
    match: Literal["strict", "nearest"]
    ids: Literal["recorded", "unique"]
    ignore: Sequence[str]
    broken_last: bool
    docs_semantics: bool
    cut_after: str | int | None
    end_after: str | int | None
    host: str
    allow_hosts: Sequence[str]
    cors_origins: Sequence[str]
    expose_location: bool
    clock: Clock | None
