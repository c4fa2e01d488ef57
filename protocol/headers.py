"""Header fields as a proxy and a mock server pass them on: what is dropped, rewritten, refused.

Pure functions on raw header fields (bytes, in the order and spelling of the wire). Knows nothing of sockets,
of aiohttp or of cassettes. One rule: a field is passed on exactly as it came or not at all; only `Location` and
`Content-Location` are ever rewritten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in the order and spelling of the wire."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Fields that concern one connection only (RFC 9110, section 7.6.1); every `proxy-*` field counts as well."""

_PROXY_PREFIX = b"proxy-"

# RFC 9110, section 7.6.1: a field meant for all recipients must not be named by Connection. A peer that does
# it anyway must not be able to strip what frames or routes the message.
_NEVER_CONNECTION_OPTIONS = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-location",
        b"content-type",
        b"host",
        b"location",
        b"x-api-key",
    }
)

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
# RFC 9110, section 5.5: field-content is visible ASCII, space, tab and obs-text; never CR, LF or NUL.
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL, in the form in which two of them can be compared."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = "" if self.port is None or self.port == _DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{shown}"


@lru_cache(maxsize=256)
def parse_origin(url: str) -> Origin | None:
    """The origin of an absolute URL, lower-cased, with its default port filled in; None if it has none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host:
        return None
    scheme = parts.scheme.lower()
    return Origin(scheme, host.rstrip("."), port if port is not None else _DEFAULT_PORTS.get(scheme))


def get_all(headers: Headers, name: bytes) -> tuple[bytes, ...]:
    """The values of every field called `name` (given in lower case), in order."""
    return tuple(value for key, value in headers if key.lower() == name)


def get(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the field called `name` (given in lower case), or None."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:
            return value
    return None


def connection_options(headers: Headers) -> frozenset[bytes]:
    """The options that the `Connection` fields name, lower-cased."""
    options: set[bytes] = set()
    for value in get_all(headers, b"connection"):
        options.update(part.strip().lower() for part in value.split(b","))
    options.discard(b"")
    return frozenset(options)


def hop_by_hop(headers: Headers) -> set[bytes]:
    """The names, lower-cased, that are not passed on: the fixed set, `proxy-*`, and those that `Connection` names."""
    keys = [name.lower() for name, _ in headers]
    found = {key for key in keys if key in HOP_BY_HOP or key.startswith(_PROXY_PREFIX)}
    if b"connection" in found:
        found |= connection_options(headers) - _NEVER_CONNECTION_OPTIONS
    return found


def end_to_end(headers: Headers) -> Headers:
    """`headers` without the hop-by-hop ones."""
    dropped = hop_by_hop(headers)
    return tuple(field for field in headers if field[0].lower() not in dropped)


def valid_header(name: bytes, value: bytes) -> bool:
    """True if the field may be sent: a token as name; no control character but tab in the value."""
    return _TOKEN.match(name) is not None and _VALUE.match(value) is not None


def split_valid(headers: Headers) -> tuple[Headers, Headers]:
    """(the fields that may be sent, those that may not): recorded headers are data, checked before use."""
    good: list[tuple[bytes, bytes]] = []
    bad: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        (good if valid_header(name, value) else bad).append((name, value))
    return tuple(good), tuple(bad)


def rewrite_location(value: bytes, *, upstream: str, own_origin: str) -> bytes:
    """A `Location` or `Content-Location` value as the client of a proxy must see it.

    Args:
        value: the field's value as the upstream sent it.
        upstream: the upstream's URL, path prefix included, e.g. `https://host/api`.
        own_origin: what the client calls the proxy, e.g. `http://localhost:2025`.

    An absolute (or `//host/...`) URL on the upstream's origin gets the proxy's origin instead; a relative one
    stays relative. In both the upstream's path prefix is taken off, because the proxy adds it again. All else
    is returned untouched, byte for byte.
    """
    base = parse_origin(upstream)
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    if base is None:
        return value
    prefix = urlsplit(upstream).path.rstrip("/")
    if text.startswith("/") and not text.startswith("//"):
        return _without_prefix(text, prefix).encode("latin-1")
    absolute = f"{base.scheme}:{text}" if text.startswith("//") else text
    if parse_origin(absolute) != base:
        return value
    # Cut at the end of the authority by hand: urlsplit would normalise what follows it.
    rest = re.sub(r"\A[^:/?#]+://[^/?#]*", "", absolute)
    own = own_origin.rstrip("/")
    return (own + _without_prefix(rest, prefix)).encode("latin-1")


def _without_prefix(path: str, prefix: str) -> str:
    if not prefix or not path.startswith(prefix):
        return path
    rest = path[len(prefix) :]
    if rest and rest[0] not in "/?#":
        return path
    return rest if rest.startswith("/") else "/" + rest
