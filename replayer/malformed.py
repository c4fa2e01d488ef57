"""What is no HTTP, answered in the words of the Agent Server's own HTTP layer.

Knows aiohttp's server and nothing of sessions. One rule: aiohttp's parser decides what is no HTTP; here is only what is
said to it, because aiohttp would tell the time of today and the name of another server.
"""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from graphtape.cassettes.model import Headers
from graphtape.replayer.options import Log

BODY = b"Invalid HTTP request received."
"""What uvicorn says, whatever was wrong (observed)."""

HEAD = web.AppKey("HEAD", tuple)
"""Where an application keeps the fields that begin such an answer, as all of its answers: `date` and `server`."""

LOG = web.AppKey("LOG", object)
"""Where an application keeps whom it tells."""


class Runner(web.AppRunner):
    """As aiohttp's, for an application that has `HEAD` and `LOG`."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp asks nobody else which class handles a connection.
        server.__class__ = _Server
        cast(_Server, server).app = self.app
        return server


class _Server(web.Server):
    app: web.Application

    def __call__(self) -> web.RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class _Handler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what the parser refused; other errors are aiohttp's business."""
        if status != 400 or request.transport is None:
            return super().handle_error(request, status, exc, message)
        app = cast(_Server, self._manager).app
        what = " ".join((message or "").split())[:200]
        cast(Log, app[LOG])(f"400 to what is no HTTP ({what})" if what else "400 to what is no HTTP")
        return _Refusal(request.transport, app[HEAD])


class _Refusal(web.StreamResponse):
    """Written when aiohttp is about to prepare it; the connection is closed behind it."""

    def __init__(self, transport: asyncio.Transport, head: Headers) -> None:
        super().__init__(status=400)
        self.force_close()
        fields = (
            *head,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(BODY)).encode()),
            (b"connection", b"close"),
        )
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in fields), b"", BODY]
        self._bytes = b"\r\n".join(lines)
        self._transport = transport

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it."""
        self._transport.write(self._bytes)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to do: it is written."""
