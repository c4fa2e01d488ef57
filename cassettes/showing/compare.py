"""What differs between two cassettes, ids and times aside.

Reads cassettes through their public names; no network. Its one rule: what is set aside is listed here or in
`mapping`, with its reason, and everything else is compared. Text for people is made in `compare_text`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.model import Ending, Exchange, Headers, Request
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.alignment import Pair, align
from graphtape.cassettes.showing.mapping import ABSENT, IdMapping, Mismatch, mask, mask_value
from graphtape.cassettes.showing.preview import event_preview, parse_json
from graphtape.cassettes.streams import decoded_body, iter_blocks
from graphtape.protocol.errors import EventTooLarge
from graphtape.protocol.operations import resolve
from graphtape.protocol.sse import Block

SET_ASIDE_HEADERS = frozenset(
    {
        # the clock, and what follows from the body's bytes (times differ in length)
        "date", "age", "last-modified", "etag", "content-length",
        # the connection, not the exchange
        "host", "connection", "keep-alive", "transfer-encoding", "te", "upgrade", "via", "forwarded",
        # who asked and who answered: program versions, tracing, the browser's own
        "user-agent", "server", "accept-encoding", "accept-language", "traceparent", "tracestate", "baggage",
        "x-request-id", "origin", "referer", "priority", "dnt", "pragma",
    }
)  # fmt: skip
# The last is what a mock says of its own, of how it found an answer: a replay has it, the server has not.
_SET_ASIDE_PREFIXES = ("sec-", "x-forwarded-", "x-stainless-", "sentry-", "graphtape-")

_OPEN_ENDINGS = frozenset({Ending.CLIENT_LEFT, Ending.RECORDER_STOPPED, Ending.UNFINISHED})
"""Endings whose moment is chance: how many events came before differs between two equal sessions."""

_KEPT_DIFFERENCES = 1000
_THREAD = re.compile(r"^/threads/([^/?]+)")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the two cassettes part. Numbers count from 1; None: that side has no such thing."""

    left_exchange: int | None
    right_exchange: int | None
    what: str
    """`exchange`, `order`, `request`, `request header NAME`, `request body`, `status`, `response header NAME`,
    `response body`, `event`, `event order`, `event name`, `event data`, `event id`, `event retry`, `ending`."""
    path: str = ""
    """JSON path inside a body or an event's data."""
    left: Any = ABSENT
    right: Any = ABSENT
    note: str = ""
    left_event: int | None = None
    right_event: int | None = None
    event: str = ""
    """The event's name."""


@dataclass(frozen=True, slots=True)
class Context:
    """The events just before the first difference, which are the same on both sides."""

    request: str
    events: tuple[tuple[int, str, str], ...] = ()
    """(number on the left, name, first words)."""


@dataclass(slots=True)
class Comparison:
    """The outcome of comparing two cassettes."""

    left_exchanges: int = 0
    right_exchanges: int = 0
    events: int = 0
    """Events of the left side that were compared with one of the right."""
    differences: list[Difference] = field(default_factory=list)
    """The first thousand, in the order of the left side."""
    total: int = 0
    per_exchange: dict[tuple[int | None, int | None], int] = field(default_factory=dict)
    context: Context | None = None
    notes: list[str] = field(default_factory=list)
    ids: int = 0
    """Ids of the left side that stand for one of the right."""

    @property
    def same(self) -> bool:
        return self.total == 0


@dataclass(frozen=True, slots=True)
class _Side:
    """One exchange, ready to be compared."""

    exchange: Exchange
    events: tuple[Block, ...] | None
    """None if the response is no event stream."""

    @property
    def number(self) -> int:
        return self.exchange.number


def compare(left: Cassette, right: Cassette) -> Comparison:
    """Compare two cassettes, exchange by exchange.

    Raises:
        CassetteError: one of them cannot be read.
    """
    return _Comparer(left, right).run()


