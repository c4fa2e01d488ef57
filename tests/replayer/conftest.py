"""Small recordings written by hand, and two ways to play them: the pure core, and the application with its client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from graphtape.cassettes.clock import FakeClock
from graphtape.cassettes.model import Asked as AskedRecord
from graphtape.cassettes.model import Ending
from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.records import Record
from graphtape.cassettes.runs import Tapes
from graphtape.cassettes.writer import CassetteWriter
from graphtape.replayer import make_app
from graphtape.replayer.answering.dispatch import answer
from graphtape.replayer.answering.replies import Asked
from graphtape.replayer.plan import Pace
from graphtape.replayer.session import Options, Session

MS = 1_000_000
STARTED_UNIX_NS = 1_795_219_836_000_000_000
DATE = (b"date", b"Sat, 21 Nov 2026 00:10:36 GMT")
SERVER = (b"server", b"uvicorn")
STREAM_TAIL = (
    (b"cache-control", b"no-store"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"vary", b"Origin"),
    (b"transfer-encoding", b"chunked"),
)


def uid(number: int) -> str:
    """The UUID of this number, of version 7."""
    return f"019f0000-0000-7000-8000-{number:012x}"


def sse(name: str, data: Any, event_id: str | None = None) -> bytes:
    """An event as the server writes it."""
    tail = f"id: {event_id}\r\n".encode() if event_id else b""
    return b"event: " + name.encode() + b"\r\ndata: " + orjson.dumps(data) + b"\r\n" + tail + b"\r\n"


HEARTBEAT = b": heartbeat\r\n\r\n"


class Recording:
    """Writes exchanges into a cassette, one after the other unless a start is given."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ms = 0.0
        self._writer = CassetteWriter.create(path)
        self._writer.begin_recording(STARTED_UNIX_NS, "http://127.0.0.1:2024", "graphtape 0.1.0")

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        status: int | None = 200,
        reason: str = "OK",
        headers: Sequence[tuple[bytes, bytes]] = (DATE, SERVER, (b"content-type", b"application/json")),
        asked: Sequence[tuple[bytes, bytes]] = (),
        reads: Sequence[tuple[float, bytes]] = (),
        ending: Ending | None = Ending.COMPLETE,
        head_ms: float = 1,
        end_ms: float = 0,
        start_ms: float | None = None,
        widened_from: Mapping[str, bytes | None] | None = None,
    ) -> int:
        """One exchange; `reads` are (milliseconds after the one before, bytes). Returns its number.

        `widened_from` are the members that the client's own body had, where the recorder asked for more.
        """
        writer = self._writer
        now_ms = self.now_ms + 1 if start_ms is None else start_ms
        number = writer.request(int(now_ms * MS), method, target, ((b"host", b"127.0.0.1:2025"), *asked))
        if widened_from is not None:
            writer.add(Record(number, int(now_ms * MS), AskedRecord(int(now_ms * MS), widened_from)))
        if body is not None:
            writer.request_body(
                number, int(now_ms * MS), body if isinstance(body, bytes) else orjson.dumps(body)
            )
        writer.request_end(number, int(now_ms * MS))
        if status is not None:
            now_ms += head_ms
            writer.response(number, int(now_ms * MS), status, reason, tuple(headers))
        for gap_ms, data in reads:
            now_ms += gap_ms
            writer.chunk(number, int(now_ms * MS), data)
        now_ms += end_ms
        if ending is not None:
            writer.end(number, int(now_ms * MS), ending)
        self.now_ms = max(self.now_ms, now_ms)
        return number

    def json(self, method: str, target: str, value: Any, body: Any = None, **more: Any) -> int:
        """A plain JSON answer."""
        data = orjson.dumps(value)
        length = (b"content-length", str(len(data)).encode())
        headers = (DATE, SERVER, length, (b"content-type", b"application/json"))
        return self.call(method, target, body, reads=((1, data),), **{"headers": headers, **more})

    def thread(self, number: int, body: Any = None) -> str:
        """POST /threads."""
        thread_id = uid(number)
        value: dict[str, Any] = {
            "thread_id": thread_id, "created_at": "2026-11-21T00:10:36.000000+00:00", "metadata": {},
            "updated_at": "2026-11-21T00:10:36.000000+00:00", "status": "idle", "config": {}, "values": None,
        }  # fmt: skip
        self.json("POST", "/threads", value, {} if body is None else body)
        return thread_id

    def run(
        self,
        thread_id: str | None,
        run_id: str,
        body: Mapping[str, Any],
        events: Sequence[tuple[Any, ...]] | None = None,
        **more: Any,
    ) -> int:
        """A run's stream; `events` are (gap ms, name, data[, id]), or (gap ms, bytes) for anything else."""
        base = f"/threads/{thread_id}/runs" if thread_id else "/runs"
        location = f"{base}/{run_id}".encode()
        headers = (
            DATE,
            SERVER,
            (b"location", location + b"/stream"),
            (b"content-location", location),
            *STREAM_TAIL,
        )
        if events is None:
            events = simple_events(run_id)
        reads = [(event[0], event[1] if len(event) == 2 else sse(*event[1:])) for event in events]
        return self.call("POST", f"{base}/stream", dict(body), headers=headers, reads=reads, **more)

    def close(self, *, finished: bool = True) -> Path:
        self._writer.flush()
        if not finished:
            killed = self.path.read_bytes()
            self._writer.close()
            self.path.write_bytes(killed)
        else:
            self._writer.close()
        return self.path


