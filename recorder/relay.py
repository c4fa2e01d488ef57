"""One exchange on its way through: request up, answer down, and how it ended.

Part of the shell: what is recorded `capture` decides, what is asked and shown instead of what came the exchange's
shape. One rule: an exchange ends once, in exactly one of the ways that `Proxy` names.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http import RawResponseMessage

from graphtape.cassettes.errors import CassetteError
from graphtape.cassettes.model import Ending
from graphtape.protocol.headers import Headers, get, hop_by_hop
from graphtape.recorder.capture import ExchangeCapture
from graphtape.recorder.connection import (
    UpstreamBroke,
    UpstreamConnection,
    UpstreamFailed,
    let_frames_go,
)
from graphtape.recorder.downstream import Downstream
from graphtape.recorder.shaping import Passage, Shape
from graphtape.recorder.widening import LARGEST_BODY_BYTES

if TYPE_CHECKING:
    from graphtape.recorder.proxy import Proxy

LARGEST_HEAD_BYTES = 1 << 19
"""Larger heads are refused: ten times what servers allow, half of what a cassette takes."""

OWN_QUESTION_S = 10.0
"""How long the upstream may take to answer what the recorder itself asks; then it does without."""

LARGEST_SHAPED_BYTES = 32 << 20
"""Larger answers that would have to be held in memory to be shaped pass as they came."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})


