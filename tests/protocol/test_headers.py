"""Which header fields are passed on, rewritten or refused."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.headers import (
    connection_options,
    end_to_end,
    get,
    get_all,
    parse_origin,
    rewrite_location,
    split_valid,
    valid_header,
)


def test_hop_by_hop_fields_are_dropped() -> None:
    """The fixed ones, proxy-*, and those that Connection names; the rest keeps its order and spelling."""
    headers = (
        (b"X-A", b"1"),
        (b"Connection", b"keep-alive, X-Named"),
        (b"connection", b"close"),
        (b"Keep-Alive", b"timeout=5"),
        (b"x-named", b"gone"),
        (b"TE", b"trailers"),
        (b"Trailer", b"x"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"x"),
        (b"Proxy-Authorization", b"x"),
        (b"Proxy-Connection", b"x"),
        (b"x-a", b"2"),
    )
    assert end_to_end(headers) == ((b"X-A", b"1"), (b"x-a", b"2"))
    assert connection_options(headers) == {b"keep-alive", b"x-named", b"close"}


def test_connection_cannot_strip_what_routes_the_message() -> None:
    """Naming content-length or host in Connection removes neither."""
    headers = (
        (b"Connection", b"content-length, host, authorization"),
        (b"Content-Length", b"1"),
        (b"Host", b"h"),
    )
    assert end_to_end(headers) == headers[1:]


def test_looking_up_fields() -> None:
    """Names are looked up without case, in order."""
    headers = ((b"Vary", b"a"), (b"VARY", b"b"))
    assert get(headers, b"vary") == b"a"
    assert get(headers, b"x") is None
    assert get_all(headers, b"vary") == (b"a", b"b")


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        (b"x-a", b"plain \t\xff", True),
        (b"x-a", b"", True),
        (b"", b"x", False),
        (b"x a", b"x", False),
        (b"x:", b"x", False),
        (b"x\r\ny", b"x", False),
        (b"x", b"a\r\nset-cookie: b", False),
        (b"x", b"a\nb", False),
        (b"x", b"a\0", False),
        (b"x", b"\x7f", False),
        (b"x\n", b"y", False),
        (b"x", b"y\n", False),
    ],
)
def test_valid_header(name: Any, value: Any, valid: Any) -> None:
    """A header that would break the head is not sent."""
    assert valid_header(name, value) is valid
    assert split_valid(((name, value),))[0 if valid else 1] == ((name, value),)


UPSTREAM = "http://api.example:8123"


@pytest.mark.parametrize(
    ("value", "upstream", "expected"),
    [
        (b"/threads/1", UPSTREAM, b"/threads/1"),
        (b"threads/1", UPSTREAM, b"threads/1"),
        (b"../x", UPSTREAM, b"../x"),
        (b"?x", UPSTREAM, b"?x"),
        (b"", UPSTREAM, b""),
        (
            b"http://api.example:8123/a/../b?x=http://api.example:8123#f",
            UPSTREAM,
            b"http://me:1/a/../b?x=http://api.example:8123#f",
        ),
        (b"HTTP://API.example:8123/A", UPSTREAM, b"http://me:1/A"),
        (b"http://u:p@api.example:8123/", UPSTREAM, b"http://me:1/"),
        (b"//api.example:8123/x", UPSTREAM, b"http://me:1/x"),
        (b"http://api.example:8123", UPSTREAM, b"http://me:1"),
        (b"http://api.example:8123?q", UPSTREAM, b"http://me:1?q"),
        (b"http://api.example/x", UPSTREAM, b"http://api.example/x"),
        (b"https://api.example:8123/x", UPSTREAM, b"https://api.example:8123/x"),
        (b"http://api.example:8123.evil/", UPSTREAM, b"http://api.example:8123.evil/"),
        (b"http://api.example:99999/", UPSTREAM, b"http://api.example:99999/"),
        (b"http://[::1/", UPSTREAM, b"http://[::1/"),
        (b"https://h/x", "https://h:443/", b"http://me:1/x"),
        (b"/api/v1/threads", "http://h/api/v1", b"/threads"),
        (b"/api/v1", "http://h/api/v1/", b"/"),
        (b"/api/v1?x", "http://h/api/v1", b"/?x"),
        (b"/api/v10/x", "http://h/api/v1", b"/api/v10/x"),
        (b"/threads", "http://h/api/v1", b"/threads"),
        (b"http://h/api/v1/threads", "http://h/api/v1", b"http://me:1/threads"),
        (b"/\xe9", UPSTREAM, b"/\xe9"),
    ],
)
def test_rewrite_location(value: Any, upstream: Any, expected: Any) -> None:
    """Only the upstream's own origin and prefix are replaced; all else stays as it came."""
    assert rewrite_location(value, upstream=upstream, own_origin="http://me:1") == expected


def test_parse_origin() -> None:
    """Origins compare without case and with default ports; what has none is None."""
    assert parse_origin("HTTP://Host.:80/x") == parse_origin("http://host")
    assert str(parse_origin("http://[::1]:8080/")) == "http://[::1]:8080"
    assert str(parse_origin("https://h:443")) == "https://h"
    for bad in ("", "null", "host", "/x", "http://", "http://h:x"):
        assert parse_origin(bad) is None
