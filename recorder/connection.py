"""One connection to the upstream: a request goes out, its answer comes in and is handed on where it arrives.

aiohttp parses responses (`ResponseHandler` and its C parser), but for whole chunks of a body, which `ChunkData` takes
out before; here is what a recorder needs around it. Knows nothing of cassettes. One rule: bytes are handed on in their
order, all that came before a break before the break.

At a pace of some thousand events per second most of what a proxy costs is waking up: a future, a task, one more turn of
the event loop, for every read. `pass_on` needs none of them: whoever takes the body is called in the very callback
that received it. That took 13 to 18 % off the processor time per event, and 15 % off the median latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

from aiohttp import ClientError, ClientPayloadError, http_exceptions
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from graphtape.protocol.errors import GraphtapeError
from graphtape.recorder.chunks import ChunkData

_READ_BYTES = 2**16
_HEAD_BYTES = 2**16

_HEAD_END = b"\r\n\r\n"

_INFORMATIONAL_ANSWERS = 100
"""More of them before an answer are an attack: they cost memory, and nobody gets them."""

Take = Callable[[bytes, bool], None]
"""Takes the next read of a body, and whether the body ended with it."""


class UpstreamFailed(GraphtapeError):
    """The upstream gave no answer that could be passed on.

    Args:
        status: what the client gets in its place: 502 or 504.
        message: what happened and what to do, for the client's `detail`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UpstreamBroke(GraphtapeError):
    """The upstream's connection broke inside a response body."""


class Connected(ResponseHandler):
    """aiohttp's protocol, which also tells a `_Passing` what has come of its body, and of the connection's loss."""

    passing: _Passing | None = None
    _awaits_head = False
    _chunks: ChunkData | None = None

    def expect_head(self) -> None:
        """The next response is to come."""
        self._awaits_head = True
        self._chunks = None

    def data_received(self, data: bytes) -> None:
        if (chunks := self._chunks) is not None and data:  # aiohttp calls with nothing when it resumes
            body = chunks.feed(data)
            passing = self.passing
            if chunks.rest is None:
                if passing is None:
                    if self._payload is not None:
                        self._payload.feed_data(body)
                elif body:
                    passing.arrived(body)
                return
            self._chunks = None
            if self._payload is not None:
                self._payload.feed_data(body)
            data = chunks.rest
        if self._awaits_head:
            data = self._receive_heads(data)
            if self._chunks is not None:
                if data:
                    self.data_received(data)
                return
        ResponseHandler.data_received(self, data)  # `super()` would look it up each time
        if self._awaits_head:
            self._look_for_head()
        if self._exception is not None and self._payload is not None:
            # aiohttp tells of what is no HTTP where a head is awaited; a body that is under way must learn it too.
            self._payload.set_exception(ClientPayloadError(words_of(getattr(self._exception, "message", ""))))
        if self.passing is not None:
            self.passing.arrived()

    def _receive_heads(self, data: bytes) -> bytes:
        """Parse heads up to the awaited one, each by itself: chunks begin where its parser stops. What is left."""
        at = 0
        while self._awaits_head and self._exception is None and (end := data.find(_HEAD_END, at)) >= 0:
            end += len(_HEAD_END)
            ResponseHandler.data_received(self, data[at:end])
            at = end
            message = self._look_for_head()
            payload = self._payload
            if message is not None and message.chunked and payload is not None and not payload.is_eof():
                payload.begin_http_chunk_receiving()  # aiohttp wants to know before the first byte
                self._chunks = ChunkData()
        return data[at:]

    def _look_for_head(self) -> RawResponseMessage | None:
        """The awaited head, once it has been parsed."""
        if self._buffer and (message := self._buffer[-1][0][0]).code >= 200:
            self._awaits_head = False
            return message
        return None

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing to do for a connection that was not paused: aiohttp would parse nothing, once per read."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.passing is not None:
            self.passing.arrived()


