"""Rows F1 to F3: the cassette beside MCAP and plain blocks of msgpack, on the same chunks.

One rule: what is timed ends with the file complete in the kernel, as for MCAP; nobody syncs to the disk.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphtape.bench import corpus
from graphtape.bench.measuring import Anchor, Line, Row, Spread, format_bytes
from graphtape.bench.servers import REFERENCES, Unavailable
from graphtape.bench.session import Run, say
from graphtape.cassettes.model import Chunk
from graphtape.cassettes.reader import Cassette

_FLUSH_EVERY = 4
"""Events that share a flush where encoding is timed: what a turn of the recorder's loop gathers of 8 busy streams."""


def f1(run: Run) -> Row:
    """Size."""
    entries = corpus.shared(run)
    wire = sum(len(entry.data) for entry in entries)
    row = Row(
        "F1",
        f"size of a finished cassette: {len(entries):,} events, {format_bytes(wire)}, 8 streams interleaved",
    )
    found = _reference(run)
    for flush_every, must, aim in ((1, 0.044, 0.025), (_FLUSH_EVERY, None, None)):
        path = run.folder / "size.tape"
        corpus.write_cassette(path, entries, flush_every=flush_every)
        share = path.stat().st_size / wire
        theirs = f"MCAP zstd {found['mcap']['bytes'] / wire:.4f}" if found else ""
        what = "a flush per event" if flush_every == 1 else f"a flush per {flush_every} events"
        spread = Spread(share, share, share)
        row.lines.append(
            Line(f"of the bytes on the wire, {what}", f"{share:.4f}", theirs, spread, must, aim, unit="")
        )
    if found:
        row.anchors.append(Anchor("MCAP zstd, of the wire", found["mcap"]["bytes"] / wire, 0.044))
        row.anchors.append(
            Anchor("msgpack in zstd-1 blocks, of the wire", found["blocks"]["bytes"] / wire, 0.021)
        )
        row.notes.append(f"msgpack with zstd-1 in blocks of 256 KB: {found['blocks']['bytes'] / wire:.4f}")
    return row


def f2(run: Run) -> Row:
    """Speed."""
    entries = corpus.shared(run)
    path = run.folder / "speed.tape"
    row = Row("F2", f"encode, decode, seek: {len(entries):,} events")
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    middle_ns = entries[len(entries) // 2].at_ns
    for _ in range(run.size.rounds):
        say("F2: a round")
        encode_s = _timed(lambda: corpus.write_cassette(path, entries, flush_every=_FLUSH_EVERY))
        decode_s = _timed(lambda: _decode(path, len(entries)))
        seek_s = statistics.median(_timed(lambda: _seek(path, middle_ns)) for _ in range(5))
        ours.append(
            {
                "encode_us": encode_s / len(entries) * 1e6,
                "decode_us": decode_s / len(entries) * 1e6,
                "seek_ms": seek_s * 1e3,
            }
        )
        if found := _measure_reference(run):
            theirs.append(found["mcap"])
    for what, key, unit, must, aim in (
        ("encode", "encode_us", "us/event", 0.5, 0.27),
        ("full decode", "decode_us", "us/event", 0.25, 0.08),
        ("open and seek to the middle", "seek_ms", "ms", 0.3, 0.1),
    ):
        own = statistics.median(found[key] for found in ours)
        if theirs:
            ratio = Spread.of([a[key] / b[key] for a, b in zip(ours, theirs, strict=True)])
            other = f"MCAP {statistics.median(found[key] for found in theirs):.3g} {unit}"
            row.lines.append(Line(what, f"{own:.3g} {unit}", other, ratio, must, aim))
        else:
            row.lines.append(
                Line(what, f"{own:.3g} {unit}", "", Spread.of([found[key] for found in ours]), unit=unit)
            )
    for flush_every in (1, 64):
        each = _timed(
            lambda: corpus.write_cassette(path, entries, flush_every=flush_every)  # noqa: B023
        ) / len(entries)
        row.notes.append(f"encode with a flush per {flush_every}: {each * 1e6:.3g} us/event")
    each = _timed(lambda: _decode_by_exchange(path)) / len(entries)
    row.notes.append(f"decode one exchange after another, of 8 interleaved: {each * 1e6:.3g} us/event")
    row.notes.append(
        f"encode is with a flush (and a write) per {_FLUSH_EVERY} events; MCAP writes once per megabyte"
    )
    return row


def f3(run: Run) -> Row:
    """After a crash."""
    entries = corpus.shared(run)
    path = run.folder / "crash.tape"
    writer = corpus.write_cassette(path, entries, flush_every=1, close=False)
    data = path.read_bytes()
    writer.close()
    path.write_bytes(data[:-7])  # torn inside the last frame
    found = [_timed(lambda: Cassette.open(path).close()) for _ in range(run.size.rounds * 3)]
    row = Row("F3", f"open after a crash, {len(entries):,} events")
    spread = Spread.of(found)
    row.lines.append(Line("open", f"{spread.median * 1e3:.3g} ms", "", spread, 0.1, 0.03, unit="s"))
    return row


def _decode(path: Path, events: int) -> None:
    with Cassette.open(path) as cassette:
        found = sum(isinstance(record.content, Chunk) for record in cassette.iter_records())
    assert found == events, (found, events)


def _decode_by_exchange(path: Path) -> None:
    with Cassette.open(path) as cassette:
        for summary in cassette.exchanges:
            for _ in cassette.iter_chunks(summary.number):
                pass


def _seek(path: Path, at_ns: int) -> None:
    """The first chunk from the middle on, of any exchange."""
    with Cassette.open(path) as cassette:
        next(cassette.iter_chunks(1, since_ns=at_ns))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _reference(run: Run) -> dict[str, Any] | None:
    return run.once("mcap", lambda: _measure_reference(run))  # type: ignore[no-any-return]


def _measure_reference(run: Run) -> dict[str, Any] | None:
    if "mcap" in run.missing:
        return None
    chunks = run.folder / "corpus.chunks"
    if not chunks.exists():
        corpus.write_chunks(chunks, corpus.shared(run))
    try:
        python = run.once("mcap python", run.servers.mcap_python)
    except Unavailable as error:
        run.missing["mcap"] = str(error)
        say(f"without mcap: {error}")
        return None
    command = [
        python,
        "-W",
        "ignore",
        str(REFERENCES / "mcap_ref.py"),
        str(chunks),
        str(run.folder / "corpus.mcap"),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


ROWS = {"F1": f1, "F2": f2, "F3": f3}
