"""Named values in response bodies, compressed or not."""

from __future__ import annotations

import gzip
import json

import pytest

from graphtape.cassettes.redaction import responses
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.protocol.headers import Headers

VALUE = "plainSECRETvalue77"
REDACTOR = Redactor(values=[("V", VALUE)])
STREAM: Headers = ((b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip"))
JSON: Headers = ((b"content-type", b"application/json"), (b"content-encoding", b"gzip"))


def passed(headers: Headers, body: bytes, size: int = 7) -> tuple[bytes, tuple[str, ...]]:
    """(what the file has in the end, what was masked)."""
    masker = REDACTOR.response(headers)
    assert masker is not None
    kept = bytearray(b"".join(masker.feed(body[at : at + size]) for at in range(0, len(body), size)))
    for start, stop in masker.finish():
        kept[start:stop] = b"*" * (stop - start)
    return bytes(kept), masker.redacted


def test_not_compressed() -> None:
    """Wherever reads cut it."""
    body = json.dumps({"a": VALUE}).encode()
    for size in range(1, len(body)):
        assert passed(JSON[:1], body, size) == (body.replace(VALUE.encode(), b"*" * 18), ("value V",))


def test_compressed_with_a_value() -> None:
    """The length cannot stay if only the value is masked: all of it is withheld."""
    body = gzip.compress(json.dumps({"a": VALUE}).encode())
    assert passed(JSON, body) == (b"*" * len(body), ("value V",))


def test_compressed_stream_with_a_value_in_tokens() -> None:
    """Also where no event holds it."""
    events = [json.dumps([{"content": letter, "id": "m"}, {}]) for letter in VALUE]
    body = gzip.compress("".join(f"event: messages\r\ndata: {event}\r\n\r\n" for event in events).encode())
    assert passed(STREAM, body) == (b"*" * len(body), ("value V",))


def test_compressed_without_a_value() -> None:
    """It stays as it came."""
    body = gzip.compress(b'{"a": "nothing"}')
    assert passed(JSON, body) == (body, ())


@pytest.mark.parametrize("coding", [b"gzip", b"nobody-knows", b"gzip, nobody-knows"])
def test_what_cannot_be_searched(coding: bytes) -> None:
    """Nobody can tell what is in it: it is withheld."""
    body = b"no " + VALUE.encode()[:-1] + b" at all"
    headers = (JSON[0], (b"content-encoding", coding))
    assert passed(headers, body) == (b"*" * len(body), ("body content-encoding",))


def test_a_compression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is searched to a limit only."""
    monkeypatch.setattr(responses, "MOST_DECODED_BYTES", 1 << 20)
    body = gzip.compress(b"0" * (2 << 20))
    assert passed(JSON, body) == (b"*" * len(body), ("body content-encoding",))
