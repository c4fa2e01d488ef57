"""Reference: an aiohttp server that serves nothing, for the time and memory of a start. Frozen.

Usage: empty_server.py; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web


async def main() -> None:
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
