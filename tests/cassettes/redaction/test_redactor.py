"""Masking of heads and bodies."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from graphtape.cassettes.redaction.redactor import (
    BodyMasker,
    Redactor,
    environment_values,
    redact_url,
)
from graphtape.cassettes.redaction.values import RedactionError


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


FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=x"
JSON_BODY = b'{"api_key":"zz&zz","input":{"ssn":1,"customer":{"a":"b=c"}}}'
JSON_MASKED = b'{"api_key":"[redacted]","input":{"ssn":"[redacted]","customer":"[redacted]"}}'


@pytest.mark.parametrize("blank", [b"", b" \r\n\t", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize(
    "content_type", [FORM, FORM + b"; charset=utf-8", b"text/plain", MULTIPART, b"", None]
)
def test_json_is_masked_whatever_its_type_says(content_type: bytes | None, blank: bytes) -> None:
    """`curl -d` calls JSON a form: what begins like JSON is masked as JSON, at every cut, blanks in front or not."""
    headers = () if content_type is None else ((b"content-type", content_type),)
    redactor = Redactor(["customer"], [("PIN", "hunter2x")], paths=["input.ssn"])
    data = blank + JSON_BODY
    for cut in range(len(data)):
        masker = redactor.request_body(headers)
        assert feed_all(masker, data[:cut], data[cut:]) == blank + JSON_MASKED
    masker = redactor.request_body(headers)
    assert feed_all(masker, *(data[at : at + 1] for at in range(len(data)))) == blank + JSON_MASKED
    assert set(masker.redacted) == {"body api_key", "body input.ssn", "body customer"}
    assert masker.seen == ["zz&zz"]
    listed = redactor.request_body(headers)
    assert feed_all(listed, b'[{"password":"x&y=z"}]') == b'[{"password":"[redacted]"}]'


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (FORM, b"\n password=x&a=1", b"\n password=[redacted]&a=1"),
        (None, b"a=1&password=x", b"a=1&password=[redacted]"),
        (None, b"no form at all", b"no form at all"),
        (None, b" \n", b" \n"),
        (b"text/plain", b"a=1&password=x", b"a=1&password=x"),
    ],
)
def test_bodies_that_are_no_json(content_type: bytes | None, body: bytes, expected: bytes) -> None:
    """A form is masked as one if it says that it is, or says nothing."""
    headers = () if content_type is None else ((b"content-type", content_type),)
    for cut in range(len(body)):
        assert feed_all(Redactor().request_body(headers), body[:cut], body[cut:]) == expected


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
    masker = redactor.response(())
    assert masker is not None
    clean = masker.feed(b"data: " + form + b"\n")
    assert len(clean) == len(form) + 7
    assert clean.startswith(b"data: ")
    assert b"*" * 8 in clean
    assert masker.redacted == ("value TOKEN",)
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


def test_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--redact-env`: a variable that is not set is refused, not taken for nothing."""
    monkeypatch.setenv("MY_TOKEN", "abcd")
    assert environment_values(["MY_TOKEN"]) == [("MY_TOKEN", "abcd")]
    monkeypatch.setenv("MY_TOKEN", "")
    with pytest.raises(RedactionError, match="MY_TOKEN: the variable is not set"):
        environment_values(["MY_TOKEN"])


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


def token(text: str) -> bytes:
    return b"event: messages\ndata: " + json.dumps([{"content": text, "id": "m"}, {}]).encode() + b"\n\n"


SSE = ((b"content-type", b"text/event-stream; charset=utf-8"),)


def test_values_at_json_paths() -> None:
    """`--redact-json`: request bodies are masked at the paths the user named, beside the listed names."""
    masker = Redactor(paths=["input.messages[*].content", "input.ssn"]).request_body(())
    data = b'{"input":{"ssn":1,"messages":[{"content":"x","role":"u"}],"password":"p"},"ssn":2}'
    out = b"".join(masker.feed(data[at : at + 1]) for at in range(len(data))) + masker.finish()
    assert json.loads(out) == {
        "input": {
            "ssn": "[redacted]",
            "messages": [{"content": "[redacted]", "role": "u"}],
            "password": "[redacted]",
        },
        "ssn": 2,
    }
    assert masker.redacted == ("body input.ssn", "body input.messages[*].content", "body password")
    with pytest.raises(RedactionError, match="is no path"):
        Redactor(paths=["a["])


