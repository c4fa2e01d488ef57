"""Tests of `cassettes/showing/timeline_text.py`; whole outputs are in tests/golden_output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.text import Paint, columns
from graphtape.cassettes.showing.timeline import Entry, timeline
from graphtape.cassettes.showing.timeline_text import (
    format_choices,
    format_entry,
    format_request,
    format_timeline,
)
from graphtape.cassettes.writer import CassetteWriter
from graphtape.protocol.sse import Block

MS = 1_000_000


def shown(
    tape: Path, number: int = 1, *, width: int = 100, headers: bool = False, color: bool = False
) -> list[str]:
    with Cassette.open(tape) as cassette:
        found = timeline(cassette, number, path="a.tape")
    return list(format_timeline(found, width=width, headers=headers, paint=Paint(enabled=color)))


def event(name: str, data: str) -> bytes:
    return f"event: {name}\r\ndata: {data}\r\n\r\n".encode()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_fit_the_width(
    width: int, writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]
) -> None:
    """Long names, deep namespaces and wide characters are cut to the line."""
    namespace = "|".join(f"node{n}:aaaaaaaa-1111-7222-8333-bbbbbbbbbbb{n}" for n in range(6))
    record_exchange(writer, event(f"updates|{namespace}", '"' + "漢字" * 200 + '"'), event("a" * 90, "1"))
    writer.close()
    assert max(columns(line) for line in shown(tape, width=width)[1:]) <= width


def test_pauses(writer: CassetteWriter, tape: Path) -> None:
    """A pause of a second or more has a line of its own."""
    number = writer.request(0, "GET", "/x", ())
    writer.response(number, 0, 200, "OK", ((b"content-type", b"text/event-stream"),))
    writer.chunk(number, 999 * MS, event("a", "1"))
    writer.chunk(number, 2500 * MS, event("b", "2"))
    writer.end(number, 2501 * MS, Ending.COMPLETE)
    writer.close()
    assert [line.strip() for line in shown(tape) if "⋮" in line] == ["⋮  1.501 s of silence"]


def test_headers_on_request(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """A stream's headers are shown when asked for."""
    record_exchange(writer, event("a", "1"))
    writer.close()
    assert not any("text/event-stream" in line for line in shown(tape))
    assert any("Content-Type: text/event-stream" in line for line in shown(tape, headers=True))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "(no body)"),
        (b"\xff\xfe", "(2 B that are no text; --raw prints them)"),
        (b"a\tb\x1b\r\nc", "a   b\\x1b"),
        (b'{"a":"\\t"}', '  "a": "\\t"'),
        (b"x\n" * 500, "… 101 more lines (--raw prints the whole body)"),
    ],
)
def test_plain_bodies(body: bytes, expected: str, writer: CassetteWriter, tape: Path) -> None:
    """JSON is indented, text is made safe, bytes are counted, a long body is cut."""
    number = writer.request(0, "GET", "/x", ())
    writer.response(number, 0, 200, "OK", ())
    if body:
        writer.chunk(number, 1, body)
    writer.end(number, 2, Ending.COMPLETE)
    writer.close()
    assert expected in shown(tape)


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_has_words(ending: Ending, writer: CassetteWriter, tape: Path) -> None:
    """The last line says how it ended; the detail follows it."""
    number = writer.request(0, "GET", "/x", ())
    writer.response(number, 0, 502, "", ())
    if ending is not Ending.UNFINISHED:
        writer.end(number, 2, ending, "the detail\x1b")
    writer.flush()
    lines = shown(tape)
    assert any(
        word in "".join(lines[-2:])
        for word in ("complete", "broke", "left", "stopped", "not reached", "unfinished")
    )
    assert ending is Ending.UNFINISHED or lines[-1] == "  the detail\\x1b"


def test_request_cut_off(writer: CassetteWriter, tape: Path) -> None:
    """A request whose body never ended, and that was never answered, is shown as that."""
    writer.request_body(writer.request(0, "POST", "/x", ()), 0, b'{"a":')
    writer.flush()
    text = "\n".join(shown(tape))
    assert "no response" in text
    assert "the request body was cut off" in text


def test_choices(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """Several streams are listed to pick from; without a stream all exchanges are; an empty cassette says so."""
    writer.flush()
    with Cassette.open(tape) as cassette:
        assert list(format_choices(cassette, path="a.tape")) == ["a.tape holds no exchange"]
    for _ in range(2):
        record_exchange(writer, event("a", "1"), target="/runs/stream")
    writer.flush()
    with Cassette.open(tape) as cassette:
        lines = list(format_choices(cassette, path="a.tape"))
    assert lines[0] == "a.tape holds 2 streams; pick one: graphtape show a.tape N"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["1", "POST", "/runs/stream"],
        ["2", "POST", "/runs/stream"],
    ]


def test_event_as_it_arrives(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """A single line and a single request can be shown without a whole time line."""
    block = Block(0, 10, name="error", data=b'{"error":"E","message":"m"}')
    line = format_entry(Entry(1_500 * MS, 250 * MS, block, 3), event_width=10)
    assert line.split() == ["1.500", "+0.250", "3", "error", "10", "B", "E:", "m"]
    record_exchange(writer, b"", target="/runs/stream")
    writer.close()
    with Cassette.open(tape) as cassette:
        assert list(format_request(cassette.exchange(1))) == ["POST /runs/stream"]


def test_colours(writer: CassetteWriter, tape: Path, record_exchange: Callable[..., int]) -> None:
    """Colours change no character of what is said."""
    record_exchange(writer, event("values|n:1", "1"), b": beat\r\n\r\n", event("error", "{}"))
    writer.close()
    painted = "\n".join(shown(tape, color=True))
    assert "\x1b[36mvalues\x1b[0m" in painted
    for code in ("0", "1", "2", "31", "32", "33", "35", "36"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted.split("\n") == shown(tape)