class _Comparer:
    def __init__(self, left: Cassette, right: Cassette) -> None:
        self._cassettes = (left, right)
        self._ids = IdMapping()
        self._found = Comparison()

    def run(self) -> Comparison:
        left, right = self._cassettes
        found = self._found
        found.left_exchanges, found.right_exchanges = len(left.exchanges), len(right.exchanges)
        for side, cassette in (("left", left), ("right", right)):
            if not cassette.finished:
                found.notes.append(f"the {side} cassette is unfinished; what it holds was compared")
        keys = [[exchange_keys(*cassette.request(summary.number)) for summary in cassette.exchanges]
                for cassette in self._cassettes]  # fmt: skip
        for pair in align(keys[0], keys[1]):
            self._exchange(pair)
        found.ids = self._ids.count
        return found

    def _report(self, difference: Difference, context: Callable[[], Context]) -> None:
        found = self._found
        found.total += 1
        place = (difference.left_exchange, difference.right_exchange)
        found.per_exchange[place] = found.per_exchange.get(place, 0) + 1
        if found.total == 1:
            found.context = context()
        if len(found.differences) < _KEPT_DIFFERENCES:
            found.differences.append(difference)

    def _exchange(self, pair: Pair) -> None:
        left, right = self._cassettes
        one = left.exchanges[pair.left].number if pair.left is not None else None
        two = right.exchanges[pair.right].number if pair.right is not None else None
        if one is None or two is None:
            cassette, number = (left, one) if one is not None else (right, two)
            assert number is not None
            request, _ = cassette.request(number)
            line = f"{request.method} {request.target}"
            left_line, right_line = (line, ABSENT) if one is not None else (ABSENT, line)
            found = Difference(one, two, "exchange", left=left_line, right=right_line)
            self._report(found, lambda: Context(line))
            return
        sides = (_load(left, one), _load(right, two))
        request = sides[0].exchange.request
        base = Context(f"{request.method} {request.target}")

        def context() -> Context:
            return base

        if pair.moved:
            note = "the same request, but others that stand before it on one side stand after it on the other"
            self._report(Difference(one, two, "order", left=one, right=two, note=note), context)
        for difference in self._exchange_differences(*sides):
            self._report(difference, context)
        if sides[0].events is not None and sides[1].events is not None:
            self._events(sides[0], sides[1], sides[0].events, sides[1].events, base)
        else:
            for difference in self._bodies("response body", sides, *map(_body, sides)):
                self._report(difference, context)
        endings = (sides[0].exchange.ending, sides[1].exchange.ending)
        if endings[0] is not endings[1]:
            ended = Difference(one, two, "ending", left=endings[0].value, right=endings[1].value)
            self._report(ended, context)

    def _exchange_differences(self, left: _Side, right: _Side) -> Iterator[Difference]:
        one, two = left.exchange, right.exchange
        for what, a, b in (
            ("request", one.request.method, two.request.method),
            ("request", one.request.target, two.request.target),
        ):
            reason = self._ids.strings(a, b)
            if reason is not None:
                yield Difference(one.number, two.number, what, left=a, right=b, note=reason)
        yield from self._headers("request header", left, right, one.request.headers, two.request.headers)
        yield from self._bodies("request body", (left, right), one.request_body, two.request_body)
        statuses = (
            one.response.status if one.response else None,
            two.response.status if two.response else None,
        )
        if statuses[0] != statuses[1]:
            yield Difference(one.number, two.number, "status", left=statuses[0], right=statuses[1])
        if one.response and two.response:
            yield from self._headers(
                "response header", left, right, one.response.headers, two.response.headers
            )

    def _headers(
        self, what: str, left: _Side, right: _Side, left_headers: Headers, right_headers: Headers
    ) -> Iterator[Difference]:
        one = _compared_headers(left_headers, self._upstream(0, left))
        two = _compared_headers(right_headers, self._upstream(1, right))
        for name in [*one, *(name for name in two if name not in one)]:
            a, b = one.get(name, ABSENT), two.get(name, ABSENT)
            if a is ABSENT or b is ABSENT:
                yield Difference(left.number, right.number, f"{what} {name}", left=a, right=b)
                continue
            if name == "last-event-id":
                reason = self._ids.clock(_scope(left)).same(a, b, left.number)
            else:
                reason = self._ids.strings(a, b)
            if reason is not None:
                yield Difference(left.number, right.number, f"{what} {name}", left=a, right=b, note=reason)

    def _upstream(self, index: int, side: _Side) -> str:
        recordings = {recording.number: recording for recording in self._cassettes[index].recordings}
        recording = recordings.get(side.exchange.recording)
        return recording.upstream if recording else ""

    def _bodies(
        self, what: str, sides: tuple[_Side, _Side], left: bytes, right: bytes
    ) -> Iterator[Difference]:
        for found in self._data(left, right):
            yield Difference(
                sides[0].number, sides[1].number, what, found.path, found.left, found.right, found.note
            )

    def _data(self, left: bytes, right: bytes) -> Iterator[Mismatch]:
        """Where two pieces of data part: as JSON if both are, as text if both are, as bytes."""
        left_json, one = parse_json(left)
        right_json, two = parse_json(right)
        if left_json and right_json:
            yield from self._ids.values(one, two)
            return
        try:
            texts = left.decode("utf-8"), right.decode("utf-8")
        except UnicodeDecodeError:
            if left != right:
                yield Mismatch("", _bytes_value(left), _bytes_value(right))
            return
        reason = self._ids.strings(*texts)
        if reason is not None:
            yield Mismatch("", texts[0], texts[1], reason)

    def _events(
        self, left: _Side, right: _Side, one: tuple[Block, ...], two: tuple[Block, ...], base: Context
    ) -> None:
        pairs = align([_event_keys(event) for event in one], [_event_keys(event) for event in two])
        chance = {left.exchange.ending, right.exchange.ending} <= _OPEN_ENDINGS
        if chance:
            pairs = self._without_tail(pairs, left)
        for pair in pairs:
            a = one[pair.left] if pair.left is not None else None
            b = two[pair.right] if pair.right is not None else None
            if a is not None and b is not None:
                self._found.events += 1

            def context(pair: Pair = pair) -> Context:
                at = pair.left if pair.left is not None else _before(pairs, pair)
                return Context(base.request, _context_events(one, at))

            for difference in self._event(left, right, pair, a, b):
                self._report(difference, context)

    def _without_tail(self, pairs: list[Pair], left: _Side) -> list[Pair]:
        """Drop what only one side has at the end of a response that both sides left open."""
        kept = len(pairs)
        while kept and (pairs[kept - 1].left is None or pairs[kept - 1].right is None):
            kept -= 1
        if kept < len(pairs):
            self._found.notes.append(
                f"exchange {left.number}: nobody waited for the end of this response; "
                f"{len(pairs) - kept} more event(s) at the end of one side were set aside"
            )
        return pairs[:kept]

    def _event(
        self, left: _Side, right: _Side, pair: Pair, one: Block | None, two: Block | None
    ) -> Iterator[Difference]:
        place: dict[str, Any] = {
            "left_event": None if pair.left is None else pair.left + 1,
            "right_event": None if pair.right is None else pair.right + 1,
            "event": (one or two or Block(0, 0)).name or "message",
        }
        numbers = (left.number, right.number)
        if one is None or two is None:
            event = one or two
            assert event is not None
            shown = f"{event.name or 'message'}  {event_preview(event.name or '', event.data)}"
            a, b = (shown, ABSENT) if one is not None else (ABSENT, shown)
            yield Difference(*numbers, "event", "", a, b, **place)
            return
        if pair.moved:
            note = "the same event at another place: branches that ran in parallel may end in another order"
            order = (place["left_event"], place["right_event"])
            yield Difference(*numbers, "event order", "", *order, note, **place)
        reason = self._ids.strings(one.name or "", two.name or "")
        if reason is not None:
            yield Difference(*numbers, "event name", "", one.name, two.name, reason, **place)
        for found in self._data(one.data or b"", two.data or b""):
            yield Difference(*numbers, "event data", found.path, found.left, found.right, found.note, **place)
        if not pair.moved:
            reason = self._ids.clock(_scope(left)).same(one.id, two.id, left.number)
            if reason is not None:
                a, b = (ABSENT if event.id is None else event.id for event in (one, two))
                yield Difference(*numbers, "event id", "", a, b, reason, **place)
        if one.retry != two.retry:
            yield Difference(*numbers, "event retry", "", one.retry, two.retry, **place)


