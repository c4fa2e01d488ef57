"""From what passes through the proxy to records: one `ExchangeCapture` per request.

Pure: it is told what happened and tells the writer, with the time and with credentials masked. Knows no socket and
no aiohttp. One rule: nothing reaches the writer before the redactor has seen it.

`Capture` appends only; the shell calls `flush` (once per turn of the loop) before a client gets the bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from graphtape.cassettes.clock import Clock
from graphtape.cassettes.errors import CassetteError
from graphtape.cassettes.model import Asked, Ending
from graphtape.cassettes.records import End, Record
from graphtape.cassettes.redaction.redactor import BodyMasker, Redactor
from graphtape.cassettes.redaction.responses import ResponseMasker
from graphtape.protocol.headers import Headers, get
from graphtape.recorder.tally import EventCounter, Tally


class Writer(Protocol):
    """What the recorder needs of `graphtape.cassettes.writer.CassetteWriter`."""

    def begin_recording(self, started_unix_ns: int, upstream: str, program: str) -> int: ...

    def request(
        self,
        at_ns: int,
        method: str,
        target: str,
        headers: Headers,
        *,
        http_version: str = "1.1",
        redacted: tuple[str, ...] = (),
    ) -> int: ...

    def request_body(self, number: int, at_ns: int, data: bytes, /) -> None: ...

    def request_end(self, number: int, at_ns: int, /) -> None: ...

    def response(self, number: int, at_ns: int, status: int, reason: str, headers: Headers, /) -> None: ...

    def chunk(self, number: int, at_ns: int, data: bytes, delayed: bool = False, /) -> None: ...

    def add(self, record: Record, /) -> None: ...

    def mask(self, number: int, ranges: Sequence[tuple[int, int]], /) -> None: ...

    def flush(self) -> None: ...

    def sync(self) -> None: ...

    def close(self, *, synced: bool = False) -> None: ...


class Watcher(Protocol):
    """Who is told when an exchange starts and ends: the progress display."""

    def started(self, exchange: ExchangeCapture) -> None: ...

    def answered(self, exchange: ExchangeCapture) -> None: ...

    def ended(self, exchange: ExchangeCapture) -> None: ...


class Capture:
    """One recording being made.

    Args:
        writer: the cassette, open for writing.
        clock: the clock of all times in it; its reading now becomes the recording's zero.
        redactor: what masks credentials.
        upstream: the upstream's URL without credentials, as the recording names it.
        program: who records, e.g. `graphtape 0.1.0`.
        pass_on_failure: what a failing write means: False, every exchange fails with the error (nothing passes
            unrecorded); True, traffic goes on and is no longer recorded.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        redactor: Redactor,
        *,
        upstream: str,
        program: str,
        pass_on_failure: bool = False,
        watcher: Watcher | None = None,
    ) -> None:
        self.writer = writer
        self.redactor = redactor
        self._pass_on_failure = pass_on_failure
        self.watcher = watcher
        self.tally = Tally()
        self.failure: CassetteError | None = None
        self.clock_ns = clock.now_ns
        self.zero_ns = clock.now_ns()
        writer.begin_recording(clock.unix_ns(), redactor.text(upstream), program)

    def now_ns(self) -> int:
        """Nanoseconds since the recording began."""
        return self.clock_ns() - self.zero_ns

    def exchange(
        self, method: str, target: str, headers: Headers, http_version: str = "1.1"
    ) -> ExchangeCapture:
        """A request head has come; heads are as on the wire and are masked here."""
        return ExchangeCapture(self, method, target, headers, http_version)

    def flush(self) -> None:
        """Bring all that was appended into the file.

        Raises:
            CassetteError: the write failed, and nothing may pass unrecorded.
        """
        if self.failure is None:
            try:
                self.writer.flush()
            except CassetteError as error:
                self.fail(error)
        if self.failure is not None and not self._pass_on_failure:
            raise self.failure

    def fail(self, error: CassetteError) -> None:
        """Note that the cassette can no longer be written. The first error counts."""
        if self.failure is None:
            self.failure = error

    @property
    def may_write(self) -> bool:
        """True as long as no write has failed.

        Raises:
            CassetteError: one has failed, and nothing may pass unrecorded.
        """
        if self.failure is None:
            return True
        if not self._pass_on_failure:
            raise self.failure
        return False