class UpstreamConnection:
    """One connection, for one request at a time."""

    def __init__(self, protocol: Connected, *, reused: bool = False) -> None:
        self._protocol = protocol
        self.reused = reused
        self.gave_up = False
        self._payload: StreamReader | None = None

    def send(self, data: bytes) -> None:
        """Queue bytes; a connection that is lost swallows them, and the answer tells."""
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            cast(asyncio.WriteTransport, transport).write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more."""
        with contextlib.suppress(ConnectionError, ClientError):
            await self._protocol._drain_helper()

    def expect(self, method: str) -> None:
        """Say which request the next response answers."""
        self._protocol.expect_head()
        self._protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=None,
            read_bufsize=_READ_BYTES,
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            max_headers=1024,
        )

    async def head(self) -> RawResponseMessage:
        """The response head; informational ones are skipped.

        Raises:
            UpstreamFailed: the connection ended first, or no HTTP came.
            TimeoutError: somebody gave up.
        """
        try:
            for _ in range(_INFORMATIONAL_ANSWERS + 1):
                message, payload = await self._protocol.read()
                if message.code == 101:
                    raise UpstreamFailed(502, "the upstream switched protocols, which nobody had asked for")
                if not 100 <= message.code <= 199:
                    self._payload = payload
                    return message
            raise UpstreamFailed(
                502, f"the upstream sent {_INFORMATIONAL_ANSWERS} informational answers and no answer"
            )
        except http_exceptions.HttpProcessingError as error:
            raise UpstreamFailed(
                502, f"the upstream did not answer in HTTP ({words_of(error.message)})"
            ) from None
        except (ClientError, ConnectionError, OSError) as error:
            if self.gave_up:
                raise TimeoutError from None
            raise UpstreamFailed(
                502,
                f"the upstream closed the connection without an answer ({words_of(error)}); see its log",
            ) from None

    async def read(self) -> bytes:
        """The next read of the response body; empty at its end.

        Raises:
            UpstreamBroke: the connection broke inside the body; `read` has returned all that came before.
        """
        payload = self._payload
        if payload is None or payload is EMPTY_PAYLOAD:
            return b""
        try:
            return await payload.readany()
        except (ClientError, http_exceptions.HttpProcessingError, OSError) as error:
            # What arrived together with the break is still buffered, behind the exception.
            rest = payload._read_nowait(-1)
            if rest:
                return rest
            raise UpstreamBroke(words_of(error)) from None

    async def pass_on(self, take: Take, taken: Callable[[], bool]) -> bool:
        """Give `take` what has come of the body, and then each read in the callback that received it.

        Args:
            take: gets the reads, and the end.
            taken: called when `take` has had all that there is: at once, and after each callback. False: enough.

        Returns:
            True at the body's end, which `take` was told; False if `taken` said that it is enough for now.

        Raises:
            UpstreamBroke: the connection broke inside the body; `take` was given all that came before.
        """
        payload = self._payload
        if payload is None or payload is EMPTY_PAYLOAD:
            take(b"", True)
            taken()
            return True
        passing = _Passing(payload, take, taken)
        passing.arrived()
        if passing.over is None:
            self._protocol.passing = passing
        try:
            return await passing.result()
        finally:
            self._protocol.passing = None

    @property
    def is_reusable(self) -> bool:
        """True if the response is complete and the upstream keeps the connection."""
        return self._protocol.is_connected() and not self._protocol.should_close

    @property
    def protocol(self) -> Connected:
        """For the pool."""
        return self._protocol

    def give_up(self) -> None:
        """Close it because no head came in time, and tell so whoever waits for it."""
        self.gave_up = True
        self.close()

    def close(self) -> None:
        """Close it now, whatever is in flight."""
        let_frames_go(self._protocol.exception())  # before aiohttp forgets it
        if self._payload is not None:
            let_frames_go(self._payload.exception())
        transport = self._protocol.transport
        self._protocol.close()
        if transport is not None:
            # Not close() alone: request bytes that the upstream does not take would hold the connection open.
            transport.abort()


class _Passing:
    """One `pass_on`: moves what is buffered of a body to whoever takes it.

    Attributes:
        over: None while it goes on; then what `pass_on` returns or raises.
    """

    __slots__ = ("_busy", "_payload", "_take", "_taken", "_waiter", "over")

    def __init__(self, payload: StreamReader, take: Take, taken: Callable[[], bool]) -> None:
        self._payload = payload
        self._take = take
        self._taken = taken
        self._busy = False
        self._waiter: asyncio.Future[None] | None = None
        self.over: bool | BaseException | None = None

    def arrived(self, body: bytes = b"") -> None:
        """Something came into the payload, or the connection ended.

        Args:
            body: what came besides: the payload does not have it, and it stands behind all that it has.
        """
        if body and (self._busy or self.over is not None or self._payload._buffer):
            self._payload.feed_data(body)
            body = b""
        # Reading from a payload that had paused its connection parses what waited, and that comes back here: what it
        # finds stands behind what is being read, and is met by the next round of the loop.
        if self._busy or self.over is not None:
            return
        self._busy = True
        try:
            if body:
                self._take(body, False)
            else:
                self._take_buffered()
            if not self._taken() and self.over is None:
                self.over = False
        except BaseException as error:
            self.over = error
        self._busy = False
        if self.over is not None and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take_buffered(self) -> None:
        payload, take = self._payload, self._take
        while self.over is None:
            data = payload._read_nowait(-1)
            if payload.at_eof():
                take(data, True)
                self.over = True
            elif data:
                take(data, False)
                if not payload._buffer and not payload._eof and payload._exception is None:
                    break  # as nearly always: this was all, and asking again would cost as much
            elif (error := payload.exception()) is not None:
                self.over = UpstreamBroke(words_of(error))
            else:
                break

    async def result(self) -> bool:
        """What `pass_on` returns, once it is over."""
        if self.over is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self.over is not None, "woken before the end"
        # Kept nowhere, or the error would hold the frames that hold it, and all that they work on.
        over, self.over = self.over, True
        if isinstance(over, BaseException):
            try:
                raise over
            finally:
                del over
        return over


def let_frames_go(kept: BaseException | None) -> None:
    """Forget through which frames an error went that aiohttp keeps: they hold what holds it.

    Only a collection would find that circle, and a whole exchange with its buffers stands in it. In a recorder that has
    many clients break off, that made 6 MB of garbage that came and went, and the holes it left in memory stayed.
    """
    while kept is not None:
        kept.__traceback__ = None
        kept = kept.__cause__ or kept.__context__


def words_of(error: BaseException | str) -> str:
    """An error in a few plain words."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno)
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
