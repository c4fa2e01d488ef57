"""Heads and bodies of answers: recorded ones with their ids replaced, and derived ones in the server's shape.

Pure. One rule: a derived answer takes `date` and `server` from what it is derived from, and says so in
`graphtape-derived`; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import orjson

from graphtape.cassettes.calls import RecordedCall, parsed_or_none
from graphtape.cassettes.model import Ending, Headers
from graphtape.cassettes.streams import decoded_body
from graphtape.cassettes.tape import tape_of
from graphtape.protocol.headers import split_valid
from graphtape.protocol.ids import NO_IDS, IdMap
from graphtape.replayer.plan import Head, Part, Plan, PlanEnd

RUN_NOT_FOUND: Final = b'{"error":"HTTPException","message":"404: Run not found"}'
"""What a reader is told of a run that is not there."""
RUN_NOT_FOUND_EVENT: Final = b"event: error\r\ndata: " + RUN_NOT_FOUND + b"\r\n\r\n"
"""The only event of its stream."""

_CONTENT_CODING = (b"content-encoding", b"content-length")

# The head of a stream as the server sends it (docs/agent-server.md, section 1.1), less date and locations.
STREAM_HEADERS: Headers = (
    (b"cache-control", b"no-store"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"vary", b"Origin"),
    (b"transfer-encoding", b"chunked"),
)
# As the server says it; RFC 9110 has since renamed 413 and 422.
_RENAMED = {413: "Request Entity Too Large", 422: "Unprocessable Entity"}


@dataclass(frozen=True)
class Asked:
    """A request to the mock, as the shell received it."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    query_text: str = ""
    """The query as it stands on the request line."""

    @cached_property
    def json(self) -> Any:
        """The body as JSON, whatever its content-type says; None if it is none."""
        return parsed_or_none(self.body)

    def all_of(self, name: str) -> list[str]:
        """All values of a query parameter, in order."""
        return [value for key, value in self.query if key == name]

    def flag(self, name: str) -> bool:
        """A boolean query parameter, as the server reads it."""
        values = self.all_of(name)
        return bool(values) and values[-1].lower() in ("true", "yes", "1")


def origin_headers(like: RecordedCall | None) -> Headers:
    """`date` and `server` of the recorded answer that a derived one is made from."""
    response = like.cassette.response(like.number) if like is not None else None
    if response is None:
        return ()
    good, _ = split_valid(response.headers)
    return tuple(field for field in good if field[0].lower() in (b"date", b"server"))


def json_plan(
    status: int,
    value: Any,
    *,
    like: RecordedCall | None = None,
    derived: str = "",
    extra: Headers = (),
    due_ns: int = 0,
) -> Plan:
    """A JSON answer as the server frames it.

    Args:
        value: what to print; `bytes` are printed as they are, None with status 202 or 204 means no body.
        like: the recorded exchange that `date` and `server` are taken from.
        derived: what it was derived from, for `graphtape-derived`.
        extra: headers between `server` and `content-length`, e.g. `content-location`.
    """
    empty = value is None and status in (202, 204)
    body = b"" if empty else value if isinstance(value, bytes) else orjson.dumps(value)
    headers: list[tuple[bytes, bytes]] = [*origin_headers(like), *extra]
    if status != 204:
        headers.append((b"content-length", str(len(body)).encode()))
    if not empty:
        headers.append((b"content-type", b"application/json"))
    headers.append((b"vary", b"Origin"))
    if derived:
        headers.append((b"graphtape-derived", derived.encode()))
    head = Head(status, _RENAMED.get(status) or HTTPStatus(status).phrase, tuple(headers))
    parts = (Part(due_ns, body),) if body else ()
    return Plan(head, due_ns, parts, due_ns)


def refusal_plan(status: int, detail: str, *, like: RecordedCall | None = None) -> Plan:
    """A refusal in the server's words: `{"detail": ...}`."""
    return json_plan(status, {"detail": detail}, like=like)


def stream_head(
    like: RecordedCall | None,
    *,
    ids: IdMap = NO_IDS,
    locations: Iterable[tuple[bytes, bytes]] = (),
    extra: Headers = (),
    verbatim: bool = False,
) -> Head:
    """The head of a stream.

    Args:
        like: the recorded exchange it is, or is derived from.
        locations: `location` and `content-location`, for a derived one.
        verbatim: `like` answered this very request: its whole head, with ids replaced.
    """
    if verbatim and like is not None:
        return recorded_head(like, ids, extra=extra)
    return Head(200, "OK", (*origin_headers(like), *locations, *STREAM_HEADERS, *extra))


