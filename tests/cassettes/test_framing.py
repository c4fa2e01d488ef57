"""Tests of `graphtape.cassettes.framing`: the file header and the frames."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest

from graphtape.cassettes import DamagedCassette, NewerFormat, NotACassette
from graphtape.cassettes.framing import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    MAGIC,
    BadFrame,
    FrameType,
    check_file_header,
    encode_frame,
    file_header,
    find_frame_after,
    iter_frames,
    iter_runs,
    read_frame,
)
from graphtape.cassettes.limits import MAX_FRAME_BYTES


class Bytes:
    """A source in memory."""

    path = "memory.tape"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def frames_at(start: int, *payloads: tuple[int, bytes]) -> bytes:
    data = b""
    for type_, payload in payloads:
        data += encode_frame(start + len(data), type_, payload)
    return data


def test_file_header() -> None:
    """The header is the 16 bytes that FORMAT.md spells."""
    assert file_header() == bytes.fromhex("89544150450d0a1a 0100 0000 39762b7e")
    assert len(file_header()) == HEADER_BYTES == 16
    check_file_header("x", file_header())


def test_every_flip_in_the_file_header() -> None:
    """No changed bit of the header is taken for a header, nor for a newer version."""
    for at in range(HEADER_BYTES):
        for bit in range(8):
            changed = bytearray(file_header())
            changed[at] ^= 1 << bit
            with pytest.raises((NotACassette, DamagedCassette)):
                check_file_header("x", bytes(changed))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty"),
        (MAGIC, "ends inside the cassette header"),
        (MAGIC[:3], "ends inside the cassette header"),
        (b"\x89TAPE\n\x1a\x01\x00\x00\x00", "binary mode"),
        (b"\xef\xbf\xbdTAPE\r\n\x1a", "binary mode"),
        (b'{"not": "a cassette"}', "not a cassette"),
    ],
)
def test_other_beginnings(head: bytes, words: str) -> None:
    """What is no cassette is called by what it looks like."""
    with pytest.raises(NotACassette, match=words):
        check_file_header("x", head)


def test_header_of_a_later_version() -> None:
    """A later version says: update."""
    with pytest.raises(NewerFormat, match="Update graphtape") as caught:
        check_file_header("x", file_header(7))
    assert (caught.value.found, caught.value.known) == (7, 1)


def test_version_zero() -> None:
    """There never was a version 0."""
    with pytest.raises(DamagedCassette, match="no format version 0"):
        check_file_header("x", file_header(0))


def test_frame_bytes() -> None:
    """A frame is checksum, length, type, payload; the checksum is started with the offset."""
    frame = encode_frame(16, FrameType.SEGMENT, b"ab")
    assert frame[4:] == struct.pack("<IB", 2, 1) + b"ab"
    assert frame[:4] == struct.pack("<I", crc32(frame[4:], 16))
    assert len(frame) == FRAME_HEAD_BYTES + 2


def test_frames_come_back() -> None:
    """What was framed is read, of any type, also empty."""
    payloads = [(1, b"a"), (200, b""), (2, b"c" * 2_000_000), (0, b"d")]
    data = bytes(16) + frames_at(16, *payloads)
    found = list(iter_frames(Bytes(data), 16, len(data)))
    assert [(type_, payload) for _, type_, payload in found] == payloads
    assert [offset for offset, _, _ in found] == [16, 26, 35, 35 + 9 + 2_000_000]


def test_blocks_that_follow_each_other() -> None:
    """Blocks come in one go up to the next frame of another type, which comes alone."""
    data = frames_at(0, (1, b"a"), (1, b"b"), (2, b"c"), (2, b""), (3, b"d"), (2, b"e"))
    assert list(iter_runs(Bytes(data), 0, len(data))) == [
        (0, 1, [b"a"], 10),
        (10, 1, [b"b"], 20),
        (20, 2, [b"c", b""], 39),
        (39, 3, [b"d"], 49),
        (49, 2, [b"e"], 59),
    ]


def test_good_blocks_before_a_bad_one() -> None:
    """The blocks before a bad frame are yielded, then where it stands is said."""
    data = frames_at(0, (2, b"a"), (2, b"b"), (2, b"c"))
    runs = iter_runs(Bytes(data[:-1] + b"x"), 0, len(data))
    assert next(runs) == (0, 2, [b"a", b"b"], 20)
    with pytest.raises(BadFrame) as bad:
        next(runs)
    assert bad.value.offset == 20


def test_file_that_became_shorter() -> None:
    """A file that ends before it should is a bad frame, also where a large one was announced."""
    data = frames_at(0, (2, b"a"), (2, b"b" * 2_000_000))
    for left in (0, 5, 10, 12, 1_500_000):
        with pytest.raises(BadFrame, match="ends inside a frame"):
            list(iter_runs(Bytes(data[:left]), 0, len(data)))


def test_frame_at_another_offset() -> None:
    """A frame that was moved is not valid: the offset is in its checksum."""
    frame = encode_frame(16, 2, b"moved")
    with pytest.raises(BadFrame, match="checksum"):
        read_frame(Bytes(bytes(17) + frame), 17, 17 + len(frame))


def test_every_flip_in_a_frame() -> None:
    """No changed bit of a frame goes unseen."""
    frame = encode_frame(0, 2, b"payload")
    for at in range(len(frame)):
        for bit in range(8):
            changed = bytearray(frame)
            changed[at] ^= 1 << bit
            with pytest.raises(BadFrame) as caught:
                list(iter_frames(Bytes(bytes(changed)), 0, len(frame)))
            assert caught.value.offset == 0


def test_every_cut_of_a_frame() -> None:
    """Half a frame is the end of the file, at the offset where it starts."""
    data = frames_at(0, (1, b"whole"), (2, b"cut"))
    for end in range(15, len(data)):
        with pytest.raises(BadFrame, match="ends inside a frame") as caught:
            list(iter_frames(Bytes(data[:end]), 0, end))
        assert caught.value.offset == 14


def test_length_above_the_limit() -> None:
    """A lying length is refused before anything is read."""
    data = struct.pack("<IIB", 0, MAX_FRAME_BYTES + 1, 2) + bytes(50)
    with pytest.raises(BadFrame, match="above the limit"):
        list(iter_frames(Bytes(data), 0, len(data)))
    with pytest.raises(ValueError, match="above the limit"):
        encode_frame(0, 2, bytes(MAX_FRAME_BYTES + 1))


def test_no_frame_where_one_is_read() -> None:
    """Reading one frame behind the last byte is an error of ours."""
    with pytest.raises(BadFrame, match="ends where a frame"):
        read_frame(Bytes(b""), 0, 0)


@pytest.mark.slow
def test_frame_behind_damage() -> None:
    """A valid frame is found behind a bad one, at any distance, also across read windows."""
    for garbage in (1, 9, (1 << 20) - 4, (1 << 20) + 5):
        data = bytes(garbage)
        data += encode_frame(garbage, 2, b"good")
        assert find_frame_after(Bytes(data), 0, len(data)) == garbage


def test_nothing_behind_damage() -> None:
    """A torn tail has no valid frame behind it, not even a frame of another file inside its data."""
    inner = file_header() + frames_at(16, (1, b"x"), (2, b"y"))
    torn = struct.pack("<IIB", 0, 10_000, 2) + inner
    assert find_frame_after(Bytes(torn), 0, len(torn)) is None


@pytest.mark.slow
def test_search_is_bounded() -> None:
    """A file full of promising frame heads costs a bounded search."""
    head = struct.pack("<IIB", 1, 1 << 20, 2)
    data = head * ((6 << 20) // len(head))
    source = Bytes(data)
    asked = 0

    def read_at(offset: int, size: int) -> bytes:
        nonlocal asked
        asked += size
        return data[offset : offset + size]

    source.read_at = read_at  # type: ignore[method-assign]
    assert find_frame_after(source, 0, len(data)) is None
    assert asked < 140 << 20
