"""Where a recorder asks the upstream for more than its client did (`--widen`): which exchanges are shaped, and how.

Pure. One rule: what a shape does not understand passes as it came. The proxy asks the shaper once per request, sends
what the shape says, and gives it every read of the answer; the narrowing is in `narrowing.py` (streams) and
`run_objects.py` (JSON), what was widened in `widening.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol
from urllib.parse import unquote_plus

from graphtape.cassettes.clock import Clock
from graphtape.protocol.headers import Headers, get
from graphtape.protocol.joining import (
    InvalidThreadStream,
    JoinFilter,
    ThreadFilter,
    check_thread_stream_id,
)
from graphtape.protocol.operations import Operation, Resolved, resolve
from graphtape.recorder.narrowing import JoinNarrowing, Narrowing, RunNarrowing, ThreadNarrowing
from graphtape.recorder.run_objects import JoinedResult, narrowed_runs
from graphtape.recorder.widening import LARGEST_BODY_BYTES, WideRequest, WideRun, WideRuns, widened

_STARTS: Final = frozenset(
    {
        Operation.STREAM_RUN,
        Operation.STREAM_STATELESS_RUN,
        Operation.CREATE_RUN,
        Operation.CREATE_STATELESS_RUN,
    }
)
_STREAM_STARTS: Final = frozenset({Operation.STREAM_RUN, Operation.STREAM_STATELESS_RUN})
_LAST_EVENT_ID: Final = b"last-event-id"


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


class Shaper(Protocol):
    """Decides which exchanges are shaped."""

    def wants_body(self, method: str, target: str, headers: Headers) -> bool:
        """Whether `shape_for` must see the request's whole body."""
        ...

    def shape_for(self, method: str, target: str, headers: Headers, body: bytes | None) -> Shape | None:
        """The shape of this exchange, or None to pass it as it is.

        Args:
            headers: as the client sent them.
            body: the whole body if `wants_body` says so; else None.
        """
        ...


