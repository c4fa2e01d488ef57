"""An exchange on a time line, for people.

Knows `timeline`, `preview` and `text`, no file and no terminal. Its one rule: one line per event, cut to the width it
is given, with nothing in it that a terminal would obey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from graphtape.cassettes.model import Ending, Exchange, Headers
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.preview import body_preview, event_preview, parse_json, value_preview
from graphtape.cassettes.showing.text import (
    Paint,
    columns,
    cut,
    cut_middle,
    format_bytes,
    format_clock,
    format_span,
    format_utc,
    pad,
    plural,
    short_ids,
    visible,
)
from graphtape.cassettes.showing.timeline import Entry, Timeline, streams_of

LONG_GAP_NS = 1_000_000_000
"""A pause that gets a line of its own."""

_MAX_EVENT_COLUMN = 34
_MIN_WORDS = 20
_FIXED_COLUMNS = 9 + 2 + 8 + 2 + 5 + 2 + 2 + 7 + 2
"""Times, number, size and what stands between the columns."""
_MAX_BODY_LINES = 400

_ENDINGS = {
    Ending.COMPLETE: ("good", "complete"),
    Ending.UPSTREAM_BROKE: ("bad", "broke off: the upstream's connection broke inside the response"),
    Ending.CLIENT_LEFT: ("warn", "the client left before the end"),
    Ending.RECORDER_STOPPED: ("warn", "the recorder was stopped before the end"),
    Ending.UNREACHED: ("bad", "the upstream was not reached; the answer is the recorder's own"),
    Ending.UNFINISHED: ("warn", "unfinished: the recorder was killed, or is still recording"),
}

# Fields of a run-starting body that say what the stream is, in the order they are shown.
_FIELDS = (
    "command",
    "input",
    "context",
    "config",
    "checkpoint",
    "checkpoint_id",
    "interrupt_before",
    "interrupt_after",
    "multitask_strategy",
    "if_not_exists",
    "on_disconnect",
    "on_completion",
    "after_seconds",
    "metadata",
)

_SEGMENT = re.compile(
    r"^(?P<node>.*):(?P<head>[0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    re.DOTALL,
)


def format_timeline(
    shown: Timeline, *, width: int = 100, paint: Paint | None = None, headers: bool = False
) -> Iterator[str]:
    """The lines that `show` prints for one exchange.

    Args:
        width: cells of a line.
        paint: colours; None for none.
        headers: all headers of request and response, also of a stream.
    """
    paint = paint or Paint()
    exchange = shown.exchange
    yield from _head(shown, width, paint)
    if headers or shown.entries is None:
        yield from _headers("request headers", exchange.request.headers, width, paint)
        if exchange.response is not None:
            yield from _headers("response headers", exchange.response.headers, width, paint)
    yield ""
    if shown.problem:
        yield paint("warn", visible(shown.problem))
    if shown.entries is not None:
        yield from _stream(shown, shown.entries, width, paint)
    elif exchange.response is not None:
        yield from _body(shown.body, paint)
    yield _ending(shown, paint)
    if exchange.detail:
        yield paint("faint", f"  {visible(exchange.detail)}")


def format_choices(
    cassette: Cassette, *, path: str, width: int = 100, paint: Paint | None = None
) -> Iterator[str]:
    """The lines that `show` prints when several exchanges could be meant: the streams, or all if there is none."""
    paint = paint or Paint()
    streams = set(streams_of(cassette))
    if not cassette.exchanges:
        yield f"{path} holds no exchange"
        return
    noun = "streams" if streams else "exchanges, none of them a stream"
    yield paint(
        "title",
        f"{path} holds {len(streams) or len(cassette.exchanges)} {noun}; pick one: graphtape show {path} N",
    )
    for summary in cassette.exchanges:
        if streams and summary.number not in streams:
            continue
        request, body = cassette.request(summary.number)
        start = f"{summary.number:>5}  {visible(request.method)} {visible(short_ids(request.target))}"
        yield cut(f"{start}  {body_preview(body) if body else ''}".rstrip(), width)


def _head(shown: Timeline, width: int, paint: Paint) -> Iterator[str]:
    exchange = shown.exchange
    request = exchange.request
    started = f", recorded {format_utc(shown.recording.started_unix_ns)}" if shown.recording else ""
    yield paint("faint", f"{shown.path}: exchange {exchange.number} of {shown.count}{started}")
    status = "no response"
    if exchange.response is not None:
        response = exchange.response
        role = "good" if response.status < 400 else "bad"
        status = paint(role, str(response.status)) + f" after {format_span(response.at_ns - request.at_ns)}"
    target = cut_middle(visible(short_ids(request.target)), max(width - len(request.method) - 24, 30))
    yield f"{paint('title', visible(request.method) + ' ' + target)}  → {status}"
    fields = list(_request_fields(exchange))
    wide = max((columns(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield cut(f"  {pad(name, wide)}  {value}", width)


def _request_fields(exchange: Exchange) -> Iterator[tuple[str, str]]:
    for field, raw in exchange.request.headers:
        if field.lower() == b"last-event-id":
            yield "last-event-id", visible(raw.decode("utf-8", "replace"))
    body = exchange.request_body
    if not body:
        return
    is_json, value = parse_json(body)
    if not (is_json and isinstance(value, dict) and "assistant_id" in value):
        yield "body", body_preview(body)
        return
    yield "assistant", visible(str(value["assistant_id"]))
    yield "modes", _modes(value)
    for name in _FIELDS:
        if value.get(name) not in (None, {}, []):
            yield name, value_preview(value[name])


def _modes(body: dict[str, Any]) -> str:
    modes = body.get("stream_mode", "values (default)")
    words = [", ".join(map(str, modes)) if isinstance(modes, list) else str(modes)]
    words += [name for name in ("subgraphs", "resumable") if body.get(f"stream_{name}") is True]
    return visible("  + ".join(words))


def _headers(title: str, headers: Headers, width: int, paint: Paint) -> Iterator[str]:
    yield ""
    yield paint("title", title)
    for name, value in headers:
        field = visible(name.decode("latin-1"))
        text = cut(visible(value.decode("utf-8", "replace")), max(width, 200) - columns(field) - 4)
        yield f"  {paint('name', field)}: {text}"


def _stream(shown: Timeline, entries: tuple[Entry, ...], width: int, paint: Paint) -> Iterator[str]:
    names = [_event_name(entry) for entry in entries]
    event_width = min(
        max([columns(mode) + columns(space) + bool(space) for mode, space in names if mode] + [5]),
        _MAX_EVENT_COLUMN,
    )
    room = width - _FIXED_COLUMNS
    event_width = min(event_width, max(room - _MIN_WORDS, room // 2))
    yield paint(
        "faint", f"{'time':>9}  {'gap':>8}  {'#':>5}  {pad('event', event_width)}  {'size':>7}  first words"
    )
    head_ns = shown.exchange.response.at_ns - shown.exchange.request.at_ns if shown.exchange.response else 0
    yield paint("faint", f"{format_clock(head_ns):>9}  {'':8}  {'':5}  (response head)")
    for entry, name in zip(entries, names, strict=True):
        if entry.gap_ns >= LONG_GAP_NS:
            yield paint("warn", f"{'⋮':>9}  {format_span(entry.gap_ns)} of silence")
        yield _entry(entry, name, event_width, width, paint)
    yield ""


def format_entry(entry: Entry, *, event_width: int, width: int = 100, paint: Paint | None = None) -> str:
    """One line of a time line, for events that are shown as they arrive.

    Args:
        event_width: cells for the event's name and namespace.
    """
    return _entry(entry, _event_name(entry), event_width, width, paint or Paint())


def format_request(exchange: Exchange, *, width: int = 100, paint: Paint | None = None) -> Iterator[str]:
    """The request line of an exchange, and what its body asks for."""
    paint = paint or Paint()
    target = cut_middle(visible(short_ids(exchange.request.target)), max(width - 24, 30))
    yield paint("title", f"{visible(exchange.request.method)} {target}")
    fields = [(name, value) for name, value in _request_fields(exchange) if name in _SAID_OF_A_STREAM]
    wide = max((columns(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield cut(f"  {pad(name, wide)}  {value}", width)


_SAID_OF_A_STREAM = frozenset({"assistant", "modes", "input", "command", "last-event-id"})


def _event_name(entry: Entry) -> tuple[str, str]:
    """(mode, namespace), ids of the namespace cut to four digits: enough to tell branches apart by eye."""
    block = entry.block
    if entry.number is None:
        return "", ""
    mode, *namespace = (block.name or "message").split("|")
    segments = []
    for segment in namespace:
        found = _SEGMENT.match(segment)
        segments.append(visible(f"{found['node']}:{found['head']}" if found else segment))
    return visible(mode), "›".join(segments)


def _entry(entry: Entry, name: tuple[str, str], event_width: int, width: int, paint: Paint) -> str:
    block = entry.block
    times = f"{format_clock(entry.at_ns):>9}  {'+' + format_clock(entry.gap_ns):>8}  "
    mode, namespace = name
    if entry.number is None:
        if block.is_comment:
            words = visible(" / ".join(comment.decode("utf-8", "replace") for comment in block.comments))
            return paint("faint", cut(f"{times}{'':5}  : {words}", width))
        what = "no event" if block.terminated else "unterminated"
        rest = event_preview(block.name or "", block.data) if block.data else visible(block.name or "")
        return paint("warn", cut(f"{times}{'':5}  ({what}, {format_bytes(entry.size_bytes)})  {rest}", width))
    room = event_width - columns(mode) - 1
    namespace = cut_middle(namespace, room) if namespace and room > 0 else ""
    label = cut(mode, event_width)
    fill = " " * max(event_width - columns(label) - columns(namespace) - bool(namespace), 0)
    painted = paint("bad" if mode == "error" else "name", label) + (
        " " + paint("namespace", namespace) if namespace else ""
    )
    words = cut(event_preview(block.name or "", block.data), width - _FIXED_COLUMNS - event_width)
    words = paint("bad", words) if mode == "error" else words
    numbered = paint("faint", f"{entry.number:>5}")
    return f"{times}{numbered}  {painted}{fill}  {format_bytes(entry.size_bytes):>7}  {words}"


def _body(body: bytes, paint: Paint) -> Iterator[str]:
    if not body:
        yield paint("faint", "(no body)")
        yield ""
        return
    is_json, value = parse_json(body)
    if is_json:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    else:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            yield paint("faint", f"({format_bytes(len(body))} that are no text; --raw prints them)")
            yield ""
            return
    lines = text.replace("\r\n", "\n").split("\n")
    for line in lines[:_MAX_BODY_LINES]:
        yield visible(line.expandtabs(4))
    if len(lines) > _MAX_BODY_LINES:
        yield paint(
            "faint", f"… {plural(len(lines) - _MAX_BODY_LINES, 'more line')} (--raw prints the whole body)"
        )
    yield ""


def _ending(shown: Timeline, paint: Paint) -> str:
    exchange = shown.exchange
    role, words = _ENDINGS[exchange.ending]
    counts = []
    if shown.entries is not None:
        counts.append(plural(shown.events, "event"))
        if shown.comments:
            counts.append(plural(shown.comments, "heartbeat"))
    counts.append(format_bytes(sum(len(chunk.data) for chunk in exchange.chunks)))
    if any(chunk.delayed for chunk in exchange.chunks):
        counts.append("some reads delayed by a slow client")
    if not exchange.request_complete:
        counts.append("the request body was cut off")
    if exchange.request.redacted:
        counts.append(f"masked: {', '.join(exchange.request.redacted)}")
    after = ""
    if exchange.ended_ns is not None:
        after = f"ended at {format_clock(exchange.ended_ns - exchange.request.at_ns)}: "
    return f"{after}{paint(role, words)} ({visible(', '.join(counts))})"
