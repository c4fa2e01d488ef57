"""The decoder and the encoder of event streams."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.protocol.errors import EventTooLarge
from graphtape.protocol.sse import Block, Decoder, encode, encode_comment


def decode(pieces: Iterable[bytes]) -> list[Block]:
    """All blocks of a stream fed in these pieces, the tail included."""
    decoder = Decoder()
    blocks = [block for piece in pieces for block in decoder.feed(piece)]
    tail = decoder.finish()
    return blocks if tail is None else [*blocks, tail]


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in twos, and cut at every point."""
    yield [stream]
    for size in (1, 2, 3):
        yield [stream[i : i + size] for i in range(0, len(stream), size)]
    for cut in range(len(stream) + 1):
        yield [stream[:cut], stream[cut:]]


def slow_decode(stream: bytes) -> list[Block]:
    """The rules of the module's docstring, byte by byte and without any cleverness: the oracle."""
    blocks: list[Block] = []
    start = position = 0
    if stream.startswith(b"\xef\xbb\xbf"):
        position = 3
    lines: list[bytes] = []
    line_start = position
    previous_end = b""
    while position < len(stream):
        byte = stream[position : position + 1]
        if byte not in (b"\r", b"\n"):
            position += 1
            continue
        line = stream[line_start:position]
        pair = stream[position : position + 2] == b"\r\n"
        if not line and byte == b"\r" and previous_end == b"\r" and pair:
            # A stream of lone CRs: the LF behind it is the next block's.
            blocks.append(slow_block(lines, start, position + 1, terminated=True))
            lines, start, position = [], position + 1, position + 2
            line_start, previous_end = position, b"\r"
            continue
        line_end = b"\r\n" if pair else byte
        position += len(line_end)
        if line:
            lines.append(line)
        else:
            blocks.append(slow_block(lines, start, position, terminated=True))
            lines, start = [], position
        line_start, previous_end = position, line_end
    if start < len(stream):
        lines.append(stream[line_start:])
        blocks.append(slow_block([line for line in lines if line], start, len(stream), terminated=False))
    return blocks


def slow_block(lines: list[bytes], start: int, end: int, *, terminated: bool) -> Block:
    """WHATWG 9.2.6, word for word."""
    name = event_id = retry = None
    data: list[bytes] = []
    comments = []
    for line in lines:
        if line.startswith(b":"):
            comments.append(re.sub(rb"^ ", b"", line[1:]))
            continue
        field, value = line.split(b":", 1) if b":" in line else (line, b"")
        value = re.sub(rb"^ ", b"", value)
        if field == b"event":
            name = value.decode(errors="replace")
        elif field == b"data":
            data.append(value)
        elif field == b"id" and b"\0" not in value:
            event_id = value.decode(errors="replace")
        elif field == b"retry" and re.fullmatch(rb"[0-9]+", value):
            retry = int(value)
    joined = b"\n".join(data) if data else None
    return Block(start, end, name, joined, event_id, retry, tuple(comments), terminated)


# name -> (stream, what each block holds: name, data, id, retry, comments); the last may be unterminated.
Expected = tuple[str | None, bytes | None, str | None, int | None, tuple[bytes, ...]]
NOTHING: Expected = (None, None, None, None, ())


def holds(
    name: str | None = None,
    data: bytes | None = None,
    id: str | None = None,  # noqa: A002
    retry: int | None = None,
    comments: tuple[bytes, ...] = (),
) -> Expected:
    return (name, data, id, retry, comments)


