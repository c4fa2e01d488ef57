"""The aiohttp shell of the mock: requests in, answers out.

Translates between aiohttp and the pure core; decides nothing about runs. One rule: Host, Origin and size are checked
before anything is looked up.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from typing import Any, Unpack
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler

from graphtape.cassettes.clock import Clock, SystemClock
from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette
from graphtape.protocol.access import HostPolicy, OriginPolicy, is_preflight
from graphtape.protocol.aspects import parse_path
from graphtape.protocol.errors import GraphtapeError, ProtocolError, UsageMistake
from graphtape.protocol.headers import rewrite_location
from graphtape.replayer import malformed
from graphtape.replayer.answering.answers import Answer, Reply, stream_of
from graphtape.replayer.answering.dispatch import answer as answer_of
from graphtape.replayer.answering.replies import Asked, json_plan, origin_headers
from graphtape.replayer.answering.showing import shown_target
from graphtape.replayer.faults import Faults
from graphtape.replayer.opening import notes_on
from graphtape.replayer.options import Log, ReplayChoices, ReplayOptions
from graphtape.replayer.plan import Head, Pace
from graphtape.replayer.sending import Sender
from graphtape.replayer.session import Options, Session
from graphtape.replayer.wire import WireResponse, break_connection, drop_connection, shape_head

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A request body above it is refused with 413: the mock reads bodies whole to compare them."""

_HEAD_LIMITS = {"max_line_size": 2**16, "max_field_size": 2**16, "max_headers": 1024}
"""As the recorder's: what was recorded can be asked for again."""

# aiohttp logs what malformed requests and vanished clients do to it, with tracebacks; neither is anybody's news.
_silent = logging.getLogger("graphtape.replayer.http")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())

Path = str | PathLike[str]

SESSION = web.AppKey("SESSION", Session)
"""Where an application keeps what it remembers."""


class InvalidChoice(UsageMistake):
    """An option has a value that it does not take."""


