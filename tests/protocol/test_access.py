"""Who is let in, and the words for those who are not."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.access import HostPolicy, OriginPolicy, is_loopback_host, is_preflight


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "served"),
    [
        ("127.0.0.1", (), "localhost:2024", True),
        ("127.0.0.1", (), "LOCALHOST.", True),
        ("127.0.0.1", (), "app.localhost", True),
        ("127.0.0.1", (), "127.9.9.9", True),
        ("127.0.0.1", (), "[::1]:80", True),
        ("127.0.0.1", (), "[::ffff:127.0.0.1]", True),
        ("127.0.0.1", (), None, True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "localhost.evil.example", False),
        ("127.0.0.1", (), "192.168.1.5:2024", False),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "a b", False),
        ("127.0.0.1", (), "localhost@evil.example", False),
        ("127.0.0.1", (), "localhost/x", False),
        ("127.0.0.1", (), "[localhost]", False),
        ("127.0.0.1", ("box.lan",), "box.lan:1", True),
        ("127.0.0.1", ("box.lan:2025",), "BOX.lan", True),
        ("127.0.0.1", ("*",), "evil.example", True),
        ("0.0.0.0", (), "192.168.1.5:2024", True),
        ("0.0.0.0", (), "[fe80::1]", True),
        ("0.0.0.0", (), "evil.example", False),
        ("0.0.0.0", (), None, False),
        ("box.lan", (), "box.lan:2024", True),
        ("::1", (), "[::1]", True),
    ],
)
def test_hosts(bound: Any, allowed: Any, host: Any, served: Any) -> None:
    """Loopback names, the bound address and what was allowed; a rebound name is not served."""
    assert (HostPolicy(bound, allowed).check(host) is None) is served


def test_refused_host_names_the_option() -> None:
    """The 421 says what to type."""
    assert "--allow-host evil.example" in (HostPolicy("127.0.0.1").check("evil.example:80") or "")
    shown = HostPolicy("127.0.0.1").check("evil\x1b[31m") or ""
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:5173", True),
        ("http://app.localhost", True),
        ("https://app.example", True),
        ("https://APP.example:443", True),
        ("http://app.example", False),
        ("https://app.example.evil", False),
        ("http://localhost.evil", False),
        ("null", False),
        ("file://", False),
        ("chrome-extension://localhost", False),
        ("", False),
        ("http://192.168.1.5:2025", True),
    ],
)
def test_origins(origin: Any, allowed: Any) -> None:
    """Loopback pages, those named with --cors-origin, and the server's own."""
    policy = OriginPolicy(["https://app.example/"])
    assert policy.allows(origin, host="192.168.1.5:2025") is allowed
    assert (policy.response_headers(origin, host="192.168.1.5:2025") != ()) is allowed
    refusal = policy.refuses("DELETE", origin, host="192.168.1.5:2025")
    assert (refusal is None) is allowed
    assert refusal is None or "--cors-origin" in refusal
    assert policy.refuses("GET", origin) is None


def test_any_origin() -> None:
    """`*` allows every page and is answered as `*`."""
    policy = OriginPolicy(["*"])
    assert policy.response_headers("https://x.example")[0] == (b"access-control-allow-origin", b"*")
    assert policy.refuses("POST", "null") is None


def test_cors_headers_replace_recorded_ones() -> None:
    """In the Agent Server's order, before vary; recorded CORS headers are never sent."""
    recorded = (
        (b"content-type", b"x"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"vary", b"Origin"),
    )
    policy = OriginPolicy(expose_location=True)
    assert policy.apply(recorded, "http://localhost:1") == (
        (b"content-type", b"x"),
        (b"access-control-allow-origin", b"http://localhost:1"),
        (
            b"access-control-expose-headers",
            b"x-pagination-total, x-pagination-next, content-location, location",
        ),
        (b"vary", b"Origin"),
    )
    assert policy.apply(recorded, None) == (recorded[0], recorded[2])
    assert policy.apply(recorded, "https://evil.example") == (recorded[0], recorded[2])
    assert policy.apply(recorded[:1], "http://localhost:1")[-1] == (b"vary", b"Origin")


def test_preflight_is_the_agent_servers() -> None:
    """Header names, values and order as captured from the server, but for the allowed origin."""
    headers = (
        (b"Origin", b"http://localhost:3000"),
        (b"Access-Control-Request-Method", b"POST"),
        (b"Access-Control-Request-Headers", b"X-B,  content-TYPE"),
    )
    assert is_preflight("OPTIONS", headers)
    assert not is_preflight("OPTIONS", headers[:1])
    assert not is_preflight("GET", headers)
    answer = OriginPolicy().preflight("http://localhost:3000", headers)
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"OK")
    assert answer.headers == (
        (
            b"vary",
            (
                b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
                b"Access-Control-Request-Private-Network"
            ),
        ),
        (b"access-control-allow-origin", b"http://localhost:3000"),
        (b"access-control-allow-methods", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY"),
        (b"access-control-max-age", b"600"),
        (b"access-control-allow-headers", b"X-B,  content-TYPE"),
        (b"content-length", b"2"),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"access-control-allow-private-network", b"true"),
    )


@pytest.mark.parametrize(
    ("origin", "method", "private", "body"),
    [
        ("http://localhost:1", b"BREW", False, b"Disallowed CORS method"),
        ("http://localhost:1", b"GET", True, b"Disallowed CORS private-network"),
        ("http://localhost:1", b"BREW", True, b"Disallowed CORS method, private-network"),
    ],
)
def test_preflights_the_server_refuses(origin: Any, method: Any, private: Any, body: Any) -> None:
    """400 with the server's words."""
    extra = ((b"Access-Control-Request-Private-Network", b"true"),) if private else ()
    headers = ((b"Origin", origin.encode()), (b"Access-Control-Request-Method", method), *extra)
    answer = OriginPolicy().preflight(origin, headers)
    assert (answer.status, answer.body) == (400, body)


def test_preflight_of_a_foreign_page() -> None:
    """No CORS header at all, and the option by name."""
    headers = ((b"Origin", b"https://evil.example"), (b"Access-Control-Request-Method", b"POST"))
    answer = OriginPolicy().preflight("https://evil.example", headers)
    assert answer.status == 400
    assert b"--cors-origin https://evil.example" in answer.body
    assert not [name for name, _ in answer.headers if name.startswith(b"access-control-allow-origin")]


def test_loopback_hosts() -> None:
    """Names and addresses that never leave the machine."""
    assert is_loopback_host("localhost")
    assert is_loopback_host("127.0.0.2")
    assert not is_loopback_host("0.0.0.0")
    assert not is_loopback_host("notlocalhost")
