"""The answer to one client, written byte for byte onto its connection.

aiohttp's own response writer adds `Date`, `Server` and `Content-Type` and writes header names its way; a transparent
proxy must not. So this response lets aiohttp parse requests and keep connections, and writes heads and bodies itself.
Knows nothing of the upstream or of cassettes. One rule: an answer that is not whole never looks whole.
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from graphtape.protocol.headers import Headers, get, hop_by_hop, valid_header

UNSENT_BYTES = 1 << 20
"""A client that leaves this much unread makes the recorder stop reading its upstream."""

_FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


class _Framing(Enum):
    """How the end of a body is told."""

    NONE = "no body"
    LENGTH = "content-length"
    CHUNKED = "chunked"
    CLOSE = "end of connection"


# As module names, since bodies are written once per event: Python 3.11 looks an enum's member up in Python.
_NONE: Final = _Framing.NONE
_LENGTH: Final = _Framing.LENGTH
_CHUNKED: Final = _Framing.CHUNKED
_CLOSE: Final = _Framing.CLOSE


class Downstream(web.StreamResponse):
    """One response, for the request of one client. All writing is synchronous; `drain` waits for a slow client."""

    def __init__(self, request: web.BaseRequest) -> None:
        super().__init__()
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        self._transport = transport
        self._writer_of_aiohttp = request.writer
        self._is_head = request.method == "HEAD"
        self._http_1_0 = request.version < (1, 1)
        self._stays = request.keep_alive
        self._framing = _NONE
        self._whole = False
        self._held = b""
        self.started = False
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def head(self, status: int, reason: str, headers: Headers, *, hold: bool = False) -> None:
        """Write the status line and the headers, without hop-by-hop ones; framing is made here, in their place.

        `hold`: write them with what comes next, or at `release`: each write is a system call, and wakes the client.
        """
        self.started = True
        if self._transport.is_closing():
            return
        length = get(headers, b"content-length")
        if self._is_head or status in (204, 304) or status < 200:
            self._framing = _NONE
        elif length is not None and get(headers, b"transfer-encoding") is None:
            self._framing = _LENGTH
        elif not self._http_1_0:
            self._framing = _CHUNKED
        else:
            self._framing = _CLOSE
            self._stays = False
        lines = [f"HTTP/1.1 {status} {reason}".encode("utf-8", "surrogateescape")]
        framed = self._framing is not _CHUNKED
        dropped = hop_by_hop(headers)
        for name, value in headers:
            key = name.lower()
            if key == b"transfer-encoding":
                if not framed and valid_header(name, value):
                    lines.append(name + b": chunked")
                    framed = True
            elif (
                key not in dropped
                and valid_header(name, value)
                and (key != b"content-length" or self._keeps_length(status))
            ):
                lines.append(b"%b: %b" % (name, value))
        if not framed:
            lines.append(b"transfer-encoding: chunked")
        if not self._stays:
            lines.append(b"connection: close")
        elif self._http_1_0:
            lines.append(b"connection: keep-alive")
        self._held = b"\r\n".join([*lines, b"", b""])
        if not hold:
            self.release()

    def release(self) -> None:
        """Write the head, if it was held."""
        if self._held and not self._transport.is_closing():
            held, self._held = self._held, b""
            self._transport.write(held)

    def go_on(self) -> None:
        """Answer `Expect: 100-continue`: the body may come."""
        if not self._http_1_0 and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def body(self, data: bytes) -> None:
        """Write a piece of the body."""
        if self._held:
            self._write(self._framed(data))
        elif not data or self._framing is _NONE or self._transport.is_closing():
            return
        elif self._framing is _CHUNKED:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._transport.write(data)

    def finish(self, data: bytes = b"") -> None:
        """The body is whole, with this last piece."""
        self._whole = True
        self._write(self._framed(data) + (b"0\r\n\r\n" if self._framing is _CHUNKED else b""))

    def make_last(self) -> None:
        """Close the connection after this answer; called before `head`."""
        self._stays = False

    def break_off(self) -> None:
        """End the connection so that the client cannot take what it got for the whole."""
        self._stays = False
        if self._whole or self._transport.is_closing():
            return
        if self._framing is _CLOSE and self.started:
            # Here a clean close would mean "whole": make it a reset. What is unsent in user space still goes first.
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.close()

    @property
    def is_behind(self) -> bool:
        """True while the client has left more than `UNSENT_BYTES` unread."""
        return self._transport.get_write_buffer_size() > UNSENT_BYTES

    async def drain(self) -> None:
        """Wait until the client has read.

        Raises:
            ConnectionError: it went away instead.
        """
        await self._writer_of_aiohttp.drain()

    def _framed(self, data: bytes) -> bytes:
        if not data or self._framing is _NONE:
            return b""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._framing is _CHUNKED else data

    def _write(self, data: bytes) -> None:
        held, self._held = self._held, b""
        if (held or data) and not self._transport.is_closing():
            self._transport.write(held + data if held else data)

    def _keeps_length(self, status: int) -> bool:
        # A HEAD or 304 answer tells the length of the body it does not have; a 204 has none to tell.
        return self._framing is _LENGTH or (self._framing is _NONE and status >= 200 and status != 204)

    # What aiohttp asks of a response when the handler has returned: it is all written already.

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing to do: the head is written by `head`."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to do: the end is written by `finish`, or the connection is broken."""

    @property
    def prepared(self) -> bool:
        """True: aiohttp has nothing to prepare."""
        return True

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection can serve another request."""
        return self._stays and self._whole