def _load(cassette: Cassette, number: int) -> _Side:
    exchange = cassette.exchange(number)
    if not is_event_stream(exchange):
        return _Side(exchange, None)
    try:
        return _Side(exchange, tuple(timed.block for timed in iter_blocks(exchange) if timed.block.is_event))
    except (UndecodableBody, EventTooLarge):
        return _Side(exchange, None)


def is_event_stream(exchange: Exchange) -> bool:
    """Whether the response calls itself an SSE stream."""
    if exchange.response is None:
        return False
    types = [value for name, value in exchange.response.headers if name.lower() == b"content-type"]
    return any(value.strip().lower().startswith(b"text/event-stream") for value in types)


def _body(side: _Side) -> bytes:
    try:
        return decoded_body(side.exchange)
    except UndecodableBody:
        return side.exchange.body


def _scope(side: _Side) -> str:
    """Whose event ids these are: a thread has one row of them, whatever else runs beside it."""
    found = _THREAD.match(side.exchange.request.target)
    return found[1] if found else f"exchange {side.number}"


def exchange_keys(request: Request, body: bytes) -> tuple[Hashable, Hashable]:
    """(exact, loose) keys of a request for alignment: the same request, ids aside; the same operation."""
    path, _, query = request.target.partition("?")
    resolved = resolve(request.method, path)
    loose = (request.method, str(resolved.operation) if resolved else mask(path))
    is_json, value = parse_json(body)
    content = mask_value(value) if is_json else hashlib.sha256(body).digest()
    return (request.method, mask(path), mask(query), content), loose


def _event_keys(event: Block) -> tuple[Hashable, Hashable]:
    name = mask(event.name or "")
    data = event.data or b""
    is_json, value = parse_json(data)
    # Only equality counts, and a hash of the mask holds no memory for streams of megabytes.
    return hash((name, mask_value(value) if is_json else data)), name


def _compared_headers(headers: Headers, upstream: str) -> dict[str, Any]:
    """Header values by lower-case name, several joined; the upstream's own address is set aside."""
    kept: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name in SET_ASIDE_HEADERS or name.startswith(_SET_ASIDE_PREFIXES):
            continue
        value = raw_value.decode("utf-8", "backslashreplace")
        if upstream:
            value = value.replace(upstream.rstrip("/"), "")
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    return kept


def _bytes_value(data: bytes) -> str:
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}"


def _before(pairs: list[Pair], pair: Pair) -> int:
    """The left index at which an event that only the right side has would stand."""
    for earlier in reversed(pairs[: pairs.index(pair)]):
        if earlier.left is not None:
            return earlier.left + 1
    return 0


def _context_events(events: tuple[Block, ...], at: int) -> tuple[tuple[int, str, str], ...]:
    return tuple(
        (
            index + 1,
            events[index].name or "message",
            event_preview(events[index].name or "", events[index].data),
        )
        for index in range(max(at - 2, 0), at)
    )
