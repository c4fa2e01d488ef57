"""Reference: the limit of asyncio and uvloop. A raw protocol that sends pre-framed chunks.

At `max`, each event is an HTTP chunk of its own and many of them go to the transport in one write. Paced, each chunk is
written by a `call_at` on an absolute schedule. No HTTP but the blank line that ends a request; no matching, no state.
Frozen: it does not change when our replayer does.
Usage: raw_limit.py SCRIPT paced|max; prints `listening PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from script import HEAD, read_script

BLOCK_BYTES = 1 << 18
HEAD_BYTES = b"".join(
    [
        b"HTTP/1.1 200 OK\r\n",
        *(f"{k}: {v}\r\n".encode() for k, v in HEAD),
        b"Transfer-Encoding: chunked\r\n\r\n",
    ]
)
END = b"0\r\n\r\n"


class Replay(asyncio.Protocol):
    paced = False
    chunks: list[tuple[int, bytes]]
    blocks: list[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.asked, self.at = transport, b"", 0
        self.loop = asyncio.get_running_loop()
        self.blocked, self.timer = False, None

    def data_received(self, data: bytes) -> None:
        self.asked += data
        if b"\r\n\r\n" in self.asked:
            self.asked = b""
            self.transport.write(HEAD_BYTES)
            self.start = self.loop.time()
            self.tick() if self.paced else self.pump()

    def pump(self) -> None:
        while self.at < len(self.blocks) and not self.blocked:
            self.at += 1
            self.transport.write(self.blocks[self.at - 1])

    def tick(self) -> None:
        due, chunk = self.chunks[self.at]
        self.timer = self.loop.call_at(self.start + due, self.send, chunk)

    def send(self, chunk: bytes) -> None:
        self.transport.write(chunk)
        self.at += 1
        if self.at < len(self.chunks):
            self.tick()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if not self.paced:
            self.pump()

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()


async def main(script: str, pace: str) -> None:
    chunks = [(due_ns / 1e9, b"%x\r\n%b\r\n" % (len(frame), frame)) for due_ns, frame in read_script(script)]
    whole = b"".join([*(chunk for _, chunk in chunks), END])
    Replay.paced, Replay.chunks = pace == "paced", [*chunks, (chunks[-1][0], END)]
    Replay.blocks = [whole[at : at + BLOCK_BYTES] for at in range(0, len(whole), BLOCK_BYTES)]
    server = await asyncio.get_running_loop().create_server(Replay, "127.0.0.1", 0, backlog=4096)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
