"""Factories of cassettes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graphtape.cassettes import CassetteWriter, Chunk, Ending, Exchange, Request, Response

MS = 1_000_000
Headers = tuple[tuple[bytes, bytes], ...]


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """Where a test may put its cassette."""
    return tmp_path / "a.tape"


@pytest.fixture
def writer(tape: Path) -> Iterator[CassetteWriter]:
    """A writer on `tape` with a recording begun; closed at the end of the test."""
    writer = CassetteWriter.create(tape)
    writer.begin_recording(1, "http://upstream", "test")
    yield writer
    writer.close()


@pytest.fixture
def record_exchange() -> Callable[..., int]:
    """Writes one whole exchange: its chunks one by one, each flushed."""

    def record(writer: CassetteWriter, *chunks: bytes, target: str = "/t", at_ns: int = 0) -> int:
        number = writer.request(at_ns, "POST", target, ((b"host", b"h"),))
        writer.request_body(number, at_ns, b"{}")
        writer.request_end(number, at_ns)
        writer.response(number, at_ns + MS, 200, "OK", ((b"Content-Type", b"text/event-stream"),))
        for place, data in enumerate(chunks):
            writer.chunk(number, at_ns + (2 + place) * MS, data)
            writer.flush()
        writer.end(number, at_ns + (2 + len(chunks)) * MS, Ending.COMPLETE)
        writer.flush()
        return number

    return record


@pytest.fixture
def make_exchange() -> Callable[..., Exchange]:
    """An exchange that never was in a file: its response is these chunks, one per millisecond."""

    def make(*chunks: bytes, headers: Headers = ()) -> Exchange:
        return Exchange(
            number=1,
            recording=1,
            request=Request(0, "GET", "/", ()),
            request_body=b"",
            response=Response(0, 200, "OK", headers),
            chunks=tuple(Chunk(at * MS, data) for at, data in enumerate(chunks)),
            ending=Ending.COMPLETE,
            ended_ns=len(chunks) * MS,
        )

    return make