CASES: dict[str, tuple[bytes, list[Expected]]] = {
    "the server's event": (
        b'event: metadata\r\ndata: {"run_id":"1","attempt":1}\r\nid: 17-0\r\n\r\n',
        [holds("metadata", b'{"run_id":"1","attempt":1}', "17-0")],
    ),
    "the server's heartbeat between events": (
        b"event: a\r\ndata: 1\r\n\r\n: heartbeat\r\n\r\nevent: b\r\ndata: 2\r\n\r\n",
        [holds("a", b"1"), holds(comments=(b"heartbeat",)), holds("b", b"2")],
    ),
    "LF": (b"event: a\ndata: 1\n\ndata: 2\n\n", [holds("a", b"1"), holds(data=b"2")]),
    "lone CR": (b"event: a\rdata: 1\r\rdata: 2\r\r", [holds("a", b"1"), holds(data=b"2")]),
    "LF then CRLF": (
        b"data: 1\n\r\ndata: 2\r\n\ndata: 3\n\n",
        [holds(data=b"1"), holds(data=b"2"), holds(data=b"3")],
    ),
    "LF then lone CR": (
        b"data: 1\n\rdata: 2\r\n\rdata: 3\n\r",
        [holds(data=b"1"), holds(data=b"2"), holds(data=b"3")],
    ),
    "CR then CRLF": (b"data: 1\r\r\ndata: 2\r\r\n", [holds(data=b"1"), holds(data=b"2"), NOTHING]),
    "one event of each line end": (
        b"data: 1\r\n\r\ndata: 2\n\ndata: 3\r\rdata: 4\r\n\r\n",
        [holds(data=b"1"), holds(data=b"2"), holds(data=b"3"), holds(data=b"4")],
    ),
    "further blank lines": (
        b"data: 1\r\n\r\n\r\n\r\nid: 2\n\n\n",
        [holds(data=b"1"), NOTHING, NOTHING, holds(id="2"), NOTHING],
    ),
    "blank lines first": (b"\n\r\n\rdata: 1\n\n", [NOTHING, NOTHING, NOTHING, holds(data=b"1")]),
    "blank CRs": (b"\r\r\r\n\n\r", [NOTHING, NOTHING, NOTHING, NOTHING, NOTHING]),
    "BOM at the start": (b"\xef\xbb\xbfdata: 1\r\n\r\n", [holds(data=b"1")]),
    "BOM and a blank line": (
        b"\xef\xbb\xbf\r\n\xef\xbb\xbfid: 1\n\nid: 2\n\n",
        [NOTHING, NOTHING, holds(id="2")],
    ),
    "BOM later makes another field": (
        b"data: 1\n\n\xef\xbb\xbfevent: a\ndata: \xef\xbb\xbf2\n\n",
        [holds(data=b"1"), holds(data=b"\xef\xbb\xbf2")],
    ),
    "two BOMs": (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", [NOTHING]),
    "a BOM alone": (b"\xef\xbb\xbf", [NOTHING]),
    "half a BOM": (b"\xef\xbbdata: 1\n\n", [NOTHING]),
    "several data lines": (b"data: a\r\ndata:\r\ndata: b\r\n\r\n", [holds(data=b"a\n\nb")]),
    "one empty data line": (
        b"data:\n\ndata\n\ndata: \n\n",
        [holds(data=b""), holds(data=b""), holds(data=b"")],
    ),
    "event without data": (b"event: end\n\n", [holds("end")]),
    "data without event": (b"data: 1\n\n", [holds(data=b"1")]),
    "field without colon": (b"event\ndata\nid\nretry\n\n", [holds("", b"", "")]),
    "no space, one, two": (b"event:a\ndata: b\nid:  c\n\n", [holds("a", b"b", " c")]),
    "colons in values": (b"data:x: y\nevent: a:b: c\nid:: \n\n", [holds("a:b: c", b"x: y", ": ")]),
    "a tab is no space": (b"data:\tx\n\n", [holds(data=b"\tx")]),
    "unknown and near-miss fields": (b"foo: 1\nData: 2\ndata : 3\n data: 4\nevents: x\n\n", [NOTHING]),
    "the last event and id win": (b"event: a\nevent: b\nid: 1\nid: 2\ndata: x\n\n", [holds("b", b"x", "2")]),
    "id with NUL": (b"id: 1\nid: 2\x003\ndata: x\n\nid\x00: 4\n\n", [holds(data=b"x", id="1"), NOTHING]),
    "empty ids": (b"id\n\nid:\n\nid: \n\n", [holds(id=""), holds(id=""), holds(id="")]),
    "retry": (
        b"retry: 10\n\nretry: 1.5\n\nretry: -1\n\nretry:\n\nretry: \xd9\xa1\n\nretry: 007\n\nretry: +1\n\n",
        [holds(retry=10), NOTHING, NOTHING, NOTHING, NOTHING, holds(retry=7), NOTHING],
    ),
    "comments": (
        b":\n: a\n:b\n:  c\ndata: 1\n: d: e\n\n",
        [holds(data=b"1", comments=(b"", b"a", b"b", b" c", b"d: e"))],
    ),
    "raw Unicode line ends in data": (
        "data: a\u2028b\u2029c\u0085d\u007fe\ufefff\x0b\x0c\x1c\r\n\r\n".encode(),
        [holds(data="a\u2028b\u2029c\u0085d\u007fe\ufefff\x0b\x0c\x1c".encode())],
    ),
    "an event name of many bytes": (
        'event: custom|sub graph é😀:38d4\r\ndata: "日本"\r\nid: é\r\n\r\n'.encode(),
        [holds("custom|sub graph é😀:38d4", '"日本"'.encode(), "é")],
    ),
    "bad UTF-8": (
        b"event: \xffa\xe2\x82\ndata: \xff\xe2\x82\nid: \xc3\n\n",
        [holds("\ufffda\ufffd", b"\xff\xe2\x82", "\ufffd")],
    ),
    "an unterminated tail": (
        b"data: 1\n\nevent: a\ndata: 2\nid: 3",
        [holds(data=b"1"), holds("a", b"2", "3")],
    ),
    "a tail with a line end": (b"event: a\r\ndata: 2\r\n", [holds("a", b"2")]),
    "a tail that ends with CR": (b"event: a\rdata: 2\r", [holds("a", b"2")]),
    "a tail cut inside a character": (b"data: \xe6\x97", [holds(data=b"\xe6\x97")]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_however_it_is_fed(case: str) -> None:
    """Each case gives its blocks whole, byte by byte and at every cut, with or without something behind it."""
    stream, expected = CASES[case]
    assert [tuple(block[2:7]) for block in decode([stream])] == expected
    for rest in (b"", b"data: tail", b"\n", b"\r\n"):
        whole = decode([stream + rest])
        assert whole == slow_decode(stream + rest)
        for pieces in cuts(stream + rest):
            assert decode(pieces) == whole, pieces


def test_ranges_cut_the_original_bytes_exactly() -> None:
    """The bytes of each block, cut out of the stream and decoded alone, give the same block."""
    stream = b"".join(stream for stream, _ in CASES.values() if stream.endswith((b"\n\n", b"\r\n\r\n")))
    stream = stream.replace(b"\xef\xbb\xbf", b"")
    blocks = decode([stream])
    assert b"".join(stream[block.start : block.end] for block in blocks) == stream
    for block in blocks:
        alone = decode([stream[block.start : block.end]])
        assert [tuple(each[2:7]) for each in alone] == [tuple(block[2:7])]


def test_the_whatwg_example_of_a_stock_ticker() -> None:
    """Three data lines are one event with two newlines (WHATWG 9.2.6, first example)."""
    (block,) = decode([b"data: YHOO\ndata: +2\ndata: 10\n\n"])
    assert block.is_event
    assert block.data == b"YHOO\n+2\n10"


def test_the_whatwg_example_of_four_blocks() -> None:
    """A comment; an event with an id; one that resets the id; an unterminated one that keeps its leading space."""
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    decoder = Decoder()
    ids = []
    blocks = []
    for byte in stream:
        for block in decoder.feed(bytes([byte])):
            blocks.append(block)
            ids.append(decoder.last_event_id)
    assert [block.is_comment for block in blocks] == [True, False, False]
    assert [block.data for block in blocks] == [None, b"first event", b"second event"]
    assert ids == ["", "1", ""]
    tail = decoder.finish()
    assert tail is not None
    assert (tail.data, tail.is_event, tail.terminated) == (b" third event", False, False)


def test_the_whatwg_example_of_empty_data() -> None:
    """Two events, of an empty string and of one newline; the unterminated third is discarded."""
    blocks = decode([b"data\n\ndata\ndata\n\ndata:"])
    assert [(block.data, block.is_event) for block in blocks] == [(b"", True), (b"\n", True), (b"", False)]


def test_the_whatwg_example_of_the_optional_space() -> None:
    """`data:test` and `data: test` are the same."""
    assert [block.data for block in decode([b"data:test\n\ndata: test\n\n"])] == [b"test", b"test"]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
def test_an_event_comes_with_its_last_byte(line_end: bytes) -> None:
    """A stream that keeps to one line end never has to wait for the next byte, not even with lone CRs."""
    event = line_end.join([b"event: a", b"data: 1", b"", b""])
    decoder = Decoder()
    for _ in range(3):
        assert decoder.feed(event[:-1]) == []
        assert len(decoder.feed(event[-1:])) == 1


def test_an_id_without_data_moves_the_cursor() -> None:
    """The last event id is set by any terminated block, persists, and is reset by an empty id."""
    decoder = Decoder()
    seen = []
    for stream in (b"id: 1\n\n", b"data: x\n\n", b"id: 2\0\n\n", b"id: 3\n", b"\n", b"id\n\n", b"id: 4"):
        decoder.feed(stream)
        seen.append(decoder.last_event_id)
    decoder.finish()
    assert [*seen, decoder.last_event_id] == ["1", "1", "1", "1", "3", "", "", ""]


def test_the_last_of_many_ids_in_one_feed() -> None:
    """The cursor after a feed is that of its last block with an id."""
    decoder = Decoder()
    decoder.feed(b"id: 1\r\n\r\nid: 2\r\n\r\ndata: x\r\n\r\n")
    assert decoder.last_event_id == "2"


def test_finish_completes_a_blank_line_that_waited() -> None:
    """A CR behind an LF may be half of a CRLF; at the end of the stream it was a whole line end."""
    decoder = Decoder()
    assert decoder.feed(b"data: 1\nid: 7\n\r") == []
    block = decoder.finish()
    assert block is not None
    assert block.is_event
    assert decoder.last_event_id == "7"
    assert decoder.finish() is None
    with pytest.raises(ValueError, match="feed after finish"):
        decoder.feed(b"data: 2\n\n")


def test_comments_and_events_are_told_apart() -> None:
    """A comment with data is an event; one with an id is neither; an empty block is neither."""
    blocks = decode([b": c\ndata: 1\n\n: c\nid: 1\n\n\n: c\nfoo: 1\n\n"])
    assert [(block.is_event, block.is_comment) for block in blocks] == [
        (True, False),
        (False, False),
        (False, False),
        (False, True),
    ]


def test_an_event_above_the_limit_names_its_start() -> None:
    """The limit counts the whole block, its blank line included, complete or not, and the error says where."""
    decoder = Decoder(max_event_bytes=20)
    assert len(decoder.feed(b"data: 1234567890\r\n\r\n")) == 1
    with pytest.raises(EventTooLarge) as caught:
        decoder.feed(b"data: 12345678901\r\n\r\n")
    assert (caught.value.offset, caught.value.limit_bytes) == (20, 20)
    assert "byte 20 of the stream" in str(caught.value)


@pytest.mark.parametrize("large", [b"data: 12345678901\r\n\r\n", b"data: 123456789012\n\r\n!", b"x" * 21])
def test_the_limit_however_it_is_fed(large: bytes) -> None:
    """Blocks before the one that is too large are returned, wherever the cuts are; then every call says so."""
    good = b"data: 1\r\n\r\n: c\r\n\r\n"
    for pieces in cuts(good + large):
        decoder = Decoder(max_event_bytes=20)
        blocks: list[Block] = []

        def feed_all(
            decoder: Decoder = decoder, pieces: list[bytes] = pieces, seen: list[Block] = blocks
        ) -> None:
            for piece in [*pieces, b""]:
                seen += decoder.feed(piece)

        with pytest.raises(EventTooLarge) as caught:
            feed_all()
        assert caught.value.offset == len(good)
        assert len(blocks) == 2
        with pytest.raises(EventTooLarge):
            decoder.feed(b"data: 1\r\n\r\n")
        with pytest.raises(EventTooLarge):
            decoder.finish()


def test_a_retry_of_absurd_length_is_no_error() -> None:
    """More digits than int() takes are ignored, not a foreign exception."""
    (block,) = decode([b"retry: " + b"9" * 5000 + b"\n\n"])
    assert block.retry is None


def test_encode_writes_as_the_server_does() -> None:
    """CRLF, in the order event, data, id; the id is left out when there is none."""
    assert encode("values", b"{}", "1-0") == b"event: values\r\ndata: {}\r\nid: 1-0\r\n\r\n"
    assert encode("values", b"{}") == b"event: values\r\ndata: {}\r\n\r\n"
    assert encode("a\r\nb", b"x\ny\r\n", "") == b"event: ab\r\ndata: x\r\ndata: y\r\ndata: \r\nid: \r\n\r\n"
    assert encode(None, None, "1") == b"id: 1\r\n\r\n"
    assert encode_comment(b"heartbeat") == b": heartbeat\r\n\r\n"
    assert encode_comment(b"a\nb") == b": a\r\n: b\r\n\r\n"


@pytest.mark.parametrize("event_id", ["a\nb", "a\rb", "a\0b"])
def test_encode_refuses_an_id_no_reader_would_see(event_id: str) -> None:
    """An id with a line end or NUL is a mistake of the caller."""
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        encode("a", b"", event_id)


text = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)
maybe_text = st.none() | text
line_bytes = st.binary(max_size=12).map(lambda value: value.replace(b"\r", b"").replace(b"\0", b""))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(maybe_text, st.none() | line_bytes, maybe_text), max_size=4))
def test_what_is_encoded_is_decoded(events: list[tuple[str | None, bytes | None, str | None]]) -> None:
    """Encoding and decoding give the same names, data and ids."""
    stream = b"".join(encode(*event) for event in events)
    blocks = decode([stream])
    assert [(block.name, block.data, block.id) for block in blocks] == events
    assert all(block.terminated for block in blocks)


