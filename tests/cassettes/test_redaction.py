"""Masking of heads and bodies."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from graphtape.cassettes.redaction import BodyMasker, RedactionError, Redactor, redact_url


def feed_all(masker: BodyMasker, *parts: bytes) -> bytes:
    return b"".join(masker.feed(part) for part in parts) + masker.finish()


def test_form_bodies() -> None:
    """The values of listed fields, at every cut."""
    headers = ((b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8"),)
    data = b"a=1&pass%77ord=x=y&b&client_secret=&token=z"
    expected = b"a=1&pass%77ord=[redacted]&b&client_secret=[redacted]&token=[redacted]"
    for cut in range(len(data)):
        masker = Redactor().request_body(headers)
        assert feed_all(masker, data[:cut], data[cut:]) == expected
    assert masker.redacted == ("body password", "body client_secret", "body token")


def test_compressed_request_body_is_withheld() -> None:
    """What cannot be searched is not kept."""
    masker = Redactor().request_body(((b"Content-Encoding", b"gzip"),))
    assert feed_all(masker, b"\x1f\x8b...", b"...") == b"[redacted]"
    assert masker.redacted == ("body content-encoding",)
    empty = Redactor().request_body(((b"Content-Encoding", b"gzip"),))
    assert feed_all(empty) == b""
    assert empty.redacted == ()


def test_headers() -> None:
    """Credentials by name; URLs by their query; the rest as it came, in order."""
    headers = (
        (b"X-One", b"1"),
        (b"AUTHORIZATION", b"Bearer abc"),
        (b"cookie", b""),
        (b"Referer", b"http://localhost/?api_key=abc&x=1"),
        (b"X-Custom", b"mine"),
    )
    clean, found = Redactor(["x-custom"]).headers(headers)
    assert clean == (
        (b"X-One", b"1"),
        (b"AUTHORIZATION", b"[redacted]"),
        (b"cookie", b""),
        (b"Referer", b"http://localhost/?api_key=[redacted]&x=1"),
        (b"X-Custom", b"[redacted]"),
    )
    assert found == ("header authorization", "query api_key", "header x-custom")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a?x=1&&y", "/a?x=1&&y"),
        ("/a?", "/a?"),
        ("/a?API%5fKey=abc&x=%20+", "/a?API%5fKey=[redacted]&x=%20+"),
        ("/a?token=a=b?c&token=", "/a?token=[redacted]&token="),
        ("/a;password=x", "/a;password=x"),
        ("/\udcff?password=\udcff", "/\udcff?password=[redacted]"),
    ],
)
def test_targets(target: Any, expected: Any) -> None:
    """Only masked values change; every other byte stays."""
    clean, found = Redactor().target(target)
    assert clean == expected
    assert bool(found) is (clean != target)


SECRET = 'pa/ss "wörd" +1'
FORMS = [
    SECRET.encode(),
    quote(SECRET, safe="").encode(),
    quote(SECRET, safe="").lower().encode(),
    json.dumps(SECRET).encode(),
    json.dumps(SECRET, ensure_ascii=False).encode(),
    json.dumps(SECRET, ensure_ascii=False).replace("/", "\\/").encode(),
    base64.b64encode(SECRET.encode()),
    *(b"Basic " + base64.b64encode(user + b":" + SECRET.encode()) for user in (b"u", b"us", b"use")),
]


@pytest.mark.parametrize("form", FORMS)
def test_named_values(form: Any) -> None:
    """A named value is found in every form in which it is sent; its length stays."""
    redactor = Redactor(values=[("TOKEN", SECRET)])
    clean, found = redactor.response_body(b"data: " + form + b"\n")
    assert len(clean) == len(form) + 7
    assert clean.startswith(b"data: ")
    assert b"*" * 8 in clean
    assert found == ("value TOKEN",)
    rest = clean.replace(b"*", b"")
    assert b"rd" not in rest[6:]


def test_named_values_in_requests() -> None:
    """In header, target and body; in the body also across reads."""
    redactor = Redactor(values=[("TOKEN", "open-sesame")])
    assert redactor.headers(((b"x", b"a open-sesame b"),)) == (
        ((b"x", b"a *********** b"),),
        ("value TOKEN",),
    )
    assert redactor.target("/open-sesame?x=open-sesame")[0] == "/***********?x=***********"
    data = b'{"a":"open-sesame","password":"x"}'
    for cut in range(len(data)):
        masker = redactor.request_body(())
        assert feed_all(masker, data[:cut], data[cut:]) == b'{"a":"***********","password":"[redacted]"}'
    assert masker.redacted == ("body password", "value TOKEN")
    assert Redactor().response_body(b"open-sesame") == (b"open-sesame", ())


def test_short_values_are_refused() -> None:
    """A value of three characters would mask half of every text."""
    with pytest.raises(RedactionError, match="TOKEN"):
        Redactor(values=[("TOKEN", "abc")])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://user:pw@host:1/x?api_key=k&y=1#f", "http://host:1/x?api_key=[redacted]&y=1#f"),
        ("http://host/x", "http://host/x"),
        ("//u:p@h", "//h"),
        ("http://u:p@[bad", "http://[bad"),
    ],
)
def test_urls_that_are_shown(url: Any, expected: Any) -> None:
    """Logs and errors never show userinfo or a credential of the query."""
    assert redact_url(url) == expected
