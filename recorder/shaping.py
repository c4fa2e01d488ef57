"""Where a recorder may ask the upstream for more than its client did (`--widen`).

Pure. One rule: what a shape does not understand passes as it came. The proxy asks `shape_for` once per request and
otherwise knows nothing of it; this is the one place to plug widening in.
"""

from __future__ import annotations

from typing import Protocol

from graphtape.protocol.errors import GraphtapeError
from graphtape.protocol.headers import Headers


class Shape(Protocol):
    """What is done to one exchange on its way: the request made wider, the response narrow again."""

    def request(self, body: bytes) -> bytes:
        """The body for the upstream, made from the client's whole body."""
        ...

    def feed(self, data: bytes) -> bytes:
        """What the client gets of one read of the response body."""
        ...

    def finish(self) -> bytes:
        """What the client gets when the response body ends."""
        ...


class Shaper(Protocol):
    """Decides which exchanges are shaped."""

    def shape_for(self, method: str, target: str, headers: Headers) -> Shape | None:
        """The shape of this exchange, or None to pass it as it is."""
        ...


def make_shaper(*, widen: bool) -> Shaper | None:
    """The shaper for `--widen`; None without it.

    Raises:
        GraphtapeError: widening was asked for.
    """
    if widen:
        raise GraphtapeError("--widen is not built yet; record without it")
    return None
