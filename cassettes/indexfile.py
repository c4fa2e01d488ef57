"""The index as it stands at the end of a finished cassette: parts, head and trailer.

Knows frames and tables, not records. One rule: the index is derived; if anything in it is wrong, a scan replaces it.
FORMAT.md, section "Index".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from graphtape.cassettes.compression import BadStream, Decompressor, compress_whole
from graphtape.cassettes.framing import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    BadFrame,
    FrameType,
    Source,
    encode_frame,
    read_frame,
)
from graphtape.cassettes.index import IndexBuilder, Table, check_exchange_row, check_segment_row
from graphtape.cassettes.limits import (
    INDEX_GROUP_ROWS,
    MAX_EXCHANGES,
    MAX_INDEX_BYTES,
    MAX_RECORDINGS,
    MAX_SEGMENTS,
)
from graphtape.cassettes.model import Recording
from graphtape.cassettes.records import (
    BadRecord,
    Record,
    RecordType,
    decode,
    encode,
    new_packer,
    unpack_all,
)

_TRAILER = struct.Struct("<QQ8s")  # end of the data, offset of the index head, closing signature
_CLOSING: Final = b"TAPEEND\n"
TRAILER_BYTES: Final = FRAME_HEAD_BYTES + _TRAILER.size


def encode_index(builder: IndexBuilder, data_end: int) -> Iterator[bytes]:
    """The frames of the index of everything that `builder` followed, to stand at `data_end`."""
    builder.settle()
    offset = data_end
    offsets: dict[str, list[int]] = {}
    for name, table in (("exchanges", builder.exchanges), ("segments", builder.segments)):
        offsets[name] = []
        for payload in table.payloads():
            offsets[name].append(offset)
            frame = encode_frame(offset, FrameType.INDEX_PART, payload)
            offset += len(frame)
            yield frame
    head = {
        "recordings": [encode(Record(0, 0, recording))[1][0] for recording in builder.recordings],
        "group": INDEX_GROUP_ROWS,
        "exchanges": builder.exchanges.count,
        "exchange_parts": _pack_offsets(offsets["exchanges"]),
        "segments": builder.segments.count,
        "segment_parts": _pack_offsets(offsets["segments"]),
    }
    frame = encode_frame(offset, FrameType.INDEX_HEAD, compress_whole(new_packer().pack(head)))
    yield frame
    yield encode_frame(offset + len(frame), FrameType.TRAILER, _TRAILER.pack(data_end, offset, _CLOSING))


def _pack_offsets(offsets: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def read_trailer(source: Source) -> tuple[int, int] | None:
    """End of the data and offset of the index head; None if the cassette was not finished or its trailer is bad."""
    offset = source.size - TRAILER_BYTES
    if offset < HEADER_BYTES:
        return None
    try:
        _, type_, payload = read_frame(source, offset, source.size)
    except BadFrame:
        return None
    if type_ != FrameType.TRAILER or len(payload) != _TRAILER.size:
        return None
    data_end, head_at, closing = _TRAILER.unpack(payload)
    if closing != _CLOSING or not HEADER_BYTES <= data_end <= head_at < offset:
        return None
    return data_end, head_at


def read_index(source: Source, data_end: int, head_at: int) -> IndexBuilder:
    """The index whose trailer said so; its parts are read when they are asked for.

    Raises:
        BadFrame, BadRecord: the head is not what the format says.
    """
    _, type_, payload = read_frame(source, head_at, source.size)
    if type_ != FrameType.INDEX_HEAD:
        raise BadFrame(head_at, "no index head where the trailer says")
    try:
        raw = Decompressor().decompress(payload, limit_bytes=MAX_INDEX_BYTES)
    except BadStream as error:
        raise BadFrame(head_at, str(error)) from None
    values = unpack_all(raw, limit_records=1)
    if len(values) != 1 or type(values[0]) is not dict:
        raise BadRecord("an index head that is not a map")
    head: dict[str, Any] = values[0]
    if head.get("group") != INDEX_GROUP_ROWS:
        raise BadRecord("an index with groups of another size")

    def load(offset: int) -> bytes:
        _, type_, payload = read_frame(source, offset, head_at)
        if type_ != FrameType.INDEX_PART:
            raise BadFrame(offset, "no index part where the index head says")
        return payload

    def table(name: str, parts: str, most: int, check: Any) -> Table:
        count, packed = head.get(name), head.get(parts)
        if type(count) is not int or not 0 <= count <= most or type(packed) is not bytes:
            raise BadRecord(f"an index head without its {name}")
        groups = -(-count // INDEX_GROUP_ROWS)
        if len(packed) != groups * 8:
            raise BadRecord(f"an index head that does not list the parts of its {name}")
        offsets = struct.unpack(f"<{groups}Q", packed)
        if any(not data_end <= offset < head_at for offset in offsets):
            raise BadRecord("an index part outside of the index")
        if any(later <= earlier for earlier, later in pairwise(offsets)):
            raise BadRecord("index parts that are not in order")
        return Table(check, offsets=offsets, count=count, load=load)

    listed = head.get("recordings")
    if type(listed) is not tuple or len(listed) > MAX_RECORDINGS:
        raise BadRecord("an index head without its recordings")
    recordings = []
    for number, fields in enumerate(listed, 1):
        content = decode((RecordType.RECORDING, 0, 0, fields), 0, recording=number).content
        assert isinstance(content, Recording)
        recordings.append(content)
    return IndexBuilder(
        recordings,
        table("exchanges", "exchange_parts", MAX_EXCHANGES, check_exchange_row),
        table("segments", "segment_parts", MAX_SEGMENTS, check_segment_row),
    )
