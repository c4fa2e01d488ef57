"""What a cassette recorded, as calls of the Agent Server's API: exchanges with the operation that they are.

Reads cassettes through their public names; knows no run. One rule: whatever is asked of a call is what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from graphtape.cassettes.limits import TARGET_IN_INDEX_BYTES
from graphtape.cassettes.model import Ending, Exchange, ExchangeSummary
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.streams import decoded_body
from graphtape.protocol.jsonvalue import loads
from graphtape.protocol.operations import Operation, Resolved, Route, resolve

_RECORDER_ENDED = frozenset((Ending.RECORDER_STOPPED, Ending.UNFINISHED))

Moment = tuple[int, int]
"""(recording, ns): comparable within one cassette."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCall:
    """One recorded exchange, with what its path means."""

    cassette: Cassette
    summary: ExchangeSummary
    resolved: Resolved | None
    path: str
    query: tuple[tuple[str, str], ...]
    order: int = 0
    """Position among all exchanges of all cassettes that are played together."""

    @property
    def number(self) -> int:
        return self.summary.number

    @property
    def route(self) -> Route | None:
        return self.resolved.route if self.resolved else None

    @property
    def operation(self) -> Operation | None:
        return self.resolved.operation if self.resolved else None

    @property
    def params(self) -> Mapping[str, str]:
        return self.resolved.params if self.resolved else {}

    @property
    def started(self) -> Moment:
        return self.summary.recording, self.summary.at_ns

    @property
    def ended(self) -> Moment:
        ended_ns = self.summary.ended_ns
        return self.summary.recording, self.summary.at_ns if ended_ns is None else ended_ns

    @property
    def answered(self) -> bool:
        """Whether the upstream gave this answer: what it never did is listed, never played."""
        return self.summary.status is not None and self.summary.ending is not Ending.UNREACHED

    @property
    def broken(self) -> bool:
        """Whether the recorder's own end broke it, and not its upstream or its client."""
        return self.summary.ending in _RECORDER_ENDED

    @property
    def failed(self) -> bool:
        """Whether its status is that of an error."""
        return (self.summary.status or 0) >= HTTPStatus.BAD_REQUEST

    def request_body(self) -> bytes:
        return self.cassette.request(self.number)[1]

    def request_json(self) -> Any:
        """The request body as JSON; None if it is none."""
        return parsed_or_none(self.request_body())

    def exchange(self) -> Exchange:
        return self.cassette.exchange(self.number)

    def json(self) -> Any:
        """The response body as JSON; None if it is none."""
        exchange = self.exchange()
        if exchange.response is None:
            return None
        return parsed_or_none(decoded_body(exchange))

    def headers(self) -> dict[str, str]:
        """The response's headers by lower-case name."""
        response = self.cassette.response(self.number)
        pairs = response.headers if response else ()
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in pairs}


def parsed_or_none(data: bytes) -> Any:
    """`data` as JSON, None if it is none that can be walked (a JSON null is None too)."""
    try:
        return loads(data)
    except ValueError:
        return None


def calls_of(cassette: Cassette, *, first_order: int = 0) -> list[RecordedCall]:
    """Every exchange of a cassette as a call, in order."""
    calls = []
    for position, summary in enumerate(cassette.exchanges):
        target = summary.target
        if len(target.encode("utf-8", "surrogateescape")) >= TARGET_IN_INDEX_BYTES:  # it may be cut
            target = cassette.request(summary.number)[0].target
        # As the server side cuts it: a target is no URL, and `//[x` is a path like any other.
        path, _, query_text = target.partition("?")
        query = tuple(parse_qsl(query_text, keep_blank_values=True))
        calls.append(
            RecordedCall(
                cassette,
                summary,
                resolve(summary.method, path),
                path,
                query,
                first_order + position,
            )
        )
    return calls
