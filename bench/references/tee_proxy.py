"""Reference: the bare proxy with the least tee that could be called a recording.

Every read is packed with its time (msgpack) and written to a file before it is passed on; no compression, no index, no
checksum, no redaction. Frozen, as bare_proxy.py.
Usage: tee_proxy.py UPSTREAM_URL FILE [reads|chunks]; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator
from typing import BinaryIO

import aiohttp
import msgpack
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
TAPE: web.AppKey[BinaryIO] = web.AppKey("TAPE")
numbers = itertools.count(1)


async def forward(request: web.Request) -> web.StreamResponse:
    number, tape, pack = next(numbers), request.app[TAPE], msgpack.Packer().pack
    headers = [
        (k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP and k.lower() != "host"
    ]
    body = await request.read() if request.can_read_body else None
    tape.write(pack([number, time.monotonic_ns(), request.method, request.raw_path, headers, body]))
    url = request.app[UPSTREAM] + request.raw_path
    async with request.app[SESSION].request(
        request.method, url, headers=headers, data=body, allow_redirects=False
    ) as upstream:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for name, value in upstream.headers.items():
            if name.lower() not in HOP_BY_HOP:
                response.headers.add(name, value)
        tape.write(pack([number, time.monotonic_ns(), upstream.status, list(response.headers.items())]))
        await response.prepare(request)
        async for data in READ[request.app[BY]](upstream.content):
            tape.write(pack([number, time.monotonic_ns(), data]))
            await response.write(data)
        tape.write(pack([number, time.monotonic_ns()]))
        await response.write_eof()
    return response


async def main(url: str, path: str, by: str = "reads") -> None:
    app = web.Application(client_max_size=1 << 30)
    app[UPSTREAM], app[BY] = url, by
    app[TAPE] = open(path, "wb", buffering=0)  # noqa: SIM115, ASYNC230
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
