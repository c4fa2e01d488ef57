"""A copy of a cassette without credentials: what `graphtape redact` does.

Knows the reader, the rewriter and the redactor. One rule: the copy says what the recorder would have written with these
options; times, unknown records and the lengths of responses stay.

Two passes: the first finds what can only be known at the end of an exchange (values spread over events, credentials to
look for in the response), the second copies. A response that came compressed and holds a named value is stored
decoded, without its `content-encoding`; any other stays as it came.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.model import Asked, Chunk, Headers, Recording, Request, Response
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.records import BodyPart, End, Record, RequestEnd, Unknown
from graphtape.cassettes.redaction.jsontext import Range
from graphtape.cassettes.redaction.masking import once
from graphtape.cassettes.redaction.redactor import BodyMasker, Redactor, redact_url
from graphtape.cassettes.redaction.responses import ResponseMasker
from graphtape.cassettes.redaction.secrets import find_secrets
from graphtape.cassettes.redaction.values import SHORTEST_VALUE
from graphtape.cassettes.remask import starred
from graphtape.cassettes.rewrite import rewrite
from graphtape.cassettes.streams import content_codings, decoded_chunks

_OF_THE_CODING = frozenset({b"content-encoding", b"content-length"})


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What was masked."""

    exchanges: int
    masked: Mapping[str, int]
    """Of each thing that was masked (`header authorization`, `value NAME` ...), in how many exchanges."""
    unread: tuple[tuple[int, str], ...]
    """Exchanges whose compressed response could not be searched, and why; it was copied as it came."""


@dataclass(slots=True)
class _Plan:
    """What the first pass found about one exchange."""

    credentials: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    found: tuple[str, ...] = ()
    decode: bool = False
    last_part: int | None = None
    """Number of the last read of a request body that never was whole."""


@dataclass(slots=True)
class _Open:
    """An exchange that is being copied."""

    plan: _Plan
    body: BodyMasker
    in_head: tuple[str, ...]
    redacted: list[str] = field(default_factory=list)
    parts: int = 0
    chunks: int = 0
    at: int = 0
    response: ResponseMasker | None = None
    decoded: _Decoded | None = None

    @property
    def found(self) -> tuple[str, ...]:
        """What was masked in it, less what stands in its request's head."""
        return once([*self.redacted, *self.body.redacted, *self.plan.found])


def clean(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    names: Iterable[str] = (),
    values: Sequence[tuple[str, str]] = (),
    paths: Iterable[str] = (),
    echo: bool = False,
    found: bool = False,
    overwrite: bool = False,
) -> CleaningReport:
    """Copy `source` to `target` with credentials masked.

    Args:
        names, values, paths, echo: as `Redactor`.
        found: mask also what `find_secrets` finds.
        overwrite: replace the target if it exists.

    Raises:
        CassetteExists: the target is there.
        CassetteError: the source cannot be read, or the target cannot be written.
        RedactionError: a name, value or path cannot be used.
    """
    names, paths = tuple(names), tuple(paths)
    redactor = Redactor(names, values, paths=paths, echo=echo)
    with Cassette.open(source) as cassette:
        if found:
            report = find_secrets(cassette, redactor)
            more = once(item.value for item in report.findings if len(item.value) >= SHORTEST_VALUE)
            redactor = Redactor(
                names, [*values, *(("found", value) for value in more)], paths=paths, echo=echo
            )
        cleaner = _Cleaner(cassette, redactor)
        cleaner.look()
        exchanges = rewrite(source, target, cleaner.clean, overwrite=overwrite)
        cleaner.finish()
    return CleaningReport(exchanges, dict(cleaner.masked), tuple(cleaner.unread))


