"""Who may talk to a graphtape server: the `Host`, `Origin` and CORS rules of recorder and replayer.

Pure functions on header values. Knows no sockets and no aiohttp. One rule: whoever is refused reads which
option would have let him in.

The defaults fit a development tool on loopback: a page of another site must neither read recordings (CORS) nor
start runs through the proxy (403 for a foreign `Origin`), not even after rebinding its own DNS name to
127.0.0.1 (421).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from graphtape.protocol.errors import UsageMistake
from graphtape.protocol.headers import Headers, get, parse_origin

ALLOW_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
"""What the Agent Server allows in a preflight, in its order (docs/agent-server.md, section 10)."""

EXPOSED = ("x-pagination-total", "x-pagination-next", "content-location")
"""What the Agent Server exposes to browsers. `Location` is not among them: exposing it arms reconnection."""

UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that a foreign origin may not use; a browser sends some of them without asking first."""

_PRIVATE_NETWORK = (b"access-control-allow-private-network", b"true")
_PREFLIGHT_VARY = (
    b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    b"Access-Control-Request-Private-Network"
)
_MAX_AGE_S = b"600"
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w-]+)\]|(?P<name>[^\[\]:/@?#\s\\]+))(?::\d{0,5})?\Z")


class InvalidAccess(UsageMistake):
    """`--allow-host` or `--cors-origin` names nobody."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The whole answer to a CORS preflight, `date` and `server` aside."""

    status: int
    reason: str
    headers: Headers
    body: bytes


def is_loopback_host(host: str) -> bool:
    """True for `localhost`, names below `.localhost` (RFC 6761) and addresses of the loopback network."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


_SERVED_HOSTS = 64


def is_preflight(method: str, headers: Headers) -> bool:
    """True for a CORS preflight; any other OPTIONS request is one like all others."""
    return (
        method == "OPTIONS"
        and get(headers, b"origin") is not None
        and get(headers, b"access-control-request-method") is not None
    )


class HostPolicy:
    """Which `Host` headers are served. Ports are ignored.

    Args:
        bound_host: what the server listens on (`--host`).
        allow_hosts: names given with `--allow-host`; `*` allows every name.

    Raises:
        InvalidAccess: one of them is no host name.
    """

    def __init__(self, bound_host: str, allow_hosts: Iterable[str] = ()) -> None:
        self._bound = _host_of(bound_host) or bound_host.strip("[]").lower()
        self._allowed = frozenset(_allowed_host(host) for host in allow_hosts)
        self._loopback_only = is_loopback_host(self._bound)
        self._served: set[str] = set()
        """Headers that were found good: all clients of a server send the same few."""

    def check(self, host_header: str | None) -> str | None:
        """None if the request is served; else the words of the 421, which name the option that allows it."""
        if "*" in self._allowed:
            return None
        if host_header is None:
            if self._loopback_only:
                return None
            return (
                "The request has no Host header, which is served on a loopback address only; "
                "send a Host header, or start graphtape with --allow-host '*'"
            )
        if host_header in self._served:
            return None
        host = _host_of(host_header)
        if host is None:
            return f"The Host header {_shown(host_header)} is not a host name; send one like localhost:2025"
        if host == self._bound or host in self._allowed or is_loopback_host(host):
            if len(self._served) < _SERVED_HOSTS:
                self._served.add(host_header)
            return None
        if not self._loopback_only and _address(host) is not None:
            return None
        return (
            f"This server does not answer to the name {_shown(host)}; "
            f"if that is meant, start graphtape with --allow-host {host}"
        )


class OriginPolicy:
    """Which web pages may use the server, and the CORS headers they get.

    Args:
        cors_origins: origins given with `--cors-origin`, beside those on loopback; `*` allows every page.
        expose_location: `--expose-location`: let scripts read `Location` too.

    Raises:
        InvalidAccess: one of them is no origin.
    """

    def __init__(self, cors_origins: Iterable[str] = (), *, expose_location: bool = False) -> None:
        origins = [origin.strip() for origin in cors_origins]
        self._any = "*" in origins
        self._origins = frozenset(_allowed_origin(origin) for origin in origins)
        names = (*EXPOSED, "location") if expose_location else EXPOSED
        self._exposed = ", ".join(names).encode("ascii")

    def allows(self, origin: str, *, host: str | None = None) -> bool:
        """True if pages of this origin may use the server; `host` (the Host header) lets its own pages in."""
        if self._any or _canonical(origin) in self._origins:
            return True
        parsed = parse_origin(origin)
        if parsed is None or parsed.scheme not in ("http", "https"):
            return False
        return is_loopback_host(parsed.host) or (
            host is not None and parsed == parse_origin(f"http://{host}")
        )

    def response_headers(self, origin: str | None, *, host: str | None = None) -> Headers:
        """A response's CORS headers, in the Agent Server's order; none for a foreign origin or no page."""
        if origin is None or not self.allows(origin, host=host):
            return ()
        return (
            (b"access-control-allow-origin", self._allow_origin(origin)),
            (b"access-control-expose-headers", self._exposed),
        )

    def apply(
        self, headers: Headers, origin: str | None, *, host: str | None = None, method: str = "GET"
    ) -> Headers:
        """`headers` with the CORS ones replaced by ours, where the Agent Server puts them: before `vary`.

        Args:
            method: of the request; an `OPTIONS` is told, whatever becomes of it, that private networks are meant.
        """
        last = (_PRIVATE_NETWORK,) if method == "OPTIONS" and self._welcomes(origin, host) else ()
        kept = [field for field in headers if not field[0].lower().startswith(b"access-control-")]
        made = self.response_headers(origin, host=host)
        if not made:
            return (*kept, *last)
        at = next((i for i, (name, _) in enumerate(kept) if name.lower() == b"vary"), len(kept))
        vary: Headers = () if _varies_by_origin(headers) else ((b"vary", b"Origin"),)
        return (*kept[:at], *made, *kept[at:], *vary, *last)

    def _welcomes(self, origin: str | None, host: str | None) -> bool:
        return origin is None or self.allows(origin, host=host)

    def refuses(self, method: str, origin: str | None, *, host: str | None = None) -> str | None:
        """The words of the 403 for a foreign page that would change something; None if it may pass."""
        if origin is None or method not in UNSAFE_METHODS or self.allows(origin, host=host):
            return None
        return (
            f"A page of {_shown(origin)} may not use {method} here; "
            f"if that page is yours, start graphtape with --cors-origin {_shown(origin, quoted=False)}"
        )

    def preflight(self, origin: str, headers: Headers, *, host: str | None = None) -> Preflight:
        """The answer to a preflight, header for header the Agent Server's, but for whom it allows.

        Args:
            origin: the `Origin` header.
            headers: all headers of the request.
        """
        vary = ((b"vary", _PREFLIGHT_VARY),)
        if not self.allows(origin, host=host):
            text = (
                f"Disallowed CORS origin; start graphtape with --cors-origin {_shown(origin, quoted=False)}"
            )
            return _preflight(400, "Bad Request", vary, text, ())
        made: list[tuple[bytes, bytes]] = [
            (b"access-control-allow-origin", self._allow_origin(origin)),
            (b"access-control-allow-methods", ", ".join(ALLOW_METHODS).encode("ascii")),
            (b"access-control-max-age", _MAX_AGE_S),
        ]
        asked = get(headers, b"access-control-request-headers")
        if asked is not None:
            made.append((b"access-control-allow-headers", asked))
        failures = []
        method = get(headers, b"access-control-request-method") or b""
        if method.decode("latin-1") not in ALLOW_METHODS:
            failures.append("method")
        # The server announces private network access and refuses it all the same (observed).
        if get(headers, b"access-control-request-private-network") is not None:
            failures.append("private-network")
        last = (_PRIVATE_NETWORK,)
        if failures:
            return _preflight(
                400, "Bad Request", (*vary, *made), "Disallowed CORS " + ", ".join(failures), last
            )
        return _preflight(200, "OK", (*vary, *made), "OK", last)

    def _allow_origin(self, origin: str) -> bytes:
        return b"*" if self._any else origin.encode("latin-1", "replace")


def _preflight(status: int, reason: str, first: Headers, text: str, last: Headers) -> Preflight:
    body = text.encode("latin-1", "replace")
    content = (
        (b"content-length", str(len(body)).encode("ascii")),
        (b"content-type", b"text/plain; charset=utf-8"),
    )
    return Preflight(status, reason, (*first, *content, *last), body)


def _varies_by_origin(headers: Headers) -> bool:
    for name, value in headers:
        if name.lower() == b"vary" and {part.strip().lower() for part in value.split(b",")} & {
            b"origin",
            b"*",
        }:
            return True
    return False


def _allowed_host(given: str) -> str:
    host = _host_of(given)
    if host is None:
        raise InvalidAccess(
            f"--allow-host {given!r} is no host name; give it as it stands in a URL, like box.example, or '*' for any"
        )
    return host


def _allowed_origin(given: str) -> str:
    if given not in ("*", "null") and parse_origin(given) is None:
        raise InvalidAccess(
            f"--cors-origin {given!r} is no origin; give scheme and host, and the port if there is one, like "
            "http://box.example:3000 (null for pages from files), or '*' for any"
        )
    return _canonical(given)


def _canonical(origin: str) -> str:
    parsed = parse_origin(origin)
    return str(parsed) if parsed is not None else origin.lower()


def _host_of(host_header: str) -> str | None:
    """The host of a `Host` value, lower-cased, without port, brackets and final dot; None if it is none."""
    match = _HOST_PORT.match(host_header.strip())
    if match is None:
        # A bare IPv6 address is no valid Host, but a valid --host.
        bare = host_header.strip().lower()
        return bare if _address(bare) is not None else None
    host = (match["v6"] or match["name"]).lower().rstrip(".")
    if match["v6"] and _address(host) is None:
        return None
    return host or None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, ipaddress.IPv4Address) else address


def _shown(text: str, *, quoted: bool = True) -> str:
    """A client's words in ours: printable ASCII, at most 100 characters."""
    plain = "".join(c if 0x20 < ord(c) < 0x7F else "?" for c in text[:100])
    return f'"{plain}"' if quoted else plain