def run_locations(thread_id: str | None, run_id: str, suffix: str) -> Headers:
    """`location` and `content-location` of an answer about a run: relative, as the server's."""
    base = f"/threads/{thread_id}/runs/{run_id}" if thread_id is not None else f"/runs/{run_id}"
    return (b"location", f"{base}/{suffix}".encode()), (b"content-location", base.encode())


def wait_head(like: RecordedCall | None, locations: Headers, extra: Headers = ()) -> Head:
    """The head of a `wait` or `join`: chunked JSON, sent before the run is over."""
    fields = (
        (b"content-type", b"application/json"),
        (b"vary", b"Origin"),
        (b"transfer-encoding", b"chunked"),
    )
    return Head(200, "OK", (*origin_headers(like), *locations, *fields, *extra))


def recorded_head(call: RecordedCall, ids: IdMap = NO_IDS, *, extra: Headers = ()) -> Head:
    """A recorded head with its ids replaced; headers that may not be sent are left out."""
    response = call.cassette.response(call.number)
    assert response is not None
    good, _ = split_valid(response.headers)
    kept = [
        (name, ids.apply(_as_known(call, name.lower(), value)))
        for name, value in good
        if not name.lower().startswith(b"access-control-")
    ]
    # A reason phrase is for people; one that could break the head (RFC 9112, section 4) is not sent.
    reason = response.reason if response.reason.isprintable() else ""
    return Head(response.status, reason, (*kept, *extra))


def _as_known(call: RecordedCall, name: bytes, value: bytes) -> bytes:
    """A location with the ids of the path in the form that everything else has them in."""
    resolved = call.resolved
    if resolved is None or not resolved.is_respelled or name not in (b"location", b"content-location"):
        return value
    for param, given in resolved.given.items():
        value = value.replace(b"/" + given.encode(), b"/" + resolved.params[param].encode())
    return value


def recorded_plan(call: RecordedCall, ids: IdMap = NO_IDS, *, extra: Headers = ()) -> Plan:
    """A recorded answer, byte for byte but for replaced ids, at recorded times since its request."""
    exchange = call.exchange()
    head = recorded_head(call, ids, extra=extra)
    zero_ns = exchange.request.at_ns
    assert exchange.response is not None
    head_ns = exchange.response.at_ns - zero_ns
    end = PlanEnd.CLOSE if exchange.ending is Ending.COMPLETE else PlanEnd.BREAK
    detail = "" if end is PlanEnd.CLOSE else f"exchange {call.number} ended as {exchange.ending.value}"
    coded = any(name.lower() == b"content-encoding" for name, _ in exchange.response.headers)
    if call.summary.content_type.startswith("text/event-stream") and not coded:
        tape = tape_of(call, zero_ns)
        parts = tuple(Part(entry.at_ns, ids.apply(entry.raw)) for entry in tape.blocks)
        sent = sum(len(entry.raw) for entry in tape.blocks)
        rest = exchange.body[sent:]
        if rest:
            parts = (*parts, Part(tape.end_ns, ids.apply(rest)))
        return Plan(head, head_ns, parts, tape.end_ns, end, detail)
    last_ns = max(exchange.ended_ns - zero_ns if exchange.ended_ns is not None else 0, head_ns)
    if ids and exchange.chunks:
        # An id may lie across two reads: replace in the whole body.
        body = ids.apply(decoded_body(exchange)) if coded else ids.apply(exchange.body)
        if coded:
            headers = tuple(field for field in head.headers if field[0].lower() not in _CONTENT_CODING)
            head = Head(head.status, head.reason, (*headers, (b"content-length", str(len(body)).encode())))
        elif len(body) != len(exchange.body):
            length = str(len(body)).encode()
            headers = tuple((n, length if n.lower() == b"content-length" else v) for n, v in head.headers)
            head = Head(head.status, head.reason, headers)
        return Plan(head, head_ns, (Part(exchange.chunks[-1].at_ns - zero_ns, body),), last_ns, end, detail)
    parts = tuple(Part(chunk.at_ns - zero_ns, chunk.data) for chunk in exchange.chunks if chunk.data)
    return Plan(head, head_ns, parts, last_ns, end, detail)
