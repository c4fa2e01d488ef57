"""Copies of cassettes, changed or not, and indexes made anew.

Knows readers and writers. One rule: whatever this version does not know (records, keys, flags, frames) is in the
copy as it was in the original.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from graphtape.cassettes.errors import CassetteError, CassetteExists
from graphtape.cassettes.limits import SEGMENT_CUT_RECORDS
from graphtape.cassettes.reader import Cassette, UnknownFrame
from graphtape.cassettes.records import Record
from graphtape.cassettes.writer import CassetteWriter

Transform = Callable[[Record], Iterable[Record]]
"""Gives the records to write in place of one; none leaves it out (never a request: exchanges are counted)."""


def rewrite(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    transform: Transform | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Copy a cassette record by record, finished or not; returns the number of exchanges.

    Of an unfinished cassette, the good prefix; its open exchanges stay unfinished. If anything fails, the target
    is removed.

    Raises:
        CassetteExists: the target is there and `overwrite` is not set.
        CassetteError: the source cannot be read, or contradicts itself, or the target cannot be written.
        ValueError: the transform made something that is no recording.
    """
    with Cassette.open(source) as cassette:
        if os.path.exists(target) and os.path.samefile(source, target):
            raise CassetteError(
                target, "a cassette cannot be rewritten onto itself; choose another output file"
            )
        try:
            writer = CassetteWriter.create(target, overwrite)
        except CassetteExists:
            raise CassetteExists(target, can_append=False) from None
        try:
            waiting = 0
            for item in cassette.iter_contents():
                if isinstance(item, UnknownFrame):
                    writer.add_frame(item.type, item.payload)
                    continue
                for record in (item,) if transform is None else transform(item):
                    try:
                        writer.add(record)
                    except ValueError as error:
                        if record is not item:
                            raise
                        raise CassetteError(
                            source,
                            f"damaged: its records contradict each other ({error}); graphtape verify says where",
                        ) from None
                    waiting += 1
                if waiting >= SEGMENT_CUT_RECORDS:
                    writer.flush()
                    waiting = 0
            count = writer.exchange_count
            writer.close()
        except BaseException:
            writer.abandon()
            raise
    return count


def rebuild_index(path: str | os.PathLike[str]) -> int:
    """Scan a cassette and give it a new index, finished or not; returns the number of exchanges.

    A torn tail is cut off. What is recorded does not change, nor does the digest.

    Raises:
        CassetteError: it cannot be read or written.
    """
    with CassetteWriter.append_to(path, trust_index=False) as writer:
        return writer.exchange_count
