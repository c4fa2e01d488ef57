"""Requests that no honest client sends, and the answers that are right.

A table, in groups. Knows bytes and status codes; no server. One rule: each row is answered, or its connection is
closed (status 0); none is left waiting. Requests that are never finished are in clients.py.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
RUN = b'{"assistant_id":"agent","input":{"good":true},"stream_mode":["values"]}'


@dataclass(frozen=True)
class Row:
    """A request, and the statuses that may answer it.

    Args:
        recorder: from a recorder whose upstream answers everything with 200.
        replayer: from a replay that has no such recording.
    """

    name: str
    data: bytes
    recorder: frozenset[int]
    replayer: frozenset[int]


def row(name: str, data: bytes, recorder: set[int], replayer: set[int] | None = None) -> Row:
    """A row; what holds for both servers is said once."""
    return Row(name, data, frozenset(recorder), frozenset(recorder if replayer is None else replayer))


def post(body: bytes, target: bytes = b"/runs/stream", fields: bytes = b"") -> bytes:
    """A POST with an honest length."""
    length = b"Content-Length: %d\r\n" % len(body)
    head = b"POST " + target + b" HTTP/1.1\r\n" + HOST + CLOSE + length
    return head + b"Content-Type: application/json\r\n" + fields + b"\r\n" + body


def get(target: bytes, fields: bytes = b"", host: bytes = HOST) -> bytes:
    """A GET."""
    return b"GET " + target + b" HTTP/1.1\r\n" + host + CLOSE + fields + b"\r\n"


def framed(fields: bytes, body: bytes) -> bytes:
    """A POST that says its length as `fields` do."""
    return b"POST /runs/stream HTTP/1.1\r\n" + HOST + CLOSE + fields + b"\r\n" + body


PASSED = {200}
REFUSED = {400, 422}
MISSED = {404, 422}
NOT_HTTP = {0, 400}

JSON = [
    row("cut", post(RUN[:-9]), PASSED, REFUSED),
    row("empty", post(b""), PASSED, REFUSED),
    row("no object", post(b"[1]"), PASSED, REFUSED),
    row("null", post(b"null"), PASSED, REFUSED),
    row("a number", post(b"1e999"), PASSED, REFUSED),
    row("not a number", post(b'{"assistant_id":"agent","input":NaN}'), PASSED, REFUSED),
    row(
        "twice the same member", post(b'{"assistant_id":"agent","assistant_id":1}'), PASSED, REFUSED | MISSED
    ),
    row("no UTF-8", post(b'{"assistant_id":"\xff\xfe"}'), PASSED, REFUSED),
    row("half a surrogate", post(b'{"assistant_id":"\\ud800"}'), PASSED, REFUSED | MISSED),
    row(
        "NUL in a name",
        post(b'{"assistant_id":"agent","\\u0000":"\\u0000"}'),
        PASSED,
        PASSED | REFUSED | MISSED,
    ),
    row("100,000 lists in one another", post(b"[" * 100_000 + b"]" * 100_000), PASSED, REFUSED),
    row("100,000 objects, never closed", post(b'{"a":' * 100_000), PASSED, REFUSED),
    row("200,000 members", post(b"{" + b'"a":0,' * 200_000 + b'"a":0}'), PASSED, REFUSED),
    row("a number of a million digits", post(b'{"assistant_id":' + b"9" * 1_000_000 + b"}"), PASSED, REFUSED),
    row("wrong types", post(b'{"assistant_id":{},"input":[],"stream_mode":{"a":1}}'), PASSED, REFUSED),
    row(
        "a list of 100,000 modes",
        post(b'{"assistant_id":"agent","stream_mode":[' + b'"values",' * 100_000 + b'"x"]}'),
        PASSED,
        REFUSED,
    ),
    row("says gzip, is none", post(RUN, fields=b"Content-Encoding: gzip\r\n"), PASSED, PASSED | REFUSED),
    row("UTF-16", post(RUN.decode().encode("utf-16")), PASSED, REFUSED),
]

LENGTHS = [
    row(
        "length and chunks",
        framed(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        NOT_HTTP,
    ),
    row("two lengths", framed(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"{}"), NOT_HTTP),
    row("a list of lengths", framed(b"Content-Length: 2, 2\r\n", b"{}"), NOT_HTTP),
    row("negative", framed(b"Content-Length: -1\r\n", b"{}"), NOT_HTTP),
    row("with a plus", framed(b"Content-Length: +2\r\n", b"{}"), NOT_HTTP),
    row("hexadecimal", framed(b"Content-Length: 0x2\r\n", b"{}"), NOT_HTTP),
    row("of thirty digits", framed(b"Content-Length: " + b"9" * 30 + b"\r\n", b"{}"), NOT_HTTP),
    row("chunked twice", framed(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), NOT_HTTP),
    row("chunked in disguise", framed(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), NOT_HTTP),
    row("chunked not last", framed(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), NOT_HTTP),
    row("space before the colon", framed(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), NOT_HTTP),
    row("no chunk size", framed(b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"), NOT_HTTP),
    row(
        "negative chunk", framed(b"Transfer-Encoding: chunked\r\n", b"-1\r\nx\r\n0\r\n\r\n"), NOT_HTTP | {502}
    ),
    row(
        "huge chunk",
        framed(b"Transfer-Encoding: chunked\r\n", b"F" * 30 + b"\r\nx\r\n0\r\n\r\n"),
        NOT_HTTP | {502},
    ),
    row(
        "chunk longer than it says",
        framed(b"Transfer-Encoding: chunked\r\n", b"1\r\nxyz\r\n0\r\n\r\n"),
        NOT_HTTP | {502},
    ),
    row(
        "hidden behind the body",
        framed(b"Content-Length: 2\r\n", b"{}GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"),
        PASSED | NOT_HTTP,
        REFUSED,
    ),
]

HEADERS = [
    row("CR in a value", get(b"/info", b"X-A: a\rEvil: 1\r\n"), NOT_HTTP),
    row("LF in a value", get(b"/info", b"X-A: a\nOther: 1\r\n"), NOT_HTTP | PASSED),
    row("folded value", get(b"/info", b"X-A: a\r\n Evil: 1\r\n"), NOT_HTTP),
    row("NUL in a value", get(b"/info", b"X-A: a\0b\r\n"), NOT_HTTP),
    row("CRLF in the target", get(b"/x\r\nOther: 1"), NOT_HTTP | PASSED, NOT_HTTP | MISSED),
    row("encoded CRLF in the target", get(b"/info%0d%0aEvil:%201"), PASSED, MISSED),
    row("encoded CRLF in the query", get(b"/info?a=%0d%0aEvil:%201"), PASSED, PASSED | MISSED),
    row("encoded CRLF in an id", get(b"/threads/%0d%0aEvil:%201/state"), PASSED, MISSED),
    row("CRLF in a body's id", post(b'{"thread_id":"a\\r\\nEvil: 1"}', b"/threads"), PASSED, MISSED),
    row(
        "encoded CRLF in the origin",
        get(b"/info", b"Origin: http://127.0.0.1%0d%0aEvil:1\r\n"),
        PASSED | NOT_HTTP,
    ),
    row("CR in the origin", get(b"/info", b"Origin: http://127.0.0.1\rEvil: 1\r\n"), NOT_HTTP),
    row("CR in the event id", get(b"/threads/x/stream", b"Last-Event-ID: 1\rEvil: 1\r\n"), NOT_HTTP),
    row("no name", get(b"/info", b": x\r\n"), NOT_HTTP),
    row("no colon", get(b"/info", b"nonsense\r\n"), NOT_HTTP),
    row("10,000 fields", get(b"/info", b"X-A: a\r\n" * 10_000), NOT_HTTP),
    row("a field of a megabyte", get(b"/info", b"X-A: " + b"a" * (1 << 20) + b"\r\n"), NOT_HTTP),
    row("a name of a megabyte", get(b"/info", b"a" * (1 << 20) + b": x\r\n"), NOT_HTTP),
    row("bytes that are no ASCII", get(b"/info", b"X-A: \xff\xfe\x80\r\n"), PASSED),
    row("two event ids", get(b"/info", b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n"), PASSED),
    row(
        "upgrade to a WebSocket",
        get(b"/info", b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
        {501},
        PASSED | NOT_HTTP,
    ),
]

PATHS = [
    row("parents", get(b"/../../../../etc/passwd"), PASSED, MISSED),
    row("encoded parents", get(b"/%2e%2e/%2e%2e/etc/passwd"), PASSED, MISSED),
    row("parents behind a route", get(b"/threads/../../etc/passwd"), PASSED, MISSED),
    row("parents as an id", get(b"/threads/..%2f..%2fetc%2fpasswd/state"), PASSED, MISSED),
    row("backslashes", get(b"/..\\..\\windows\\win.ini"), PASSED, MISSED),
    row("NUL", get(b"/info%00.json"), PASSED, MISSED),
    row("two slashes and a host", get(b"//evil.example/info"), PASSED, MISSED),
    row("a file's URL", get(b"file:///etc/passwd"), NOT_HTTP, NOT_HTTP),
    row("another server's URL", get(b"http://evil.example/info"), {421}),
    row("credentials for another server", get(b"http://127.0.0.1@evil.example/info"), {421}),
    row("half a percent", get(b"/info%"), PASSED, MISSED),
    row("no UTF-8", get(b"/%ff%fe"), PASSED, MISSED),
    row("raw bytes", get(b"/\xff\xfe"), PASSED | NOT_HTTP, MISSED | NOT_HTTP),
    row("a fragment", get(b"/info#x"), PASSED, PASSED | MISSED),
    row("a bracket", get(b"//[x"), PASSED, MISSED),
    row("60,000 bytes", get(b"/" + b"a" * 60_000), PASSED, MISSED),
    row("a million bytes", get(b"/" + b"a" * 1_000_000), NOT_HTTP | {414, 431}),
    row("10,000 folders", get(b"/a" * 10_000), PASSED, MISSED),
    row("10,000 parameters", get(b"/info?" + b"a=1&" * 10_000), PASSED, PASSED | MISSED),
    row("no path", get(b""), NOT_HTTP),
    row("an asterisk", get(b"*"), NOT_HTTP),
    row(
        "a tunnel",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n" + CLOSE + b"\r\n",
        {400, 421},
    ),
]

HOSTS = [
    row("another name", get(b"/info", host=b"Host: evil.example\r\n"), {421}),
    row("a name that ends like ours", get(b"/info", host=b"Host: localhost.evil.example\r\n"), {421}),
    row("a name that begins like ours", get(b"/info", host=b"Host: 127.0.0.1.evil.example\r\n"), {421}),
    row("user and another name", get(b"/info", host=b"Host: 127.0.0.1@evil.example\r\n"), {421}),
    row("a port that is none", get(b"/info", host=b"Host: evil.example:127.0.0.1\r\n"), {421}),
    row("two", get(b"/info", host=HOST + b"Host: evil.example\r\n"), NOT_HTTP),
    row("empty", get(b"/info", host=b"Host:\r\n"), {400, 421}),
    row("none", get(b"/info", host=b""), {0, 200, 400, 421}),
    row("of a megabyte", get(b"/info", host=b"Host: " + b"a" * (1 << 20) + b"\r\n"), NOT_HTTP),
    row("an address of the net", get(b"/info", host=b"Host: 203.0.113.1\r\n"), {421}),
    row("an address as one number", get(b"/info", host=b"Host: 2130706434.evil\r\n"), {421}),
]

_EVIL = b"Origin: http://evil.example\r\n"
ORIGINS = [
    row("POST", post(RUN, fields=_EVIL), {403}),
    row("POST from a file", post(RUN, fields=b"Origin: null\r\n"), {403}),
    row(
        "POST from a name that ends like ours",
        post(RUN, fields=b"Origin: http://localhost.evil.example\r\n"),
        {403},
    ),
    row("POST from nonsense", post(RUN, fields=b"Origin: \x01\x02\r\n"), {0, 400, 403}),
    row(
        "POST from an origin of 60,000 bytes",
        post(RUN, fields=b"Origin: http://" + b"a" * 60_000 + b"\r\n"),
        {403},
    ),
    row("DELETE", b"DELETE /threads/x HTTP/1.1\r\n" + HOST + CLOSE + _EVIL + b"\r\n", {403}),
    row(
        "PATCH", b"PATCH /threads/x HTTP/1.1\r\n" + HOST + CLOSE + _EVIL + b"Content-Length: 0\r\n\r\n", {403}
    ),
    row("GET", get(b"/info", _EVIL), PASSED),
    row(
        "preflight",
        b"OPTIONS /runs/stream HTTP/1.1\r\n"
        + HOST
        + CLOSE
        + _EVIL
        + b"Access-Control-Request-Method: POST\r\n\r\n",
        {200, 400, 403},
    ),
]

NONSENSE = [
    row("nothing that is HTTP", b"\x00\x01\x02\x03\r\n\r\n", NOT_HTTP),
    row("a TLS hello", bytes.fromhex("16030100c8010000c40303") + b"\xaa" * 195, NOT_HTTP),
    row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_HTTP),
    row("HTTP/9.9", b"GET /info HTTP/9.9\r\n" + HOST + CLOSE + b"\r\n", {0, 200, 400, 505}),
    row("no version", b"GET /info\r\n\r\n", NOT_HTTP | PASSED),
    row(
        "a method of 10,000 bytes",
        b"A" * 10_000 + b" /info HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n",
        NOT_HTTP | PASSED | MISSED,
    ),
    row("a method with a space", b"GE T /info HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", NOT_HTTP),
    row("100 requests at once", get(b"/info").replace(CLOSE, b"") * 99 + get(b"/info"), PASSED),
    row("a request and nonsense", get(b"/info").replace(CLOSE, b"") + b"\x00\x01\r\n\r\n", PASSED | NOT_HTTP),
    row("100,000 empty lines", b"\r\n" * 100_000 + get(b"/info"), NOT_HTTP | PASSED),
    row(
        "waits for leave that it does not use",
        framed(b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"{}"),
        PASSED | {100},
        REFUSED | {100},
    ),
    row(
        "expects what nobody knows",
        framed(b"Expect: the moon\r\nContent-Length: 2\r\n", b"{}"),
        PASSED | {417},
        REFUSED | {417},
    ),
]

GROUPS = {
    "malformed JSON": JSON,
    "conflicting lengths": LENGTHS,
    "header values": HEADERS,
    "path tricks": PATHS,
    "wrong Host": HOSTS,
    "foreign Origin": ORIGINS,
    "no HTTP": NONSENSE,
}
