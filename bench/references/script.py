"""What the replaying references play: a file of (due time, SSE frame), made from the very cassette that we replay.

Each entry: due in nanoseconds since the response began and the frame's length, little-endian u64 and u32; the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

HEAD = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-store"))
_ENTRY = struct.Struct("<QI")


def write_script(path: Path, frames: Iterable[tuple[int, bytes]]) -> None:
    path.write_bytes(b"".join(_ENTRY.pack(due_ns, len(frame)) + frame for due_ns, frame in frames))


def read_script(path: str) -> list[tuple[int, bytes]]:
    data, at, frames = Path(path).read_bytes(), 0, []
    while at < len(data):
        due_ns, size = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        frames.append((due_ns, data[at : at + size]))
        at += size
    return frames
