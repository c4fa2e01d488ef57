"""Cassettes of realistic sessions, and the golden files that hold what our commands print of them.

To look at a change of output: `GRAPHTAPE_UPDATE_GOLDENS=1 python -m pytest tests/golden_output`, then `git diff`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.writer import CassetteWriter

FOLDER = Path(__file__).parent
STARTED_UNIX_NS = 1_795_219_836_000_000_000
MS = 1_000_000


@dataclass(frozen=True)
class Ids:
    """The ids of one session: another `seed`, other ids."""

    seed: str = "a"

    def uuid(self, name: str) -> str:
        digits = f"{self.seed}:{name}".encode().hex().ljust(32, "0")[-32:]
        digits = f"{hash_digits(self.seed + name)}{digits}"[:32]
        return f"01{digits[:6]}-{digits[6:10]}-7{digits[10:13]}-8{digits[13:16]}-{digits[16:28]}"

    def hex(self, name: str) -> str:
        return self.uuid(name).replace("-", "")

    def event(self, number: int) -> str:
        return f"{1_795_219_836_000 + (0 if self.seed == 'a' else 77_000) + number}-0"


def hash_digits(text: str) -> str:
    """Sixteen hex digits that depend on the text alone, in every process."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def sse(name: str, data: Any, event_id: str | None = None) -> bytes:
    """An event as the Agent Server writes it."""
    encoded = data if isinstance(data, bytes) else orjson.dumps(data)
    tail = f"id: {event_id}\r\n".encode() if event_id else b""
    return b"event: " + name.encode() + b"\r\ndata: " + encoded + b"\r\n" + tail + b"\r\n"


HEARTBEAT = b": heartbeat\r\n\r\n"

STREAM_HEADERS = ((b"server", b"uvicorn"), (b"cache-control", b"no-store"),
                  (b"content-type", b"text/event-stream; charset=utf-8"))  # fmt: skip
JSON_HEADERS = ((b"server", b"uvicorn"), (b"content-type", b"application/json"))


@dataclass(frozen=True)
class Call:
    """One exchange to be written. Gaps are milliseconds."""

    method: str
    target: str
    body: Any = None
    status: int | None = 200
    headers: tuple[tuple[bytes, bytes], ...] = JSON_HEADERS
    request_headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"127.0.0.1:2025"), (b"accept", b"*/*"))
    reads: tuple[tuple[float, bytes], ...] = ()
    ending: Ending | None = Ending.COMPLETE
    detail: str = ""
    head_ms: float = 12
    redacted: tuple[str, ...] = ()

    def but(self, **changes: Any) -> Call:
        return replace(self, **changes)


def stream(ids: Ids, body: Any, *reads: tuple[float, bytes], **more: Any) -> Call:
    """A run's stream."""
    thread = ids.uuid("thread")
    location = f"/threads/{thread}/runs/{ids.uuid('run')}".encode()
    headers = ((b"location", location + b"/stream"), (b"content-location", location), *STREAM_HEADERS)
    return Call("POST", f"/threads/{thread}/runs/stream", body, headers=headers, reads=reads, **more)


def answer(method: str, target: str, value: Any, body: Any = None, **more: Any) -> Call:
    """A plain JSON answer."""
    return Call(method, target, body, reads=((1, orjson.dumps(value)),), **more)


@dataclass
class Session:
    """Writes calls into a cassette, one after the other."""

    path: Path
    pause_ms: float = 40
    calls: list[Call] = field(default_factory=list)
    closed: bool = True

    def write(self) -> Path:
        writer = CassetteWriter.create(self.path)
        writer.begin_recording(STARTED_UNIX_NS, "http://127.0.0.1:2024", "graphtape 0.1.0")
        now = 0
        for call in self.calls:
            now = _write(writer, call, now + int(self.pause_ms * MS))
        writer.flush()
        killed = self.path.read_bytes()
        writer.close()
        if not self.closed:
            self.path.write_bytes(killed)
        return self.path


