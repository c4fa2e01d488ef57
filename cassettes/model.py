"""What a cassette says, as plain values: recordings, exchanges, chunks.

Knows nothing of files, frames or the network. One rule: bytes and times as they were, nothing parsed.
Every `*_ns` is integer nanoseconds since the start of the exchange's recording (each recording has its own zero).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in the order and spelling of the wire."""


class Ending(StrEnum):
    """How an exchange ended."""

    COMPLETE = "complete"
    """The upstream ended the response itself."""
    UPSTREAM_BROKE = "upstream-broke"
    """The upstream's connection broke inside the response."""
    CLIENT_LEFT = "client-left"
    """The client went away first; the upstream connection was then closed."""
    RECORDER_STOPPED = "recorder-stopped"
    """The recorder was stopped while the exchange was open."""
    UNREACHED = "unreached"
    """The upstream was never reached, or gave no response head; the response is the recorder's own 502 or 504."""
    UNFINISHED = "unfinished"
    """Nothing says how it ended: the recorder was killed, or is still running."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One run of the recorder; a cassette continued with --append holds several."""

    number: int
    started_unix_ns: int
    upstream: str
    program: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys that this version does not know; kept on rewrite."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request head as the client sent it, after redaction."""

    at_ns: int
    method: str
    target: str
    """Path and query exactly as on the request line (redacted values masked)."""
    headers: Headers
    http_version: str = "1.1"
    redacted: tuple[str, ...] = ()
    """Where something was masked: `header authorization`, `query api_key`, `body client_secret`, `value NAME`."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client had in its own request where a recorder that widens sent something else."""

    at_ns: int
    body: Mapping[str, bytes | None] = field(default_factory=dict)
    """Members of the JSON body, as the client wrote their values; None where it had none."""
    headers: Headers = ()
    """Fields that the upstream did not get like this."""
    target: str | None = None
    """The client's, if another."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A response head as the upstream sent it, after redaction."""

    at_ns: int
    status: int
    reason: str
    headers: Headers
    extra: Mapping[str, Any] = field(default_factory=dict)


class Chunk(NamedTuple):
    """One read from the upstream. Not a promise about HTTP chunk edges.

    A named tuple and no frozen dataclass: there is one per event, and it is made in a quarter of the time.
    """

    at_ns: int
    data: bytes
    delayed: bool = False
    """The recorder had stopped reading because the client did not; `at_ns` is later than the arrival."""


@dataclass(frozen=True, slots=True)
class ExchangeSummary:
    """What the index knows of an exchange: enough to list it without reading it."""

    number: int
    recording: int
    method: str
    target: str
    """Cut to 120 bytes in the index; `Exchange.request.target` is whole."""
    status: int | None
    content_type: str
    ending: Ending
    at_ns: int
    response_ns: int | None
    ended_ns: int | None
    request_bytes: int
    response_bytes: int
    chunks: int
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its response, whole."""

    number: int
    recording: int
    request: Request
    request_body: bytes
    response: Response | None
    chunks: tuple[Chunk, ...]
    ending: Ending
    ended_ns: int | None
    detail: str = ""
    """Words on the ending, e.g. the transport error."""
    request_complete: bool = True
    """False if the client went away inside its request body."""
    asked: Asked | None = None
    """The client's own request, if `request` was widened."""

    @property
    def body(self) -> bytes:
        """The response body, as on the wire (still compressed if it came compressed)."""
        return b"".join(chunk.data for chunk in self.chunks)
