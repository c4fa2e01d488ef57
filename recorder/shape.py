"""What is done to one exchange on its way: the seam between the proxy and whatever shapes exchanges.

Pure. One rule: the proxy knows nothing of what a shape does, and a shape nothing of sockets and cassettes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from graphtape.protocol.headers import Headers


class Passage(Enum):
    """How the body of an answer goes to the client."""

    AS_IT_IS = "as it is"
    PIECEWISE = "piecewise"
    """Each read through `feed`; the length is not known before."""
    WHOLE = "whole"
    """Collected, then through `narrowed`."""


class Shape(Protocol):
    """The request as the upstream gets it, and what becomes of the answer."""

    @property
    def target(self) -> str:
        """Path and query for the upstream."""

    @property
    def headers(self) -> Headers:
        """The client's headers as they are to be passed on."""

    @property
    def body(self) -> bytes | None:
        """The body for the upstream; None leaves the client's."""

    @property
    def own(self) -> Mapping[str, bytes | None]:
        """Members of the body that the client had differently: their JSON text; None where it had none."""

    @property
    def own_headers(self) -> Headers:
        """Fields of the client that the upstream does not get like this."""

    @property
    def own_target(self) -> str | None:
        """The client's target, if the upstream gets another."""

    def response(self, status: int, headers: Headers) -> Passage:
        """The answer's head has come."""

    def feed(self, data: bytes) -> list[bytes]:
        """What the client gets of one read, in pieces of an HTTP chunk each."""

    def finish(self) -> list[bytes]:
        """What the client still gets when the body ends, or breaks off."""

    @property
    def question(self) -> str | None:
        """What must be asked of the upstream (a GET of this target, from its run's first event) before the end."""

    def answer(self, body: bytes | None) -> list[bytes]:
        """What the client gets behind `finish`, given the answer to the question; None if there is no good one."""

    def narrowed(self, body: bytes) -> bytes:
        """A whole body as the client gets it."""

    def abandon(self) -> None:
        """No answer will come."""
