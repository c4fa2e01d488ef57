"""One run of the recorder, from its start to its report: what `graphtape record` calls.

Puts the parts together: cassette, redactor, capture, proxy, listening socket, progress. One rule: whatever happens,
the cassette is closed with all that was recorded, and the report says what that is.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from aiohttp import web

from graphtape import __version__
from graphtape.cassettes.clock import Clock, SystemClock
from graphtape.cassettes.errors import CassetteError
from graphtape.cassettes.redaction.redactor import Redactor, environment_values
from graphtape.cassettes.writer import CassetteWriter
from graphtape.protocol.access import HostPolicy, OriginPolicy, is_loopback_host
from graphtape.protocol.errors import GraphtapeError
from graphtape.recorder.capture import Capture, Writer
from graphtape.recorder.progress import Progress, count_of, format_bytes
from graphtape.recorder.proxy import Proxy
from graphtape.recorder.shaping import Shaper, make_shaper
from graphtape.recorder.syncing import DiskSync
from graphtape.recorder.turn import FlushTurn
from graphtape.recorder.upstream import BadUpstream, Upstream, parse_upstream

DEFAULT_PORT = 2025


class CannotListen(GraphtapeError):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class RecordingReport:
    """What one recording holds."""

    path: str
    exchanges: int
    events: int
    response_bytes: int
    unfinished: int
    """Exchanges that did not end with the upstream's own end."""
    failure: str = ""
    """Why the cassette could not be written to its end; empty if it could."""

    @property
    def next_command(self) -> str:
        """What to type next."""
        verb = "replay" if self.exchanges > self.unfinished else "ls"
        return f"graphtape {verb} {shlex.quote(self.path)}"

    def __str__(self) -> str:
        text = (
            f"recorded {count_of(self.exchanges, 'exchange')}, {count_of(self.events, 'event')}, "
            f"{format_bytes(self.response_bytes)} in {self.path}"
        )
        if self.unfinished:
            text += f"; {self.unfinished} did not end by the upstream (graphtape ls shows which)"
        return text


