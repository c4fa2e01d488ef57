"""Connections to the one upstream: opened, kept for the next request, and spoken to byte for byte.

The aiohttp client session normalises targets, re-encodes headers and follows `.netrc`; a recorder must not. So this
module opens its own connections and writes request heads itself, and uses aiohttp for what it is best at, parsing
responses (`connection.py`). Knows nothing of cassettes. One rule: what the client sent is what the upstream gets,
but for the hop-by-hop fields and the name of the host.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
import urllib.request
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import cast
from urllib.parse import unquote, urlsplit

from graphtape.protocol.errors import UsageMistake
from graphtape.protocol.headers import Headers
from graphtape.recorder.connection import Connected, UpstreamConnection, UpstreamFailed, words_of

CONNECT_TIMEOUT_S = 10.0
"""No connection within this time is a 504."""

_IDLE_S = 3.0
"""How long an unused connection is kept: less than the 5 s after which uvicorn and Node close theirs, so that no
request is sent into a connection that is just being closed."""

_HALF_A_SCHEME = re.compile(r"https?:(?!//)", re.IGNORECASE)
_IDLE_CONNECTIONS = 128


class BadUpstream(UsageMistake):
    """The upstream's URL cannot be used."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the upstream is: its URL taken apart once.

    `url` and `shown` are without userinfo; `authorization` holds that as a `Basic` header value.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    url: str
    authorization: bytes | None

    @property
    def host_header(self) -> bytes:
        """The `Host` of requests to it."""
        return self.url.partition("://")[2].partition("/")[0].encode("ascii")


