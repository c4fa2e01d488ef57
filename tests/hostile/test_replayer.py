"""The replayer among hostile clients, with what a hostile upstream said: alive, bounded, its good streams unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphtape.bench.servers import Servers
from graphtape.cassettes import Cassette, Ending
from graphtape.tests.hostile import clients, upstream
from graphtape.tests.hostile.clients import answer, connected
from graphtape.tests.hostile.good import Victim, received
from graphtape.tests.hostile.requests import GROUPS, get, post
from graphtape.tests.hostile.upstream import BEHAVIOURS, HostileUpstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MEGABYTE = 1 << 20
PEAK_BYTES = 200 * MEGABYTE
"""What a replay may hold above what it held before: two bodies of 64 MiB being read, and their copies for parsing."""
LARGE_EVENT_BYTES = 700 * MEGABYTE
"""The same for a recorded event of 50 MB, which is parsed, shown through a view and framed."""


def does(name: str) -> bytes:
    """The request for a behaviour of the upstream."""
    return post(b'{"assistant_id":"agent","input":{"does":"%b"}}' % name.encode())


async def ask(port: int, data: bytes, most: int = 1 << 40) -> bytes:
    """The answer, or as much of it as `most`."""
    got = bytearray()
    async with connected(port) as (reader, writer):
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            while len(got) < most and (piece := await reader.read(MEGABYTE)):
                got += piece
    return bytes(got)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of everything that the hostile upstream does, and of what good clients ask for."""
    folder = tmp_path_factory.mktemp("hostile")
    made = folder / "hostile.tape"

    async def record(port: int) -> None:
        for request in (get(b"/good"), get(b"/info")):
            await ask(port, request)
        await asyncio.gather(
            *(
                ask(port, does(name), 5 * MEGABYTE if one.leave else 1 << 40)
                for name, one in SELF_ENDING.items()
            )
        )

    options = ("--quiet", "--upstream-timeout", "2")
    with HostileUpstream() as source, Servers(folder).recorder(source.url, made, *options) as server:
        asyncio.run(record(server.port))
    return made


SELF_ENDING = {name: one for name, one in BEHAVIOURS.items() if name != "a chunk size without end"}
"""That one never sends a byte of a body."""


@pytest.fixture(scope="module")
def victim(tape: Path) -> Iterator[Victim]:
    """One replay for the whole module."""
    with Servers(tape.parent).replayer(tape) as server:
        found = Victim(server, get(b"/good"), upstream.GOOD)
        yield found
        asyncio.run(found.settled(found.files_at_start))
        assert server.process.poll() is None, server.log.read_text()
    said = server.log.read_text()
    assert "Traceback" not in said
    assert "Please report" not in said


@pytest.fixture
async def unharmed(victim: Victim) -> AsyncIterator[Victim]:
    """The replay; what it owes after each attack is looked at when the test is over."""
    yield victim
    await victim.settled(victim.files_at_start)


@pytest.fixture
def bounded(victim: Victim) -> Iterator[None]:
    """Its memory, watched."""
    before = victim.forget_peak()
    yield
    assert victim.server.peak_bytes() - before < PEAK_BYTES


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("group", GROUPS)
async def test_requests(unharmed: Victim, group: str) -> None:
    """Each request of the table gets an answer that is right, or its connection is closed."""
    attack = clients.wrong_answers(unharmed.server.port, GROUPS[group], lambda row: row.replayer)
    assert await unharmed.beside(attack) == {}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", clients.HOLDING)
async def test_clients(unharmed: Victim, name: str) -> None:
    """Clients that hold on and cut off harm nobody else."""
    await unharmed.beside(clients.HOLDING[name](unharmed.server.port))


@pytest.mark.usefixtures("bounded")
async def test_clients_that_never_read(unharmed: Victim) -> None:
    """Ten clients that leave megabytes unread hold up only themselves."""
    await unharmed.beside(clients.never_read(unharmed.server.port, does("a stream without end")))


@pytest.mark.usefixtures("bounded")
async def test_clients_that_leave(unharmed: Victim) -> None:
    """A hundred resets inside a stream."""
    await unharmed.beside(clients.leave_the_answer(unharmed.server.port, does("a stream without end")))


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("upload", [clients.large_body, clients.large_chunked_body])
async def test_large_bodies(unharmed: Victim, upload: Any) -> None:
    """Bodies of 100 MB are refused, two at a time, once they are known to be too large."""

    async def attack() -> list[int]:
        return list(await asyncio.gather(*(upload(unharmed.server.port) for _ in range(2))))

    assert set(await unharmed.beside(attack())) <= {0, 413}


def without_ids(body: bytes) -> bytes:
    """A run that was played before, as the nearest one, goes by other ids of the same length."""
    return re.sub(rb'"run_id":"[^"]*"', b'"run_id":""', body)


async def test_what_the_upstream_did(tape: Path) -> None:
    """Each recording is played as it was, or refused; what did not look whole does not look whole now."""
    with Cassette.open(tape) as cassette:
        exchanges = [cassette.exchange(number) for number in range(1, len(cassette.exchanges) + 1)]
    recorded = {one.request_body: one for one in exchanges}
    wrong: dict[str, object] = {}
    grown: dict[str, int] = {}
    with Servers(tape.parent).replayer(tape, "max") as server:
        fast = Victim(server, get(b"/good"), upstream.GOOD)

        async def attack() -> None:
            for name in SELF_ENDING:
                request = does(name)
                before = fast.forget_peak()
                code, head, body, whole = received(await answer(server.port, request))
                grown[name] = server.peak_bytes() - before
                exchange = recorded[request.partition(b"\r\n\r\n")[2]]
                # Where the recorder itself had to answer there is no run, and the nearest one plays.
                its_own = exchange.response is not None and exchange.response.status == 200 == code
                ended = exchange.ending is Ending.COMPLETE
                right = not its_own or (
                    whole == ended and without_ids(exchange.body).startswith(without_ids(body))
                )
                if code not in (200, 422) or not right or b"\nevil" in head:
                    wrong[name] = (code, head, body[-300:])

        await fast.beside(attack())
        await fast.settled(fast.files_at_start)
    assert wrong == {}
    assert max(grown.values()) < LARGE_EVENT_BYTES, grown