def simple_events(run_id: str, *texts: str, ids: bool = False, gap_ms: float = 10) -> list[tuple[Any, ...]]:
    """`metadata`, then a `values` event for each text."""
    events: list[tuple[Any, ...]] = [(gap_ms, "metadata", {"run_id": run_id, "attempt": 1})]
    events += [(gap_ms, "values", {"text": text}) for text in texts or ("a", "b")]
    if ids:
        events = [(*event, f"{1_795_219_836_000 + 10 * n}-0") for n, event in enumerate(events)]
    return events


class Kit:
    """What tests need, in one fixture: importlib mode lets test files import nothing from here."""

    MS = MS
    HEARTBEAT = HEARTBEAT
    uid = staticmethod(uid)
    sse = staticmethod(sse)
    simple_events = staticmethod(simple_events)
    STREAM_TAIL = STREAM_TAIL
    UNREACHED = Ending.UNREACHED
    DATE = DATE
    SERVER = SERVER

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._made = 0

    def recording(self) -> Recording:
        self._made += 1
        return Recording(self._folder / f"{self._made}.tape")

    def tapes(self, *recordings: Recording) -> Tapes:
        """What the recordings show; they are closed."""
        return read_tapes([self._stack.enter_context(Cassette.open(one.close())) for one in recordings])

    def session(
        self, *recordings: Recording, speed: str | float = 1, idle: float | None = None, **more: Any
    ) -> Session:
        return Session(self.tapes(*recordings), Options(Pace.parse(speed, idle), **more))

    def ask(
        self,
        session: Session,
        method: str,
        target: str,
        body: Any = None,
        *,
        now_ms: float = 0,
        **headers: str,
    ) -> Any:
        """The core's answer to a request; header names with underscores."""
        path, _, query = target.partition("?")
        pairs = tuple(tuple(part.partition("=")[::2]) for part in query.split("&") if part)
        data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return answer(session, Asked(method, path, pairs, fields, data, query), int(now_ms * MS))  # type: ignore[arg-type]

    def value(self, reply: Any) -> Any:
        """The JSON of a whole answer."""
        return orjson.loads(reply.plan.body)

    def checkpoint(self, number: int, values: Any, **more: Any) -> dict[str, Any]:
        """The payload of a `checkpoints` event."""
        config = {"checkpoint_ns": "", "thread_id": uid(1), "checkpoint_id": uid(100 + number)}
        parent = {"checkpoint_ns": "", "checkpoint_id": uid(99 + number)}
        payload = {
            "config": {"configurable": config},
            "parent_config": {"configurable": parent} if number else None,
            "values": values,
            "next": [],
            "tasks": [],
            "metadata": {"step": number},
        }
        return {**payload, **more}

    def conversation(self, *runs: tuple[Any, list[tuple[Any, ...]]]) -> Session:
        """A session that has played these runs (modes, events) in thread 1, a second apart, each with its input."""
        recording = self.recording()
        thread_id = recording.thread(1)
        bodies = []
        for number, (modes, events) in enumerate(runs, 2):
            bodies.append({"assistant_id": "agent", "input": {"n": number}, "stream_mode": modes})
            start = [(1, "metadata", {"run_id": uid(number), "attempt": 1})]
            recording.run(thread_id, uid(number), bodies[-1], [*start, *events])
        session = self.session(recording)
        self.ask(session, "POST", "/threads", {})
        for number, body in enumerate(bodies):
            self.ask(session, "POST", f"/threads/{thread_id}/runs/stream", body, now_ms=1000 * number)
        return session

    def read(self, session: Session, what: str, body: Any = None, now_ms: float = 10_000) -> Any:
        """What is read of thread 1."""
        method = "POST" if body is not None else "GET"
        return self.value(self.ask(session, method, f"/threads/{uid(1)}{what}", body, now_ms=now_ms))


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with ExitStack() as stack:
        yield Kit(tmp_path, stack)


Play = Callable[..., Awaitable["TestClient[Any, Any]"]]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Start the application on recordings (closed) or paths; gives a client. The clock jumps unless one is given."""
    clients: list[TestClient[Any, Any]] = []

    async def start(*recordings: Recording | Path, clock: FakeClock | None = None, **choices: Any) -> Any:
        paths = [one.close() if isinstance(one, Recording) else one for one in recordings]
        app = make_app(paths, clock=clock or FakeClock(), **choices)
        server = TestServer(app, handler_cancellation=True, shutdown_timeout=0.05)
        client = TestClient(server)
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()