def _write(writer: CassetteWriter, call: Call, now: int) -> int:
    number = writer.request(now, call.method, call.target, call.request_headers, redacted=call.redacted)
    if call.body is not None:
        writer.request_body(
            number, now, call.body if isinstance(call.body, bytes) else orjson.dumps(call.body)
        )
    writer.request_end(number, now)
    if call.status is not None:
        now += int(call.head_ms * MS)
        writer.response(number, now, call.status, "", call.headers)
        for gap, data in call.reads:
            now += int(gap * MS)
            writer.chunk(number, now, data)
    if call.ending is not None:
        now += 2 * MS
        writer.end(number, now, call.ending, call.detail)
    return now


def token(text: str, ids: Ids, node: str = "model", **more: Any) -> list[Any]:
    """The data of a `messages` event."""
    chunk = {"content": text, "type": "AIMessageChunk", "id": f"lc_run--{ids.uuid('message')}", **more}
    return [chunk, {"langgraph_node": node, "run_id": ids.uuid("run"), "thread_id": ids.uuid("thread")}]


def tokens(ids: Ids, words: Sequence[str] = ("Hel", "lo, ", "wor", "ld")) -> Call:
    """A chat answered in tokens."""
    said = {"messages": [{"type": "human", "content": "hi", "id": ids.uuid("human")}]}
    whole = {"type": "ai", "content": "".join(words), "id": f"lc_run--{ids.uuid('message')}"}
    reads = [(500.0, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1}, ids.event(0)))]
    reads.append((3.0, sse("values", said, ids.event(3))))
    for number, word in enumerate(words):
        reads.append((25.0, sse("messages", token(word, ids), ids.event(30 + 25 * number))))
    reads.append((2.0, sse("values", {"messages": [*said["messages"], whole]}, ids.event(200))))
    body = {
        "assistant_id": "agent",
        "input": {"messages": [{"role": "user", "content": "hi"}]},
        "stream_mode": ["values", "messages-tuple"],
        "stream_subgraphs": False,
        "stream_resumable": True,
    }
    return stream(ids, body, *reads)


def nested(ids: Ids) -> Call:
    """Two levels of subgraphs."""
    mid, leaf = ids.uuid("task mid"), ids.uuid("task leaf")
    inner, deep = f"midsub:{mid}", f"midsub:{mid}|leafsub:{leaf}"
    return stream(
        ids,
        {"assistant_id": "nested", "input": {"foo": "x"}, "stream_mode": "updates", "stream_subgraphs": True},
        (480, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1})),
        (4, sse("updates", {"top": {"foo": "x top"}})),
        (9, sse(f"updates|{deep}", {"leaf": {"foo": "x top leaf"}})),
        (1, sse(f"updates|{inner}", {"leafsub": {"foo": "x top leaf"}})),
        (1, sse(f"custom|{inner}", {"progress": 0.5, "task": mid})),
        (2, sse("updates", {"midsub": {"foo": "x top leaf"}})),
    )


def interrupt(ids: Ids) -> Call:
    """A run that asks a person."""
    asked = {"value": {"question": "Delete 3 files?"}, "id": ids.hex("interrupt"), "response_schema": None}
    return stream(
        ids,
        {"assistant_id": "hitl", "input": {"foo": "z"}, "stream_mode": ["values", "updates"]},
        (510, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1})),
        (2, sse("values", {"foo": "z"})),
        (5, sse("updates", {"pre": {"foo": "hi! z"}})),
        (0, sse("values", {"foo": "hi! z"})),
        (3, sse("updates", {"__interrupt__": [asked]})),
        (0, sse("values", {"foo": "hi! z", "__interrupt__": [asked]})),
    )


def failing(ids: Ids) -> Call:
    """A node raises."""
    return stream(
        ids,
        {"assistant_id": "err", "input": {"n": 1}, "stream_mode": ["updates", "tasks"]},
        (490, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1})),
        (3, sse("tasks", {"id": ids.uuid("task"), "name": "work", "input": {"n": 1}, "triggers": ["n"]})),
        (31, sse("tasks", {"id": ids.uuid("task"), "name": "work", "result": {}, "interrupts": [],
                           "error": {"error": "ValueError", "message": "boom"}})),
        (1, sse("error", {"error": "ValueError", "message": "boom"})),
    )  # fmt: skip


