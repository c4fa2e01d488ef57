"""Tests of `graphtape.cassettes.redaction.cleaning`: copies without credentials."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes import Cassette, CassetteExists, CassetteWriter, Ending
from graphtape.cassettes.records import Record, Unknown
from graphtape.cassettes.redaction.cleaning import clean, cleaning_json, format_cleaning
from graphtape.cassettes.redaction.secrets import find_secrets

ROOT = Path(__file__).parents[3]
SECRET = "Zunter2-swordfish"
SSE = ((b"content-type", b"text/event-stream"),)
SHAPED = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2


def event(text: str) -> bytes:
    return b"event: messages\ndata: " + json.dumps([{"content": text, "id": "m"}, {}]).encode() + b"\n\n"


def pieces(text: str) -> list[bytes]:
    return [event(text[at : at + 3]) for at in range(0, len(text), 3)]


def exchange(
    writer: CassetteWriter, *chunks: bytes, headers: Any = SSE, body: bytes = b"{}", **head: Any
) -> int:
    number = writer.request(0, "POST", head.get("target", "/t"), head.get("sent", ()))
    for at in range(0, len(body), 5):
        writer.request_body(number, 1, body[at : at + 5])
    writer.request_end(number, 2)
    writer.response(number, 3, 200, "OK", headers)
    for at, data in enumerate(chunks):
        writer.chunk(number, 4 + at, data, delayed=at == 1)
    writer.end(number, 100, Ending.COMPLETE)
    return number


def raw_of(path: Path) -> bytes:
    """Every byte that a copy holds, decompressed."""
    with Cassette.open(path) as cassette:
        return b"".join(repr(item).encode() for item in cassette.iter_contents())


@pytest.mark.parametrize("name", ["minimal", "full", "torn"])
def test_nothing_to_mask(name: str, tape: Path) -> None:
    """Without a credential the copy says all that the original says, unknown records and frames included."""
    golden = ROOT / f"tests/golden/{name}.tape"
    clean(golden, tape)
    with Cassette.open(golden) as source, Cassette.open(tape) as copy:
        unlike = [
            (before, after)
            for before, after in zip(source.iter_contents(), copy.iter_contents(), strict=True)
            if before != after
        ]
        assert all(b"api_key" in repr(before).encode() for before, _ in unlike)
        assert len(unlike) <= 1
        assert copy.check().unfinished == source.check().unfinished
        assert copy.check().unknown_frames == source.check().unknown_frames


def test_everything_that_is_named(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """Heads, targets, bodies, paths, streams in tokens: all that the recorder masks is masked after the fact."""
    body = json.dumps({"input": {"ssn": "123-45"}, "password": "p" * 9, "note": f"x{SECRET}y"}).encode()
    sent = ((b"Authorization", b"Bearer abcdefgh12345"), (b"x-tenant", b"t"))
    stream = pieces(f"The code is {SECRET}!")
    number = exchange(
        writer, *stream, event("echo abcdefgh12345"), body=body, sent=sent, target="/t?api_key=1&a=2"
    )
    writer.add(Record(number, 100, Unknown(100, 77, ({"k": SECRET},))))
    writer.close()
    copy = tmp_path / "b.tape"
    report = clean(tape, copy, names=["x-tenant"], values=[("PIN", SECRET)], paths=["input.ssn"], echo=True)
    raw = raw_of(copy)
    for secret in (SECRET, "abcdefgh12345", "123-45", "ppppp", "api_key=1", "Zun", "dfi"):
        assert secret.encode() not in raw, secret
    with Cassette.open(tape) as source, Cassette.open(copy) as cleaned:
        before, after = source.exchange(number), cleaned.exchange(number)
        assert [(chunk.at_ns, len(chunk.data), chunk.delayed) for chunk in after.chunks] == [
            (chunk.at_ns, len(chunk.data), chunk.delayed) for chunk in before.chunks
        ]
        assert after.request.target == "/t?api_key=[redacted]&a=2"
        assert json.loads(after.request_body) == {
            "input": {"ssn": "[redacted]"}, "password": "[redacted]", "note": f"x{'*' * len(SECRET)}y",
        }  # fmt: skip
        assert set(after.request.redacted) == {
            "header authorization", "header x-tenant", "query api_key", "body input.ssn", "body password",
            "value PIN", "echo",
        }  # fmt: skip
        assert cleaned.exchanges[0].redacted
        assert cleaned.check().finished
        assert find_secrets(cleaned).passed
    assert report.masked["value PIN"] == 1
    assert "  value PIN: 1 exchange" in list(format_cleaning(report, "a", "b"))
    assert cleaning_json(report, "a", "b")["masked"]["query api_key"] == 1
    assert SECRET not in repr(report)


def test_what_the_scan_finds(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """`found`: whatever the scan finds is masked, whole or in tokens, without being named."""
    exchange(writer, *pieces(f"use {SHAPED} now"), event(f"or {SHAPED}"), body=f'{{"a":"{SHAPED}"}}'.encode())
    writer.close()
    with Cassette.open(tape) as source:
        assert not find_secrets(source).passed
    clean(tape, tmp_path / "b.tape", found=True)
    assert b"a1B" not in raw_of(tmp_path / "b.tape")
    with Cassette.open(tmp_path / "b.tape") as cleaned:
        assert find_secrets(cleaned).passed


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_compressed_responses(tape: Path, tmp_path: Path, writer: CassetteWriter, size: int) -> None:
    """A compressed response with a named value is stored decoded and masked; others stay as they came."""
    coded = (*SSE, (b"Content-Encoding", b"gzip"), (b"Content-Length", b"1"))
    stream = b"".join(pieces(f"The code is {SECRET}!"))
    data = gzip.compress(stream, mtime=0)
    reads = [data[at : at + size] for at in range(0, len(data), size)]
    number = exchange(writer, *reads, headers=coded)
    other = exchange(writer, gzip.compress(b"nothing", mtime=0), headers=coded)
    broken = exchange(writer, b"not gzip", headers=coded)
    writer.close()
    report = clean(tape, tmp_path / "b.tape", values=[("PIN", SECRET)])
    with Cassette.open(tmp_path / "b.tape") as cleaned:
        after = cleaned.exchange(number)
        assert after.body == b"".join(pieces(f"The code is {'*' * len(SECRET)}!"))
        assert len(after.chunks) == len(reads)
        assert after.response is not None
        assert after.response.headers == SSE
        assert cleaned.exchange(other).body == gzip.compress(b"nothing", mtime=0)
        assert cleaned.exchange(broken).body == b"not gzip"
    assert [exchange for exchange, _ in report.unread] == [broken]


def test_unfinished(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """After a crash: the copy of what is there, open exchanges open, no part of the value left, no byte lost."""
    number = writer.request(0, "POST", "/", ())
    writer.request_body(number, 1, b'{"a":"some text"')
    streamed = exchange(writer, *pieces(SECRET))
    open_one = writer.request(0, "POST", "/", ())
    writer.request_end(open_one, 0)
    writer.response(open_one, 0, 200, "OK", SSE)
    for data in pieces(SECRET):
        writer.chunk(open_one, 1, data)
    named = writer.request(0, "POST", "/", ((b"x-api-key", b"k"),))
    writer.request_body(named, 1, b'{"password":"p"}')
    writer.flush()
    report = clean(tape, tmp_path / "b.tape", values=[("PIN", SECRET)])
    # What has no end is counted too.
    assert report.masked == {"value PIN": 2, "header x-api-key": 1, "body password": 1}
    with Cassette.open(tmp_path / "b.tape") as cleaned:
        assert cleaned.check().unfinished == (number, open_one, named)
        assert cleaned.exchange(number).request_body == b'{"a":"some text"'
        stars = b"".join(pieces("*" * len(SECRET)))
        assert cleaned.exchange(streamed).body == cleaned.exchange(open_one).body == stars


def test_json_that_came_as_a_form(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """As `curl -d` sends it: masked by name, by the user's name and by path."""
    form = ((b"content-type", b"application/x-www-form-urlencoded"),)
    number = exchange(writer, sent=form, body=b' {"api_key":"z&z","customer":"c=c","input":{"ssn":"1"}}')
    writer.close()
    report = clean(tape, tmp_path / "b.tape", names=["customer"], paths=["input.ssn"])
    assert report.masked == {"body api_key": 1, "body customer": 1, "body input.ssn": 1}
    with Cassette.open(tmp_path / "b.tape") as cleaned:
        assert cleaned.exchange(number).request_body == (
            b' {"api_key":"[redacted]","customer":"[redacted]","input":{"ssn":"[redacted]"}}'
        )


def test_targets(tape: Path, tmp_path: Path, writer: CassetteWriter) -> None:
    """An existing file is not overwritten unless told."""
    writer.close()
    (tmp_path / "b.tape").write_bytes(b"x")
    with pytest.raises(CassetteExists):
        clean(tape, tmp_path / "b.tape")
    clean(tape, tmp_path / "b.tape", overwrite=True)
    assert (tmp_path / "b.tape").stat().st_mode & 0o777 == 0o600