pieces_of_streams = st.lists(
    st.sampled_from(
        [
            *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x\r\n\r\n", b"data: x\n\n"),
            *(b"data: x", b"event:y", b"id: 1", b"retry: 5", b":", b": ", b"\xef\xbb\xbf", b"\xe6", b"\0"),
        ]
    )
    | st.binary(max_size=3),
    max_size=16,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=70, deadline=None)
@given(pieces_of_streams)
def test_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    """However a stream is cut, the blocks are those of the slow oracle, and their ranges partition it."""
    stream = b"".join(pieces)
    expected = slow_decode(stream)
    blocks = decode(pieces)
    # The end of the stream may complete a blank line, which the oracle sees as any other.
    assert blocks == expected
    assert decode([stream]) == expected
    assert decode(stream[i : i + 1] for i in range(len(stream))) == expected
    edges = [0, *(block.end for block in blocks)]
    assert [block.start for block in blocks] == edges[:-1]
    assert edges[-1] == len(stream)


@pytest.mark.slow
def test_a_large_event_in_small_pieces_takes_linear_time() -> None:
    """Four times the bytes take about four times as long, not sixteen times."""

    def seconds(pieces: int) -> float:
        decoder = Decoder()
        started = time.perf_counter()
        decoder.feed(b"data: ")
        for _ in range(pieces):
            decoder.feed(b"y" * 512)
        assert len(decoder.feed(b"\r\n\r\n")) == 1
        return time.perf_counter() - started

    small = min(seconds(4000) for _ in range(3))
    assert min(seconds(16000) for _ in range(3)) < small * 10