class Recorder:
    """A recorder that runs for the length of an `async with` block.

        async with Recorder("http://localhost:2024", writer) as recorder:
            ...  # clients use recorder.url
        print(recorder.report())

    Args:
        upstream: the server to record, http or https, with a path prefix if it has one; userinfo becomes `Basic`.
        writer: the open cassette; closed at the end of the block.
        host, port: where to listen; port 0 picks a free one.
        redactor: what masks credentials; the default registry if absent.
        allow_hosts, cors_origins, expose_location: see `graphtape.protocol.access`.
        upstream_timeout: seconds the upstream may take to send a response head.
        sync_interval: seconds after which what was written is synced to the disk, off the loop.
        pass_on_write_error: let traffic go on unrecorded when the cassette cannot be written; else stop.
        widen: ask the upstream for everything, and give clients what they asked; see `graphtape.recorder.shaping`.
        widen_events: with `widen`, ask for the mode `events` too, which changes what runs do.
        clock: the clock of all recorded times.
        progress: who is told.
        path: the cassette's path, for the report.
    """

    def __init__(
        self,
        upstream: str,
        writer: Writer | Callable[[], Writer],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        redactor: Redactor | None = None,
        allow_hosts: Iterable[str] = (),
        cors_origins: Iterable[str] = (),
        expose_location: bool = False,
        upstream_timeout: float = 300.0,
        connect_timeout: float = 10.0,
        sync_interval: float = 0.1,
        pass_on_write_error: bool = False,
        widen: bool = False,
        widen_events: bool = False,
        clock: Clock | None = None,
        progress: Progress | None = None,
        path: str = "",
    ) -> None:
        self._clock = clock or SystemClock()
        self._target = parse_upstream(upstream)
        self._upstream = Upstream(self._target, connect_timeout_s=connect_timeout)
        self._open_writer = writer
        self._host, self._port = host, port
        self._redactor = redactor or Redactor()
        self._host_policy = HostPolicy(host, allow_hosts)
        self._origin_policy = OriginPolicy(cors_origins, expose_location=expose_location)
        self._upstream_timeout = upstream_timeout
        self._sync_interval_s = sync_interval
        self._pass_on_write_error = pass_on_write_error
        self._progress = progress or Progress(None, self._clock)
        self._shaper: Shaper | None = make_shaper(
            widen=widen or widen_events, clock=self._clock, events=widen_events, say=self._progress.say
        )
        self._path = path
        self._writer: Writer | None = None
        self._capture: Capture | None = None
        self._proxy: Proxy | None = None
        self._runner: web.ServerRunner | None = None
        self._disk: DiskSync | None = None
        self.failed = asyncio.Event()
        """Set when the cassette can no longer be written and nothing may pass unrecorded."""

    @property
    def url(self) -> str:
        """Where clients connect, e.g. `http://127.0.0.1:2025`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def capture(self) -> Capture:
        """What is being recorded."""
        assert self._capture is not None, "the recorder has not been started"
        return self._capture

    async def __aenter__(self) -> Self:
        sockets = await self._bind()
        try:
            self._refuse_itself(sockets)
            await self._start(sockets)
        except BaseException:
            for sock in sockets:
                sock.close()
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    def report(self) -> RecordingReport:
        """What was recorded so far; after the block, the whole."""
        tally = self.capture.tally
        failure = self.capture.failure
        return RecordingReport(
            path=self._path,
            exchanges=tally.exchanges,
            events=tally.events,
            response_bytes=tally.response_bytes,
            unfinished=tally.unfinished + tally.open_exchanges,
            failure="" if failure is None else str(failure),
        )

    async def _bind(self) -> list[socket.socket]:
        """Listening sockets on every address of the host, all with one port."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except (OSError, UnicodeError) as error:
            raise CannotListen(
                f"cannot listen on {self._host}: the name is not known here ({getattr(error, 'strerror', error)}); "
                "give --host an address of this machine, e.g. 127.0.0.1"
            ) from None
        sockets: list[socket.socket] = []
        for family, kind, proto, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, proto)
            try:
                if os.name == "posix":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], self._port, *address[2:]))
                sock.listen(1024)
            except OSError as error:
                sock.close()
                if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(found) > 1:
                    continue  # `localhost` also names ::1 on machines without IPv6
                for other in sockets:
                    other.close()
                raise self._cannot_listen(error) from None
            sock.setblocking(False)
            self._port = sock.getsockname()[1]
            sockets.append(sock)
        if not sockets:
            raise CannotListen(f"cannot listen on {self._host}: no such address on this machine")
        return sockets

    def _refuse_itself(self, sockets: list[socket.socket]) -> None:
        """A recorder in front of itself would forward every request to itself, without end."""
        host, port = self._target.host.lower(), self._target.port
        meant = {"127.0.0.1", "::1"} if host == "localhost" else {host}
        bound = {sock.getsockname()[0] for sock in sockets}
        everywhere = not bound.isdisjoint({"0.0.0.0", "::"}) and is_loopback_host(host)  # noqa: S104 - only looked for
        if port == self._port and (everywhere or host == self._host or not meant.isdisjoint(bound)):
            raise BadUpstream(
                f"the upstream {self._target.url} is where this recorder listens; give it the address of the server "
                "(langgraph dev listens on port 2024), or another --port"
            )

    def _cannot_listen(self, error: OSError) -> CannotListen:
        place = f"{self._host}:{self._port}"
        if error.errno == errno.EADDRINUSE:
            return CannotListen(
                f"{place} is in use, perhaps by another graphtape record; "
                "stop that, or choose another port with --port N (--port 0 picks a free one)"
            )
        if error.errno == errno.EACCES:
            return CannotListen(
                f"{place} needs rights that you do not have; choose a port above 1023 with --port N"
            )
        return CannotListen(
            f"cannot listen on {place}: {error.strerror or error}; "
            "give --host an address of this machine, e.g. 127.0.0.1"
        )

    async def _start(self, sockets: list[socket.socket]) -> None:
        # The cassette is created only now: a port in use leaves no empty file behind.
        self._writer = self._open_writer() if callable(self._open_writer) else self._open_writer
        self._capture = Capture(
            self._writer,
            self._clock,
            self._redactor,
            upstream=self._target.url,
            program=f"graphtape {__version__}",
            pass_on_failure=self._pass_on_write_error,
        )
        loop = asyncio.get_running_loop()
        self._disk = DiskSync(
            self._writer.sync,
            self._sync_interval_s,
            lambda error: loop.call_soon_threadsafe(self._sync_failed, error),
        )
        self._disk.start()
        turn = FlushTurn(
            self._capture.flush, self._write_failed, self._clock.now_ns, flushed=self._after_flush()
        )
        self._proxy = Proxy(
            self._upstream,
            self._capture,
            turn,
            host_policy=self._host_policy,
            origin_policy=self._origin_policy,
            own_address=self.url.partition("://")[2],
            upstream_timeout_s=self._upstream_timeout,
            refused=self._progress.refused,
            shaper=self._shaper,
        )
        turn.run()  # the recording's head is in the file before the first client is
        self._runner = web.ServerRunner(self._proxy.server(), shutdown_timeout=1.0)
        await self._runner.setup()
        for sock in sockets:
            await web.SockSite(self._runner, sock, backlog=1024).start()
        self._progress.watch(self._capture)

    def _after_flush(self) -> Callable[[], None]:
        # After the clients' bytes, not before: it wakes the thread that syncs, which then wants the interpreter.
        assert self._disk is not None, "the recorder has not been started"
        touch, refresh = self._disk.touch, self._progress.refresh
        if not self._progress.has_status:
            return touch

        def touch_and_refresh() -> None:
            touch()
            refresh()

        return touch_and_refresh

    def _write_failed(self, error: CassetteError) -> None:
        if not self.failed.is_set():
            self._progress.say(f"{error}; the recorder stops, since nothing may pass unrecorded")
            self.failed.set()

    def _sync_failed(self, error: CassetteError) -> None:
        self.capture.fail(error)
        if not self._pass_on_write_error:
            self._write_failed(error)

    async def _close(self) -> None:
        if self._proxy is not None:
            await self._proxy.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._disk is not None:
            self._disk.stop()
        self._upstream.close()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close(synced=True)  # blocks the loop, on which nothing is left to do
            except CassetteError as error:
                self.capture.fail(error)
        self._progress.close()


