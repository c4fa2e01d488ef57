"""Reference: a replay with sse-starlette on uvicorn, the way of most mocks. Frozen.

Usage: starlette_replay.py SCRIPT paced|max; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from script import read_script
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route


def fields(frame: bytes) -> dict[str, str]:
    lines = (line.partition(": ") for line in frame.decode().split("\r\n") if line)
    return {name: value for name, _, value in lines}


def main(script: str, pace: str) -> None:
    frames = [(due_ns / 1e9, fields(frame)) for due_ns, frame in read_script(script)]

    async def events() -> AsyncIterator[dict[str, str]]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for due, event in frames:
            if pace == "paced" and (wait := start + due - loop.time()) > 0:
                await asyncio.sleep(wait)
            yield event

    async def replay(request: Request) -> EventSourceResponse:
        await request.body()
        return EventSourceResponse(events())

    app = Starlette(routes=[Route("/{path:path}", replay, methods=["GET", "POST"])])
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print("listening", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
