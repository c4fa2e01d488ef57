"""Cassettes for the replay rows, and the scripts that make the references play the same.

The recorded exchange is a stateless run, as the Agent Server streams one; each event carries the mark that client.c
reads, with its own recorded time. One rule: ours and the references send the same frames at the same times.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from pathlib import Path

from graphtape.bench.references.script import write_script
from graphtape.cassettes.model import Ending
from graphtape.cassettes.writer import CassetteWriter

_BODY = (
    b'{"input":{"messages":[{"role":"user","content":"bench"}]},"stream_mode":["custom"],'
    b'"stream_subgraphs":false,"stream_resumable":false,"assistant_id":"agent"}'
)
_REQUEST_HEADERS = ((b"host", b"127.0.0.1:2024"), (b"content-type", b"application/json"))
_FIRST_NS = 5_000_000
"""The first event comes this long after the response's head: time to open the other streams."""


@dataclass(frozen=True)
class Tape:
    """One recorded stream, in both shapes.

    Args:
        tape: the cassette that we replay.
        script: what the references play.
        request: the bytes that ask for it.
        events: with a mark; one more, `metadata`, comes first.
    """

    tape: Path
    script: Path
    request: Path
    events: int


def replay_tape(folder: Path, name: str, *, events: int, rate: float, size: int = 130) -> Tape:
    """A stream of `events` events of `size` bytes, `rate` per second.

    Gaps are uneven (half to one and a half of the mean, to the nanosecond, the same in every run): equal gaps of
    whole milliseconds would hide the rounding of a loop's timers.
    """
    chance = random.Random(4)
    run_id = uuid.UUID(int=chance.getrandbits(128), version=4)
    frames = [(0, b'event: metadata\r\ndata: {"run_id":"%b","attempt":1}\r\n\r\n' % str(run_id).encode())]
    due_ns = _FIRST_NS
    for number in range(events):
        head = b'event: custom\r\ndata: {"mark":"@%08x:%016x@","text":"' % (number, due_ns)
        frames.append((due_ns, head + b"x" * max(0, size - len(head) - 6) + b'"}\r\n\r\n'))
        due_ns += int(chance.uniform(0.5, 1.5) * 1e9 / rate)
    made = Tape(folder / f"{name}.tape", folder / f"{name}.script", folder / f"{name}.request", events)
    write_script(made.script, frames)
    made.request.write_bytes(
        b"POST /runs/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
    )
    with CassetteWriter.create(made.tape, overwrite=True) as writer:
        writer.begin_recording(1_700_000_000_000_000_000, "http://127.0.0.1:2024", "graphtape bench")
        exchange = writer.request(0, "POST", "/runs/stream", _REQUEST_HEADERS)
        writer.request_body(exchange, 0, _BODY)
        writer.request_end(exchange, 0)
        headers = (
            (b"cache-control", b"no-store"),
            (b"content-location", b"/runs/%b" % str(run_id).encode()),
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"transfer-encoding", b"chunked"),
        )
        writer.response(exchange, 1_000_000, 200, "OK", headers)
        for at_ns, frame in frames:
            writer.chunk(exchange, 1_000_000 + at_ns, frame)
            writer.flush()
        writer.end(exchange, 1_000_000 + frames[-1][0], Ending.COMPLETE)
    return made


def get_request(folder: Path, *, events: int, rate: int = 0, size: int = 300) -> Path:
    """A request for the source (source.c)."""
    path = folder / f"get-{events}-{rate}-{size}.request"
    target = f"/threads/bench/stream?events={events}&rate={rate}&size={size}"
    path.write_text(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    return path
