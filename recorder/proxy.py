"""The proxy: aiohttp's server on one side, the upstream on the other, a `Capture` in between.

A thin shell: what is recorded `capture` decides, what is let in `protocol.access`, what is passed on
`protocol.headers`. One rule: every read is in the file before the client gets it.

An exchange ends in exactly one way: the upstream's end (complete), its break (the client's connection breaks at the
same byte), the client's going (the upstream connection closes at once), or the recorder's stop.
CORS preflights, refused hosts and refused origins are answered here and not recorded: the upstream never
saw them. Every other OPTIONS request is forwarded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from graphtape.protocol.access import HostPolicy, OriginPolicy, is_preflight
from graphtape.protocol.headers import Headers, get, rewrite_location
from graphtape.recorder.capture import Capture
from graphtape.recorder.downstream import Downstream
from graphtape.recorder.relay import LARGEST_HEAD_BYTES, Relay, local_answer, size_of
from graphtape.recorder.shaping import Shaper
from graphtape.recorder.turn import FlushTurn
from graphtape.recorder.upstream import Upstream

_LOCATIONS = frozenset({b"location", b"content-location"})
# aiohttp logs what clients send wrongly, with tracebacks; they get their 400, and the log stays readable.
_silent = logging.getLogger("graphtape.recorder.http")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())


class Proxy:
    """Handles every request of the recorder.

    Args:
        upstream: where requests go.
        capture: where exchanges are recorded.
        turn: what holds a client's bytes back until they are in the file.
        host_policy: which `Host` headers are served.
        origin_policy: which pages may use the recorder.
        own_address: `host:port` of the recorder, for a client that sends no `Host`.
        upstream_timeout_s: how long the upstream may take to send a response head.
        refused: told why a request was not let in.
        shaper: what widens requests, if anything.
    """

    def __init__(
        self,
        upstream: Upstream,
        capture: Capture,
        turn: FlushTurn,
        *,
        host_policy: HostPolicy,
        origin_policy: OriginPolicy,
        own_address: str,
        upstream_timeout_s: float,
        refused: Callable[[str], None],
        shaper: Shaper | None = None,
    ) -> None:
        self._upstream = upstream
        self._capture = capture
        self._turn = turn
        self._hosts = host_policy
        self._origins = origin_policy
        self._own_address = own_address
        self._upstream_timeout_s = upstream_timeout_s
        self._refused = refused
        self._shaper = shaper
        self._stopping = False
        self._open: set[asyncio.Task[object]] = set()

    def server(self) -> web.Server:
        """The aiohttp server that runs this proxy; needs a running loop."""
        return web.Server(
            self.handle,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            logger=_silent,
            max_line_size=2**16,
            max_field_size=2**16,
            max_headers=1024,
            read_bufsize=2**16,
            lingering_time=2.0,
        )

    async def stop(self) -> None:
        """End every open exchange as stopped, breaking its client's connection."""
        self._stopping = True
        open_now = list(self._open)
        for task in open_now:
            task.cancel()
        if open_now:
            await asyncio.wait(open_now, timeout=5.0)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request: refuse it, answer its preflight, or record and forward it."""
        headers: Headers = request.raw_headers
        answer = Downstream(request)
        host = _text(get(headers, b"host"))
        origin = _text(get(headers, b"origin"))
        target = request.raw_path
        if target.startswith(("http://", "https://", "HTTP://", "HTTPS://")):
            # Absolute form: its authority stands for the Host header (RFC 9112, section 3.2.2).
            authority, _, rest = target.partition("://")[2].partition("/")
            authority, mark, query = authority.partition("?")
            host, target = authority.rpartition("@")[2], f"/{mark}{query}" if mark else "/" + rest
        if (refusal := self._hosts.check(host)) is not None:
            self._refused(refusal)
            return local_answer(answer, 421, "Misdirected Request", refusal)
        if origin is not None and is_preflight(request.method, headers):
            preflight = self._origins.preflight(origin, headers, host=host)
            if not self._origins.allows(origin, host=host):
                self._refused(preflight.body.decode("latin-1"))
            answer.head(preflight.status, preflight.reason, preflight.headers)
            answer.body(preflight.body)
            answer.finish()
            return answer
        if size_of(headers) + len(target) > LARGEST_HEAD_BYTES:
            text = f"the head of this request is larger than {LARGEST_HEAD_BYTES} bytes"
            return local_answer(answer, 431, "Request Header Fields Too Large", text)
        if (refusal := self._origins.refuses(request.method, origin, host=host)) is not None:
            self._refused(refusal)
            return local_answer(answer, 403, "Forbidden", refusal)
        if not target.startswith("/"):
            text = f"graphtape forwards requests for a path; {request.method} {target[:100]} is none"
            return local_answer(answer, 400, "Bad Request", text)
        relay = Relay(self, request, answer, host=host or self._own_address, origin=origin)
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await relay.run(target)
        finally:
            self._open.discard(task)
        return answer

    # What a relay needs.

    @property
    def upstream(self) -> Upstream:
        return self._upstream

    @property
    def turn(self) -> FlushTurn:
        return self._turn

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    @property
    def upstream_timeout_s(self) -> float:
        return self._upstream_timeout_s

    @property
    def asks_identity(self) -> bool:
        """What is to be masked in responses can only be found if they are not compressed."""
        return self._capture.redactor.reads_responses

    @property
    def capture(self) -> Capture:
        return self._capture

    @property
    def shaper(self) -> Shaper | None:
        return self._shaper

    def response_headers(self, headers: Headers, origin: str | None, host: str, method: str) -> Headers:
        """The upstream's headers as this client gets them, which asked with `method`."""
        passed = tuple(
            (
                name,
                rewrite_location(value, upstream=self._upstream.target.url, own_origin=f"http://{host}")
                if name.lower() in _LOCATIONS
                else value,
            )
            for name, value in headers
        )
        return self._origins.apply(passed, origin, host=host, method=method)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
