"""One run of the bench: how much is measured, where, and what several rows share.

One rule: what two rows need is measured once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphtape.bench.client import Load, Outcome, run
from graphtape.bench.servers import Server, Servers, Unavailable


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Args:
        name: `smoke` (a second per row, for tests), `quick` or `full`.
        rounds: of each comparison.
        scale: of counts and lengths, 1.0 in `quick`.
    """

    name: str
    rounds: int
    scale: float

    def count(self, at_quick: int) -> int:
        return max(1, round(at_quick * self.scale))

    def seconds(self, at_quick: float) -> float:
        return max(0.6, at_quick * self.scale)


SIZES = {
    "smoke": Size("smoke", 1, 0.1),
    "quick": Size("quick", 3, 1.0),
    "full": Size("full", 7, 4.0),
}


@dataclass
class Run:
    """What rows are given."""

    size: Size
    folder: Path
    servers: Servers
    missing: dict[str, str] = field(default_factory=dict)
    """References that were not there, and why."""
    _shared: dict[str, Any] = field(default_factory=dict)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made by the first row that needs it."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def forget(self, name: str) -> None:
        """Stop and drop what was shared under this name."""
        if (server := self._shared.pop(name, None)) is not None:
            server.stop()

    def server(self, name: str, start: Callable[[], Server]) -> Server:
        """A server that several rows use; it is stopped at the end of the run."""
        return self.once(name, lambda: self._closing.enter_context(start()))  # type: ignore[no-any-return]

    def optional(self, name: str, start: Callable[[], Server]) -> Server | None:
        """As `server`; None if this machine does not have it."""
        if name in self.missing:
            return None
        try:
            return self.server(name, start)
        except Unavailable as error:
            self.missing[name] = str(error)
            say(f"without {name}: {error}")
            return None

    def load(self, server: Server, load: Load) -> Outcome:
        return run(server, load)

    def close(self) -> None:
        self._closing.close()


def say(text: str) -> None:
    """Talk goes to stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
