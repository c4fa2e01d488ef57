"""A hundred thousand events grown from the real captures that the program bundles.

Each real stream is repeated with new ids, new words and new times, until there are enough; several modes and levels of
subgraphs are among them. Eight such streams run at once. One rule: same arguments, same bytes.
"""

from __future__ import annotations

import heapq
import random
import re
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from graphtape.bench.session import Run
from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.streams import timed_blocks
from graphtape.cassettes.writer import CassetteWriter

SAMPLES = Path(__file__).parents[1] / "cassettes" / "samples"
STREAMS = 8
_ENTRY = struct.Struct("<IQI")
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_EVENT_ID = re.compile(rb"^(id: )(\d{13})(-\d+)", re.MULTILINE)
# Words that a model wrote: inside "content" and "text" only; keys and metadata stay, as they do in real life.
_WORDS_IN = re.compile(rb'("(?:content|text|final_answer|topic)":")((?:[^"\\]|\\.)*)(")')
_WORD = re.compile(rb"[A-Za-z]{2,}")
# The bundled model says a dozen words; a real one says hundreds: each token event stands for this many.
_TOKENS = 30
_IS_TOKEN = re.compile(rb"event: messages[|\r]")
_SYLLABLES = "an be co da el fi go hu in jo ka lo mi no or pa qui re sa ti ul ver wo xa yo zu".split()
_VOCABULARY = tuple(f"{first}{second}".encode() for first in _SYLLABLES for second in _SYLLABLES[::2])


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of one stream."""

    stream: int
    at_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Template:
    """A real stream: what its request asked, and its events with the gaps before them."""

    body: bytes
    events: tuple[tuple[int, bytes], ...]


def grow(events: int) -> list[Entry]:
    """`events` events in `STREAMS` interleaved streams, in the order of their times."""
    templates = _templates()
    merged = heapq.merge(
        *(_stream(number, templates[number % len(templates)]) for number in range(STREAMS)),
        key=lambda entry: entry.at_ns,
    )
    return list(islice(merged, events))


def shared(run: Run) -> list[Entry]:
    """The corpus of a run: 100,000 events, fewer in `smoke`."""
    events = {"smoke": 2_000, "quick": 100_000, "full": 100_000}[run.size.name]
    return run.once("corpus", lambda: grow(events))  # type: ignore[no-any-return]


def write_chunks(path: Path, entries: list[Entry]) -> None:
    """For references/mcap_ref.py."""
    path.write_bytes(b"".join(_ENTRY.pack(e.stream, e.at_ns, len(e.data)) + e.data for e in entries))


def write_cassette(
    path: Path, entries: list[Entry], *, flush_every: int, close: bool = True
) -> CassetteWriter:
    """As the recorder would: a flush for every `flush_every` events, which is what shares one turn of its loop."""
    writer = CassetteWriter.create(path, overwrite=True)
    writer.begin_recording(1_700_000_000_000_000_000, "http://127.0.0.1:2024", "graphtape bench")
    exchanges = [_open(writer, template.body) for template in islice(_repeat(_templates()), STREAMS)]
    chunk, flush = writer.chunk, writer.flush
    for number, entry in enumerate(entries):
        chunk(exchanges[entry.stream], entry.at_ns, entry.data)
        if number % flush_every == 0:
            flush()
    last_ns = entries[-1].at_ns
    for exchange in exchanges:
        writer.end(exchange, last_ns, Ending.COMPLETE)
    flush()
    if close:
        writer.close()
    return writer


def _open(writer: CassetteWriter, body: bytes) -> int:
    headers = ((b"host", b"127.0.0.1:2024"), (b"content-type", b"application/json"))
    exchange = writer.request(0, "POST", "/runs/stream", headers)
    writer.request_body(exchange, 0, body)
    writer.request_end(exchange, 0)
    answer = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"transfer-encoding", b"chunked"))
    writer.response(exchange, 0, 200, "OK", answer)
    return exchange


def _repeat(templates: list[_Template]) -> Iterator[_Template]:
    while True:
        yield from templates


def _templates() -> list[_Template]:
    """The streams of the bundled cassettes that are longer than a few events."""
    found = []
    for path in sorted(SAMPLES.glob("*.tape")):
        with Cassette.open(path) as cassette:
            for summary in cassette.exchanges:
                if summary.method != "POST" or not summary.content_type.startswith("text/event-stream"):
                    continue
                exchange = cassette.exchange(summary.number)
                assert exchange.response is not None
                blocks = [
                    (timed.at_ns, timed.raw)
                    for timed in timed_blocks(exchange.chunks)
                    if timed.block.is_event
                ]
                gaps = [after - before for (before, _), (after, _) in pairwise(blocks)]
                events = tuple(zip([30_000_000, *gaps], (raw for _, raw in blocks), strict=True))
                if len(events) > 10:
                    found.append(_Template(exchange.request_body, events))
    return found


def _stream(number: int, template: _Template) -> Iterator[Entry]:
    chance = random.Random(number)
    at_ns = number * 7_000_000
    while True:
        ids: dict[bytes, bytes] = {}
        for gap_ns, raw in template.events:
            run_raw = _UUID.sub(lambda found: _renewed(ids, found[0], chance), raw)  # noqa: B023
            words: dict[bytes, bytes] = {}
            for _ in range(_TOKENS if _IS_TOKEN.match(raw) else 1):
                at_ns += int(gap_ns * chance.uniform(0.7, 1.3)) + 1
                yield Entry(number, at_ns, _reworded(run_raw, at_ns, words, chance))
                words.clear()


def _renewed(ids: dict[bytes, bytes], old: bytes, chance: random.Random) -> bytes:
    if old not in ids:
        ids[old] = str(uuid.UUID(int=chance.getrandbits(128), version=4)).encode()
    return ids[old]


def _reworded(raw: bytes, at_ns: int, words: dict[bytes, bytes], chance: random.Random) -> bytes:
    def new_word(found: re.Match[bytes]) -> bytes:
        if found[0] not in words:
            words[found[0]] = chance.choice(_VOCABULARY)
        return words[found[0]]

    def new_words(found: re.Match[bytes]) -> bytes:
        return found[1] + _WORD.sub(new_word, found[2]) + found[3]

    raw = _WORDS_IN.sub(new_words, raw)
    return _EVENT_ID.sub(
        lambda found: b"%b%d%b" % (found[1], 1_700_000_000_000 + at_ns // 1_000_000, found[3]), raw
    )
