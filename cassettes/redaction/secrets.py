"""Finds what looks like a credential in a cassette: what `graphtape verify --secrets` says.

Knows cassettes and the registry (`protocol.credentials`, `protocol.secret_shapes`), changes nothing. One rule: a
finding says where and what kind, never the value.

Looked at: heads, targets, bodies and streams with their content coding undone, also where reads cut them and where a
text comes in tokens (joined per message and field, and per event name and field), and every other string of the file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import unquote_plus

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.model import Asked, Chunk, Headers, Recording, Response
from graphtape.cassettes.reader import Cassette, UnknownFrame
from graphtape.cassettes.records import End, Unknown
from graphtape.cassettes.redaction.jsontext import JsonString, iter_strings
from graphtape.cassettes.redaction.masking import JSON_STARTS, NOT_BLANK
from graphtape.cassettes.redaction.redactor import URL_HEADERS, Redactor
from graphtape.cassettes.redaction.splits import LONGEST_EVENT_BYTES, EventReader, SplitFinder, event_data
from graphtape.cassettes.redaction.urls import iter_credentials
from graphtape.cassettes.streams import decoded_chunks
from graphtape.protocol.credentials import CredentialNames, normal_name
from graphtape.protocol.mask import is_masked
from graphtape.protocol.secret_shapes import LONGEST_SHAPE, Shape, find_shapes, is_suspicious, looks_random
from graphtape.protocol.sse import Block

MOST_FINDINGS: Final = 10_000
"""More are counted, not listed."""

_SCAN_BYTES: Final = 256 << 10  # what is looked at in one go
_LONGEST_DOCUMENT_BYTES: Final = 16 << 20  # a longer body is looked at for shapes, not for names
_LONGEST_PIECE: Final = 256  # characters: tokens come in small pieces; a longer text has its tokens whole
_JOINED_CUT: Final = 16 << 10
_MOST_TEXTS: Final = 4096
_SHORTEST_CREDENTIAL: Final = 8  # characters of a value in a response whose name says credential


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks like a credential."""

    exchange: int
    """0 for what belongs to none."""
    part: str
    """`request header x-api-key`, `request target`, `request body`, `response body`, `event` ..."""
    kind: str
    """`GitHub token`, `credential by its name`, `random value`, `value NAME` ..."""
    length: int
    """Bytes or characters of the value."""
    offset: int | None = None
    """First byte, in the decoded body."""
    event: int | None = None
    """Number of the event in its stream, from 1."""
    events: int = 1
    """Over how many events it is spread."""
    path: str = ""
    """Where in the JSON."""
    value: str = field(default="", repr=False, compare=False)
    """Never shown: for whoever removes it."""


@dataclass(frozen=True, slots=True)
class SecretReport:
    """What a scan found."""

    findings: tuple[Finding, ...]
    total: int
    """With those above `MOST_FINDINGS`."""
    unread: tuple[tuple[int, str], ...]
    """Exchanges whose response body could not be decoded, and why: scanned as it came."""
    exchanges: int

    @property
    def passed(self) -> bool:
        """True if nothing was found."""
        return not self.total


def find_secrets(cassette: Cassette, redactor: Redactor | None = None) -> SecretReport:
    """Scan a whole cassette, finished or not.

    Args:
        cassette: to look at.
        redactor: knows further names, and named values to look for; the registry alone if absent.

    Raises:
        DamagedCassette: it cannot be read.
    """
    scan = _Scan(cassette, redactor or Redactor())
    scan.run()
    return SecretReport(
        tuple(scan.findings), scan.total, tuple(scan.unread), exchanges=len(cassette.exchanges)
    )


