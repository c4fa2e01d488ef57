"""Every limit of the format, in one place, each with its reason.

Knows nothing else. One rule: the writer's values stay below the reader's, so that no cassette of ours is refused.
Sizes are bytes unless the name says otherwise. FORMAT.md, section "Limits", repeats the reader's half.
"""

from __future__ import annotations

from typing import Final

# What a reader accepts. A file that goes beyond is damaged or hostile.

MAX_FRAME_BYTES: Final = 16 << 20
"""Payload of one frame. Twice a segment: even incompressible data (zstd adds 3 bytes per 128 KiB) fits one frame."""

MAX_SEGMENT_BYTES: Final = 8 << 20
"""Decompressed bytes of one segment; also what stops a compression bomb: nothing decompresses further."""

MAX_SEGMENT_FILE_BYTES: Final = 32 << 20
"""Bytes of one segment in the file, frame heads included. The writer stays far below."""

MAX_SEGMENT_RECORDS: Final = 1 << 16
"""Records of one segment: each costs about 150 bytes as Python objects, however small it is in the file."""

MAX_WINDOW_BYTES: Final = 8 << 20
"""Window a zstd frame may ask for: RFC 8878 recommends that decoders support 8 MiB; ours asks for 2 MiB."""

MAX_RECORD_BYTES: Final = 4 << 20
"""One string or byte string inside a record."""

MAX_ARRAY_ITEMS: Final = 1 << 13
"""Items of one msgpack array: memory is taken before the items are seen, at each of up to 511 levels."""

MAX_MAP_KEYS: Final = 1 << 13
"""Keys of one msgpack map."""

MAX_EXCHANGES: Final = 1 << 22
"""Exchanges of one cassette: about 40 bytes each while a cassette is read by scanning."""

MAX_RECORDINGS: Final = 1 << 16
"""Recordings of one cassette; their heads are held in memory."""

MAX_SEGMENTS: Final = 1 << 24
"""Segments of one cassette: 16 TiB of records at the writer's size."""

MAX_TIME_NS: Final = 1 << 62
"""Times and byte counts: 146 years, and room to add two of them in 64 bits."""

MAX_STATUS: Final = 999
"""Three digits: HTTP has no more."""

MAX_INDEX_BYTES: Final = 8 << 20
"""Decompressed bytes of one index part, and of the index head."""

MAX_SEARCH_BYTES: Final = 64 << 20
"""Bytes checked while looking for a valid frame behind a bad one, so that a hostile file cannot make it slow."""

MAX_DECODED_BODY_BYTES: Final = 1 << 30
"""What a compressed response body may become when a view decodes it."""

# What the writer keeps to.

SEGMENT_CUT_BYTES: Final = 5 << 18
"""A segment that has this many raw bytes is closed. Measured: 1.25 MiB costs 4 % of size against 4 MiB and lets a
reader reach any record in about 1 ms."""

SEGMENT_CUT_RECORDS: Final = 1 << 14
"""A segment that has this many records is closed (bodies that arrive in very small reads). A flush writes at least one,
so this bounds, too, the frame heads that a reader walks to enter the file."""

BLOCK_CUT_BYTES: Final = 256 << 10
"""Appended bytes are compressed at about this size even without a flush: bounds what waits uncompressed. What waits is
measured seldom enough to become twice as much."""

SMALL_CHUNK_BYTES: Final = 4 << 10
"""Chunks up to this are counted, not measured, to bound what waits. Nearly every event is one."""

CHUNK_CUT_BYTES: Final = 256 << 10
"""A longer read is written as several chunk (or request-body) records of the same time. uvloop reads 256 KiB."""

HEAD_CUT_BYTES: Final = 1 << 20
"""Longest head (request, response, recording, end) the writer accepts: 100 times what HTTP servers allow."""

HEADERS_CUT: Final = 1 << 12
"""Most header fields of one head."""

TARGET_IN_INDEX_BYTES: Final = 120
"""A request target is cut to this in the index, so that the index stays small; the record has it whole."""

CONTENT_TYPE_IN_INDEX_BYTES: Final = 100
"""As above, for content types."""

INDEX_GROUP_ROWS: Final = 256
"""Rows of one index part: one part is decoded in about 0.3 ms to list or find an exchange."""
