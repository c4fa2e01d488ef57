"""Tests of `graphtape.cassettes.redaction.splits`: named values that no single read holds."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.cassettes.redaction.splits import SplitFinder, merged
from graphtape.cassettes.redaction.values import ValueMasker
from graphtape.cassettes.remask import starred

SECRET = "hunter2-Käse/42"
FORMS = {SECRET.encode(): "value PIN", json.dumps(SECRET)[1:-1].encode(): "value PIN"}


def masked(reads: list[bytes], *, is_stream: bool = True, forms: dict[bytes, str] | None = None) -> bytes:
    """The whole body with what was found masked; each read's own whole values are not looked at."""
    finder = SplitFinder(ValueMasker().with_forms(forms or FORMS), is_stream=is_stream)
    for read in reads:
        finder.feed(read)
    ranges = finder.finish()
    assert bool(ranges) == bool(finder.found)
    out, at = [], 0
    for read in reads:
        out.append(starred(read, at, ranges))
        at += len(read)
    return b"".join(out)


def event(name: str, data: Any, *, ascii_only: bool = False) -> bytes:
    text = json.dumps(data, ensure_ascii=ascii_only, separators=(",", ":"))
    return f"event: {name}\r\ndata: {text}\r\n\r\n".encode()


def token(content: Any, *, id: str | None = "run--1", **more: Any) -> list[Any]:  # noqa: A002
    return [{"content": content, "type": "AIMessageChunk", "id": id, **more}, {"langgraph_node": "agent"}]


def contents(body: bytes) -> list[Any]:
    lines = [line for line in body.split(b"\r\n") if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("is_stream", [False, True])
def test_cut_by_reads(is_stream: bool) -> None:
    """A value is found wherever reads cut it, however small they are."""
    body = b'{"a":"x ' + SECRET.encode() + b' y"}'
    for cut in range(1, len(body)):
        inside = 8 < cut < len(body) - 4
        found = masked([body[:cut], body[cut:]], is_stream=is_stream)
        assert found == (body.replace(SECRET.encode(), b"*" * 16) if inside else body)
    assert masked([bytes([byte]) for byte in body], is_stream=is_stream) == body.replace(
        SECRET.encode(), b"*" * 16
    )


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 14])
def test_token_by_token(size: int, ascii_only: bool) -> None:
    """A value that comes as tokens is masked in every event that has a part of it; nothing else changes."""
    text = f"The code is {SECRET}, keep it."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    reads = [event("messages|agent:1", token(piece), ascii_only=ascii_only) for piece in pieces]
    out = masked(reads)
    assert len(out) == len(b"".join(reads))
    got = contents(out)
    if not ascii_only:
        assert "".join(piece[0]["content"] for piece in got) == text.replace("ä", "**").replace(
            SECRET.replace("ä", "**"), "*" * 16
        )
    joined = "".join(piece[0]["content"] for piece in got)
    assert not any(part in joined for part in ("hun", "ter", "2-K", "se/", "42"))
    assert [piece[1] for piece in got] == [{"langgraph_node": "agent"}] * len(pieces)


def test_messages_that_interleave() -> None:
    """Pieces belong to the message that they name, whatever comes between."""
    reads = []
    for at in range(0, len(SECRET), 3):
        reads.append(event("messages", token(SECRET[at : at + 3])))
        reads.append(event("messages", token("something", id="run--2")))
        reads.append(b": heartbeat\r\n\r\n")
    got = contents(masked(reads))
    assert "".join(data[0]["content"] for data in got if data[0]["id"] == "run--1") == "*" * 16
    assert {data[0]["content"] for data in got if data[0]["id"] == "run--2"} == {"something"}


def test_whole_text_repeated() -> None:
    """A mode that repeats all of the text so far shows no beginning of the value either."""
    text = f"It is {SECRET}."
    reads = [
        event("messages/partial", [{"content": text[:end], "id": "m"}]) for end in range(1, len(text) + 1)
    ]
    out = masked(reads)
    whole = SECRET.encode()
    got = [data[0]["content"] for data in contents(out.replace(whole, b"*" * len(whole)))]
    assert all(set(text[6:]) <= {"*", "."} for text in got)
    assert [len(text.encode()) for text in got] == [
        len(text[:end].encode()) for end in range(1, len(text) + 1)
    ]


