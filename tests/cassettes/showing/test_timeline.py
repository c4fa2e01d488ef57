"""Tests of `cassettes/showing/timeline.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.errors import NoSuchExchange
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.timeline import Timeline, choose, timeline, timeline_json
from graphtape.cassettes.writer import CassetteWriter

MS = 1_000_000


def shown(tape: Path, number: int = 1) -> Timeline:
    with Cassette.open(tape) as cassette:
        return timeline(cassette, number, path="a.tape")


def document(tape: Path, number: int = 1) -> dict[str, Any]:
    found = orjson.loads(b"".join(timeline_json(shown(tape, number))))
    assert isinstance(found, dict)
    return found


def plain(writer: CassetteWriter, body: bytes, *headers: tuple[bytes, bytes]) -> int:
    number = writer.request(0, "GET", "/x", ((b"x-a", b"\xff"),))
    writer.response(number, MS, 200, "OK", headers)
    if body:
        writer.chunk(number, 2 * MS, body)
    writer.end(number, 3 * MS, Ending.COMPLETE)
    return number


def test_times_count_from_the_request(
    writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]
) -> None:
    """An event has the time of the read that completed it, its gap the time since what came before."""
    record_exchange(writer, b"event: a\ndata: 1\n", b"\n: beat\n\n", b"data: 2\n\n", at_ns=40 * MS)
    writer.close()
    entries = shown(tape).entries
    assert entries is not None
    assert [(e.number, e.at_ns // MS, e.gap_ns // MS, e.size_bytes) for e in entries] == [
        (1, 3, 2, 18),
        (None, 3, 0, 8),
        (2, 4, 1, 9),
    ]


def test_json_keeps_data_digit_by_digit(
    writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]
) -> None:
    """Numbers that no parser holds pass through, and each event is one line."""
    record_exchange(writer, b'event: values|n:1\ndata: {"n":123456789012345678901234567890.10}\nid: 7-0\n\n')
    writer.close()
    text = b"".join(timeline_json(shown(tape)))
    line = text.splitlines()[1]
    assert b'"data":{"n":123456789012345678901234567890.10}' in line
    (event,) = document(tape)["events"]
    assert (event["mode"], event["namespace"], event["id"], event["bytes"]) == (
        "values",
        ["n:1"],
        "7-0",
        [0, 73],
    )


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        (b"plain", "data_text", "plain"),
        (b"\xff\xfe", "data_base64", "//4="),
        (b"[1]", "data", [1]),
        (b"", "data_text", ""),
    ],
)
def test_json_of_any_data(
    *,
    data: bytes,
    key: str,
    value: object,
    writer: CassetteWriter,
    tape: Path,
    record_exchange: Callable[..., int],
) -> None:
    """JSON as JSON, text as text, the rest as base64; none is lost."""
    record_exchange(writer, b"data: " + data + b"\n\n")
    writer.close()
    (event,) = document(tape)["events"]
    assert event[key] == value


def test_json_of_what_is_no_event(
    writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]
) -> None:
    """Comments, blocks without data and a cut-off tail are there, by their kind."""
    record_exchange(writer, b": beat\n\nid: 1\n\nevent: a\ndata: 1")
    writer.close()
    assert [event["kind"] for event in document(tape)["events"]] == ["comment", "block", "unterminated"]


def test_json_of_a_plain_answer(writer: CassetteWriter, tape: Path) -> None:
    """A plain answer has its body, a header of any bytes is text."""
    plain(writer, b'{"a":1}', (b"content-type", b"application/json"))
    writer.close()
    found = document(tape)
    assert found["response"]["body"] == {"a": 1}
    assert found["request"]["headers"] == [["x-a", "\\xff"]]
    assert "events" not in found


def test_body_in_an_unknown_coding(writer: CassetteWriter, tape: Path) -> None:
    """What cannot be decoded is shown as it came, with the reason."""
    plain(writer, b"?", (b"content-type", b"text/event-stream"), (b"content-encoding", b"unheard-of"))
    writer.close()
    found = shown(tape)
    assert (found.entries, found.body) == (None, b"?")
    assert "unheard-of" in found.problem


def test_choice(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """The only exchange, then the only stream, then none is chosen."""
    chosen = []
    for is_stream in (False, False, True, True):
        if is_stream:
            record_exchange(writer, b"")
        else:
            plain(writer, b"")
        writer.flush()
        with Cassette.open(tape) as cassette:
            chosen.append(choose(cassette))
    assert chosen == [1, None, 3, None]


def test_number_that_is_not_there(writer: CassetteWriter, tape: Path) -> None:
    """An exchange that the cassette does not hold is our error."""
    writer.close()
    with pytest.raises(NoSuchExchange):
        shown(tape, 1)
