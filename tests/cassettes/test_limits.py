"""Tests of `graphtape.cassettes.limits`: what we write, we read."""

from __future__ import annotations

from graphtape.cassettes import limits


def test_the_writer_stays_below_the_reader() -> None:
    """The largest segment that a writer makes is within every limit of the reader."""
    waiting = 2 * limits.BLOCK_CUT_BYTES + limits.MAX_RECORD_BYTES
    largest = limits.SEGMENT_CUT_BYTES + waiting
    assert largest < limits.MAX_SEGMENT_BYTES
    frames = (limits.SEGMENT_CUT_RECORDS + 1) * 64
    assert largest * 1.01 + frames < limits.MAX_SEGMENT_FILE_BYTES
    assert waiting < limits.MAX_FRAME_BYTES
    assert limits.SEGMENT_CUT_RECORDS < limits.MAX_SEGMENT_RECORDS
    assert max(limits.CHUNK_CUT_BYTES, limits.HEAD_CUT_BYTES) < limits.MAX_RECORD_BYTES
    assert limits.HEADERS_CUT < limits.MAX_ARRAY_ITEMS


def test_the_index_fits_its_parts() -> None:
    """A group of the longest rows is below the limit of a part, and so is a head with the most segments."""
    row = 4 * (limits.TARGET_IN_INDEX_BYTES + limits.CONTENT_TYPE_IN_INDEX_BYTES) + 200
    assert limits.INDEX_GROUP_ROWS * row < limits.MAX_INDEX_BYTES
    assert (
        limits.MAX_SEGMENTS + limits.MAX_EXCHANGES
    ) // limits.INDEX_GROUP_ROWS * 8 < limits.MAX_INDEX_BYTES