async def record(
    upstream: str,
    output: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    append: bool = False,
    overwrite: bool = False,
    redact: Iterable[str] = (),
    redact_env: Iterable[str] = (),
    redact_json: Iterable[str] = (),
    redact_echo: bool = False,
    allow_hosts: Iterable[str] = (),
    cors_origins: Iterable[str] = (),
    expose_location: bool = False,
    upstream_timeout: float = 300.0,
    sync_interval: float = 0.1,
    on_write_error: str = "stop",
    widen: bool = False,
    widen_events: bool = False,
    clock: Clock | None = None,
    announce: Callable[[str], None] = print,
    progress: TextIO | None = None,
    stop: asyncio.Event | None = None,
) -> RecordingReport:
    """Record `upstream` into the cassette `output` until `stop` is set.

    Args:
        redact: further names of headers, query parameters and JSON members to mask.
        redact_env: environment variables whose values are masked wherever they stand.
        redact_json: paths into JSON request bodies whose values are masked, e.g. `input.messages[*].content`.
        redact_echo: mask the credentials of a request also in its response.
        on_write_error: `stop` (nothing passes unrecorded) or `pass` (traffic goes on).
        widen, widen_events: ask the upstream for all modes and subgraphs (and for `events`); see docs/widening.md.
        announce: gets the one line `graphtape: listening on http://HOST:PORT` once clients can connect.
        progress: where a person looks (stderr); None for silence.
        stop: ends the recording; without it, it runs until it is cancelled.

    Raises:
        GraphtapeError: the upstream, the address, the cassette or a value to mask cannot be used.
    """
    if append and overwrite:
        raise GraphtapeError("--append and --overwrite exclude each other; give one of them")
    used_clock = clock or SystemClock()
    shown = Progress(progress, used_clock)
    path = os.fspath(output)
    redactor = Redactor(redact, environment_values(redact_env), paths=redact_json, echo=redact_echo)

    def open_writer() -> Writer:
        return CassetteWriter.append_to(path) if append else CassetteWriter.create(path, overwrite=overwrite)

    recorder = Recorder(
        upstream,
        open_writer,
        host=host,
        port=port,
        redactor=redactor,
        allow_hosts=allow_hosts,
        cors_origins=cors_origins,
        expose_location=expose_location,
        upstream_timeout=upstream_timeout,
        sync_interval=sync_interval,
        pass_on_write_error=on_write_error == "pass",
        widen=widen,
        widen_events=widen_events,
        clock=used_clock,
        progress=shown,
        path=path,
    )
    ended = stop or asyncio.Event()
    async with recorder:
        if not is_loopback_host(host):
            shown.say(
                f"{host} is not a loopback address: whoever reaches this machine can use the upstream through it"
            )
        announce(f"graphtape: listening on {recorder.url}")
        waits = [asyncio.ensure_future(ended.wait()), asyncio.ensure_future(recorder.failed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
    report = recorder.report()
    shown.say(str(report))
    if report.failure:
        raise CassetteFailed(report)
    shown.say(f"next: {report.next_command}")
    return report


class CassetteFailed(GraphtapeError):
    """The recording ended early because the cassette could not be written."""

    def __init__(self, report: RecordingReport) -> None:
        super().__init__(
            f"{report.failure}; what was recorded before is whole: graphtape ls {shlex.quote(report.path)}"
        )
        self.report = report
