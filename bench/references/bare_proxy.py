"""Reference: a pass-through proxy as a good engineer writes it in an hour. aiohttp on both sides, uvloop, no tee.

Frozen: it is what the recorder is measured against, and does not change when the recorder does.
Usage: bare_proxy.py UPSTREAM_URL; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)
UPSTREAM = web.AppKey("UPSTREAM", str)


async def forward(request: web.Request) -> web.StreamResponse:
    headers = [
        (k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP and k.lower() != "host"
    ]
    body = await request.read() if request.can_read_body else None
    url = request.app[UPSTREAM] + request.raw_path
    async with request.app[SESSION].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as upstream:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for name, value in upstream.headers.items():
            if name.lower() not in HOP_BY_HOP:
                response.headers.add(name, value)
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        await response.write_eof()
    return response


async def main(url: str) -> None:
    app = web.Application(client_max_size=1 << 30)
    app[UPSTREAM] = url
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    app[SESSION] = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
