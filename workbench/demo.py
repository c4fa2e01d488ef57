"""`graphtape demo`: the whole loop on a bundled cassette, without a server and without keys.

Knows the recorder, the replayer and the plain client. Its one rule: what it says at the end was compared byte by byte
in this very run, with the same parts that `record` and `replay` use.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from graphtape.cassettes.clock import Clock, SystemClock
from graphtape.cassettes.model import Ending, Exchange, Headers
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.showing.text import Paint, format_bytes, plural, short_ids, visible
from graphtape.cassettes.showing.timeline import Entry
from graphtape.cassettes.showing.timeline_text import format_entry, format_request
from graphtape.cassettes.writer import CassetteWriter
from graphtape.protocol.errors import GraphtapeError
from graphtape.protocol.headers import end_to_end, get
from graphtape.protocol.operations import Operation, resolve
from graphtape.protocol.sse import Block, Decoder
from graphtape.recorder import Recorder
from graphtape.replayer import serve
from graphtape.workbench.client import Received, new_session, send
from graphtape.workbench.serving import loop_factory

SAMPLE = "agent.tape"
_EVENT_WIDTH = 10

Out = Callable[[str], None]


def sample_path(name: str = SAMPLE) -> Path:
    """Where a bundled cassette lies in this installation.

    Raises:
        GraphtapeError: it is not there.
    """
    path = Path(str(importlib.resources.files("graphtape.cassettes"))) / "samples" / name
    if not path.is_file():
        raise GraphtapeError(f"the bundled cassette {path} is missing; install graphtape again")
    return path


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the client got for one recorded request."""

    exchange: Exchange
    received: Received


@dataclass(frozen=True, slots=True)
class Screen:
    """Where the demo shows itself."""

    out: Out
    width: int = 100
    paint: Paint = field(default_factory=Paint)


def run_demo(
    *,
    out: Out,
    speed: float | str = 1.0,
    keep: str | None = None,
    width: int = 100,
    paint: Paint | None = None,
    sample: Path | None = None,
    clock: Clock | None = None,
) -> int:
    """Record, replay, compare and show; returns the exit status, 0 if every byte was equal.

    Args:
        out: gets each line as it is known.
        speed: how fast the upstream plays.
        keep: where the recorded cassette is to stay; else it is removed.
        sample: the cassette that plays the upstream; the bundled one if absent.

    Raises:
        GraphtapeError: the sample is missing, or `keep` is there already or cannot be.
    """
    if keep is not None and Path(keep).exists():
        raise GraphtapeError(f"{keep} exists already; give --keep another name, or remove it first")
    if keep is not None and not Path(keep).parent.is_dir():
        raise GraphtapeError(f"{keep}: its directory does not exist; make it first")
    if keep is not None and not os.access(Path(keep).parent, os.W_OK):
        raise GraphtapeError(f"{keep}: no permission to write it; give --keep another name")
    screen = Screen(out, width, paint or Paint())
    source = sample or sample_path()
    with tempfile.TemporaryDirectory(prefix="graphtape-demo-") as folder:
        tape = Path(folder) / "demo.tape"
        demo = _Demo(source, tape, screen, clock or SystemClock())
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            differences = runner.run(demo.run(speed))
        if keep is not None:
            try:
                shutil.copyfile(tape, keep)
            except OSError as error:
                raise GraphtapeError(f"{keep}: cannot be written: {error.strerror or error}") from None
    shown = shlex.quote(keep if keep is not None else str(source))
    if not differences:
        out(f"next: graphtape show {shown} {demo.first_stream}")
    return 1 if differences else 0


class _Demo:
    def __init__(self, sample: Path, tape: Path, screen: Screen, clock: Clock) -> None:
        self._sample = sample
        self._tape = tape
        self._screen = screen
        self._clock = clock
        self.first_stream = 1
        self._events = 0
        self._bytes = 0

    async def run(self, speed: float | str) -> list[str]:
        """The whole loop; returns what differed."""
        say, paint = self._screen.out, self._screen.paint
        with Cassette.open(self._sample) as sample:
            digest, version = sample.digest(), server_version(sample)
            exchanges = _playable(sample)
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(serve(self._sample, speed=speed))
            writer = CassetteWriter.create(self._tape)
            proxy = await stack.enter_async_context(Recorder(upstream.url, writer, path=str(self._tape)))
            say(paint("title", "graphtape demo") + ": a server that is not there, recorded and replayed")
            say(
                paint(
                    "faint", f"  upstream  {upstream.url}  plays {self._sample.name}, captured from {version}"
                )
            )
            say(paint("faint", f"  proxy     {proxy.url}  records what the client sees"))
            heard = await self._listen(proxy.url, exchanges)
        with Cassette.open(self._tape) as recorded:
            differences = _against_file(recorded, heard)
        async with AsyncExitStack() as stack:
            mock = await stack.enter_async_context(serve(self._tape, speed="max", match="strict"))
            session = await stack.enter_async_context(new_session())
            for one in heard:
                again = await send(session, mock.url, one.exchange.request, one.exchange.request_body)
                differences += _differences(one.exchange, one.received, again, "the replay")
        say("")
        counted = (
            f"{plural(len(heard), 'exchange')}, {plural(self._events, 'event')}, {format_bytes(self._bytes)}"
        )
        if differences:
            for difference in differences[:20]:
                say(paint("bad", difference))
            say(
                paint(
                    "bad",
                    f"differs: {counted}: {plural(len(differences), 'difference')} between recording and replay",
                )
            )
        else:
            equal = paint("good", "equal")
            say(
                f"{equal}: {counted} recorded, replayed and compared byte for byte ({digest}, from {version})"
            )
        return differences

    async def _listen(self, url: str, exchanges: list[Exchange]) -> list[_Heard]:
        heard = []
        async with new_session() as session:
            for exchange in exchanges:
                watcher = _Watcher(exchange, self._screen, self._clock)
                received = await send(
                    session,
                    url,
                    exchange.request,
                    exchange.request_body,
                    answered=watcher.answered,
                    enough=watcher.read,
                )
                watcher.ended(received)
                if watcher.is_stream and self._events == 0:
                    self.first_stream = exchange.number
                self._events += watcher.events
                self._bytes += len(received.body)
                heard.append(_Heard(exchange, received))
        return heard