@pytest.mark.parametrize("first", ["s", "ss", "ss-"])
def test_piece_that_begins_as_the_text(first: str) -> None:
    """A piece that begins like the text before it is tried as a piece and as the whole text."""
    forms = {b"ss-key": "value K"}
    reads = [event("messages", token(first)), event("messages", token("ss-key"[len(first) :]))]
    got = "".join(data[0]["content"] for data in contents(masked(reads, forms=forms)))
    assert got == "******"


def test_parts_of_a_tool_call_and_of_contents() -> None:
    """Arguments of tool calls and parts of a content are joined by their index; ids may be missing."""
    reads = []
    for at in range(0, len(SECRET), 4):
        piece = SECRET[at : at + 4]
        call = {"index": 1, "args": piece, "id": "call" if at == 0 else None}
        reads.append(event("messages", token("", tool_call_chunks=[{"index": 0, "args": "zz"}, call])))
        reads.append(event("messages", token([{"type": "text", "index": 2, "text": piece}])))
        reads.append(event("custom", {"delta": piece}))
    got = contents(masked(reads))
    assert {part for data in got[::3] for part in data[0]["tool_call_chunks"][1]["args"]} == {"*"}
    assert {part for data in got[1::3] for part in data[0]["content"][0]["text"]} == {"*"}
    assert {part for data in got[2::3] for part in data["delta"]} == {"*"}


def test_inside_json_inside_a_string() -> None:
    """A value that is escaped once more, as in the arguments of a tool call, is found as it is escaped."""
    forms = {b'a"b/cd': "value V", b'a\\"b/cd': "value V"}
    text = json.dumps({"pin": 'a"b/cd'})
    reads = [event("messages", token(piece)) for piece in text]
    got = "".join(data[0]["content"] for data in contents(masked(reads, forms=forms)))
    assert got == '{"pin": "*********"}'  # an escape is two characters, and two bytes each


def test_unlike_texts_stay() -> None:
    """Nothing is masked where no value is; a beginning that goes on otherwise is no value."""
    reads = [event("messages", token(piece)) for piece in ("hun", "ter", "2-K", "not", "hunter2-Käse/4", "3")]
    assert masked(reads) == b"".join(reads)


def test_data_lines_and_broken_ends() -> None:
    """Data in several lines, an event without its blank line, and an event that is too large are no obstacle."""
    reads = [
        b'data: {"content":\ndata:  "hunter2-",\ndata: "id":"m"}\n\n',
        b'data: {"content": "K\xc3\xa4se/42", "id":"m"}',
    ]
    assert masked(reads).count(b"*") == 16
    large = b'data: "' + b"x" * (1 << 20) + b'"\n\n'
    assert masked([large, *reads]).count(b"*") == 16


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.integers(1, 400), max_size=20))
def test_reads_do_not_matter(cuts: list[int]) -> None:
    """Where the reads were cut decides nothing: what any cut shows is masked, and only that."""
    text = f"The code is {SECRET}."
    body = b"".join(event("messages", token(text[at : at + 4])) for at in range(0, len(text), 4))
    edges = sorted({0, len(body), *(min(cut * 5, len(body)) for cut in cuts)})
    assert masked([body[a:b] for a, b in pairwise(edges)]) == masked([body])


@pytest.mark.slow
def test_memory_is_bounded_by_open_values() -> None:
    """A long stream full of beginnings leaves nothing behind."""
    finder = SplitFinder(ValueMasker().with_forms(FORMS), is_stream=True)
    tracemalloc.start()
    for at in range(250):
        finder.feed(event("messages", token("hun" if at % 2 else "xyz" * 100, id=f"run--{at}")))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert finder.finish() == ()
    assert used < 300_000


def test_ranges() -> None:
    """Ranges are put in order and joined; each read takes its part of them."""
    assert merged([(5, 7), (0, 2), (2, 3), (6, 9)]) == ((0, 3), (5, 9))
    ranges = ((0, 3), (5, 9), (20, 21))
    body = bytes(range(65, 90))
    for cut in range(len(body)):
        whole = starred(body[:cut], 0, ranges) + starred(body[cut:], cut, ranges)
        assert whole == b"***DE****JKLMNOPQRST*VWXY"
    assert starred(body, 100, ranges) is body
