"""Tests of `graphtape.cassettes.redaction.secrets`: finding credentials in a cassette."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes import Cassette, CassetteWriter, Ending
from graphtape.cassettes.model import Asked
from graphtape.cassettes.records import End, Record, Unknown
from graphtape.cassettes.redaction.redactor import Redactor
from graphtape.cassettes.redaction.secrets import SecretReport, find_secrets
from graphtape.cassettes.redaction.secrets_text import format_secrets, secrets_json, where

ROOT = Path(__file__).parents[3]
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
SSE = ((b"Content-Type", b"text/event-stream; charset=utf-8"),)
JSON = ((b"content-type", b"application/json"),)


def event(data: Any) -> bytes:
    return b"event: messages\r\ndata: " + json.dumps(data).encode() + b"\r\n\r\n"


def token(text: str, message: str = "m") -> bytes:
    return event([{"content": text, "id": message}, {"langgraph_node": "agent", "run_id": "r" * 20}])


def exchange(
    writer: CassetteWriter,
    *chunks: bytes,
    headers: Any = JSON,
    target: str = "/",
    sent: Any = (),
    body: bytes = b"",
) -> int:
    number = writer.request(0, "POST", target, sent)
    writer.request_body(number, 0, body)
    writer.request_end(number, 0)
    writer.response(number, 1, 200, "OK", headers)
    for data in chunks:
        writer.chunk(number, 2, data)
    writer.end(number, 3, Ending.COMPLETE)
    return number


def scan(writer: CassetteWriter, redactor: Redactor | None = None) -> SecretReport:
    writer.flush()
    with Cassette.open(writer.path) as cassette:
        report = find_secrets(cassette, redactor)
    text = (
        "\n".join(format_secrets("x.tape", report))
        + json.dumps(secrets_json("x.tape", report))
        + repr(report)
    )
    assert TOKEN not in text
    return report


def places(report: SecretReport) -> list[str]:
    return [f"{where(finding)}: {finding.kind}" for finding in report.findings]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cassettes/samples/agent", "cassettes/samples/graphs", "tests/golden/full"])
def test_no_false_alarm(name: str) -> None:
    """What a real server sends, and what is masked, is no secret."""
    with Cassette.open(ROOT / f"{name}.tape") as cassette:
        report = find_secrets(cassette)
    assert report.findings == ()
    assert report.passed
    assert "no credentials found" in list(format_secrets("x", report))[-1]


def test_heads_and_targets(writer: CassetteWriter) -> None:
    """Headers and parameters that a recorder would have masked, and tokens anywhere in them."""
    sent = ((b"X-Api-Key", b"abc"), (b"x-note", TOKEN.encode()), (b"Authorization", b"[redacted]"))
    exchange(writer, sent=sent, target=f"/x?api_key=k&q={TOKEN}&a=1", headers=((b"Set-Cookie", b"sid=1"),))
    assert places(scan(writer)) == [
        "exchange 1, request target, byte 15: GitHub token",
        "exchange 1, request target, api_key: credential by its name",
        "exchange 1, request header x-api-key: credential by its name",
        "exchange 1, request header x-note, byte 0: GitHub token",
        "exchange 1, response header set-cookie: credential by its name",
    ]


def test_bodies(writer: CassetteWriter) -> None:
    """Request and response, by shape, by name and by randomness, with byte offset and path."""
    body = json.dumps({"a": [{"password": "x"}], "sessionToken": "[redacted]"}).encode()
    answer = {
        "auth": {"state": "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg9Q"},
        "auth_state": "Zm9vYmFyMTIzNDU2Nzg5MGFiYwQ9",
    }
    exchange(writer, json.dumps(answer).encode(), body=body)
    exchange(writer, body=b"grant=1&client_secret=s3cret")
    assert places(scan(writer)) == [
        "exchange 1, request body, byte 21, a[0].password: credential by its name",
        "exchange 1, response body, byte 71, auth_state: random value",
        "exchange 2, request body, client_secret: credential by its name",
    ]


@pytest.mark.parametrize("cut", [1, 5, 20, 43])
def test_cut_by_reads(writer: CassetteWriter, cut: int) -> None:
    """A token is found once, wherever reads cut it."""
    data = b'{"a":"' + TOKEN.encode() + b'"}'
    exchange(writer, data[: 6 + cut], data[6 + cut :])
    assert places(scan(writer)) == ["exchange 1, response body, byte 6: GitHub token"]


def test_long_bodies(writer: CassetteWriter) -> None:
    """A long body is looked at piece by piece, with nothing lost or said twice at the seams."""
    body = (b"x" * 999 + b" " + TOKEN.encode() + b" ") * 700
    exchange(writer, *(body[at : at + 100_003] for at in range(0, len(body), 100_003)))
    report = scan(writer)
    assert [finding.offset for finding in report.findings] == [1000 + at * 1045 for at in range(700)]


def test_compressed(writer: CassetteWriter) -> None:
    """Compression is undone; what cannot be is scanned as it is, and said."""
    coded = (*SSE, (b"content-encoding", b"gzip"))
    exchange(writer, gzip.compress(token(TOKEN)), headers=coded)
    exchange(writer, b"broken " + TOKEN.encode(), headers=coded)
    report = scan(writer)
    assert places(report) == [
        "exchange 1, event 1, [0].content: GitHub token",
        "exchange 2, response body, byte 7: GitHub token",
    ]
    assert [number for number, _ in report.unread] == [2]
    assert any("scanned as it came" in line for line in format_secrets("x", report))


@pytest.mark.parametrize("size", [1, 3, 10, 43])
def test_token_by_token(writer: CassetteWriter, size: int) -> None:
    """A token that comes in pieces is found by joining the text of its message, between other messages."""
    text = f"Use {TOKEN}, please."
    stream = []
    for at in range(0, len(text), size):
        stream += [token(text[at : at + size]), token("other ", "n"), b": heartbeat\r\n\r\n"]
    exchange(writer, *stream, headers=SSE)
    (finding,) = scan(writer).findings
    assert (finding.kind, finding.path, finding.length) == ("GitHub token", "[0].content", 44)
    assert finding.event == 1 + 2 * (4 // size)
    assert finding.events > 1
    assert "or later" in where(finding)


def test_whole_in_an_event(writer: CassetteWriter) -> None:
    """Said once per event and path, not again for the joined text."""
    exchange(writer, token("a"), token(f"b {TOKEN} c"), token("d"), headers=SSE)
    assert places(scan(writer)) == ["exchange 1, event 2, [0].content: GitHub token"]


def test_named_values(writer: CassetteWriter) -> None:
    """What the user names is found whole and in pieces; names that the user adds count."""
    redactor = Redactor(["tenant"], [("PIN", "hunter2-xyz")])
    exchange(writer, token("hunter2"), token("-xyz"), headers=SSE, body=b'{"a":"hunter2-xyz","tenant":"t"}')
    assert sorted({finding.kind for finding in scan(writer, redactor).findings}) == [
        "credential by its name",
        "value PIN",
    ]
    assert {finding.part for finding in scan(writer, redactor).findings} == {
        "request body",
        "response body, in pieces",
    }


def test_everything_else_of_the_file(writer: CassetteWriter) -> None:
    """Unknown records and frames, details of endings, widened requests: nothing is left out."""
    number = writer.request(0, "GET", "/", ())
    writer.add(
        Record(number, 0, Asked(0, {"config": f'{{"password":"x","k":"{TOKEN}"}}'.encode()}, (), "/?token=a"))
    )
    writer.add(Record(number, 1, Unknown(1, 99, ({"a": [TOKEN.encode()]},))))
    writer.add(Record(number, 2, End(2, Ending.UPSTREAM_BROKE, f"said {TOKEN}")))
    writer.add_frame(200, TOKEN.encode())
    assert {finding.part for finding in scan(writer).findings} == {
        "asked config",
        "asked target",
        "record of type 99",
        "end",
        "frame of type 200",
    }


def test_a_credential_as_a_name(writer: CassetteWriter) -> None:
    """The path to what else is found does not show it: `scan` looks."""
    exchange(writer, json.dumps({TOKEN: {"password": "hunter2-xyz"}}).encode())
    found = scan(writer).findings
    assert "*" * len(TOKEN) + ".password" in {finding.path for finding in found}


@pytest.mark.parametrize("blank", [b"", b" \n", b"\xef\xbb\xbf"])
def test_json_behind_blanks(writer: CassetteWriter, blank: bytes) -> None:
    """JSON is read as such, also when it came as a form, and behind a byte order mark."""
    form = ((b"content-type", b"application/x-www-form-urlencoded"),)
    exchange(writer, sent=form, body=blank + b'{"password":"x"}')
    assert [finding.path for finding in scan(writer).findings] == ["password"]