def make_shaper(
    *,
    widen: bool,
    clock: Clock,
    events: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Shaper | None:
    """The shaper for `--widen`; None without it.

    Args:
        clock: its wall clock tells what of a run is past when a client joins.
        events: widen to the mode `events` too.
        say: told, in words for a person, what could not be narrowed for certain.
    """
    return Widener(WideRuns(clock.unix_ns), events=events, say=say) if widen else None


class Widener:
    """Widens what starts runs, and narrows whatever shows widened runs."""

    def __init__(self, runs: WideRuns, *, events: bool = False, say: Callable[[str], None]) -> None:
        self._runs = runs
        self._events = events
        self._say = say

    def wants_body(self, method: str, target: str, headers: Headers) -> bool:
        if method != "POST":
            return False
        found = resolve(method, target)
        if found is None or found.operation not in _STARTS:
            return False
        coding = (get(headers, b"content-encoding") or b"identity").strip().lower()
        length = get(headers, b"content-length") or b""
        return coding in (b"", b"identity") and not (length.isdigit() and int(length) > LARGEST_BODY_BYTES)

    def shape_for(self, method: str, target: str, headers: Headers, body: bytes | None) -> Shape | None:
        found = resolve(method, target)
        if found is None or method == "HEAD":
            return None
        if body is not None:
            request = widened(body, events=self._events)
            return None if request is None else self._start(found, target, headers, request)
        make = _BY_OPERATION.get(found.operation)
        return None if make is None else make(self, found, target, headers)

    def _start(self, found: Resolved, target: str, headers: Headers, request: WideRequest) -> Shape:
        sent = _replaced(
            headers,
            {b"content-length": str(len(request.body)).encode(), b"accept-encoding": b"identity"},
        )
        thread_id = found.params.get("thread_id")
        self._runs.starts(thread_id, request)

        def answered(status: int, answer: Headers) -> Narrowing | None:
            self._runs.saw_date(get(answer, b"date"))
            location = get(answer, b"content-location") if status == 200 else None
            run = self._runs.started(thread_id, request, location)
            if found.operation not in _STREAM_STARTS:
                return None
            if run is None and status == 200:
                # The answer is narrowed all the same; only what is asked about it later will not be.
                run = WideRun("", thread_id, request.wide, request.asked, request.shown_modes)
            return None if run is None else RunNarrowing(run, self._runs, self._say)

        return _Shape(
            target,
            sent,
            client=headers,
            body=request.body,
            own=request.own,
            stream=answered,
            whole=self._narrow_runs if found.operation not in _STREAM_STARTS else None,
            abandoned=lambda: void(self._runs.started(thread_id, request, None)),
        )

    def _join(self, found: Resolved, target: str, headers: Headers) -> Shape | None:
        run = self._runs.get(found.params["run_id"])
        if run is None:
            return None
        cursor = _text(get(headers, _LAST_EVENT_ID))
        shown = JoinFilter.parse(_query_values(target, "stream_mode"))
        changes: dict[bytes, bytes | None] = {b"accept-encoding": b"identity"}
        if run.remembers:
            # What the client gets depends on all that came before: ask for it.
            changes[_LAST_EVENT_ID] = b"-1"
        elif not run.asked.resumable:
            # Nothing of the run as asked was stored.
            changes[_LAST_EVENT_ID] = None
        sent_target = _without_parameter(target, "stream_mode") if shown.modes else target
        at_ms = self._runs.now_ms()

        def answered(status: int, answer: Headers) -> Narrowing | None:
            self._runs.saw_date(get(answer, b"date"))
            if status != 200:
                return None
            return JoinNarrowing(
                run,
                self._runs,
                self._say,
                shown=shown,
                cursor=cursor or None,
                now=self._runs.id_at(at_ms),
            )

        return _Shape(
            sent_target,
            _replaced(headers, changes, add=run.remembers),
            client=headers,
            client_target=target,
            stream=answered,
        )

    def _thread_stream(self, found: Resolved, target: str, headers: Headers) -> Shape | None:
        thread_id = found.params["thread_id"]
        given = _text(get(headers, _LAST_EVENT_ID))
        try:
            cursor = check_thread_stream_id(given)
            ThreadFilter.parse(_query_values(target, "stream_modes"))
        except InvalidThreadStream:
            return None  # refused by the server, which also does the filtering
        changes: dict[bytes, bytes | None] = {b"accept-encoding": b"identity"}
        if cursor is not None and self._runs.of_thread(thread_id):
            # Whose events these are is told by what came before.
            changes[_LAST_EVENT_ID] = b"-"
        at_ms = self._runs.now_ms()

        def answered(status: int, answer: Headers) -> Narrowing | None:
            self._runs.saw_date(get(answer, b"date"))
            if status != 200:
                return None
            return ThreadNarrowing(
                thread_id,
                self._runs,
                self._say,
                cursor=cursor,
                now=self._runs.id_at(at_ms),
            )

        return _Shape(target, _replaced(headers, changes), client=headers, stream=answered)

    def _run_objects(self, found: Resolved, target: str, headers: Headers) -> Shape | None:
        run_id, thread_id = found.params.get("run_id"), found.params["thread_id"]
        known = (
            self._runs.may_be_of_thread(thread_id) if run_id is None else self._runs.get(run_id) is not None
        )
        if not known:
            return None
        sent = _replaced(headers, {b"accept-encoding": b"identity"})
        return _Shape(target, sent, client=headers, whole=self._narrow_runs)

    def _joined_result(self, found: Resolved, target: str, headers: Headers) -> Shape | None:
        run = self._runs.get(found.params["run_id"])
        if run is None:
            return None
        sent = _replaced(headers, {b"accept-encoding": b"identity"})
        thread_id, run_id = found.params["thread_id"], found.params["run_id"]
        values = f"/threads/{thread_id}/runs/{run_id}/stream?stream_mode=values"
        return _Shape(
            target,
            sent,
            client=headers,
            stream=lambda status, answer: JoinedResult(run, values) if status == 200 else None,
            media_type=b"application/json",
        )

    def _narrow_runs(self, body: bytes) -> bytes:
        return narrowed_runs(body, self._runs)


_BY_OPERATION: Final[Mapping[Operation, Callable[[Widener, Resolved, str, Headers], Shape | None]]] = {
    Operation.JOIN_RUN_STREAM: Widener._join,
    Operation.JOIN_THREAD_STREAM: Widener._thread_stream,
    Operation.GET_RUN: Widener._run_objects,
    Operation.LIST_RUNS: Widener._run_objects,
    Operation.JOIN_RUN: Widener._joined_result,
    Operation.CANCEL_RUN: Widener._joined_result,
}


@dataclass(slots=True)
class _Shape:
    """A `Shape` made of the functions that its operation needs."""

    target: str
    headers: Headers
    client: Headers
    client_target: str = ""
    body: bytes | None = None
    own: Mapping[str, bytes | None] = field(default_factory=dict)
    stream: Callable[[int, Headers], Narrowing | None] = lambda status, headers: None
    whole: Callable[[bytes], bytes] | None = None
    abandoned: Callable[[], None] = lambda: None
    media_type: bytes = b"text/event-stream"
    _narrowing: Narrowing | None = None

    @property
    def own_target(self) -> str | None:
        return self.client_target if self.client_target not in ("", self.target) else None

    @property
    def own_headers(self) -> Headers:
        sent = set(self.headers)
        return tuple(field for field in self.client if field not in sent)

    def response(self, status: int, headers: Headers) -> Passage:
        self._narrowing = self.stream(status, headers)
        coding = (get(headers, b"content-encoding") or b"identity").strip().lower()
        media_type = (get(headers, b"content-type") or b"").split(b";")[0].strip().lower()
        if coding not in (b"", b"identity"):
            self._narrowing = None  # asked not to, the upstream compresses: it passes as it is
            return Passage.AS_IT_IS
        if self._narrowing is not None and media_type == self.media_type:
            return Passage.PIECEWISE
        self._narrowing = None
        if self.whole is not None and status == 200 and media_type == b"application/json":
            return Passage.WHOLE
        return Passage.AS_IT_IS

    def abandon(self) -> None:
        self.abandoned()

    def feed(self, data: bytes) -> list[bytes]:
        return [data] if self._narrowing is None else self._narrowing.feed(data)

    def finish(self) -> list[bytes]:
        return [] if self._narrowing is None else self._narrowing.finish()

    @property
    def question(self) -> str | None:
        return None if self._narrowing is None else self._narrowing.question

    def answer(self, body: bytes | None) -> list[bytes]:
        return [] if self._narrowing is None else self._narrowing.answer(body)

    def narrowed(self, body: bytes) -> bytes:
        return body if self.whole is None else self.whole(body)


def void(value: object) -> None:
    """For a lambda whose value nobody wants."""


def _replaced(headers: Headers, changes: Mapping[bytes, bytes | None], *, add: bool = False) -> Headers:
    """The headers with these values in place of those they have; None takes a field away.

    Args:
        changes: by lower-case name.
        add: put `last-event-id` in if it is missing.
    """
    made: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        new = changes.get(name.lower(), value)
        if new is not None:
            made.append((name, new))
    wanted = changes.get(_LAST_EVENT_ID)
    if add and wanted is not None and get(headers, _LAST_EVENT_ID) is None:
        made.append((_LAST_EVENT_ID, wanted))
    return tuple(made)


def _query_values(target: str, name: str) -> list[str]:
    pairs = (part.partition("=") for part in target.partition("?")[2].split("&"))
    return [unquote_plus(value) for key, _, value in pairs if unquote_plus(key) == name]


def _without_parameter(target: str, name: str) -> str:
    path, _, query = target.partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != name]
    return f"{path}?{'&'.join(kept)}" if kept else path


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