class _Mock:
    """One replay: its session, its rules of access, its clock, and the answers that are being sent."""

    def __init__(
        self, session: Session, hosts: HostPolicy, origins: OriginPolicy, clock: Clock, log: Log
    ) -> None:
        self.session = session
        self.hosts = hosts
        self.origins = origins
        self.clock = clock
        self.log = log
        self._upstreams = tuple(
            dict.fromkeys(
                recording.upstream
                for cassette in dict.fromkeys(call.cassette for call in session.tapes.calls)
                for recording in cassette.recordings
            )
        )
        self._open: dict[asyncio.Task[object], web.Request] = {}
        self._broken: list[asyncio.Transport] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = request
        try:
            return await self._answer(request)
        finally:
            del self._open[task]

    async def stop(self, _: web.Application) -> None:
        """Break off what is being sent, without a terminating chunk."""
        for task, request in list(self._open.items()):
            if request.transport is not None:
                self._broken.append(request.transport)
            break_connection(request)
            task.cancel()

    async def close(self, _: web.Application) -> None:
        """Let go of clients that do not read what was sent before the stop."""
        for transport in self._broken:
            drop_connection(transport)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """What stands here while a stream is sent stands here for every open stream: as little as can be."""
        started_ns = self.clock.now_ns()
        host, target = _addressed(request)
        origin = request.headers.get("Origin")
        sender = Sender(request, self.session, self.clock, started_ns, self._finish_head)
        what = f"{request.method} {shown_target(target)}"
        refused = self._refused(request, host, origin)
        if refused is not None:
            return await self._send(sender, what, refused)
        if origin is not None and is_preflight(request.method, request.raw_headers):
            return await self._preflight(request, what, origin, host)
        if not target.startswith("/"):
            # Such a request is not read to its end, which only a tunnel (CONNECT) would mind.
            text = f"graphtape answers requests for a path; {what} is none"
            sender.closes = True
            return await self._send(sender, what, Reply(json_plan(400, {"detail": text}), note=text))
        try:
            if (request.content_length or 0) > MAX_BODY_BYTES:
                raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            text = f"The request body is larger than {MAX_BODY_BYTES} bytes, which is all that a replay compares."
            return await self._send(sender, what, Reply(json_plan(413, {"detail": text}), note=text))
        asked = _asked(request, target, body)
        del body
        try:
            sending = self._send(sender, what, answer_of(self.session, asked, started_ns))
            del asked
            return await sending
        except GraphtapeError as error:
            # E.g. damage in the cassette that only this read came upon.
            text = str(error)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            if sender.response is None:
                raise
            # The client has left. aiohttp would make an error of its own of it, in a circle with this one and with all
            # that its frames hold: the whole answer, until a collection finds it.
            break_connection(request)
            return sender.response
        except Exception as error:
            text = (
                f"graphtape failed on this request ({type(error).__name__}{_place_of(error)}). "
                "Please report it with the cassette."
            )
        if sender.response is not None:
            # Its head is with the client: all that is left to say is that this was not the end.
            self.log(f"{what} broken off: {text}")
            break_connection(request)
            return sender.response
        return await self._send(sender, what, Reply(json_plan(500, {"detail": text}), note=text))

    def _finish_head(self, request: web.Request, head: Head) -> Head:
        """A head with what only the moment knows: who asks, and under which name."""
        host, _ = _addressed(request)
        own = f"http://{host}" if host else ""
        headers = tuple((name, self._location(name, value, own)) for name, value in head.headers)
        origin = request.headers.get("Origin")
        return replace(head, headers=self.origins.apply(headers, origin, host=host, method=request.method))

    def _location(self, name: bytes, value: bytes, own_origin: str) -> bytes:
        """A recorded location that points at the upstream points at the mock."""
        if own_origin and name.lower() in (b"location", b"content-location"):
            for upstream in self._upstreams:
                rewritten = rewrite_location(value, upstream=upstream, own_origin=own_origin)
                if rewritten != value:
                    return rewritten
        return value

    def _send(self, sender: Sender, what: str, answer: Answer) -> Coroutine[Any, Any, web.StreamResponse]:
        stream = None if sender.request.method == "HEAD" else stream_of(answer, what)
        breaker = sender.breaker = self.session.next_breaker(*stream) if stream else None
        fault = "" if breaker is None else f"({breaker.fault.option} {breaker.fault.place})"
        self.log(" ".join(filter(None, (what, str(answer.head.status), answer.note, fault))))
        return sender.send(answer)

    def _refused(self, request: web.Request, host: str | None, origin: str | None) -> Reply | None:
        wrong_host = self.hosts.check(host)
        if wrong_host is not None:
            return Reply(json_plan(421, {"detail": wrong_host}), note=wrong_host)
        foreign = self.origins.refuses(request.method, origin, host=host)
        if foreign is not None:
            return Reply(json_plan(403, {"detail": foreign}), note=foreign)
        return None

    async def _preflight(
        self, request: web.Request, what: str, origin: str, host: str | None
    ) -> web.StreamResponse:
        preflight = self.origins.preflight(origin, request.raw_headers, host=host)
        if not self.origins.allows(origin, host=host):
            # A browser does not show why, not even to the page that asked.
            self.log(f"{what} {preflight.status} {preflight.body.decode('latin-1')}")
        headers = (*origin_headers(self.session.first_answered), *preflight.headers)
        response = WireResponse(Head(preflight.status, preflight.reason, headers))
        await response.prepare(request)
        await response.write(preflight.body)
        await response.write_eof()
        return response


def _addressed(request: web.Request) -> tuple[str | None, str]:
    """(host, target) of a request; the authority of an absolute target stands for `Host` (RFC 9112, section 3.2.2)."""
    host, target = request.headers.get("Host"), request.raw_path
    if target[:8].lower().startswith(("http://", "https://")):
        authority, _, rest = target.partition("://")[2].partition("/")
        authority, mark, query = authority.partition("?")
        return authority.rpartition("@")[2], f"/{mark}{query}" if mark else "/" + rest
    return host, target