class _Decoded:
    """The decoded bytes of each read of a compressed body."""

    def __init__(self, response: Response, chunks: Iterable[Chunk]) -> None:
        self._taken = 0
        self._pieces = decoded_chunks(response, self._counted(chunks))
        self._ahead: tuple[int, bytes] | None = None

    def _counted(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self._taken += 1
            yield chunk

    def read(self, number: int) -> bytes:
        """What read `number` (from 1) adds."""
        if self._ahead is not None and self._ahead[0] > number:
            return b""
        parts = [] if self._ahead is None else [self._ahead[1]]
        self._ahead = None
        for piece in self._pieces:
            if self._taken > number:
                self._ahead = (self._taken, piece.data)
                break
            parts.append(piece.data)
        return b"".join(parts)


class _Cleaner:
    def __init__(self, cassette: Cassette, redactor: Redactor) -> None:
        self._cassette = cassette
        self._redactor = redactor
        self._values = redactor.values
        self._plans: dict[int, _Plan] = {}
        self._open: dict[int, _Open] = {}
        self.masked: Counter[str] = Counter()
        self.unread: list[tuple[int, str]] = []

    def look(self) -> None:
        """The first pass."""
        parts: dict[int, int] = {}
        for record in self._cassette.iter_records():
            if isinstance(record.content, BodyPart):
                parts[record.exchange] = parts.get(record.exchange, 0) + 1
            elif isinstance(record.content, RequestEnd):
                parts.pop(record.exchange, None)
        for number, last in parts.items():
            self._plan(number).last_part = last
        if not self._redactor.reads_responses:
            return
        for summary in self._cassette.exchanges:
            if summary.response_ns is not None:
                self._look_at(summary.number)

    def _plan(self, number: int) -> _Plan:
        return self._plans.setdefault(number, _Plan())

    def _look_at(self, number: int) -> None:
        request, body = self._cassette.request(number)
        masker = self._redactor.request_body(request.headers)
        masker.feed(body)
        masker.finish()
        credentials = (*self._redactor.credentials(request.headers, request.target), *masker.seen)
        response = self._cassette.response(number)
        if response is None:
            return  # an index that says otherwise
        coded = bool(content_codings(response.headers))
        looked_at = self._redactor.response(_without_coding(response.headers), credentials)
        if looked_at is None:
            return
        try:
            for chunk in decoded_chunks(response, self._cassette.iter_chunks(number)):
                looked_at.feed(chunk.data)
        except UndecodableBody as error:
            self.unread.append((number, str(error)))
            coded = False
        ranges = looked_at.finish()
        if looked_at.redacted:
            plan = self._plan(number)
            plan.credentials, plan.ranges, plan.found = credentials, ranges, looked_at.redacted
            plan.decode = coded

    def clean(self, record: Record) -> Iterable[Record]:
        """The second pass: what to write in place of a record."""
        content = record.content
        entry = self._open.get(record.exchange)
        if isinstance(content, Chunk):
            return self._chunk(record, content, entry)
        if isinstance(content, Request):
            return [
                record._replace(
                    content=self._request(record.exchange, content), rest=self._scrubbed(record.rest)
                )
            ]
        if entry is not None and isinstance(content, BodyPart):
            return self._body_part(record, content, entry)
        if entry is not None and isinstance(content, RequestEnd):
            rest = entry.body.finish()
            before = [Record(record.exchange, record.at_ns, BodyPart(record.at_ns, rest))] if rest else []
            return [*before, record]
        if entry is not None and isinstance(content, Response):
            return [record._replace(content=self._response(record.exchange, content, entry))]
        if entry is not None and isinstance(content, End):
            return [record._replace(content=self._end(record.exchange, content, entry))]
        if isinstance(content, Asked):
            return [record._replace(content=self._asked(content))]
        if isinstance(content, Recording):
            clean = dataclasses.replace(
                content,
                upstream=self._scrubbed(redact_url(content.upstream, self._redactor.names)),
                extra=self._scrubbed(content.extra),
            )
            return [record._replace(content=clean)]
        if isinstance(content, Unknown):
            return [
                record._replace(content=dataclasses.replace(content, fields=self._scrubbed(content.fields)))
            ]
        return [record]

    def finish(self) -> None:
        """Count what was masked in exchanges that have no end."""
        for entry in self._open.values():
            self.masked.update(entry.found)

    def _request(self, number: int, request: Request) -> Request:
        plan = self._plans.get(number) or _Plan()
        headers, in_headers = self._redactor.headers(request.headers)
        target, in_target = self._redactor.target(request.target)
        redacted = once([*request.redacted, *in_headers, *in_target])
        self._open[number] = _Open(plan, self._redactor.request_body(request.headers), redacted)
        self.masked.update({*in_headers, *in_target})
        return dataclasses.replace(
            request, headers=headers, target=target, redacted=redacted, extra=self._scrubbed(request.extra)
        )

    def _body_part(self, record: Record, part: BodyPart, entry: _Open) -> Iterable[Record]:
        entry.parts += 1
        data = entry.body.feed(part.data)
        if entry.parts == entry.plan.last_part:
            data += entry.body.finish()
        return [record._replace(content=BodyPart(part.at_ns, data))] if data or not part.data else []

    def _response(self, number: int, response: Response, entry: _Open) -> Response:
        headers, found = self._redactor.headers(response.headers)
        entry.redacted += found
        bare = _without_coding(response.headers)
        if entry.plan.found:
            entry.response = self._redactor.response(bare, entry.plan.credentials)
        if entry.plan.decode:
            entry.decoded = _Decoded(response, self._cassette.iter_chunks(number))
            headers = _without_coding(headers)
        return dataclasses.replace(response, headers=headers, extra=self._scrubbed(response.extra))

    def _chunk(self, record: Record, chunk: Chunk, entry: _Open | None) -> Iterable[Record]:
        if entry is None or entry.response is None:
            return [record]
        entry.chunks += 1
        data = chunk.data if entry.decoded is None else entry.decoded.read(entry.chunks)
        clean = starred(entry.response.feed(data), entry.at, entry.plan.ranges)
        entry.at += len(data)
        return [
            record._replace(content=chunk._replace(data=clean[at : at + _PIECE]))
            for at in range(0, len(clean) or 1, _PIECE)
        ]

    def _end(self, number: int, end: End, entry: _Open) -> End:
        del self._open[number]
        self.masked.update(entry.found)
        late = [what for what in once([*end.redacted, *entry.found]) if what not in entry.in_head]
        extra: dict[str, Any] = self._scrubbed(
            {key: value for key, value in end.extra.items() if key != "redacted"}
        )
        if late:
            extra["redacted"] = late
        return dataclasses.replace(end, detail=self._scrubbed(end.detail), extra=extra)

    def _asked(self, asked: Asked) -> Asked:
        body = {}
        for name, value in asked.body.items():
            if value is not None:
                masker = self._redactor.request_body(())
                opening = b'{"' + name.encode("utf-8", "surrogateescape") + b'":'
                masked = masker.feed(opening + value + b"}") + masker.finish()
                value = masked[len(opening) : -1]  # noqa: PLW2901
            body[name] = value
        return dataclasses.replace(
            asked,
            body=body,
            headers=self._redactor.headers(asked.headers)[0],
            target=None if asked.target is None else self._redactor.target(asked.target)[0],
            extra=self._scrubbed(asked.extra),
        )

    def _scrubbed(self, value: Any) -> Any:
        """Any value that msgpack can hold, named values in it masked."""
        if not self._values:
            return value
        if isinstance(value, str):
            raw = value.encode("utf-8", "surrogateescape")
            return self._values.mask(raw)[0].decode("utf-8", "surrogateescape")
        if isinstance(value, bytes):
            return self._values.mask(value)[0]
        if isinstance(value, Mapping):
            return {key: self._scrubbed(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return tuple(self._scrubbed(item) for item in value)
        return value


_PIECE = 256 << 10  # as the writer cuts reads


def _without_coding(headers: Headers) -> Headers:
    return tuple(pair for pair in headers if pair[0].lower() not in _OF_THE_CODING)


def format_cleaning(report: CleaningReport, source: str, target: str) -> Iterator[str]:
    """What was done, for people; no value is in it."""
    for what, count in sorted(report.masked.items()):
        yield f"  {what}: {count} exchange{'s' * (count != 1)}"
    for number, reason in report.unread:
        yield f"  exchange {number}: copied as it came, not searched: {reason}"
    yield f"{source} -> {target}: {report.exchanges} exchange{'s' * (report.exchanges != 1)}, " + (
        "credentials masked as listed" if report.masked else "nothing to mask"
    )


def cleaning_json(report: CleaningReport, source: str, target: str) -> dict[str, Any]:
    """What was done, for machines."""
    return {
        "source": source,
        "target": target,
        "exchanges": report.exchanges,
        "masked": dict(sorted(report.masked.items())),
        "unread": [{"exchange": number, "reason": reason} for number, reason in report.unread],
    }
