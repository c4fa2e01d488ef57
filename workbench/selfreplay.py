"""`verify`: is a cassette whole, and does it play to its own bytes?

Knows cassettes, the replayer and the plain client. Its one rule: a cassette is played against itself at `max`,
strictly, request after request in recorded order; what cannot be repeated that way is named, never counted as good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from graphtape.cassettes.errors import DamagedCassette, UndecodableBody
from graphtape.cassettes.model import Chunk, Ending, Exchange, ExchangeSummary, Headers, Response
from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette, CheckReport
from graphtape.cassettes.runs import RecordedRun
from graphtape.cassettes.showing.preview import event_preview, parse_json
from graphtape.cassettes.showing.text import Paint, cut, format_bytes, plural, visible
from graphtape.cassettes.streams import content_codings, decoded_chunks, timed_blocks
from graphtape.protocol.errors import EventTooLarge
from graphtape.protocol.headers import end_to_end, get, rewrite_location, split_valid
from graphtape.protocol.jsonvalue import MAX_DEPTH, is_too_deep
from graphtape.protocol.operations import Kind, Operation, Resolved, resolve
from graphtape.protocol.sse import Decoder
from graphtape.replayer import serve
from graphtape.workbench.client import NoAnswer, Received, new_session, send
from graphtape.workbench.serving import loop_factory

_PATIENCE_S = 10.0
"""How long the replay may be silent at `max`, where nothing waits."""

_SHOWN = 400
"""Columns of a recorded or replayed value that are shown."""

_UNFINISHED = "unfinished"

_LOOKS = frozenset((Kind.READS_RUN, Kind.READS_THREAD))
_OVERVIEWS = frozenset((Operation.SEARCH_THREADS, Operation.COUNT_THREADS))

# What our own servers add or remove; the recorded ones are kept in the file and never sent.
_OUR_HEADERS = (b"access-control-", b"graphtape-")


@dataclass(frozen=True, slots=True)
class Departure:
    """One place where the replay is not what was recorded."""

    exchange: int
    request: str
    what: str
    """`status`, `header NAME`, `event N`, `body`, `ending` or `answer`."""
    recorded: str
    replayed: str


@dataclass(slots=True)
class Verdict:
    """The outcome of `verify`."""

    path: str
    digest: str = ""
    report: CheckReport | None = None
    compared: int = 0
    departures: list[Departure] = field(default_factory=list)
    set_aside: list[tuple[int, str]] = field(default_factory=list)
    """(exchange, why it was not compared)."""
    damage: str = ""
    damaged_at: int | None = None

    @property
    def state(self) -> str:
        """`sound`, `unfinished`, `damaged` or `self-replay differs`."""
        if self.damage:
            return "damaged"
        if self.departures:
            return "self-replay differs"
        return "sound" if self.report is not None and self.report.finished else "unfinished"

    @property
    def passed(self) -> bool:
        return not self.damage and not self.departures


def verify_cassette(path: str) -> Verdict:
    """Check a cassette's integrity, then play it against itself.

    Raises:
        CassetteError: it is no cassette, or of a later format. Damage is a verdict, not an error.
    """
    verdict = Verdict(path)
    try:
        with Cassette.open(path) as cassette:
            verdict.report = cassette.check()
            verdict.digest = cassette.digest()
            if len(cassette.exchanges):
                with asyncio.Runner(loop_factory=loop_factory()) as runner:
                    runner.run(_self_replay(cassette, path, verdict))
    except DamagedCassette as damage:
        verdict.damage, verdict.damaged_at = damage.reason, damage.offset
    return verdict


async def _self_replay(cassette: Cassette, path: str, verdict: Verdict) -> None:
    async with AsyncExitStack() as stack:
        mock = await stack.enter_async_context(serve(path, speed="max", match="strict", broken_last=False))
        session = await stack.enter_async_context(new_session())
        player = _Player(cassette, mock.url, session, verdict)
        await player.play()


@dataclass(slots=True)
class _Recorded:
    """One exchange that can be asked for again."""

    summary: ExchangeSummary
    resolved: Resolved | None
    beside: _Recorded | None = None
    """The earlier run, of the same thread, that had not ended when this one was asked for."""
    run: RecordedRun | None = None
    """The run that it starts."""

    @property
    def thread(self) -> str | None:
        if self.run is not None:
            return self.run.thread_id
        return self.resolved.params.get("thread_id") if self.resolved else None

    @property
    def is_overview(self) -> bool:
        """Whether its answer depends on all threads."""
        return self.resolved is not None and self.resolved.operation in _OVERVIEWS

    def goes_on_at(self, later: ExchangeSummary) -> bool:
        """Whether what it starts had not ended when a later exchange began."""
        if self.summary.recording != later.recording:
            return False
        ended_ns = self.summary.ended_ns
        if self.is_background and self.run is not None and self.run.done[0] == later.recording:
            ended_ns = self.run.done[1]
        return ended_ns is None or ended_ns > later.at_ns

    @property
    def is_too_late(self) -> bool:
        """Whether it looks at a run that at `max` is gone, with its thread, before anybody can: no use to ask."""
        run = self.beside.run if self.beside is not None else None
        kind = self.resolved.route.kind if self.resolved is not None else None
        return kind in _LOOKS and run is not None and not run.keeps_thread

    @property
    def is_background(self) -> bool:
        """Whether its answer does not wait for the end of what it starts."""
        return self.run is not None and self.run.answer == "create"


class _Player:
    def __init__(
        self, cassette: Cassette, url: str, session: aiohttp.ClientSession, verdict: Verdict
    ) -> None:
        self._cassette = cassette
        self._runs = {run.call.number: run for run in read_tapes([cassette]).runs}
        self._url = url
        self._session = session
        self._verdict = verdict

    async def play(self) -> None:
        """Ask for everything once, in order. Streams of threads stay open beside the rest, as they were."""
        followers: list[tuple[_Recorded, asyncio.Task[Received]]] = []
        open_now: list[_Recorded] = []
        for summary in self._cassette.exchanges:
            recorded = self._placed(summary, open_now)
            if reason := _never_compared(self._cassette, summary):
                self._verdict.set_aside.append((summary.number, reason))
                if reason == _UNFINISHED and summary.status is not None:
                    await self._repeat(recorded)
                continue
            if recorded.resolved is not None and recorded.resolved.operation is Operation.JOIN_THREAD_STREAM:
                attached = asyncio.Event()
                task = asyncio.create_task(self._ask(self._cassette.exchange(summary.number), attached))
                await asyncio.wait(
                    {task, asyncio.ensure_future(attached.wait())}, return_when="FIRST_COMPLETED"
                )
                followers.append((recorded, task))
                continue
            if recorded.is_too_late:
                self._verdict.set_aside.append((summary.number, _beside(recorded)))
                continue
            await self._compare(recorded, self._ask(self._cassette.exchange(summary.number)))
        for recorded, task in followers:
            await self._compare(recorded, task)

    def _placed(self, summary: ExchangeSummary, open_now: list[_Recorded]) -> _Recorded:
        resolved = resolve(summary.method, summary.target)
        recorded = _Recorded(summary, resolved, run=self._runs.get(summary.number))
        open_now[:] = [earlier for earlier in open_now if earlier.goes_on_at(summary)]
        recorded.beside = next(
            (
                one
                for one in open_now
                if recorded.is_overview or (one.thread and one.thread == recorded.thread)
            ),
            None,
        )
        if resolved is None or resolved.operation is Operation.JOIN_THREAD_STREAM:
            return recorded
        if resolved.route.answer is not None:
            open_now.append(recorded)
        return recorded

    async def _ask(self, exchange: Exchange, attached: asyncio.Event | None = None) -> Received:
        def answered(_status: int, _headers: Headers) -> None:
            if attached is not None:
                attached.set()

        return await send(
            self._session,
            self._url,
            exchange.request,
            exchange.request_body,
            answered=answered,
            enough=None if exchange.ending is Ending.COMPLETE else _Enough(exchange),
        )

    async def _repeat(self, recorded: _Recorded) -> None:
        """Ask for what has no end once more, for the sake of what follows: it is played, then it breaks off."""
        if recorded.resolved is None or recorded.resolved.route.answer is None:
            return
        with contextlib.suppress(NoAnswer, TimeoutError):
            exchange = replace(self._cassette.exchange(recorded.summary.number), ending=Ending.COMPLETE)
            await asyncio.wait_for(self._ask(exchange), _PATIENCE_S)

    async def _compare(self, recorded: _Recorded, answer: Any) -> None:
        number = recorded.summary.number
        exchange = self._as_the_mock_says(self._cassette.exchange(number))
        try:
            received = await asyncio.wait_for(answer, _PATIENCE_S)
            found = list(_departures(exchange, received))
        except NoAnswer as error:
            found = [("answer", f"status {recorded.summary.status}", str(error))]
        except TimeoutError:
            found = [
                ("answer", f"status {recorded.summary.status}", f"nothing more came in {_PATIENCE_S:.0f} s")
            ]
        if found and (reason := _unrepeatable(recorded, exchange)):
            self._verdict.set_aside.append((number, reason))
            return
        self._verdict.compared += 1
        line = f"{exchange.request.method} {exchange.request.target}"
        self._verdict.departures += [Departure(number, line, *one) for one in found]

    def _as_the_mock_says(self, exchange: Exchange) -> Exchange:
        """The exchange with locations on its upstream led to the mock, as the mock leads them."""
        upstream = next(
            (one.upstream for one in self._cassette.recordings if one.number == exchange.recording), ""
        )
        response = exchange.response
        if response is None or not upstream:
            return exchange
        headers = tuple(
            (name, rewrite_location(value, upstream=upstream, own_origin=self._url))
            if name.lower() in (b"location", b"content-location")
            else (name, value)
            for name, value in response.headers
        )
        return replace(exchange, response=replace(response, headers=headers))


def _never_compared(cassette: Cassette, summary: ExchangeSummary) -> str:
    """Why an exchange is not compared, whatever is answered; empty if it is."""
    if summary.ending is Ending.UNREACHED:
        return "the upstream was not reached"
    if unsendable := _unsendable(cassette, summary.number):
        return unsendable
    if summary.ending is Ending.UNFINISHED:
        return _UNFINISHED
    return "no plain HTTP answer" if summary.status in (None, 101) else ""


def _unsendable(cassette: Cassette, number: int) -> str:
    """Why no HTTP client sends a recorded request again, or why the mock does not look into it; empty if neither."""
    request, body = cassette.request(number)
    target = request.target
    if not (target.startswith("/") and target.isascii() and target.isprintable()) or " " in target:
        return "its target holds bytes that no client sends"
    if is_too_deep(body):
        return f"its body is nested deeper than the {MAX_DEPTH} levels that a replay looks into"
    return ""


def _unrepeatable(recorded: _Recorded, exchange: Exchange) -> str:
    """Why an answer that differs proves nothing, or the empty string.

    At `max` a run is at its end when the next request is sent: what was asked for while it ran cannot come again.
    """
    if recorded.beside is not None:
        return _beside(recorded)
    is_json, value = parse_json(exchange.body)
    if is_json and isinstance(value, dict) and value.get("status") in ("pending", "running", "busy"):
        return f"shows a run that was {value['status']}, and a replay at max has ended it"
    return ""


def _beside(recorded: _Recorded) -> str:
    beside = recorded.beside
    assert beside is not None
    number = beside.summary.number
    if beside.is_background:
        return f"asked while the run of exchange {number} went on, which its answer depends on"
    return f"asked while exchange {number} was still open, which its answer depends on"


class _Enough:
    """Whether what came holds as much as the recording does, for responses that did not end by themselves."""

    def __init__(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        self._left = len(exchange.body)
        self._decoder: Decoder | None = None
        if _is_stream(exchange.response.headers) and not content_codings(exchange.response.headers):
            # A replay at max has no heartbeats: only events count.
            self._decoder = Decoder()
            self._left = sum(len(raw) for raw in _events(exchange.response, exchange.chunks))

    def __call__(self, data: bytes) -> bool:
        if self._decoder is None:
            self._left -= len(data)
        else:
            self._left -= sum(
                block.end - block.start for block in self._decoder.feed(data) if not block.is_comment
            )
        return self._left <= 0


def _departures(exchange: Exchange, received: Received) -> Iterator[tuple[str, str, str]]:
    recorded = exchange.response
    assert recorded is not None
    if recorded.status != received.status:
        detail = received.body[:300].decode("utf-8", "replace")
        yield "status", str(recorded.status), f"{received.status} {detail}"
        return
    yield from _header_departures(recorded.headers, received.headers)
    complete = exchange.ending is Ending.COMPLETE
    if _is_stream(recorded.headers):
        yield from _stream_departures(exchange, recorded, received, complete=complete)
    else:
        # A wait keeps its connection alive with newlines, which a replay at max does not need.
        one, two = exchange.body.lstrip(b"\n"), received.body.lstrip(b"\n")
        if (one != two) if complete else not two.startswith(one):
            at = next(
                (i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
            )
            yield f"body from byte {at}", _piece(one, at), _piece(two, at)
    if complete and not received.whole:
        yield "ending", "complete", "the connection broke"


def _header_departures(recorded: Headers, replayed: Headers) -> Iterator[tuple[str, str, str]]:
    one, two = _compared_headers(recorded), _compared_headers(replayed)
    for name in [*one, *(name for name in two if name not in one)]:
        if one.get(name) != two.get(name):
            shown = (", ".join(side.get(name, ["(absent)"])) for side in (one, two))
            recorded_value, replayed_value = shown
            yield f"header {name}", recorded_value, replayed_value


def _compared_headers(headers: Headers) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}
    for name, value in end_to_end(split_valid(headers)[0]):
        key = name.lower()
        if not key.startswith(_OUR_HEADERS) and key != b"content-length":
            kept.setdefault(key.decode("latin-1"), []).append(value.decode("utf-8", "backslashreplace"))
    return kept


def _stream_departures(
    exchange: Exchange, recorded: Response, received: Received, *, complete: bool
) -> Iterator[tuple[str, str, str]]:
    answer = Response(0, received.status, received.reason, received.headers)
    try:
        one = _events(recorded, exchange.chunks)
        two = _events(answer, (Chunk(0, received.body),))
    except (UndecodableBody, EventTooLarge):
        if exchange.body != received.body[: None if complete else len(exchange.body)]:
            yield "body", f"{len(exchange.body)} bytes", f"{len(received.body)} other bytes"
        return
    for number, raw in enumerate(one, 1):
        other = two[number - 1] if number <= len(two) else None
        if raw != other:
            yield f"event {number}", _event(raw), "(nothing)" if other is None else _event(other)
            return
    if complete and len(two) > len(one):
        yield f"event {len(one) + 1}", "(nothing)", _event(two[len(one)])


def _events(response: Response, chunks: tuple[Chunk, ...]) -> list[bytes]:
    """The bytes of every block that is no mere comment. A tail that was cut off proves nothing."""
    timed = timed_blocks(decoded_chunks(response, chunks))
    return [one.raw for one in timed if not one.block.is_comment and one.block.terminated]


def _is_stream(headers: Headers) -> bool:
    return (get(headers, b"content-type") or b"").strip().lower().startswith(b"text/event-stream")


def _event(raw: bytes) -> str:
    (block, *_) = [*Decoder().feed(raw), None]
    if block is None:
        return _piece(raw, 0)
    tail = f"  id {block.id}" if block.id is not None else ""
    return f"{block.name}  {event_preview(block.name or '', block.data)}{tail}"


def _piece(data: bytes, at: int) -> str:
    return data[max(at - 20, 0) : at + 100].decode("utf-8", "replace") or "(end)"


def format_verdict(verdict: Verdict, *, paint: Paint | None = None) -> Iterator[str]:
    """The lines that `verify` prints."""
    paint = paint or Paint()
    role = "bad" if not verdict.passed else "good" if verdict.state == "sound" else "warn"
    yield f"{visible(verdict.path)}: {paint(role, verdict.state)}"
    if verdict.damage:
        yield f"  at byte {verdict.damaged_at}: {verdict.damage}"
        yield "  the file was changed after it was recorded: restore it from a copy"
    report = verdict.report
    if report is None:
        return
    counted = f"{plural(report.exchanges, 'exchange')}, {format_bytes(report.response_bytes)} of responses"
    yield f"  {counted}, {verdict.digest}"
    if not report.finished:
        whole = report.exchanges - len(report.unfinished)
        rest = f"; without an end: {_numbers(report.unfinished)}" if report.unfinished else ""
        yield f"  the recorder did not close the file: {plural(whole, 'exchange')} whole{rest}"
    if report.torn_at is not None:
        yield f"  the file breaks off: nothing after byte {report.torn_at} could be read"
    if report.unknown_frames:
        yield f"  {plural(report.unknown_frames, 'frame')} of a kind that this version does not know"
    good = verdict.compared - len({departure.exchange for departure in verdict.departures})
    yield f"  self-replay: {good} of {plural(report.exchanges, 'exchange')} answered with the recorded bytes"
    for number, reason in verdict.set_aside:
        yield paint("faint", f"    exchange {number} not compared: {reason}")
    for departure in verdict.departures:
        request = cut(visible(departure.request), _SHOWN)
        yield paint("title", f"    exchange {departure.exchange}  {request}: {departure.what}")
        yield paint("left", f"      - recorded  {cut(visible(departure.recorded), _SHOWN)}")
        yield paint("right", f"      + replayed  {cut(visible(departure.replayed), _SHOWN)}")


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The document that `verify --json` prints."""
    report = verdict.report
    return {
        "file": verdict.path,
        "verdict": verdict.state,
        "passed": verdict.passed,
        "digest": verdict.digest or None,
        "damage": {"offset": verdict.damaged_at, "reason": verdict.damage} if verdict.damage else None,
        "integrity": None
        if report is None
        else {
            "exchanges": report.exchanges,
            "unfinished": list(report.unfinished),
            "reads": report.chunks,
            "response_bytes": report.response_bytes,
            "finished": report.finished,
            "torn_at": report.torn_at,
            "unknown_frames": report.unknown_frames,
        },
        "self_replay": {
            "compared": verdict.compared,
            "differences": [
                {
                    "exchange": one.exchange,
                    "request": one.request,
                    "what": one.what,
                    "recorded": one.recorded,
                    "replayed": one.replayed,
                }
                for one in verdict.departures
            ],
            "not_compared": [{"exchange": number, "reason": reason} for number, reason in verdict.set_aside],
        },
    }