def parse_upstream(url: str) -> Target:
    """Take the upstream's URL apart.

    Raises:
        BadUpstream: no http(s) URL, or one with a query or fragment.
    """
    text = url if "://" in url else f"http://{url}"
    try:
        if _HALF_A_SCHEME.match(url):
            raise ValueError("a slash is missing")
        parts = urlsplit(text)
        port = parts.port
        host = (
            (parts.hostname or "")
            .encode("idna" if not _is_ascii(parts.hostname) else "ascii")
            .decode("ascii")
        )
    except (ValueError, UnicodeError):
        raise BadUpstream(
            f"the upstream {_bare(url)} is no URL; give one like http://localhost:2024"
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise BadUpstream(
            f"the upstream {_bare(url)} is no http or https URL; give one like http://localhost:2024"
        )
    if parts.query or parts.fragment or "?" in text:
        raise BadUpstream(
            f"the upstream {_bare(url)} has a query or fragment, which every request brings itself; leave it out"
        )
    if any(ord(c) <= 0x20 or ord(c) >= 0x7F for c in parts.path):
        raise BadUpstream(f"the path of the upstream {_bare(url)} must be percent-encoded")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = b"Basic " + base64.b64encode(user)
    default = 443 if parts.scheme == "https" else 80
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = f":{port}" if port not in (None, default) else ""
    prefix = parts.path.rstrip("/")
    return Target(
        parts.scheme,
        host,
        port or default,
        prefix,
        f"{parts.scheme}://{shown_host}{shown_port}{prefix}",
        authorization,
    )


class Upstream:
    """Opens and keeps connections to `target`, through a proxy if the environment says so.

    Args:
        target: where it is.
        connect_timeout_s: how long a connection may take, name look-up, proxy and TLS included.
    """

    def __init__(self, target: Target, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.target = target
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[tuple[float, Connected]] = deque()
        self._tls = _tls_context() if target.scheme == "https" else None
        self._proxy = _environment_proxy(target)
        self._sweeper: asyncio.TimerHandle | None = None

    def head_bytes(self, method: str, target: str, headers: Headers) -> bytes:
        """A request head as it goes on the wire. `headers` are complete but for `Host`, which stands first."""
        path = self.target.prefix + target
        lines = []
        if self._proxy is not None and self._tls is None:
            path = self.target.url.removesuffix(self.target.prefix) + path
            if self._proxy.authorization is not None:
                lines.append(b"Proxy-Authorization: " + self._proxy.authorization)
        lines.extend(name + b": " + value for name, value in headers)
        first = f"{method} {path} HTTP/1.1".encode("utf-8", "surrogateescape")
        return b"\r\n".join([first, *lines, b"", b""])

    async def connect(self, *, fresh: bool = False) -> UpstreamConnection:
        """A connection, new or kept.

        Raises:
            UpstreamFailed: there is none to be had.
        """
        loop = asyncio.get_running_loop()
        while self._idle and not fresh:
            since, protocol = self._idle.pop()
            if loop.time() - since < _IDLE_S and protocol.is_connected() and not protocol.should_close:
                return UpstreamConnection(protocol, reused=True)
            protocol.close()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return UpstreamConnection(await self._open(loop))
        except TimeoutError:
            raise UpstreamFailed(
                504,
                f"graphtape could not connect to {self.target.url} within {self._connect_timeout_s:g} s; "
                "is the address right, and is it reachable from here?",
            ) from None
        except ssl.SSLError as error:
            next_step = (
                "set SSL_CERT_FILE to a file with the certificate authority, if it is a private one"
                if isinstance(error, ssl.SSLCertVerificationError)
                else "if it speaks plain http, start the recorder with http:// in place of https://"
            )
            raise UpstreamFailed(
                502,
                f"graphtape could not make a secure connection to {self.target.url} ({words_of(error)}); {next_step}",
            ) from None
        except (OSError, UnicodeError) as error:
            raise UpstreamFailed(
                502,
                f"graphtape could not connect to {self.target.url} ({words_of(error)}); "
                "start the server, or start the recorder with another address, and try again",
            ) from None

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request if it can be kept; else close it."""
        if not connection.is_reusable or len(self._idle) >= _IDLE_CONNECTIONS:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection.protocol))
        if self._sweeper is None:
            self._sweeper = loop.call_later(_IDLE_S, self._sweep)

    def close(self) -> None:
        """Close what is kept."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._idle:
            self._idle.pop()[1].close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and loop.time() - self._idle[0][0] >= _IDLE_S:
            self._idle.popleft()[1].close()
        self._sweeper = loop.call_later(_IDLE_S, self._sweep) if self._idle else None

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Connected:
        factory = partial(Connected, loop)
        target, proxy = self.target, self._proxy
        if proxy is None:
            name = target.host if self._tls is not None else None
            _, protocol = await loop.create_connection(
                factory, target.host, target.port, ssl=self._tls, server_hostname=name
            )
            return protocol
        _, protocol = await loop.create_connection(factory, proxy.host, proxy.port)
        return protocol if self._tls is None else await self._tunnel(loop, protocol, proxy)

    async def _tunnel(self, loop: asyncio.AbstractEventLoop, protocol: Connected, proxy: Target) -> Connected:
        connection = UpstreamConnection(protocol)
        transport = cast(asyncio.Transport, protocol.transport)
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        authority = f"{host}:{self.target.port}".encode("ascii")
        lines = [b"CONNECT " + authority + b" HTTP/1.1", b"Host: " + authority]
        if proxy.authorization is not None:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        try:
            connection.expect("HEAD")  # a CONNECT that succeeds has no body
            connection.send(b"\r\n".join([*lines, b"", b""]))
            message = await connection.head()
            if message.code != 200:
                raise UpstreamFailed(
                    502,
                    f"the proxy {proxy.url} refused a tunnel to {self.target.url} (status {message.code})",
                )
            inner = Connected(loop)
            secure = await loop.start_tls(
                transport, inner, cast(ssl.SSLContext, self._tls), server_hostname=self.target.host
            )
        except BaseException:
            transport.abort()
            raise
        inner.connection_made(cast(asyncio.Transport, secure))
        return inner


def _environment_proxy(target: Target) -> Target | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say, as curl reads them.

    Raises:
        BadUpstream: a proxy that is not an http one.
    """
    if urllib.request.proxy_bypass(target.host):
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get(target.scheme) or proxies.get("all")
    if not url:
        return None
    proxy = parse_upstream(url)
    if proxy.scheme != "http":
        raise BadUpstream(
            f"the proxy {proxy.url} of the environment is not an http one; unset it, or set NO_PROXY={target.host}"
        )
    return proxy


def _tls_context() -> ssl.SSLContext:
    # Reads SSL_CERT_FILE and SSL_CERT_DIR; read now, not at import, so that a test or a caller may set them.
    context = ssl.create_default_context()
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])
    return context


def _is_ascii(text: str | None) -> bool:
    return text is None or text.isascii()


def _bare(url: str) -> str:
    """A URL that could not be taken apart, without what may be a password."""
    scheme, mark, rest = url.rpartition("@")
    shown = rest if not mark else (scheme.partition("://")[0] + "://" if "://" in scheme else "") + rest
    return repr(shown.partition("?")[0][:200])
