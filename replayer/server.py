"""The aiohttp shell of the mock: requests in, answers out.

Translates between aiohttp and the pure core; decides nothing about runs. One rule: Host, Origin and size are checked
before anything is looked up.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TextIO
from urllib.parse import parse_qsl

from aiohttp import web

from graphtape.cassettes.clock import Clock, SystemClock
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.runs import read_tapes
from graphtape.protocol.access import HostPolicy, OriginPolicy, is_preflight
from graphtape.protocol.errors import GraphtapeError
from graphtape.replayer.answers import Answer, JoinStream, Reply, RunStream, RunWait
from graphtape.replayer.dispatch import answer as answer_of
from graphtape.replayer.plan import Head, Pace
from graphtape.replayer.replies import Asked, json_plan
from graphtape.replayer.sending import Sender
from graphtape.replayer.session import Options, Session
from graphtape.replayer.wire import WireResponse, shape_head

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A request body above it is refused with 413: the mock reads bodies whole to compare them."""
_SHUTDOWN_S = 0.05

Path = str | PathLike[str]
Log = Callable[[str], None]


class CannotListen(GraphtapeError):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        if error.errno == errno.EADDRINUSE:
            text = (
                f"port {port} on {host} is in use; choose another with --port, or --port 0 for any free one"
            )
        elif error.errno == errno.EACCES:
            text = f"port {port} on {host} needs more rights than this user has; choose one above 1023 with --port"
        else:
            text = f"cannot listen on {host}:{port}: {error.strerror or error}; check --host and --port"
        super().__init__(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Everything that can be chosen for a replay; the names are those of the command line.

    Args:
        speed: 1 keeps recorded times, N divides them, `max` sends without waiting.
        idle_limit: no gap longer than this many seconds.
        match: `strict` plays only equal recordings, `nearest` the likeliest too.
        ids: `recorded` serves event ids as they were; `unique` makes them unique, so that every resume is whole.
        ignore: paths in a run-starting body that are not compared, e.g. `input.now`.
        host: the address that is listened on; decides which `Host` headers are served.
        allow_hosts: further names to be served as.
        cors_origins: origins of web pages allowed beside those on loopback.
        expose_location: let pages read `Location`, which arms the JavaScript SDK's reconnection.
    """

    speed: str | float = 1.0
    idle_limit: float | None = None
    match: Literal["strict", "nearest"] = "nearest"
    ids: Literal["recorded", "unique"] = "recorded"
    ignore: Sequence[str] = ()
    host: str = "127.0.0.1"
    allow_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    expose_location: bool = False


class _Mock:
    """One replay: its session, its rules of access, its clock."""

    def __init__(self, session: Session, options: ReplayOptions, clock: Clock, log: Log) -> None:
        self.session = session
        self.clock = clock
        self.log = log
        self.hosts = HostPolicy(options.host, options.allow_hosts)
        self.origins = OriginPolicy(options.cors_origins, expose_location=options.expose_location)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        started_ns = self.clock.now_ns()
        host = request.headers.get("Host")
        origin = request.headers.get("Origin")

        def finish_head(head: Head) -> Head:
            return replace(head, headers=self.origins.apply(head.headers, origin, host=host))

        sender = Sender(request, self.session, self.clock, started_ns, finish_head)
        refused = self._refused(request, host, origin)
        if refused is not None:
            return await sender.reply(refused)
        if origin is not None and is_preflight(request.method, request.raw_headers):
            preflight = self.origins.preflight(origin, request.raw_headers, host=host)
            head = Head(preflight.status, preflight.reason, preflight.headers)
            response = WireResponse(head)
            await response.prepare(request)
            await response.write(preflight.body)
            await response.write_eof()
            return response
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            text = f"The request body is larger than {MAX_BODY_BYTES} bytes, which is all that a replay compares."
            return await sender.reply(Reply(json_plan(413, {"detail": text})))
        path, _, query = request.raw_path.partition("?")
        asked = Asked(
            method=request.method,
            path=path,
            query=tuple(parse_qsl(query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        try:
            answer = answer_of(self.session, asked, started_ns)
        except GraphtapeError as error:
            # E.g. damage in the cassette that only this read came upon.
            return await self._failed(sender, f"{request.method} {path}", str(error))
        except Exception as error:  # noqa: BLE001 - a bug of ours must not show a client or a user a traceback
            text = f"graphtape failed on this request ({type(error).__name__}: {error}). Please report it with the cassette."
            return await self._failed(sender, f"{request.method} {path}", text)
        self._log(asked, answer)
        return await self._send(sender, answer)

    async def _failed(self, sender: Sender, what: str, text: str) -> web.StreamResponse:
        self.log(f"{what} 500 {text}")
        return await sender.reply(Reply(json_plan(500, {"detail": text})))

    def _refused(self, request: web.Request, host: str | None, origin: str | None) -> Reply | None:
        wrong_host = self.hosts.check(host)
        if wrong_host is not None:
            return Reply(json_plan(421, {"detail": wrong_host}))
        foreign = self.origins.refuses(request.method, origin, host=host)
        if foreign is not None:
            return Reply(json_plan(403, {"detail": foreign}))
        return None

    def _log(self, asked: Asked, answer: Answer) -> None:
        if isinstance(answer, Reply):
            status, note = answer.plan.head.status, answer.note
        else:
            status = answer.head.status
            note = answer.note if isinstance(answer, (RunStream, RunWait)) else ""
        self.log(f"{asked.method} {asked.path} {status} {note}".rstrip())

    async def _send(self, sender: Sender, answer: Answer) -> web.StreamResponse:
        match answer:
            case Reply():
                return await sender.reply(answer)
            case RunStream():
                return await sender.run_stream(answer)
            case RunWait():
                return await sender.run_wait(answer)
            case JoinStream():
                return await sender.join_stream(answer)
            case _:
                return await sender.thread_stream(answer)


def make_app(
    paths: Path | Sequence[Path],
    options: ReplayOptions | None = None,
    *,
    clock: Clock | None = None,
    log: Log | None = None,
    **chosen: Any,
) -> web.Application:
    """An aiohttp application that replays cassettes; for `aiohttp_client` of pytest-aiohttp, or any runner.

    Args:
        paths: one cassette or several, played together in this order.
        options: what to choose; or give its fields as keyword arguments: `make_app("x.tape", speed="max")`.
        clock: what decides when bytes are due.
        log: called with one line per request.

    Raises:
        CassetteError: a file is missing, damaged or no cassette.
        InvalidPace: a speed or idle limit that is none.
    """
    options = _options(options, chosen)
    files = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    pace = Pace.parse(options.speed, options.idle_limit)
    with ExitStack() as stack:
        cassettes = [stack.enter_context(Cassette.open(path)) for path in files]
        session = Session(
            read_tapes(cassettes), Options(pace, options.match, options.ids, tuple(options.ignore))
        )
        closing = stack.pop_all()
    mock = _Mock(session, options, clock or SystemClock(), log or (lambda _: None))
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[SESSION] = session
    app.router.add_route("*", "/{path:.*}", mock.handle)
    app.on_response_prepare.append(shape_head)

    async def close(_: web.Application) -> None:
        closing.close()

    app.on_cleanup.append(close)
    return app


SESSION = web.AppKey("SESSION", Session)
"""Where an application keeps what it remembers."""


def _options(options: ReplayOptions | None, chosen: dict[str, Any]) -> ReplayOptions:
    if options is None:
        return ReplayOptions(**chosen)
    return replace(options, **chosen) if chosen else options


async def _listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    """Start serving; returns the runner and the URL."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        await runner.cleanup()
        raise CannotListen(host, port, error) from None
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return runner, f"http://{shown}:{bound}"


class serve:  # noqa: N801 - read as a verb: `with serve("x.tape") as mock:`
    """A replay server for tests, as a context manager: `with serve(...)` in a thread, `async with serve(...)` here.

    Args:
        paths: one cassette or several.
        port: 0 for any free one.
        chosen: the fields of `ReplayOptions`, and `clock` and `log` as for `make_app`.

    Attributes:
        url: where it listens; set while the context is open.

    Raises:
        CassetteError, InvalidPace, CannotListen: on entering.
    """

    url: str

    def __init__(self, paths: Path | Sequence[Path], *, port: int = 0, **chosen: Any) -> None:
        self._paths = paths
        self._host = str(chosen.get("host", "127.0.0.1"))
        self._port = port
        self._chosen = chosen
        self._runner: web.AppRunner | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> serve:
        app = make_app(self._paths, **self._chosen)
        self._runner, self.url = await _listen(app, self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def __enter__(self) -> serve:
        ready = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            loop = asyncio.new_event_loop()
            self._loop = loop
            try:
                loop.run_until_complete(self.__aenter__())
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()
            if not failed:
                loop.run_forever()
                loop.run_until_complete(self.__aexit__())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

        self._thread = threading.Thread(target=run, name="graphtape replay", daemon=True)
        self._thread.start()
        ready.wait()
        if failed:
            self._thread.join()
            raise failed[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


async def run(
    paths: Path | Sequence[Path],
    *,
    port: int = 2024,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    log: TextIO | None = None,
    clock: Clock | None = None,
    **chosen: Any,
) -> None:
    """Serve until `stop` is set; open streams are then broken, not ended.

    Args:
        announce: called once, with the line for stdout, when the server listens.
        log: gets one line per request.
        chosen: the fields of `ReplayOptions`.

    Raises:
        CassetteError, InvalidPace, CannotListen: before anything is announced.
    """
    options = ReplayOptions(**chosen)

    def write(line: str) -> None:
        print(f"graphtape: {line}", file=log, flush=True)

    app = make_app(paths, options, clock=clock, log=write if log is not None else None)
    runner, url = await _listen(app, options.host, port)
    try:
        announce(f"graphtape: listening on {url}")
        await stop.wait()
    finally:
        await runner.cleanup()
