"""Clients and recordings for the live tests.

A `Wire` is a client that knows nothing but sockets, so that what it saw is what was sent. `recorded` is one recording
of all graphs made with it, shared by the session; `replayed` is the same calls in the same order, answered by the
mock.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from graphtape.protocol.sse import Block, Decoder
from graphtape.replayer import serve

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

READY = "graphtape: listening on "
ALL_MODES = ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"]
# UUIDs, ids of 32 digits and event ids; and times, which a second conversation takes from another recorded thread.
_ID = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    rb"|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])|(?<=\nid: )\d{13}-\d+"
    rb"|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:\+00:00|Z)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw of one response."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    chunks: tuple[bytes, ...]
    whole: bool
    """Ended as HTTP says it must, not by a broken connection."""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def blocks(self) -> list[Block]:
        """The body as server-sent events and comments."""
        decoder = Decoder()
        blocks = decoder.feed(self.body)
        rest = decoder.finish()
        return blocks if rest is None else [*blocks, rest]

    @property
    def events(self) -> list[tuple[str | None, bytes | None, str | None]]:
        return [(block.name, block.data, block.id) for block in self.blocks if block.is_event]

    def header(self, name: str) -> str:
        """The only field of that name."""
        (value,) = (value for field_name, value in self.headers if field_name == name)
        return value


class Wire:
    """An HTTP client of nothing but a socket."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        on_chunk: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Send one request and read its answer to the end, or until the connection breaks."""
        host, port = self._address.hostname or "", self._address.port or 80
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"host": f"{host}:{port}", "accept": "*/*", **(headers or {})}
        if body is not None:
            fields |= {"content-type": "application/json", "content-length": str(len(content))}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
        with socket.create_connection((host, port), timeout=60) as connection:
            connection.sendall(head.encode() + b"\r\n" + content)
            with connection.makefile("rb") as stream:
                version, status, reason = stream.readline().decode().rstrip("\r\n").split(" ", 2)
                assert version == "HTTP/1.1"
                seen: list[tuple[str, str]] = []
                while (line := stream.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
                    seen.append((name.lower(), value))
                chunks: list[bytes] = []
                whole = False
                with suppress(ConnectionError):
                    for chunk in _body(stream, dict(seen)):
                        if chunk is None:
                            whole = True
                            break
                        chunks.append(chunk)
                        if on_chunk is not None:
                            on_chunk(chunk)
        return Answer(int(status), reason, tuple(seen), tuple(chunks), whole)


def _body(stream: Any, fields: Mapping[str, str]) -> Iterator[bytes | None]:
    """The body by HTTP chunks; a last None says that it ended as it must."""
    if fields.get("transfer-encoding") == "chunked":
        while size_line := stream.readline():
            size = int(size_line, 16)
            data = stream.read(size)
            if len(data) < size or stream.read(2) != b"\r\n":
                if data:
                    yield data
                return
            if size == 0:
                yield None
                return
            yield data
    elif "content-length" in fields:
        data = stream.read(int(fields["content-length"]))
        yield data
        if len(data) == int(fields["content-length"]):
            yield None


@dataclass(frozen=True, slots=True)
class Call:
    """A request; `{t}` and `{r}` stand for the conversation's thread and its last run."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Talk:
    """A conversation with one graph: its calls, and what came back."""

    graph: str
    calls: tuple[Call, ...]
    thread_id: str = ""
    run_id: str = ""
    answers: list[Answer] = field(default_factory=list)

    def call(self, wire: Wire, call: Call) -> Answer:
        path = call.path.replace("{t}", self.thread_id).replace("{r}", self.run_id)
        answer = wire.ask(call.method, path, call.body, headers=call.headers)
        if call.path == "/threads":
            self.thread_id = answer.json["thread_id"]
        if location := dict(answer.headers).get("content-location"):
            self.run_id = location.rpartition("/")[2]
        self.answers.append(answer)
        return answer

    def go(self, wire: Wire) -> Talk:
        """Make the calls that were not made yet."""
        for call in self.calls[len(self.answers) :]:
            self.call(wire, call)
        return self

    def again(self) -> Talk:
        """The same conversation, not yet held."""
        return Talk(self.graph, self.calls)


def talk(graph: str, start: object, *resumes: object, modes: object = None, subgraphs: bool = True) -> Talk:
    """A new thread, a resumable run, what a client reads afterwards; then the same for each resume."""
    calls = [Call("POST", "/threads", {})]
    for number, answer in enumerate((start, *resumes)):
        given = {"command": {"resume": answer}} if number else {"input": answer}
        body = {
            "assistant_id": graph,
            **given,
            "stream_mode": modes or ALL_MODES,
            "stream_subgraphs": subgraphs,
            "stream_resumable": True,
        }
        calls += [
            Call("POST", "/threads/{t}/runs/stream", body),
            Call("GET", "/threads/{t}/runs/{r}"),
            Call("GET", "/threads/{t}/state"),
            Call("POST", "/threads/{t}/history", {"limit": 10}),
            Call("GET", "/threads/{t}"),
            Call("GET", "/threads/{t}/runs/{r}/stream", headers={"last-event-id": "-1"}),
        ]
    return Talk(graph, tuple(calls))


HELLO = {"messages": [{"role": "user", "content": "hello"}]}
TALKS = (
    talk("tokens", HELLO),
    talk("levels", HELLO),
    talk("custom_data", {"texts": []}),
    talk("odd_unicode", {"texts": []}),
    talk("ask", {"said": []}, "yes"),
    talk("ask_twice", {"said": []}),
    talk("failing", {"n": 1}),
    talk("burst", {"n": 0}, modes=["custom", "values"]),
    talk("slow", {"n": 0}, modes=["custom", "values"], subgraphs=False),
)


def hold(talks: tuple[Talk, ...], url: str, *, at_once: int) -> dict[str, Talk]:
    """Hold these conversations: the threads first and in order, then all the rest, some at once."""
    held = [each.again() for each in talks]
    for each in held:
        each.call(Wire(url), each.calls[0])
    with ThreadPoolExecutor(at_once) as pool:
        done = list(pool.map(lambda each: each.go(Wire(url)), held))
    return {each.graph: each for each in done}


class Recorder:
    """`graphtape record` as a user runs it, in a process of its own."""

    def __init__(self, upstream: str, cassette: Path, *options: str) -> None:
        self.cassette = cassette
        self._signalled = False
        # Into a file: a pipe that nobody reads would fill up and stop it.
        self._log = cassette.with_suffix(".log")
        command = [
            sys.executable,
            "-m",
            "graphtape.cli",
            "record",
            upstream,
            "-o",
            str(cassette),
            "--port",
            "0",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(READY):
            self.end()
            pytest.fail(f"graphtape record said {line!r} and {self._log.read_text()}")
        self.url = line.removeprefix(READY).strip()

    def send(self, number: int) -> None:
        """Send it a signal and go on."""
        self._signalled = True
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit status, after a SIGINT if it got no signal yet."""
        if not self._signalled and self.process.poll() is None:
            self.send(signal.SIGINT)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Callable[..., Recorder]]:
    """Start `graphtape record` in front of an upstream; stopped when the test ends."""
    started: list[Recorder] = []

    def start(upstream: str, *options: str) -> Recorder:
        started.append(Recorder(upstream, tmp_path / f"{len(started)}.tape", *options))
        return started[-1]

    yield start
    for each in started:
        each.end()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A cassette, and what the clients saw while it was recorded."""

    cassette: Path
    talks: Mapping[str, Talk]


@pytest.fixture(scope="session")
def recorded(agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """All graphs of the real server, recorded while four clients talk at once."""
    recorder = Recorder(agent_server.url, tmp_path_factory.mktemp("recorded") / "all.tape")
    try:
        talks = hold(TALKS, recorder.url, at_once=4)
    finally:
        status = recorder.end()
    assert status == 0
    return Recorded(recorder.cassette, talks)


@pytest.fixture(scope="session")
def replayed(recorded: Recorded) -> Mapping[str, Talk]:
    """The same calls in the same order, answered by the mock."""
    with serve([recorded.cassette], speed="max") as mock:
        return hold(TALKS, mock.url, at_once=1)


@pytest.fixture(scope="session")
def wire() -> Callable[[str], Wire]:
    return Wire


@pytest.fixture(scope="session")
def shape_of() -> Callable[[bytes], bytes]:
    """Bytes with every id and time replaced by the number of its first appearance: equal for a consistent renaming."""

    def shape(data: bytes) -> bytes:
        numbers: dict[bytes, bytes] = {}
        return _ID.sub(lambda found: numbers.setdefault(found[0], b"<%d>" % len(numbers)), data)

    return shape
