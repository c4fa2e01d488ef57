"""Masking of heads and bodies."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graphtape.cassettes.redaction import BodyMasker, JsonMasker, RedactionError, Redactor, redact_url
from graphtape.protocol.credentials import CredentialNames

M = '"[redacted]"'


def mask_json(data: bytes, *cuts: int, names: tuple[str, ...] = ()) -> bytes:
    masker = JsonMasker(CredentialNames(names))
    edges = [0, *cuts, len(data)]
    parts = [masker.feed(data[a:b]) for a, b in pairwise(edges)]
    return b"".join(parts) + masker.finish()


JSON_CASES = [
    ('{"password":"x"}', f'{{"password":{M}}}'),
    ('{ "password" : "x" , "a" : 1 }', f'{{ "password" : {M} , "a" : 1 }}'),
    ('{"password":"a\\"b\\\\","a":"\\\\"}', f'{{"password":{M},"a":"\\\\"}}'),
    ('{"password":""}', f'{{"password":{M}}}'),
    ('{"password":12.5e3}', f'{{"password":{M}}}'),
    ('{"password":null,"secret":true,"apiKey":false}', '{"password":null,"secret":true,"apiKey":false}'),
    ('{"secret":{"a":["}","]",{"b":"\\"}"}]},"x":1}', f'{{"secret":{M},"x":1}}'),
    ('{"secret":[[],[1,"]"]],"x":{"secret":"y"}}', f'{{"secret":{M},"x":{{"secret":{M}}}}}'),
    ('[{"pass\\u0077ord":"x"}]', f'[{{"pass\\u0077ord":{M}}}]'),
    ('{"a":"password","b":["password","x"]}', '{"a":"password","b":["password","x"]}'),
    ('{"a":"\\"password\\":\\"x\\""}', '{"a":"\\"password\\":\\"x\\""}'),
    ('{"max_tokens":5,"messages":[{"token":"Hi"}]}', '{"max_tokens":5,"messages":[{"token":"Hi"}]}'),
    ('\ufeff \n{"password":"x"}', f'\ufeff \n{{"password":{M}}}'),
    ('{"é":"☃","password":"☃"}', f'{{"é":"☃","password":{M}}}'),
    ("", ""),
    ("  ", "  "),
    ('"password"', '"password"'),
    ("12", "12"),
    # Broken JSON: masked as far as it can be read.
    ('{"password":"x', f'{{"password":{M}'),
    ('{"password":nope}', f'{{"password":{M}}}'),
    ('{"password":tru', f'{{"password":{M}'),
    ('{"password":', '{"password":'),
    ('{"password":}', '{"password":}'),
    ('{"password":{"a":', f'{{"password":{M}'),
    ('{"a":1} {"password":"x"}\n{"password":1}', f'{{"a":1}} {{"password":{M}}}\n{{"password":{M}}}'),
]


@pytest.mark.parametrize(("text", "expected"), JSON_CASES)
def test_json_masks_at_every_cut(text: Any, expected: Any) -> None:
    """The same result whole, byte by byte and at every split point."""
    data = text.encode()
    assert mask_json(data).decode() == expected
    assert mask_json(data, *range(1, len(data))).decode() == expected
    for cut in range(1, len(data)):
        assert mask_json(data, cut).decode() == expected


names = st.sampled_from(["password", "api_key", "a", "messages", "token", "sec\u0001ret", 'p"', "secret"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def masked_model(value: object) -> object:
    """What masking means, on parsed values."""
    if isinstance(value, list):
        return [masked_model(item) for item in value]
    if isinstance(value, dict):
        registry = CredentialNames()
        return {
            key: "[redacted]"
            if registry.field(key) and item is not None and not isinstance(item, bool)
            else masked_model(item)
            for key, item in value.items()
        }
    return value


@given(st.dictionaries(names, values, max_size=4), st.booleans(), st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=60, deadline=None)
def test_valid_json_stays_valid(value: Any, ascii_only: Any, cuts: Any) -> None:
    """Masking bytes is masking the parsed value, whatever the reads."""
    data = json.dumps(value, ensure_ascii=ascii_only, indent=1 if ascii_only else None).encode()
    inside = sorted(cut for cut in cuts if cut < len(data))
    assert json.loads(mask_json(data, *inside)) == masked_model(value)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=3))
@example(b'{"password":"\\', [13])
@settings(max_examples=60, deadline=None)
def test_any_bytes_mask_the_same_in_pieces(data: Any, cuts: Any) -> None:
    """No input breaks the masker, and where it was cut never shows."""
    inside = sorted(cut for cut in cuts if cut < len(data))
    assert mask_json(b"{" + data, *inside) == mask_json(b"{" + data)


def test_a_huge_value_is_not_kept() -> None:
    """Masked or not, nothing grows with the body."""
    masker = JsonMasker(CredentialNames())
    out = masker.feed(b'{"password":"')
    for _ in range(100):
        out += masker.feed(b"x" * 10_000)
    out += masker.feed(b'","note":"')
    for _ in range(100):
        assert len(masker.feed(b"y" * 10_000)) == 10_000
    assert out == b'{"password":"[redacted]","note":"'
    assert len(masker._string) < 2000


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