class Relay:
    """One exchange on its way through."""

    def __init__(
        self,
        proxy: Proxy,
        request: web.BaseRequest,
        answer: Downstream,
        *,
        host: str,
        origin: str | None,
    ) -> None:
        self._proxy = proxy
        self._turn = proxy.turn
        self._request = request
        self._answer = answer
        self._captured: ExchangeCapture | None = None
        self._shape: Shape | None = None
        self._read: deque[bytes] = deque()
        """What of the request body has been read and not yet passed on."""
        self._host = host
        self._origin = origin
        self._connection: UpstreamConnection | None = None
        self._upload: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._upload_broke = False
        self._has_head = False
        self._delayed = False
        self._holds_head = False
        self._went_on = False

    async def run(self, target: str) -> None:
        """Forward the request, relay the answer, and record how it ended."""
        try:
            await self._prepare(target)
            await self._forward(target if self._shape is None else self._shape.target)
        except UpstreamFailed as error:
            if self._upload_broke:
                self._give_up(Ending.CLIENT_LEFT, "the request body broke off")
            else:
                await self._stand_in(error.status, str(error))
        except UpstreamBroke as error:
            # What a shape has held back, waiting for what followed, the client would have had by now.
            self._pass_on([] if self._shape is None or not self._answer.started else self._shape.finish())
            self._give_up(Ending.UPSTREAM_BROKE, str(error))
        except asyncio.CancelledError:
            # aiohttp cancels the handler when the client's connection is lost; `stop` cancels it too.
            stopped = self._proxy.is_stopping
            self._give_up(Ending.RECORDER_STOPPED if stopped else Ending.CLIENT_LEFT)
            raise
        except (ConnectionError, web.RequestPayloadError) as error:
            self._give_up(Ending.CLIENT_LEFT, str(error))
        except CassetteError as error:
            # Nothing passes unrecorded; the recorder is being stopped by whoever watches the turn.
            if self._captured is not None:
                self._captured.end(Ending.RECORDER_STOPPED, str(error))
            if self._answer.started:
                self._answer.break_off()
            else:
                local_answer(self._answer, 500, "Internal Server Error", str(error))
        finally:
            self._lose_patience()
            if self._upload is not None:
                self._upload.cancel()
            if self._connection is not None:
                self._connection.close()
            if self._shape is not None and not self._has_head:
                self._shape.abandon()
            let_frames_go(self._request.content.exception())

    @property
    def _exchange(self) -> ExchangeCapture:
        assert self._captured is not None, "the exchange has not begun"
        return self._captured

    async def _prepare(self, target: str) -> None:
        """Find the shape of this exchange, which may take its whole request body, and begin recording it."""
        request, shaper = self._request, self._proxy.shaper
        headers: Headers = request.raw_headers
        try:
            if shaper is not None:
                body = None
                if shaper.wants_body(request.method, target, headers):
                    self._let_body_come()
                    body = await self._read_body()
                    if body is None:
                        shaper = None  # larger than can be held: it passes as it is
                if shaper is not None:
                    self._shape = shaper.shape_for(request.method, target, headers, body)
        finally:
            shape = self._shape
            version = f"{request.version.major}.{request.version.minor}"
            if shape is not None:
                target, headers = shape.target, shape.headers
                if shape.body is not None:
                    self._read = deque([shape.body])
            self._captured = self._proxy.capture.exchange(request.method, target, headers, version)
            if shape is not None:
                self._captured.asked(shape.own, shape.own_headers, shape.own_target)

    async def _read_body(self) -> bytes | None:
        """The whole request body; None if it is too large."""
        size = 0
        while data := await self._request.content.readany():
            self._read.append(data)
            size += len(data)
            if size > LARGEST_BODY_BYTES:
                return None
        return b"".join(self._read)

    def _let_body_come(self) -> None:
        if (
            get(self._request.raw_headers, b"expect") or b""
        ).lower() == b"100-continue" and not self._went_on:
            self._went_on = True
            self._answer.go_on()

    @property
    def _is_read(self) -> bool:
        """Whether the request body has no more for the upstream: most requests have none at all."""
        return not self._read and self._request.content.at_eof()

    async def _next_piece(self) -> bytes:
        """The next of the request body: of what was read already, then of what comes; empty at its end."""
        if self._read:
            return self._read.popleft()
        return b"" if self._is_read else await self._request.content.readany()

    async def _forward(self, target: str) -> None:
        request, exchange = self._request, self._exchange
        if "websocket" in request.headers.get("Upgrade", "").lower():
            raise UpstreamFailed(
                501,
                "graphtape does not record WebSocket connections; use the HTTP streaming routes "
                "(runs/stream, or POST stream/events) through it, or connect to the server directly",
            )
        self._let_body_come()
        headers = self._request_headers()
        method = request.method
        connection = self._connection = await self._proxy.upstream.connect()
        connection.expect(method)
        head = self._proxy.upstream.head_bytes(method, target, headers)
        try:
            message = await self._first_answer(connection, head)
        except UpstreamFailed:
            # A kept connection may have been closed at the moment it was used. Nothing was answered and the request
            # changes nothing, so it may be sent again; what had a body may not, nor what was waited for in vain.
            if (
                not connection.reused
                or connection.gave_up
                or method not in _IDEMPOTENT
                or request.can_read_body
            ):
                raise
            connection.close()
            connection = self._connection = await self._proxy.upstream.connect(fresh=True)
            connection.expect(method)
            message = await self._first_answer(connection, head)
        if size_of(message.raw_headers) > LARGEST_HEAD_BYTES:
            raise UpstreamFailed(
                502, f"the upstream's response head is larger than {LARGEST_HEAD_BYTES} bytes"
            )
        exchange.response(message.code, message.reason, message.raw_headers)
        passed = self._proxy.response_headers(message.raw_headers, self._origin, self._host, method)
        passage = (
            Passage.AS_IT_IS
            if self._shape is None
            else self._shape.response(message.code, message.raw_headers)
        )
        turn = self._turn
        begin = partial(self._answer.head, message.code, message.reason)
        if self._shape is not None and passage is Passage.WHOLE:
            await self._relay_whole(connection, self._shape, begin, passed)
        elif self._shape is not None and passage is Passage.PIECEWISE:
            turn.then(partial(begin, without(passed, b"content-length")))
            await self._relay_pieces(connection, self._shape)
        else:
            self._holds_head = True
            turn.add(partial(begin, passed, hold=True))
            await self._relay_body(connection)
        turn.settle()
        # uvicorn closes the connection after an application's failure without saying so in the 500's headers: a kept
        # one would lose the next request.
        if message.code < 500 and (self._upload is None or self._upload.done()):
            self._connection = None
            self._proxy.upstream.release(connection)

    async def _relay_body(self, connection: UpstreamConnection) -> None:
        """As it comes: each read is captured, flushed and sent on in the callback that received it."""
        self._delayed = False
        while not await connection.pass_on(self._take, self._send_taken):
            self._turn.settle()
            await self._answer.drain()
            self._delayed = True

    def _take(self, data: bytes, ended: bool) -> None:
        # Called once per event, as `_send_taken`.
        if data and self._captured is not None:
            self._captured.chunk(data, delayed=self._delayed)
            self._delayed = False
        if ended:
            self._finish(data)
        else:
            self._turn.add(partial(self._answer.body, data))

    def _send_taken(self) -> bool:
        """False while the client is behind."""
        if self._holds_head:  # nothing of the body may have come
            self._holds_head = False
            self._turn.add(self._answer.release)
        self._turn.go()
        return not self._answer.is_behind

    def _finish(self, data: bytes = b"") -> None:
        self._exchange.end(Ending.COMPLETE)
        self._turn.add(partial(self._answer.finish, data) if data else self._answer.finish)

    async def _relay_pieces(self, connection: UpstreamConnection, shape: Shape) -> None:
        delayed = False
        while data := await connection.read():
            self._exchange.chunk(data, delayed=delayed)
            self._pass_on(shape.feed(data))
            delayed = await self._let_client_read()
        self._pass_on(shape.finish())
        if (question := shape.question) is not None:
            self._pass_on(shape.answer(await self._ask(question)))
        self._finish()

    async def _relay_whole(
        self, connection: UpstreamConnection, shape: Shape, begin: Callable[[Headers], None], passed: Headers
    ) -> None:
        turn, answer = self._turn, self._answer
        held = bytearray()
        while data := await connection.read():
            self._exchange.chunk(data)
            held += data
            if len(held) > LARGEST_SHAPED_BYTES:
                turn.add(partial(begin, passed))
                turn.add(partial(answer.body, bytes(held)))
                await self._let_client_read()
                await self._relay_body(connection)
                return
        body = shape.narrowed(bytes(held))
        length = str(len(body)).encode("ascii")
        turn.add(partial(begin, with_value(passed, b"content-length", length)))
        turn.add(partial(answer.body, body))
        self._finish()

    def _pass_on(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._turn.then(partial(self._answer.body, piece))

    async def _let_client_read(self) -> bool:
        """Wait while the client is behind; whether it was."""
        if not self._answer.is_behind:
            return False
        self._turn.settle()
        await self._answer.drain()
        return True

    async def _ask(self, target: str) -> bytes | None:
        """A question of the recorder's own to the upstream, which is not recorded; None without a good answer."""
        dropped = (b"content-length", b"content-type", b"transfer-encoding", b"last-event-id")
        headers = (*without(self._request_headers(), *dropped), (b"last-event-id", b"-1"))
        try:
            connection = await self._proxy.upstream.connect(fresh=True)
            try:
                connection.expect("GET")
                connection.send(self._proxy.upstream.head_bytes("GET", target, headers))
                async with asyncio.timeout(OWN_QUESTION_S):
                    message = await connection.head()
                    body = bytearray()
                    while (data := await connection.read()) and len(body) <= LARGEST_SHAPED_BYTES:
                        body += data
            finally:
                connection.close()
        except (UpstreamFailed, UpstreamBroke, TimeoutError):
            return None
        return bytes(body) if message.code == 200 else None

    async def _first_answer(self, connection: UpstreamConnection, head: bytes) -> RawResponseMessage:
        """Send the request's head and its body, if there is one, and wait for the response head."""
        turn = self._turn
        self._be_patient_with(connection)
        try:
            # The request is in the file before the upstream has it, also if no answer ever comes.
            is_unsent = self._upload is None and not self._exchange.request_complete
            if is_unsent and self._request.content.is_eof():
                await self._send_body(connection, head)
            else:
                turn.add(partial(connection.send, head))
                turn.settle()
                if is_unsent:
                    self._upload = asyncio.create_task(self._send_slowly(connection))
            message = await connection.head()
            self._has_head = True
            return message
        except TimeoutError:
            raise UpstreamFailed(
                504,
                f"the upstream {self._proxy.upstream.target.url} sent no response head within "
                f"{self._proxy.upstream_timeout_s:g} s; "
                "if it needs longer, start the recorder with a larger --upstream-timeout",
            ) from None
        finally:
            self._lose_patience()

    def _be_patient_with(self, connection: UpstreamConnection) -> None:
        """The upstream's time to answer begins now."""
        # Not `asyncio.timeout`, which cancels and counts and was a fiftieth of a short exchange.
        self._lose_patience()
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(self._proxy.upstream_timeout_s, connection.give_up)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    async def _send_slowly(self, connection: UpstreamConnection) -> None:
        """Send a body that is still coming, while the upstream may answer already."""
        try:
            await self._send_body(connection)
        except (ConnectionError, web.RequestPayloadError, CassetteError):
            # Whoever waits for the answer learns it from the closed connection.
            self._upload_broke = True
            connection.close()

    async def _send_body(self, connection: UpstreamConnection, head: bytes = b"") -> None:
        # `head` goes with the first piece, in one write.
        request, exchange, turn = self._request, self._exchange, self._turn
        is_chunked = get(request.raw_headers, b"transfer-encoding") is not None
        while data := await self._next_piece():
            exchange.request_body(data)
            piece = b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data
            # File first here too: nothing piles up in the writer, and a killed recorder knows what it had sent.
            turn.add(partial(connection.send, head + piece))
            head = b""
            if self._is_read:
                break  # the end of the request goes with its last piece
            turn.settle()
            await connection.drain()
        exchange.request_end()
        if head or is_chunked:
            turn.add(partial(connection.send, head + b"0\r\n\r\n" if is_chunked else head))
        turn.settle()
        # The upstream's time to answer runs from the last piece of the request.
        if self._upload is not None and not self._has_head and not connection.gave_up:
            self._be_patient_with(connection)

    def _request_headers(self) -> Headers:
        """The headers for the upstream: end-to-end ones as they came, `Host` and framing set right."""
        raw: Headers = self._request.raw_headers if self._shape is None else self._shape.headers
        target = self._proxy.upstream.target
        dropped = hop_by_hop(raw)
        has_authorization = get(raw, b"authorization") is not None
        made: list[tuple[bytes, bytes]] = []
        has_host = False
        for name, value in raw:
            key = name.lower()
            if key == b"host":
                if not has_host:
                    made.append((name, target.host_header))
                has_host = True
            elif key == b"transfer-encoding":
                made.append((name, b"chunked"))
            elif key == b"accept-encoding" and self._proxy.asks_identity:
                made.append((name, b"identity"))
            elif key != b"expect" and key not in dropped:
                made.append((name, value))
        if not has_host:
            made.insert(0, (b"Host", target.host_header))
        if target.authorization is not None and not has_authorization:
            made.append((b"Authorization", target.authorization))
        return tuple(made)

    async def _stand_in(self, status: int, detail: str) -> None:
        """Answer in the upstream's place, and record that."""
        if not self._exchange.request_complete and self._request.content.is_eof():
            while data := await self._next_piece():
                self._exchange.request_body(data)
            self._exchange.request_end()
        detail = self._proxy.capture.redactor.text(detail)
        reason = {501: "Not Implemented", 502: "Bad Gateway", 504: "Gateway Timeout"}[status]
        body = json.dumps({"detail": detail}).encode("utf-8")
        headers: Headers = (
            (b"content-length", str(len(body)).encode("ascii")),
            (b"content-type", b"application/json"),
        )
        self._exchange.response(status, reason, headers)
        self._exchange.chunk(body)
        self._exchange.end(Ending.UNREACHED, detail)
        turn, answer = self._turn, self._answer
        passed = self._proxy.response_headers(headers, self._origin, self._host, self._request.method)
        turn.add(partial(answer.head, status, reason, passed))
        turn.add(partial(answer.body, body))
        turn.add(answer.finish)
        turn.settle()

    def _give_up(self, ending: Ending, detail: str = "") -> None:
        """The client is gone, or must be let go: record it and close its side, without waiting."""
        self._exchange.end(ending, detail)
        self._turn.run()
        self._answer.break_off()


def local_answer(answer: Downstream, status: int, reason: str, detail: str) -> Downstream:
    """An answer of the recorder's own, which is not recorded."""
    if status in (400, 431):
        # Such a request is not read to its end, which only a tunnel (CONNECT) or an attacker would mind.
        answer.make_last()
    body = json.dumps({"detail": detail}).encode("utf-8")
    length = str(len(body)).encode("ascii")
    answer.head(status, reason, ((b"content-length", length), (b"content-type", b"application/json")))
    answer.body(body)
    answer.finish()
    return answer


def without(headers: Headers, *names: bytes) -> Headers:
    """The headers less these fields, given in lower case."""
    return tuple(field for field in headers if field[0].lower() not in names)


def with_value(headers: Headers, name: bytes, value: bytes) -> Headers:
    """The headers with another value in the field of this name, if it is there."""
    return tuple((key, value if key.lower() == name else old) for key, old in headers)


def size_of(headers: Headers) -> int:
    return sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