# Where the Python SDK reads a stream otherwise than WHATWG: (stream, what WHATWG dispatches, what the SDK yields), each
# event as (event, data, id). The SDK parses data as JSON and gives None for an id never seen or reset.
Seen = tuple[str, object, str | None]
PYTHON_SDK: dict[str, tuple[bytes, list[Seen], list[Seen] | str]] = {
    "the same: one event": (b"event: a\r\ndata: 1\r\nid: 7\r\n\r\n", [("a", b"1", "7")], [("a", 1, "7")]),
    "the same: id persists": (
        b"id: 7\ndata: 1\n\ndata: 2\n\n",
        [("", b"1", "7"), ("", b"2", "7")],
        [("", 1, "7"), ("", 2, "7")],
    ),
    "the same: empty id resets": (
        b"id: 7\ndata: 1\n\nid\ndata: 2\n\n",
        [("", b"1", "7"), ("", b"2", "")],
        [("", 1, "7"), ("", 2, None)],
    ),
    "the same: id with NUL": (b"id: 7\0\ndata: 1\n\n", [("", b"1", "")], [("", 1, None)]),
    "the same: BOM at the start": (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1", "")], [("", 1, None)]),
    "the same: BOM later": (
        b"data: 1\n\n\xef\xbb\xbfevent: a\ndata: 2\n\n",
        [("", b"1", ""), ("", b"2", "")],
        [("", 1, None), ("", 2, None)],
    ),
    "the same: lone CR": (
        b"data: 1\r\rdata: 2\r\r",
        [("", b"1", ""), ("", b"2", "")],
        [("", 1, None), ("", 2, None)],
    ),
    "the same: comments": (b": heartbeat\r\n\r\n", [], []),
    "the same: id or retry alone": (b"id: 7\n\nretry: 5\n\n", [], []),
    "the same: raw Unicode line ends": (
        'data: "\u2028\x85"\n\n'.encode(),
        [("", '"\u2028\x85"'.encode(), "")],
        [("", "\u2028\x85", None)],
    ),
    "an event without data is yielded": (b"event: end\n\n", [], [("end", None, None)]),
    "empty data is None": (b"event: a\ndata:\n\n", [("a", b"", "")], [("a", None, None)]),
    "data of blanks is None": (b"data:  \t\n\n", [("", b" \t", "")], [("", None, None)]),
    "the unterminated last event is yielded": (b"event: a\ndata: 1\nid: 7\n", [], [("a", 1, "7")]),
    "the unterminated last line too": (b"event: a\ndata: 1", [], [("a", 1, None)]),
    "several data lines are JSON joined with LF": (
        b'data: {"a":\ndata: 1}\n\n',
        [("", b'{"a":\n1}', "")],
        [("", {"a": 1}, None)],
    ),
    "a newline inside a JSON text raises": (
        b'data: "p\ndata: q"\n\n',
        [("", b'"p\nq"', "")],
        "JSONDecodeError",
    ),
    "data that is no JSON raises": (b"data: first event\n\n", [("", b"first event", "")], "JSONDecodeError"),
    "NaN raises": (b"data: NaN\n\n", [("", b"NaN", "")], "JSONDecodeError"),
    "an escaped lone surrogate raises": (b'data: "\\ud800"\n\n', [("", b'"\\ud800"', "")], "JSONDecodeError"),
    "integers beyond 64 bits lose digits": (
        b"data: 123456789012345678901\n\n",
        [("", b"123456789012345678901", "")],
        [("", 1.2345678901234568e20, None)],
    ),
}


@pytest.mark.parametrize("case", PYTHON_SDK)
def test_what_whatwg_dispatches(case: str) -> None:
    """The left half of the table: our decoder follows WHATWG."""
    stream, expected, _ = PYTHON_SDK[case]
    decoder = Decoder()
    seen: list[Seen] = []
    for byte in stream:
        events = [block for block in decoder.feed(bytes([byte])) if block.is_event]
        seen += [(block.name or "", block.data, decoder.last_event_id) for block in events]
    tail = decoder.finish()
    assert tail is None or not tail.is_event
    assert seen == expected


@pytest.mark.live
@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("case", PYTHON_SDK)
def test_what_the_python_sdk_yields(case: str, pieces: str) -> None:
    """The right half of the table: the installed SDK's decoder, driven as its client drives it."""
    from langgraph_sdk.sse import BytesLineDecoder, SSEDecoder

    stream, _, expected = PYTHON_SDK[case]
    fed = [stream] if pieces == "whole" else [stream[i : i + 1] for i in range(len(stream))]
    reader, decoder = BytesLineDecoder(), SSEDecoder()
    seen: list[Seen] = []

    def read() -> None:
        lines = [bytes(line) for piece in fed for line in reader.decode(piece)]
        lines += [bytes(line) for line in reader.flush()]
        for line in [*lines, b""]:  # at the end of the stream the client decodes one blank line more
            part = decoder.decode(line)
            if part is not None and (part.event or decoder.has_data):
                seen.append((part.event, part.data, part.id))

    if isinstance(expected, str):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the name of the class is in the table
            read()
        assert type(caught.value).__name__ == expected
    else:
        read()
        assert seen == expected
