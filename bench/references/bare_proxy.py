"""Reference: a pass-through proxy as a good engineer writes it in an hour. aiohttp on both sides, uvloop, no tee.

Frozen: it is what the recorder is measured against, and does not change when the recorder does.
It passes on what a read gave (`reads`) or every HTTP chunk by itself (`chunks`).
Usage: bare_proxy.py UPSTREAM_URL [reads|chunks]; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)
SESSION = web.AppKey("SESSION", aiohttp.ClientSession)
UPSTREAM = web.AppKey("UPSTREAM", str)
BY = web.AppKey("BY", str)


async def chunks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    async for data, _ in content.iter_chunks():
        yield data


READ = {"reads": aiohttp.StreamReader.iter_any, "chunks": chunks}


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
        async for data in READ[request.app[BY]](upstream.content):
            await response.write(data)
        await response.write_eof()
    return response


async def main(url: str, by: str = "reads") -> None:
    app = web.Application(client_max_size=1 << 30)
    app[UPSTREAM], app[BY] = url, by
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
    uvloop.run(main(*sys.argv[1:]))