class ExchangeCapture:
    """One exchange being recorded. Calls come in the order of the wire; after `end` all are ignored."""

    def __init__(
        self, capture: Capture, method: str, target: str, headers: Headers, http_version: str
    ) -> None:
        self._capture = capture
        self._ended = False
        self.method = method
        self.started_ns = capture.now_ns()
        self.ended_ns: int | None = None
        self.status: int | None = None
        self.ending: Ending | None = None
        self.detail = ""
        self.response_bytes = 0
        self.request_complete = False
        self._events: EventCounter | None = None
        clean_headers, in_headers = capture.redactor.headers(headers)
        self.target, in_target = capture.redactor.target(target)
        self._headers = headers
        self._body: BodyMasker | None = None  # most requests have none
        self._credentials = capture.redactor.credentials(headers, target)
        self._answer: ResponseMasker | None = None
        self.redacted: tuple[str, ...] = (*in_headers, *in_target)
        self._redacted_in_head = self.redacted
        self.number = 0
        if capture.may_write:
            try:
                self.number = capture.writer.request(
                    self.started_ns,
                    method,
                    self.target,
                    clean_headers,
                    http_version=http_version,
                    redacted=self.redacted,
                )
            except CassetteError as error:
                capture.fail(error)
                _ = capture.may_write  # raises, unless traffic may pass unrecorded
        tally = capture.tally
        tally.exchanges += 1
        tally.open_exchanges += 1
        if not self.number:
            self.number = tally.exchanges
        if capture.watcher is not None:
            capture.watcher.started(self)

    @property
    def events(self) -> int:
        """SSE events seen so far."""
        return self._events.events if self._events is not None else 0

    @property
    def is_stream(self) -> bool:
        """True if the response is an event stream."""
        return self._events is not None

    def asked(self, members: Mapping[str, bytes | None], headers: Headers, target: str | None) -> None:
        """The request was widened; this is what the client had where the upstream got something else.

        Args:
            members: of the body, as JSON text; None where the client had none.
            headers: fields that the upstream did not get like this.
            target: the client's, if another.
        """
        redactor = self._capture.redactor
        clean = redactor.headers(headers)[0]
        shown = None if target is None else redactor.target(target)[0]
        at_ns = self.started_ns
        self._write(self._capture.writer.add, Record(self.number, at_ns, Asked(at_ns, members, clean, shown)))

    def request_body(self, data: bytes) -> None:
        """The client sent a piece of its body."""
        if self._body is None:
            self._body = self._capture.redactor.request_body(self._headers)
        self._request_piece(self._body.feed(data))

    def request_end(self) -> None:
        """The client has sent its whole request."""
        if self.request_complete or self._ended:
            return
        if self._body is not None:
            self._request_piece(self._body.finish())
        self.request_complete = True
        at_ns = self._capture.now_ns()
        self._write(self._capture.writer.request_end, self.number, at_ns)

    def response(self, status: int, reason: str, headers: Headers) -> None:
        """The upstream answered with this head (or the recorder, in its place)."""
        if self._ended:
            return
        self.status = status
        media_type = (get(headers, b"content-type") or b"").split(b";")[0].strip().lower()
        coding = (get(headers, b"content-encoding") or b"identity").strip().lower()
        if media_type == b"text/event-stream":
            self._events = EventCounter(readable=coding == b"identity")
            self._capture.tally.counters.add(self._events)
        clean, found = self._capture.redactor.headers(headers)
        self.redacted = (*self.redacted, *found)
        seen = () if self._body is None else self._body.seen
        self._answer = self._capture.redactor.response(headers, (*self._credentials, *seen))
        at_ns = self._capture.now_ns()
        words = self._capture.redactor.text(reason)
        self._write(self._capture.writer.response, self.number, at_ns, status, words, clean)
        if self._capture.watcher is not None:
            self._capture.watcher.answered(self)

    def chunk(self, data: bytes, *, delayed: bool = False) -> None:
        """A read from the upstream. `delayed`: the recorder had stopped reading, so it arrived earlier."""
        # Called once per event, and therefore in one piece.
        if self._ended:
            return
        capture = self._capture
        tally = capture.tally
        at_ns = capture.clock_ns() - capture.zero_ns
        size = len(data)
        self.response_bytes += size
        tally.response_bytes += size
        if self._answer is not None:
            data = self._answer.feed(data)
        if (events := self._events) is not None:
            events.feed(data)
            tally.last = events
        if capture.failure is not None:
            _ = capture.may_write  # raises, unless traffic may pass unrecorded
            return
        try:
            capture.writer.chunk(self.number, at_ns, data, delayed)
        except CassetteError as error:
            capture.fail(error)
            _ = capture.may_write

    def end(self, ending: Ending, detail: str = "") -> None:
        """The exchange is over."""
        if self._ended:
            return
        self._ended = True
        self.ending = ending
        capture = self._capture
        detail = self.detail = capture.redactor.text(detail) if detail else ""  # it may quote the upstream
        self.ended_ns = capture.now_ns()
        tally, writer = capture.tally, capture.writer
        tally.open_exchanges -= 1
        if self._events is not None:
            tally.end_stream(self._events)
        tally.endings[ending] = tally.endings.get(ending, 0) + 1
        ended_ns = self.ended_ns
        body, answer = self._body, self._answer
        rest = b"" if self.request_complete or body is None else body.finish()
        in_pieces = () if answer is None else answer.finish()
        in_bodies = (*(() if answer is None else answer.redacted), *(() if body is None else body.redacted))
        self.redacted = tuple(dict.fromkeys((*self.redacted, *in_bodies)))
        # What was masked in a body is known only now; the request's record has what was masked in its head.
        late = [what for what in self.redacted if what not in self._redacted_in_head]
        extra = {"redacted": late} if late else {}
        # An error is noted and not raised: the flush that every ending waits for tells it.
        with contextlib.suppress(CassetteError):
            if rest:
                self._write(writer.request_body, self.number, ended_ns, rest)
            last = Record(self.number, ended_ns, End(ended_ns, ending, detail, extra))
            self._write(writer.add, last)
            if in_pieces:
                # In the file already, for the client had to have it; masked there by the next sync, off the loop.
                self._write(writer.mask, self.number, in_pieces)
        if capture.watcher is not None:
            capture.watcher.ended(self)

    def _request_piece(self, data: bytes) -> None:
        if data and not self._ended:
            at_ns = self._capture.now_ns()
            self._write(self._capture.writer.request_body, self.number, at_ns, data)

    def _write(self, append: Callable[..., None], /, *arguments: object) -> None:
        capture = self._capture
        if capture.may_write:
            try:
                append(*arguments)
            except CassetteError as error:
                capture.fail(error)
                _ = capture.may_write  # raises, unless traffic may pass unrecorded
