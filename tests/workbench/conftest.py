"""Cassettes for the tests of this folder, as the Agent Server would have sent them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.model import Ending, Headers
from graphtape.cassettes.writer import CassetteWriter

MS = 1_000_000
THREAD = "01a1fc09-c05a-7630-abaa-5799e2065227"
RUN = "01a1fc09-c05f-771c-ad40-fff84ff1ee77"
DATE = (b"date", b"Sat, 21 Nov 2026 02:57:39 GMT")
JSON: Headers = (DATE, (b"server", b"uvicorn"), (b"content-type", b"application/json"))
STREAM: Headers = (
    DATE,
    (b"server", b"uvicorn"),
    (b"location", f"/threads/{THREAD}/runs/{RUN}/stream".encode()),
    (b"content-location", f"/threads/{THREAD}/runs/{RUN}".encode()),
    (b"content-type", b"text/event-stream; charset=utf-8"),
)


@dataclass
class Call:
    """One exchange to be written; `at_ms` None: after the one before."""

    method: str
    target: str
    body: Any = None
    answer: Any = b""
    status: int = 200
    headers: Headers = JSON
    ending: Ending | None = Ending.COMPLETE
    at_ms: int | None = None
    took_ms: int = 10
    request_headers: Headers = ((b"accept", b"*/*"),)


def sse(*events: tuple[str, Any]) -> bytes:
    return b"".join(
        f"event: {name}\r\ndata: ".encode() + orjson.dumps(data) + b"\r\n\r\n" for name, data in events
    )


EVENTS = sse(
    ("metadata", {"run_id": RUN, "attempt": 1}),
    ("values", {"messages": [{"type": "human", "content": "hi", "id": "h1"}]}),
    (
        "values",
        {
            "messages": [
                {"type": "human", "content": "hi", "id": "h1"},
                {"type": "ai", "content": "yo", "id": "a"},
            ]
        },
    ),
)


_Call = Call


class Kit:
    """Calls of a conversation, and the file they are written to."""

    Call = Call
    THREAD, RUN, EVENTS = THREAD, RUN, EVENTS
    STREAM, JSON = STREAM, JSON
    sse = staticmethod(sse)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def thread(self) -> _Call:
        return _Call(
            "POST", "/threads", {}, {"thread_id": THREAD, "status": "idle", "metadata": {}, "values": None}
        )

    def info(self) -> _Call:
        return _Call("GET", "/info", None, {"version": "0.16.7", "langgraph_py_version": "1.2.22"})

    def run(self, **changes: Any) -> _Call:
        body = {
            "assistant_id": "agent",
            "input": {"messages": [{"role": "user", "content": "hi"}]},
            "stream_mode": "values",
        }
        call = _Call("POST", f"/threads/{THREAD}/runs/stream", body, EVENTS, headers=STREAM)
        for name, value in changes.items():
            setattr(call, name, value)
        return call

    def write(self, *calls: _Call, name: str = "a.tape", closed: bool = True) -> Path:
        path = self.folder / name
        writer = CassetteWriter.create(path, overwrite=True)
        writer.begin_recording(1_795_219_836_000_000_000, "http://127.0.0.1:2024", "test")
        # Exchanges may overlap: what happens is sorted by its time before it is written.
        steps: list[tuple[int, int, Callable[[], None]]] = []
        now_ms = 0
        for call in calls:
            start_ms = now_ms if call.at_ms is None else call.at_ms
            now_ms = max(now_ms, start_ms + call.took_ms + 1)
            times_ms = (start_ms, start_ms + 1, start_ms + call.took_ms)
            actions = _actions(writer, call, start_ms)
            steps += [
                (at_ms, len(steps) + n, do)
                for n, (at_ms, do) in enumerate(zip(times_ms, actions, strict=True))
            ]
        for _, _, action in sorted(steps, key=lambda step: step[:2]):
            action()
        writer.flush()
        killed = path.read_bytes()
        writer.close()
        if not closed:
            path.write_bytes(killed)
        return path


def _actions(writer: CassetteWriter, call: Call, start_ms: int) -> tuple[Callable[[], None], ...]:
    """What is written of a call: its request, its response's head, the rest."""
    body = b"" if call.body is None else orjson.dumps(call.body)
    answer = call.answer if isinstance(call.answer, bytes) else orjson.dumps(call.answer)
    start_ns, end_ns = start_ms * MS, (start_ms + call.took_ms) * MS
    number = 0

    def begin() -> None:
        nonlocal number
        number = writer.request(start_ns, call.method, call.target, call.request_headers)
        if body:
            writer.request_body(number, start_ns, body)
        writer.request_end(number, start_ns)

    def respond() -> None:
        writer.response(number, start_ns + MS, call.status, "OK", call.headers)

    def finish() -> None:
        if answer:
            writer.chunk(number, end_ns, answer)
        if call.ending is not None:
            writer.end(number, end_ns, call.ending)

    return begin, respond, finish


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Makes cassettes of a conversation."""
    return Kit(tmp_path)
