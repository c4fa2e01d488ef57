"""A scripted upstream that is asked for everything, and what a client of `--widen` may see of its answer."""

from __future__ import annotations

import json
import re
from typing import Any

ZERO = 1_700_000_000_000  # what the fake clock says
WIDE = ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"]
HEARTBEAT = b": heartbeat\r\n\r\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\nlocation: /threads/t/runs/r/stream\r\n"
    b"content-location: /threads/t/runs/r\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def event(name: str, data: Any, at: int | None = None) -> bytes:
    id_line = "" if at is None else f"id: {ZERO + at}-0\r\n"
    return f"event: {name}\r\ndata: {json.dumps(data)}\r\n{id_line}\r\n".encode()


EVENTS = [
    event("metadata", {"run_id": "r", "attempt": 1}, 1),
    event("values", {"n": 0}, 2),
    HEARTBEAT,
    event("updates", {"a": 1}, 3),
    event("values", {"n": 1}, 4),
]
NARROW = [re.sub(rb"id: .*\r\n", b"", EVENTS[number]) for number in (0, 1, 2, 4)]


def chunked(*parts: bytes, end: bool = True) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


def json_answer(value: Any, *more: str) -> bytes:
    body = json.dumps(value).encode()
    lines = [
        "HTTP/1.1 200 OK",
        f"content-length: {len(body)}",
        "content-type: application/json",
        *more,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def run_object(modes: Any, *, wide: bool) -> dict[str, Any]:
    return {"run_id": "r", "kwargs": {"stream_mode": modes, "subgraphs": wide, "resumable": wide}}


class Server:
    """Answers by the path of a request; keeps what it was sent."""

    def __init__(self, **answers: bytes) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, bytes] = {
            "POST /threads/t/runs/stream": HEAD + chunked(*EVENTS),
            "POST /threads/t/runs": json_answer(
                run_object(WIDE, wide=True), "content-location: /threads/t/runs/r"
            ),
            "GET /threads/t/runs/r": json_answer(run_object(WIDE, wide=True)),
            "GET /threads/t/runs/r/stream": HEAD + chunked(*EVENTS),
            "GET /threads/t/stream": HEAD + chunked(*EVENTS),
        } | answers

    async def __call__(self, peer: Any) -> None:
        while True:
            head, _, body = (await peer.request()).partition(b"\r\n\r\n")
            request_line, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = request_line.split(" ")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            if fields.get("transfer-encoding") == "chunked":
                while size := int((await peer.reader.readuntil(b"\r\n")), 16):
                    body += await peer.reader.readexactly(size + 2)
                    body = body[:-2]
                await peer.reader.readexactly(2)
            self.seen.append((f"{method} {target}", fields, body))
            await peer.send(self.answers.get(f"{method} {target.partition('?')[0]}", json_answer({})))


async def post(r: Any, path: str, body: Any, *headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    client = await r.client()
    lines = [f"POST {path} HTTP/1.1", f"Host: {r.host}", f"Content-Length: {len(data)}", *headers, "", ""]
    await client.send("\r\n".join(lines).encode() + data)
    return client


async def chunks(client: Any) -> list[bytes]:
    """The HTTP chunks of a body."""
    found = []
    while size := int(await client.until(b"\r\n"), 16):
        found.append((await client.exactly(size + 2))[:-2])
    await client.exactly(2)
    return found


async def json_of(client: Any) -> Any:
    head = await client.head()
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
    return json.loads(await client.exactly(length))
