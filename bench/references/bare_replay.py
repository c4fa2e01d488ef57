"""Reference: a replay as a good engineer writes it in an hour. aiohttp, uvloop, one write per event.

Paced, it sleeps until each event is due on an absolute schedule. Frozen: it does not change when our replayer does.
Usage: bare_replay.py SCRIPT paced|max; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web
from script import HEAD, read_script

FRAMES: web.AppKey[list[tuple[int, bytes]]] = web.AppKey("FRAMES")
IS_PACED: web.AppKey[bool] = web.AppKey("IS_PACED")


async def replay(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse(headers=HEAD)
    response.enable_chunked_encoding()
    await response.prepare(request)
    frames = request.app[FRAMES]
    if request.app[IS_PACED]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for due_ns, frame in frames:
            wait = start + due_ns / 1e9 - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            await response.write(frame)
    else:
        for _, frame in frames:
            await response.write(frame)
    await response.write_eof()
    return response


async def main(script: str, pace: str) -> None:
    app = web.Application()
    app[FRAMES] = read_script(script)
    app[IS_PACED] = pace == "paced"
    app.router.add_route("*", "/{path:.*}", replay)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
