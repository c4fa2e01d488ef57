"""One exchange as `show` presents it: its request, its events in time, its ending.

Reads cassettes through their public names; no network, no terminal. Its one rule: times count from the request, and a
gap from what came before, whatever kind it was. Text for people is made in `timeline_text`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.model import Exchange, Headers, Recording
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.document import document_bytes
from graphtape.cassettes.showing.preview import parse_json
from graphtape.cassettes.streams import decoded_body, iter_blocks
from graphtape.protocol.errors import EventTooLarge
from graphtape.protocol.sse import Block

_STREAM_TYPE = b"text/event-stream"


@dataclass(frozen=True, slots=True)
class Entry:
    """One block of a stream on the time line."""

    at_ns: int
    """Since the request."""
    gap_ns: int
    """Since the entry before; for the first one since the response's head."""
    block: Block
    number: int | None
    """From 1, for events; None for comments and for bytes that are no event."""

    @property
    def size_bytes(self) -> int:
        """On the wire, the blank line included."""
        return self.block.end - self.block.start


@dataclass(frozen=True, slots=True)
class Timeline:
    """One exchange, ready to be shown."""

    path: str
    count: int
    """Exchanges in the cassette."""
    recording: Recording | None
    exchange: Exchange
    entries: tuple[Entry, ...] | None
    """None if the response is no event stream."""
    body: bytes
    """The response body, decoded if it came compressed; empty for an event stream."""
    problem: str = ""
    """Why the body is shown as it came: a coding that cannot be undone, an event beyond all limits."""

    @property
    def events(self) -> int:
        return sum(entry.number is not None for entry in self.entries or ())

    @property
    def comments(self) -> int:
        return sum(entry.block.is_comment for entry in self.entries or ())


def timeline(cassette: Cassette, number: int, *, path: str) -> Timeline:
    """Exchange `number` of a cassette on a time line.

    Raises:
        NoSuchExchange: the cassette does not hold it.
        DamagedCassette: its bytes cannot be trusted.
    """
    exchange = cassette.exchange(number)
    recordings = {recording.number: recording for recording in cassette.recordings}
    stream = exchange.response is not None and _is_stream(exchange.response.headers)
    entries, body, problem = None, b"", ""
    try:
        if stream:
            entries = tuple(_entries(exchange))
        else:
            body = decoded_body(exchange)
    except (UndecodableBody, EventTooLarge) as error:
        body, problem = exchange.body, str(error)
    return Timeline(
        path=path,
        count=len(cassette.exchanges),
        recording=recordings.get(exchange.recording),
        exchange=exchange,
        entries=entries,
        body=body,
        problem=problem,
    )


def _is_stream(headers: Headers) -> bool:
    return any(
        name.lower() == b"content-type" and value.strip().lower().startswith(_STREAM_TYPE)
        for name, value in headers
    )


def streams_of(cassette: Cassette) -> list[int]:
    """The numbers of the exchanges whose responses are event streams."""
    return [
        summary.number
        for summary in cassette.exchanges
        if summary.content_type.lower().startswith(_STREAM_TYPE.decode())
    ]


def choose(cassette: Cassette) -> int | None:
    """The exchange to show when none was named: the only stream, or the only exchange; else None."""
    streams = streams_of(cassette)
    if len(streams) == 1:
        return streams[0]
    return cassette.exchanges[0].number if len(cassette.exchanges) == 1 else None


def _entries(exchange: Exchange) -> Iterator[Entry]:
    zero = exchange.request.at_ns
    before = exchange.response.at_ns if exchange.response else zero
    number = 0
    for timed in iter_blocks(exchange):
        is_event = timed.block.is_event
        number += is_event
        yield Entry(timed.at_ns - zero, timed.at_ns - before, timed.block, number if is_event else None)
        before = timed.at_ns


def timeline_json(shown: Timeline) -> Iterator[bytes]:
    """The document that `show --json` prints, in pieces; each event is one line of it.

    Data that is JSON is passed on as it came, digit by digit; other data is text, or base64 where it is no UTF-8.
    """
    exchange = shown.exchange
    document: dict[str, Any] = {
        "file": shown.path,
        "exchange": exchange.number,
        "recording": _recording_json(shown.recording, exchange.recording),
        "request": {
            "time_ns": 0,
            "at_ns": exchange.request.at_ns,
            "method": exchange.request.method,
            "target": exchange.request.target,
            "http_version": exchange.request.http_version,
            "headers": headers_json(exchange.request.headers),
            "redacted": list(exchange.request.redacted),
            "complete": exchange.request_complete,
            **content_json("body", exchange.request_body),
        },
        "response": None,
        "ending": exchange.ending.value,
        "detail": exchange.detail,
        **({"problem": shown.problem} if shown.problem else {}),
        "duration_ns": None if exchange.ended_ns is None else exchange.ended_ns - exchange.request.at_ns,
    }
    if exchange.response is not None:
        document["response"] = {
            "time_ns": exchange.response.at_ns - exchange.request.at_ns,
            "status": exchange.response.status,
            "reason": exchange.response.reason,
            "headers": headers_json(exchange.response.headers),
            "bytes": sum(len(chunk.data) for chunk in exchange.chunks),
            "reads": len(exchange.chunks),
            "delayed_reads": sum(chunk.delayed for chunk in exchange.chunks),
            **(content_json("body", shown.body) if shown.entries is None else {}),
        }
    head = document_bytes(document)
    if shown.entries is None:
        yield head + b"\n"
        return
    yield head[:-1] + b',"events":['
    separator = b"\n"
    for entry in shown.entries:
        yield separator + document_bytes(_entry_json(entry))
        separator = b",\n"
    yield b"\n]}\n"


def _recording_json(recording: Recording | None, number: int) -> dict[str, Any]:
    if recording is None:
        return {"number": number}
    return {
        "number": recording.number,
        "started_unix_ns": recording.started_unix_ns,
        "upstream": recording.upstream,
        "program": recording.program,
    }


def headers_json(headers: Headers) -> list[list[str]]:
    """Header fields as pairs of strings, in the order of the wire."""
    return [[name.decode("latin-1"), value.decode("utf-8", "backslashreplace")] for name, value in headers]


def content_json(key: str, data: bytes) -> dict[str, Any]:
    """`{key: value}` for JSON, `{key_text: ...}` for other text, `{key_base64: ...}` for the rest; empty for none."""
    if not data:
        return {}
    if parse_json(data)[0]:
        return {key: orjson.Fragment(data)}
    try:
        return {f"{key}_text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{key}_base64": base64.b64encode(data).decode("ascii")}


def _entry_json(entry: Entry) -> dict[str, Any]:
    block = entry.block
    place = {"time_ns": entry.at_ns, "gap_ns": entry.gap_ns, "bytes": [block.start, block.end]}
    if entry.number is None:
        kind = "comment" if block.is_comment else "block" if block.terminated else "unterminated"
        shown = {"comments": [comment.decode("utf-8", "replace") for comment in block.comments]}
        data = content_json("data", block.data) if block.data else {}
        named = {"event": block.name} if block.name is not None else {}
        return {"kind": kind, **place, **named, **shown, **data}
    base, *namespace = (block.name or "message").split("|")
    document: dict[str, Any] = {"number": entry.number, **place, "event": block.name, "mode": base}
    if namespace:
        document["namespace"] = namespace
    if block.id is not None:
        document["id"] = block.id
    if block.retry is not None:
        document["retry"] = block.retry
    if block.comments:
        document["comments"] = [comment.decode("utf-8", "replace") for comment in block.comments]
    return {**document, **(content_json("data", block.data) if block.data else {"data_text": ""})}
