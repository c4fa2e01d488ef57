"""Running the mock."""

from __future__ import annotations

import asyncio
import importlib
import io
import socket
import threading
import urllib.request
from typing import Any

import pytest
from aiohttp import ClientSession

from graphtape.cassettes.errors import NotACassette
from graphtape.replayer import CannotListen, run, serve

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`


@pytest.fixture
def cassette(kit: Any) -> Any:
    recording = kit.recording()
    recording.json("GET", "/info", {"version": "1"})
    return recording.close()


def test_in_a_thread(cassette: Any) -> None:
    """`with serve(...)` listens until the block ends, and leaves no thread."""
    before = threading.active_count()
    with serve(cassette, speed="max") as mock, urllib.request.urlopen(f"{mock.url}/info") as response:
        assert response.read() == b'{"version":"1"}'
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{mock.url}/info")


async def test_in_the_running_loop(cassette: Any) -> None:
    """`async with serve(...)` listens in this event loop."""
    async with (
        serve([cassette]) as mock,
        ClientSession() as client,
        client.get(f"{mock.url}/info") as response,
    ):
        assert (await response.json()) == {"version": "1"}


@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_event_loops(cassette: Any, policy: str) -> None:
    """It works on asyncio's loop and on uvloop's."""
    uvloop = importlib.import_module("uvloop") if policy == "uvloop" else None

    async def use() -> bytes:
        async with serve(cassette) as mock:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(mock.url.rpartition(":")[2]))
            writer.write(b"GET /info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        assert runner.run(use()).endswith(b'{"version":"1"}')


def test_port_in_use(cassette: Any) -> None:
    """A port in use says which, and what to type."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotListen, match=f"port {port} on 127.0.0.1 is in use; choose another with --port"
        ):
            serve(cassette, port=port).__enter__()


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("127.0.0.1", 70000, "is no port"),
        (
            "no.such.name.invalid",
            0,
            "cannot listen on no.such.name.invalid.*; give --host an address of this machine",
        ),
        ("203.0.113.1", 8123, r"cannot listen on 203\.0\.113\.1:8123: [^()]*; give --host an address"),
    ],
)
async def test_address_that_is_none(cassette: Any, host: str, port: int, words: str) -> None:
    """An address that cannot be is our error."""
    with pytest.raises(CannotListen, match=words):
        async with serve(cassette, host=host, port=port):
            pass


def test_missing_file(tmp_path: Any) -> None:
    """A missing cassette is our error, raised where the block begins."""
    with pytest.raises(NotACassette, match=r"gone\.tape"), serve(tmp_path / "gone.tape"):
        pass


async def test_run_until_stopped(cassette: Any) -> None:
    """`run` says one line when it listens, logs one line per request, and ends when it is told."""
    stop, log = asyncio.Event(), io.StringIO()
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run([cassette], port=0, announce=announced.set_result, stop=stop, log=log))
    line = await announced
    assert line.startswith("graphtape: listening on http://127.0.0.1:")
    async with ClientSession() as client:
        await (await client.get(f"{line.rpartition(' ')[2]}/info")).read()
    stop.set()
    await asyncio.wait_for(task, 2)
    assert log.getvalue() == "graphtape: GET /info 200\n"
