"""Sending with aiohttp exactly the head that a plan has, and breaking a connection where a plan breaks.

Knows aiohttp and nothing of sessions. One rule: aiohttp decides the framing, the plan decides every header.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict

from graphtape.cassettes.model import Headers
from graphtape.replayer.faults import Breaker, Fault
from graphtape.replayer.framed import chunk
from graphtape.replayer.plan import Head

_FRAMING = frozenset(("transfer-encoding", "connection", "keep-alive"))


def text_headers(headers: Headers) -> list[tuple[str, str]]:
    """Header fields as aiohttp takes them; aiohttp sends UTF-8."""
    return [(name.decode("latin-1"), _text(value)) for name, value in headers]


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class BrokenOff(ConnectionError):
    """A response is over before its end, because the user wants it so; all that was to be sent before has been."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.option} {fault.place}")
        self.fault = fault


class WireResponse(web.StreamResponse):
    """A response with the head of a plan.

    Args:
        head: status, reason and headers, in order.
        breaker: what the user wants to go wrong with it.
    """

    def __init__(self, head: Head, breaker: Breaker | None = None) -> None:
        self._breaker = breaker
        self._fields: list[tuple[str, str]] | None = text_headers(head.headers)
        plain = CIMultiDict((name, value) for name, value in self._fields if name.lower() not in _FRAMING)
        super().__init__(status=head.status, reason=head.reason, headers=plain)
        self._transport: asyncio.Transport | None = None
        self._protocol: BaseProtocol
        self.is_chunked = False
        """Whether the body goes out in HTTP chunks; known when the head has been sent."""

    @property
    def takes_chunks(self) -> bool:
        """Whether `send_chunk` and `write_framed` may be used; known when the head has been sent."""
        return self.is_chunked and self._breaker is None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, and let go of it: a stream may be open for long, and thousands of them at once."""
        writer = await super().prepare(request)
        self.headers.clear()
        return writer

    async def _write_headers(self) -> None:
        """As aiohttp does, which names the request's version; a server names its own (RFC 9112, section 2.3)."""
        writer = self._payload_writer
        assert writer is not None
        await writer.write_headers(f"HTTP/1.1 {self.status} {self.reason}", self.headers)
        writer.send_headers()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write as aiohttp does: one HTTP chunk.

        Raises:
            BrokenOff: the response is over behind these bytes or within them.
        """
        if self._breaker is None:
            await super().write(data)
            return
        await super().write(self._breaker.let_through(bytes(data)))
        self.break_if_over()

    def send(self, frame: bytes) -> bool:
        """Write one HTTP chunk without waiting; False if the client does not keep up, and `drained` should be awaited.

        Raises:
            BrokenOff: as `write`.
            ConnectionResetError: the client has left.
        """
        if self._breaker is not None:
            frame = self._breaker.let_through(frame)
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        if frame:
            transport.write(chunk(frame) if self.is_chunked else frame)
        self.break_if_over()
        return not self._protocol.writing_paused

    def send_chunk(self, data: bytes) -> bool:
        """As `send`, of an HTTP chunk that is framed already; only where `takes_chunks`."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        return not self._protocol.writing_paused

    async def drained(self) -> None:
        """Return when the client has read most of what was written."""
        assert self._payload_writer is not None
        await self._payload_writer.drain()

    def break_if_over(self) -> None:
        """
        Raises:
            BrokenOff: nothing more of this response goes out.
        """
        if self._breaker is not None and self._breaker.over:
            raise BrokenOff(self._breaker.fault)

    def shape(self, request: web.BaseRequest) -> None:
        """Put the headers in the plan's order and spelling; called when aiohttp has decided the framing.

        aiohttp adds `Date`, `Server`, `Content-Type` and `Connection` of its own: only what frames the body stays.
        """
        assert self._fields is not None
        http_1_0 = request.version < (1, 1)
        self._transport = request.transport
        self._protocol = request.protocol
        self.is_chunked = chunked = self.headers.get(hdrs.TRANSFER_ENCODING) == "chunked"
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        shaped: CIMultiDict[str] = CIMultiDict()
        for name, value in self._fields:
            if name.lower() == "transfer-encoding":
                if chunked:
                    shaped.add(name, value)
            elif name.lower() == "connection" and http_1_0:
                continue  # what was recorded was said to a client of HTTP/1.1
            elif name.lower() != "keep-alive":
                shaped.add(name, value)
        if chunked and hdrs.TRANSFER_ENCODING not in shaped:
            shaped.add("transfer-encoding", "chunked")
        if (
            length is not None
            and not chunked
            and hdrs.CONTENT_LENGTH not in shaped
            and self.status not in (204, 304)
        ):
            shaped.add("content-length", length)
        if http_1_0:
            shaped.add("connection", "keep-alive" if self.keep_alive else "close")
        elif not self.keep_alive:
            # Beside the recorded one and before the framing of a stream, as the real server has it.
            framing = shaped.popall(hdrs.TRANSFER_ENCODING, [])
            shaped.add("connection", "close")
            for value in framing:
                shaped.add("transfer-encoding", value)
        self.headers.clear()
        self.headers.extend(shaped)
        self._fields = None

    async def write_framed(self, data: bytes | bytearray | memoryview) -> None:
        """Write HTTP chunks, framed already, and wait if the client does not read; only where `takes_chunks`.

        Raises:
            ConnectionResetError: the client has left.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        await self.drained()


async def shape_head(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler for `on_response_prepare`."""
    if isinstance(response, WireResponse):
        response.shape(request)
    else:
        # An answer of aiohttp's own; nothing here says what time it is.
        response.headers.popall(hdrs.DATE, None)
        response.headers.popall(hdrs.SERVER, None)


def break_connection(request: web.BaseRequest) -> None:
    """End a response without its end: what was written is sent, no terminating chunk follows.

    To a client of HTTP/1.0 a clean close would mean "whole": it gets a reset.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    if request.version < HttpVersion11:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.close()


def drop_connection(transport: asyncio.Transport) -> None:
    """End a connection now, whatever its client has not read."""
    transport.abort()