def waiting(ids: Ids) -> Call:
    """A slow tool: heartbeats, and a client that resumed."""
    call = stream(
        ids,
        None,
        (4988, HEARTBEAT),
        (5000, HEARTBEAT),
        (1730, sse("custom", {"done": True}, ids.event(900))),
        (5, sse("values", {"result": "slow"}, ids.event(901))),
    )
    target = f"/threads/{ids.uuid('thread')}/runs/{ids.uuid('run')}/stream?stream_mode=custom"
    seen = (b"last-event-id", ids.event(30).encode())
    return call.but(method="GET", target=target, request_headers=(*call.request_headers, seen))


def broken(ids: Ids) -> Call:
    """The recorder was killed inside an event."""
    call = tokens(ids)
    whole = call.reads[:4]
    return call.but(reads=(*whole, (25.0, call.reads[4][1][:41])), ending=None)


def odd(ids: Ids) -> Call:
    """Names and data that a careless terminal would obey."""
    return stream(
        ids,
        {"assistant_id": "weird \x1b[2J", "input": {"text": "à\u202e漢字 👩‍💻"}, "stream_mode": "custom"},
        (500, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1})),
        (
            1,
            sse(
                f"custom|sub graph é:{ids.uuid('task')}",
                {"text": "line\nbreak\ttab \u2028 \u0085 \ufeff \u007f"},
            ),
        ),
        (
            1,
            sse(
                "custom",
                '"漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"'.encode(),
            ),
        ),
        (1, sse("custom", b"\x1b]0;title\x07 not json \xff")),
        (1, sse("custom", "e\u0301 \u202e right to left")),
        (1, b"data\r\n\r\nevent: only a name\r\n\r\nid: only an id\r\n\r\n"),
    )


def large(ids: Ids) -> Call:
    """One event of 3 MB, in many reads."""
    data = sse("values", {"blob": "0123456789" * 300_000, "n": 1})
    cut = 65_536
    reads = [(1.0, data[at : at + cut]) for at in range(0, len(data), cut)]
    first = (500, sse("metadata", {"run_id": ids.uuid("run"), "attempt": 1}))
    return stream(ids, {"assistant_id": "data", "input": {}}, first, *reads)


def plain(ids: Ids) -> Call:
    """A thread as JSON."""
    thread = ids.uuid("thread")
    value = {
        "thread_id": thread,
        "created_at": "2026-11-21T00:10:36.123456+00:00",
        "status": "idle",
        "values": {"messages": [{"type": "ai", "content": "line\nbreak \u2028"}]},
    }
    key = (b"x-api-key", b"[redacted]")
    call = answer("GET", f"/threads/{thread}", value, redacted=("header x-api-key",))
    return call.but(request_headers=(*call.request_headers, key))


def compressed(ids: Ids) -> Call:
    """Token events behind a proxy that compresses."""
    call = tokens(ids)
    packed = gzip.compress(b"".join(data for _, data in call.reads), mtime=0)
    third = len(packed) // 3
    reads = ((500.0, packed[:third]), (80.0, packed[third : third * 2]), (70.0, packed[third * 2 :]))
    return call.but(headers=(*call.headers, (b"content-encoding", b"gzip")), reads=reads)


@dataclass(frozen=True)
class Kit:
    """What the tests of this folder share, since they cannot import each other."""

    folder: Path

    ids = Ids
    cases: ClassVar = {
        "token_stream": tokens,
        "nested_namespaces": nested,
        "interrupt": interrupt,
        "error": failing,
        "heartbeats": waiting,
        "unfinished": broken,
        "odd_unicode": odd,
        "large_event": large,
        "plain_json": plain,
        "compressed": compressed,
    }
    sse = staticmethod(sse)
    answer = staticmethod(answer)
    stream = staticmethod(stream)

    def tape(self, name: str, *calls: Call, closed: bool = True) -> Path:
        """A cassette of these calls."""
        return Session(self.folder / f"{name}.tape", calls=list(calls), closed=closed).write()


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Sessions to be written into cassettes."""
    return Kit(tmp_path)


@pytest.fixture
def golden(tmp_path: Path) -> Callable[[str, str], None]:
    """`golden("show/error.txt", text)`: the text is what the file holds; or, when updating, becomes it."""

    def check(name: str, text: str) -> None:
        file = FOLDER / name
        text = text.replace(f"{tmp_path}{os.sep}", "")
        if os.environ.get("GRAPHTAPE_UPDATE_GOLDENS"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        assert text == file.read_text(encoding="utf-8"), f"see the docstring of {Path(__file__).name}"

    return check