class _Scan:
    def __init__(self, cassette: Cassette, redactor: Redactor) -> None:
        self._cassette = cassette
        self._names: CredentialNames = redactor.names
        self._values = redactor.values
        self.findings: list[Finding] = []
        self.unread: list[tuple[int, str]] = []
        self.total = 0
        self._exchange = 0
        self._seen: set[tuple[Any, ...]] = set()

    def run(self) -> None:
        """Everything of the file."""
        for item in self._cassette.iter_contents():
            self._exchange = 0
            if isinstance(item, UnknownFrame):
                self._bytes(f"frame of type {item.type}", item.payload)
                continue
            content = item.content
            self._exchange = item.exchange
            if isinstance(content, Recording):
                self._plain("recording", [content.upstream, content.program, content.extra])
            elif isinstance(content, End):
                self._plain("end", [content.detail, content.extra])
            elif isinstance(content, Unknown):
                self._plain(f"record of type {content.type}", content.fields)
            elif isinstance(content, Asked):
                self._asked(content)
            if item.rest:
                self._plain("record", item.rest)
        for number in range(1, len(self._cassette.exchanges) + 1):
            self._exchange = number
            request, body = self._cassette.request(number)
            self._target("request target", request.target)
            self._headers("request", request.headers)
            self._plain("request", [request.method, request.extra])
            self._document("request body", body, least=1)
            response = self._cassette.response(number)
            if response is not None:
                self._headers("response", response.headers)
                self._plain("response", [response.reason, response.extra])
                self._response_body(number, response)

    def _note(self, finding: Finding) -> None:
        if finding.path:  # names may be credentials themselves
            finding = replace(finding, path=self._shown(finding.path))
        key = (finding.exchange, finding.part, finding.kind, finding.offset, finding.event, finding.path)
        if key in self._seen:
            return
        self.total += 1
        if len(self.findings) < MOST_FINDINGS:
            self._seen.add(key)
            self.findings.append(finding)

    def _shown(self, path: str) -> str:
        raw = path.encode("utf-8", "surrogateescape")
        kept = bytearray(raw)
        for shape in self._shapes(raw):
            kept[shape.start : shape.stop] = b"*" * (shape.stop - shape.start)
        return kept.decode("utf-8", "surrogateescape")

    def _shapes(self, data: bytes) -> Iterator[Shape]:
        yield from find_shapes(data)
        for found in self._values.find(data):
            yield Shape(found.label, found.start, found.stop)

    def _bytes(self, part: str, data: bytes, *, path: str = "") -> None:
        for shape in self._shapes(data):
            value = _text(data[shape.start : shape.stop])
            size = shape.stop - shape.start
            self._note(Finding(self._exchange, part, shape.kind, size, shape.start, path=path, value=value))

    def _plain(self, part: str, value: object) -> None:
        """Any value that msgpack can hold."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, bytes):
                self._bytes(part, item)
            elif isinstance(item, str):
                self._bytes(part, item.encode("utf-8", "surrogateescape"))
            elif isinstance(item, Mapping):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                waiting += item

    def _target(self, part: str, target: str) -> None:
        raw = target.encode("utf-8", "surrogateescape")
        self._bytes(part, raw)
        for credential in iter_credentials(raw, self._names, path=not part.endswith("target")):
            value = _text(raw[credential.start : credential.stop])
            kind = "credential by its name" if credential.name else "login in a URL"
            if not is_masked(unquote_plus(value)):
                size, path = len(value), credential.name
                self._note(Finding(self._exchange, part, kind, size, path=path, value=value))
        for pair in target.partition("?")[2].split("&"):
            name, _, value = pair.partition("=")
            self._named(part, unquote_plus(name), unquote_plus(value), is_credential=lambda _: False, least=1)

    def _headers(self, side: str, headers: Headers) -> None:
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
            part = f"{side} header {name}"
            self._bytes(part, raw_value)
            self._named(part, name, value, is_credential=self._names.header, least=1, path="")
            if raw_name.lower() in URL_HEADERS:
                self._target(part, value)

    def _asked(self, asked: Asked) -> None:
        self._headers("asked", asked.headers)
        if asked.target is not None:
            self._target("asked target", asked.target)
        for name, value in asked.body.items():
            self._document(f"asked {name}", value or b"", least=1)
        self._plain("asked", asked.extra)

    def _named(
        self,
        part: str,
        name: str,
        value: str,
        *,
        is_credential: Any,
        least: int,
        path: str | None = None,
        offset: int | None = None,
        event: int | None = None,
    ) -> None:
        """A value whose name may say what it is."""
        if not value or is_masked(value):
            return
        if len(value) >= least and is_credential(name):
            kind = "credential by its name"
        elif is_suspicious(normal_name(name)) and looks_random(value):
            kind = "random value"
        else:
            return
        shown = name if path is None else path
        self._note(
            Finding(self._exchange, part, kind, len(value), offset, event=event, path=shown, value=value)
        )

    def _document(self, part: str, data: bytes, *, least: int) -> None:
        """A body that is not a stream."""
        self._bytes(part, data)
        if _is_json(data) and len(data) <= _LONGEST_DOCUMENT_BYTES:
            self._strings(part, iter_strings(data), least=least)
        elif b"=" in data[:4096] and b"\n" not in data[:4096] and len(data) <= _LONGEST_DOCUMENT_BYTES:
            for pair in _text(data).split("&"):
                name, _, value = pair.partition("=")
                self._named(
                    part,
                    unquote_plus(name),
                    unquote_plus(value),
                    is_credential=self._names.query,
                    least=least,
                )

    def _strings(
        self, part: str, strings: Iterable[JsonString], *, least: int, event: int | None = None
    ) -> None:
        for string in strings:
            name = string.name
            if self._names.field(name) or is_suspicious(normal_name(name)):
                self._named(
                    part,
                    name,
                    string.text,
                    is_credential=self._names.field,
                    least=least,
                    path=string.path,
                    offset=None if event else string.start,
                    event=event,
                )

    def _response_body(self, number: int, response: Response) -> None:
        is_stream = any(
            name.lower() == b"content-type" and value.strip().lower().startswith(b"text/event-stream")
            for name, value in response.headers
        )
        chunks: Iterable[Chunk] = decoded_chunks(response, self._cassette.iter_chunks(number))
        look = _Stream(self).feed if is_stream else _Body(self).feed
        try:
            for chunk in chunks:
                look(chunk.data)
        except UndecodableBody as error:
            self.unread.append((number, str(error)))
            look(None)
            look = _Body(self).feed
            for chunk in self._cassette.iter_chunks(number):
                look(chunk.data)
        look(None)


def _is_json(document: bytes) -> bool:
    first = NOT_BLANK.search(document)
    return first is not None and first[0] in JSON_STARTS


class _Body:
    """A response body in reads: shapes wherever it is cut, names if it is not too long. `feed(None)` ends it."""

    def __init__(self, scan: _Scan) -> None:
        self._scan = scan
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._tail = b""
        self._at = 0  # place of the first byte of the tail
        self._done = 0  # behind the last finding
        self._whole: list[bytes] | None = []
        self._whole_bytes = 0

    def feed(self, data: bytes | None) -> None:
        if data:
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._whole_bytes += len(data)
            if self._whole is not None:
                self._whole.append(data)
                if self._whole_bytes > _LONGEST_DOCUMENT_BYTES:
                    self._whole = None
        if self._waiting_bytes >= _SCAN_BYTES or data is None:
            self._look(last=data is None)
        if data is None and self._whole is not None:
            document = b"".join(self._whole)
            if _is_json(document):
                self._scan._strings("response body", iter_strings(document), least=_SHORTEST_CREDENTIAL)

    def _look(self, *, last: bool) -> None:
        data = b"".join((self._tail, *self._waiting))
        self._waiting, self._waiting_bytes = [], 0
        for shape in self._scan._shapes(data):
            start = self._at + shape.start
            cut_in_front = self._at > 0 and shape.start == 0
            if (
                start < self._done
                or cut_in_front
                or (not last and shape.stop > len(data) - LONGEST_SHAPE // 2)
            ):
                continue  # seen, or to be seen whole with what comes next
            size = shape.stop - shape.start
            self._done = start + size
            value = _text(data[shape.start : shape.stop])
            self._scan._note(
                Finding(self._scan._exchange, "response body", shape.kind, size, start, value=value)
            )
        keep = 0 if last else LONGEST_SHAPE
        self._at += max(0, len(data) - keep)
        self._tail = data[-keep:] if keep else b""


class _Text:
    """The end of a text that comes in pieces."""

    __slots__ = ("pieces", "text")

    def __init__(self) -> None:
        self.text = ""
        self.pieces: list[tuple[int, int, str]] = []
        """Of each piece: its first character, its event, its path."""


class _Stream:
    """An event stream in reads. `feed(None)` ends it."""

    def __init__(self, scan: _Scan) -> None:
        self._scan = scan
        self._events = EventReader()
        self._body = _Body(scan)  # what is no event any more: behind one that is too large
        self._number = 0
        self._texts: OrderedDict[tuple[str, ...], _Text] = OrderedDict()
        self._before: set[str] = set()  # longer strings of the event before
        self._finder = SplitFinder(scan._values, is_stream=True) if scan._values else None

    def feed(self, data: bytes | None) -> None:
        if self._events.gave_up:
            self._body.feed(data)
        for block, raw in self._events.finish() if data is None else self._events.feed(data):
            self._event(block, raw)
        if self._finder is not None and data is not None:
            self._finder.feed(data)
        if data is None:
            for key in list(self._texts):
                self._look(key, self._texts.pop(key))
            self._spread_values()

    def _spread_values(self) -> None:
        if self._finder is None:
            return
        ranges = self._finder.finish()
        if ranges:
            size = sum(stop - start for start, stop in ranges)
            for label in self._finder.found:
                self._scan._note(
                    Finding(self._scan._exchange, "response body, in pieces", label, size, ranges[0][0])
                )

    def _event(self, block: Block, raw: bytes) -> None:
        self._number += block.is_event
        scan, number = self._scan, self._number
        data = event_data(raw, 0)
        strings = list(iter_strings(data.data)) if len(raw) <= LONGEST_EVENT_BYTES else []
        for shape in scan._shapes(raw):
            path = next(
                (string.path for string in strings for start, stop in data.in_body((string.start, string.stop))
                 if start <= shape.start < stop), "",
            )  # fmt: skip
            size = shape.stop - shape.start
            value = _text(raw[shape.start : shape.stop])
            scan._note(
                Finding(scan._exchange, "event", shape.kind, size, None, number, path=path, value=value)
            )
        scan._strings("event", strings, least=_SHORTEST_CREDENTIAL, event=number)
        before, self._before = self._before, set()
        for string in strings:
            size = string.stop - string.start
            if not 0 < size <= _LONGEST_PIECE:
                continue
            text = string.text
            if size > _SHORTEST_CREDENTIAL:
                self._before.add(text)
                if text in before:
                    continue  # the same again, as the metadata of every token
            message = string.message()
            if message is not None:
                self._join(("message", *message), text, string)
            self._join(("event", block.name or "", string.stream_path()), text, string)

    def _join(self, key: tuple[str, ...], text: str, string: JsonString) -> None:
        joined = self._texts.get(key)
        if joined is None:
            joined = self._texts[key] = _Text()
            if len(self._texts) > _MOST_TEXTS:
                self._look(*self._texts.popitem(last=False))
        elif (
            joined.text.endswith(text)
            and len(text) > 3
            and joined.pieces[-1][0] == len(joined.text) - len(text)
        ):
            return  # the same value again, as the metadata of every token
        joined.pieces.append((len(joined.text), self._number, string.path))
        joined.text += text
        if len(joined.text) > _JOINED_CUT:
            self._look(key, joined)
            cut = len(joined.text) - LONGEST_SHAPE
            joined.text = joined.text[cut:]
            joined.pieces = [(at - cut, event, path) for at, event, path in joined.pieces if at >= cut]

    def _look(self, key: tuple[str, ...], joined: _Text) -> None:
        if len(joined.pieces) < 2:
            return
        # One byte per character: shapes are ASCII, and places stay.
        for shape in find_shapes(joined.text.encode("ascii", "replace")):
            touched = [
                piece
                for piece, following in zip(
                    joined.pieces, [*joined.pieces[1:], (len(joined.text), 0, "")], strict=True
                )
                if piece[0] < shape.stop and following[0] > shape.start
            ]
            if len(touched) > 1:
                value = joined.text[shape.start : shape.stop]
                _, event, path = touched[0]
                self._scan._note(
                    Finding(
                        self._scan._exchange,
                        "event",
                        shape.kind,
                        len(value),
                        None,
                        event,
                        events=len({piece[1] for piece in touched}),
                        path=path,
                        value=value,
                    )
                )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