def _asked(request: web.Request, target: str, body: bytes) -> Asked:
    path, _, query = target.partition("?")
    return Asked(
        method=request.method,
        path=path,
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        query_text=query,
    )


def _place_of(error: Exception) -> str:
    """Where a bug is; its own words may hold what a client sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" at {os.path.basename(code.co_filename)}:{trace.tb_lineno}"


def make_app(
    paths: Path | Sequence[Path], *, log: Log | None = None, **choices: Unpack[ReplayChoices]
) -> web.Application:
    """An aiohttp application that replays cassettes; for `aiohttp_client` of pytest-aiohttp, or any runner.

    A runner that is to notice at once that a client has left needs `handler_cancellation=True`.

    Args:
        paths: one cassette or several, played together in this order.
        log: called with one line per request, and first with one per cassette that is not whole.
        choices: see `ReplayOptions`, e.g. `make_app("chat.tape", speed="max")`.

    Raises:
        CassetteError: a file is missing, damaged or no cassette.
        InvalidPace: a speed or idle limit that is none.
        InvalidFault: a `cut_after` or `end_after` that is no place in a stream.
        InvalidAccess: an `allow_hosts` that is no host name, or a `cors_origins` that is no origin.
        InvalidChoice: another option with a value that it does not take.
    """
    options = ReplayOptions(**choices)
    pace = Pace.parse(options.speed, options.idle_limit)
    faults = Faults.parse(options.cut_after, options.end_after)
    hosts = HostPolicy(options.host, options.allow_hosts)
    origins = OriginPolicy(options.cors_origins, expose_location=options.expose_location)
    _check(options)
    files = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    if not files:
        raise InvalidChoice("there is no cassette to replay: give at least one path")
    with ExitStack() as stack:
        cassettes = [stack.enter_context(Cassette.open(path)) for path in files]
        ignore = tuple(options.ignore)
        core = Options(
            pace, options.match, options.ids, ignore, options.broken_last, options.docs_semantics, faults
        )
        session = Session(read_tapes(cassettes), core)
        closing = stack.pop_all()
    log = log or (lambda _: None)
    for note in notes_on(cassettes):
        log(note)
    mock = _Mock(session, hosts, origins, options.clock or SystemClock(), log)

    @web.middleware
    def answer_all(request: web.Request, handler: Handler) -> Coroutine[Any, Any, web.StreamResponse]:
        """Also what no route fits: `*` and the authority of a CONNECT are no paths."""
        return mock.handle(request)

    app = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[answer_all],
        # A compressed request body is bytes like any other to the server, which finds no JSON in it.
        handler_args={**_HEAD_LIMITS, "logger": _silent, "auto_decompress": False},
    )
    # Without a route aiohttp would keep an error of its own, and a chain of handlers, for each request.
    app.router.add_route("*", "/{path:.*}", mock.handle)
    app[SESSION] = session
    app[malformed.HEAD] = origin_headers(session.first_answered)
    app[malformed.LOG] = log
    app.on_response_prepare.append(shape_head)
    app.on_shutdown.append(mock.stop)
    app.on_cleanup.append(mock.close)

    async def close(_: web.Application) -> None:
        closing.close()

    app.on_cleanup.append(close)
    return app


def _check(options: ReplayOptions) -> None:
    for name, value, known in (
        ("match", options.match, ("strict", "nearest")),
        ("ids", options.ids, ("recorded", "unique")),
    ):
        if value not in known:
            raise InvalidChoice(f"{name} {value!r} is neither {known[0]!r} nor {known[1]!r}")
    for path in options.ignore:
        try:
            parse_path(path)
        except ProtocolError as error:
            raise InvalidChoice(f"--ignore: {error}") from None
