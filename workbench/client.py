"""A plain HTTP client that sends recorded requests again, byte for byte where it may.

Knows aiohttp's client and the cassette's model; decides nothing about what is sent when. Its one rule: what it
receives is kept as it came, content coding and all, and a broken connection is a result, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from yarl import URL

from graphtape.cassettes.model import Headers, Request
from graphtape.protocol.errors import GraphtapeError
from graphtape.protocol.headers import end_to_end, valid_header

# `host` and the length are those of this connection; `origin` would make a page of us, and is answered by CORS.
_NOT_SENT = frozenset({b"host", b"content-length", b"origin", b"expect"})
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")
_LONGEST_HEAD_BYTES = 1 << 18


class NoAnswer(GraphtapeError):
    """A server of our own did not answer a request at all."""


@dataclass(frozen=True, slots=True)
class Received:
    """What came back for one request."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    whole: bool
    """The response ended as HTTP says it must."""


def new_session() -> aiohttp.ClientSession:
    """A client session that adds, decodes, remembers and times out nothing."""
    return aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        max_line_size=_LONGEST_HEAD_BYTES,
        max_field_size=_LONGEST_HEAD_BYTES,
        connector=aiohttp.TCPConnector(limit=0),
    )


async def send(
    session: aiohttp.ClientSession,
    base_url: str,
    request: Request,
    body: bytes,
    *,
    answered: Callable[[int, Headers], None] | None = None,
    enough: Callable[[bytes], bool] | None = None,
) -> Received:
    """Send a recorded request to another server and read its answer.

    Args:
        base_url: `http://HOST:PORT`.
        answered: told status and headers when they are there.
        enough: gets each read; True stops reading and closes the connection.

    Raises:
        NoAnswer: the connection broke before there was a response.
    """
    headers = [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in end_to_end(request.headers)
        if name.lower() not in _NOT_SENT and valid_header(name, value)
    ]

    def failed(error: Exception) -> NoAnswer:
        words = str(error) or type(error).__name__
        return NoAnswer(f"no answer to {request.method} {request.target}: {words}")

    # What the two callbacks raise is theirs (a closed terminal is a ConnectionError too): only our own awaits are
    # guarded.
    try:
        response = await session.request(
            request.method,
            URL(base_url + request.target, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
        )
    except (aiohttp.ClientError, ConnectionError, ValueError) as error:
        raise failed(error) from None
    async with response:
        if answered is not None:
            answered(response.status, tuple(response.raw_headers))
        pieces: list[bytes] = []
        whole = False
        while True:
            try:
                data = await response.content.readany()
            except (aiohttp.ClientError, ConnectionError):
                break
            if not data:
                whole = True
                break
            pieces.append(data)
            if enough is not None and enough(data):
                response.close()
                break
        return Received(
            response.status, response.reason or "", tuple(response.raw_headers), b"".join(pieces), whole
        )