def test_a_value_in_tokens() -> None:
    """What lies whole in a read is masked at once; what is spread over events is said at the end."""
    masker = Redactor(values=[("PIN", "hunter2x")]).response(SSE)
    assert masker is not None
    reads = [token("whole hunter2x"), token(" and hunt"), token("er2x.")]
    first, *rest = (masker.feed(read) for read in reads)
    assert b"whole ********" in first
    assert rest == reads[1:]
    assert masker.redacted == ("value PIN",)
    body = b"".join(reads)
    assert [body[start:stop] for start, stop in masker.finish()] == [b"hunt", b"er2x"]


def test_responses_are_left_alone() -> None:
    """Without named values, and without credentials to look for, no response is looked at."""
    assert Redactor().response(SSE) is None
    assert Redactor(echo=True).response(SSE, ["", "short", "[redacted]"]) is None
    assert not Redactor(names=["x"], paths=["a"]).reads_responses
    assert Redactor(echo=True).reads_responses
    assert Redactor(values=[("A", "abcd")]).reads_responses


ECHO_HEADERS = (
    (b"Authorization", b"Bearer tok-12345678"),
    (b"X-Api-Key", b"key-12345678"),
    (b"Cookie", b'sid=cookie-1234; theme="darkdark1"'),
    (b"accept", b"text/event-stream"),
)


def test_credentials_of_a_request_head() -> None:
    """`--redact-echo`: what is secret in a header is its token, password or cookie, not the scheme."""
    redactor = Redactor(names=["tenant"], echo=True)
    assert redactor.credentials(ECHO_HEADERS, "/x?api_key=a%20b&tenant=t1&q=1") == (
        "tok-12345678",
        "key-12345678",
        "cookie-1234",
        "darkdark1",
        "a b",
        "t1",
    )
    basic = ((b"Authorization", b"Basic " + base64.b64encode(b"me:long-password")),)
    assert redactor.credentials(basic, "/") == (
        base64.b64encode(b"me:long-password").decode(),
        "long-password",
    )
    assert Redactor().credentials(ECHO_HEADERS, "/?api_key=a") == ()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", b'{"password":"pass\\u0077ord-1","n":1,"a":{"apiKey":"key/12345"}}'),
        (b"application/x-www-form-urlencoded", b"password=password-1&n=1&apiKey=key%2F12345"),
    ],
)
def test_credentials_of_a_request_body(content_type: bytes, body: bytes) -> None:
    """Masked members and fields are looked for in the response, in every form in which they may be sent."""
    redactor = Redactor(echo=True)
    masker = redactor.request_body(((b"content-type", content_type),))
    for at in range(len(body)):
        masker.feed(body[at : at + 1])
    masker.finish()
    assert masker.seen == ["password-1", "key/12345"]
    response = redactor.response((), masker.seen)
    assert response is not None
    assert response.feed(b"<password-1 key%2f12345 key/12345>") == b"<********** *********** *********>"
    assert response.redacted == ("echo",)


def test_long_credentials_are_not_kept() -> None:
    """Memory does not grow with what a request calls a password."""
    masker = Redactor(echo=True).request_body(())
    masker.feed(b'{"password":"')
    for _ in range(1000):
        masker.feed(b"x" * 1000)
    masker.feed(b'","secret":"short-one"}')
    assert masker.seen == ["short-one"]


def test_headers_seen_before() -> None:
    """What is known of a name is right the second time too, and few names are remembered."""
    headers = ((b"X-Api-Key", b"k"), (b"accept", b"*/*"), (b"Referer", b"/?token=t"))
    redactor = Redactor()
    first = redactor.headers(headers)
    assert first[0] == (
        (b"X-Api-Key", b"[redacted]"),
        (b"accept", b"*/*"),
        (b"Referer", b"/?token=[redacted]"),
    )
    assert redactor.headers(headers) == first
    for number in range(2000):
        redactor.headers(((b"x-%d" % number, b""),))
    assert len(redactor._plain) <= 1024
    named = Redactor(values=[("NAME", "secret")])
    for _ in range(2):
        assert named.headers(((b"accept", b"a secret"),))[0] == ((b"accept", b"a ******"),)