class _Watcher:
    """Draws one response while it arrives: a stream as a time line, anything else as one line."""

    def __init__(self, exchange: Exchange, screen: Screen, clock: Clock) -> None:
        self._exchange = exchange
        self._screen = screen
        self._clock = clock
        self._start_ns = self._before_ns = clock.now_ns()
        self._decoder = Decoder()
        self.is_stream = False
        self.events = 0

    def answered(self, status: int, headers: Headers) -> None:
        self._before_ns = self._clock.now_ns()
        self.is_stream = _is_stream(headers)
        if self.is_stream:
            screen = self._screen
            screen.out("")
            for line in format_request(self._exchange, width=screen.width, paint=screen.paint):
                screen.out(line)

    def read(self, data: bytes) -> bool:
        if self.is_stream:
            now_ns = self._clock.now_ns()
            for block in self._decoder.feed(data):
                self._show(block, now_ns)
        return False

    def _show(self, block: Block, now_ns: int) -> None:
        self.events += block.is_event
        entry = Entry(
            at_ns=now_ns - self._start_ns,
            gap_ns=now_ns - self._before_ns,
            block=block,
            number=self.events if block.is_event else None,
        )
        self._before_ns = now_ns
        screen = self._screen
        screen.out(format_entry(entry, event_width=_EVENT_WIDTH, width=screen.width, paint=screen.paint))

    def ended(self, received: Received) -> None:
        if not self.is_stream:
            request = self._exchange.request
            line = f"{request.method} {visible(short_ids(request.target))}"
            words = f"{line}  {received.status}, {format_bytes(len(received.body))}"
            self._screen.out(self._screen.paint("faint", words))


def _playable(sample: Cassette) -> list[Exchange]:
    """The exchanges that one client can ask for again, one after the other."""
    chosen = []
    for summary in sample.exchanges:
        resolved = resolve(summary.method, summary.target)
        endless = resolved is not None and resolved.operation is Operation.JOIN_THREAD_STREAM
        if summary.ending is Ending.COMPLETE and not endless:
            chosen.append(sample.exchange(summary.number))
    return chosen


def server_version(cassette: Cassette) -> str:
    """What the recorded server said it was, from its answer to /info."""
    for summary in cassette.exchanges:
        if summary.target.partition("?")[0] == "/info" and summary.status == 200:
            try:
                info = orjson.loads(cassette.exchange(summary.number).body)
            except orjson.JSONDecodeError:
                continue
            if isinstance(info, dict) and "version" in info:
                return f"langgraph-api {info['version']}"
    return "a server of unknown version"


def _is_stream(headers: Headers) -> bool:
    return (get(headers, b"content-type") or b"").startswith(b"text/event-stream")


def _against_file(recorded: Cassette, heard: list[_Heard]) -> list[str]:
    """Whether the new cassette holds, exchange by exchange, what its client got."""
    if len(recorded.exchanges) != len(heard):
        return [f"the new cassette holds {len(recorded.exchanges)} exchanges, and {len(heard)} were made"]
    found: list[str] = []
    for number, one in enumerate(heard, 1):
        exchange = recorded.exchange(number)
        if exchange.response is None:
            found.append(f"exchange {number}: no response in the cassette")
            continue
        response = exchange.response
        whole = exchange.ending is Ending.COMPLETE
        kept = Received(response.status, response.reason, response.headers, exchange.body, whole)
        found += _differences(one.exchange, one.received, kept, "the new cassette")
    return found


def _differences(exchange: Exchange, one: Received, two: Received, where: str) -> list[str]:
    name = f"exchange {exchange.number} ({exchange.request.method} {short_ids(exchange.request.target)}) in {where}"
    found = []
    if (one.status, one.reason) != (two.status, two.reason):
        found.append(f"{name}: status {two.status} {two.reason}, not {one.status} {one.reason}")
    if _headers(one) != _headers(two):
        found.append(f"{name}: other headers: {sorted(set(_headers(one)) ^ set(_headers(two)))!r}")
    if _body(one) != _body(two):
        found.append(f"{name}: another body ({len(two.body)} bytes, not {len(one.body)})")
    if one.whole != two.whole:
        found.append(f"{name}: another end")
    return found


def _headers(received: Received) -> list[tuple[bytes, bytes]]:
    """All but `graphtape-*`, in which each mock says of its own how it chose."""
    kept = ((name.lower(), value) for name, value in end_to_end(received.headers))
    return sorted((name, value) for name, value in kept if not name.startswith(b"graphtape-"))


def _body(received: Received) -> bytes:
    """The body; of a stream, all but the heartbeats, which are due by the clock: a replay at max has none."""
    if not _is_stream(received.headers) or b"\n:" not in b"\n" + received.body:
        return received.body
    decoder = Decoder()
    blocks = [*decoder.feed(received.body), decoder.finish()]
    return b"".join(
        received.body[block.start : block.end]
        for block in blocks
        if block is not None and not block.is_comment
    )
