"""The recorder between hostile clients and a hostile upstream: alive, of bounded memory, its good streams unharmed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from graphtape.bench.servers import Servers
from graphtape.cassettes import Cassette
from graphtape.tests.hostile import clients, upstream
from graphtape.tests.hostile.clients import ANSWER_S, answer, connected
from graphtape.tests.hostile.good import STREAMS, Victim, received
from graphtape.tests.hostile.requests import GROUPS, get, post
from graphtape.tests.hostile.upstream import BEHAVIOURS, EITHER, WHOLE, HostileUpstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MEGABYTE = 1 << 20
PEAK_BYTES = 160 * MEGABYTE
"""What a recorder may hold at any moment of this module; it starts with 45 MB."""
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def source() -> Iterator[HostileUpstream]:
    with HostileUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "hostile.tape"


@pytest.fixture(scope="module")
def victim(source: HostileUpstream, tape: Path) -> Iterator[Victim]:
    """One recorder for the whole module; at the end its cassette has all that reached the upstream."""
    options = ("--quiet", "--upstream-timeout", "5")
    with Servers(tape.parent).recorder(source.url, tape, *options) as server:
        found = Victim(server, get(b"/good"), upstream.GOOD)
        yield found
        asyncio.run(found.settled(found.files_at_start))
        assert server.process.poll() is None, server.log.read_text()
    said = server.log.read_text()
    assert "Traceback" not in said, said
    with Cassette.open(tape) as cassette:
        assert cassette.finished
        cassette.check()
        assert not source.targets() - {summary.target for summary in cassette.exchanges}


@pytest.fixture
async def unharmed(victim: Victim, source: HostileUpstream) -> AsyncIterator[Victim]:
    """The recorder; what it owes after each attack is looked at when the test is over."""
    victim.forget_peak()
    yield victim
    assert victim.server.peak_bytes() < PEAK_BYTES
    await victim.settled(
        victim.files_at_start + 4 * STREAMS
    )  # upstream connections are kept for some seconds
    for head in source.heads:
        fields = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        framing = [name for name in fields if name in (b"content-length", b"transfer-encoding")]
        assert len(framing) <= 1, "the upstream could read this request in two ways"
        assert b"evil" not in fields
    source.heads[:-1] = []


@pytest.mark.parametrize("group", GROUPS)
async def test_requests(unharmed: Victim, group: str) -> None:
    """Each request of the table gets an answer that is right, or its connection is closed."""
    attack = clients.wrong_answers(unharmed.server.port, GROUPS[group], lambda row: row.recorder)
    assert await unharmed.beside(attack) == {}


@pytest.mark.parametrize("name", clients.HOLDING)
async def test_clients(unharmed: Victim, name: str) -> None:
    """Clients that hold on and cut off harm nobody else."""
    await unharmed.beside(clients.HOLDING[name](unharmed.server.port))


async def test_clients_that_never_read(unharmed: Victim) -> None:
    """Ten clients that leave an endless stream unread hold up only themselves."""
    await unharmed.beside(clients.never_read(unharmed.server.port, ENDLESS))


async def test_clients_that_leave(unharmed: Victim) -> None:
    """A hundred resets inside an endless stream."""
    await unharmed.beside(clients.leave_the_answer(unharmed.server.port, ENDLESS))


@pytest.mark.parametrize("upload", [clients.large_body, clients.large_chunked_body])
async def test_large_bodies(unharmed: Victim, upload: Any) -> None:
    """Bodies of 100 MB pass, two at a time."""

    async def attack() -> list[int]:
        return list(await asyncio.gather(*(upload(unharmed.server.port) for _ in range(2))))

    assert await unharmed.beside(attack()) == [200, 200]


@asynccontextmanager
async def until_left(*, leave: bool) -> AsyncIterator[None]:
    """A client's patience: for what has no end two seconds; else what the answer is due in."""
    try:
        async with asyncio.timeout(2 if leave else ANSWER_S):
            yield
    except TimeoutError:
        if not leave:
            raise


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_upstreams(unharmed: Victim, name: str) -> None:
    """What the upstream does to one client's exchange is that client's alone, and never looks whole if it is not."""
    behaviour = BEHAVIOURS[name]
    request = post(b'{"assistant_id":"agent","input":{"does":"%b"}}' % name.encode())

    async def attack() -> None:
        got = bytearray()
        async with connected(unharmed.server.port) as (reader, writer):
            writer.write(request)
            with contextlib.suppress(ConnectionError):  # what a broken answer may end with
                async with until_left(leave=behaviour.leave):
                    while piece := await reader.read(MEGABYTE):
                        got += piece
                        if behaviour.leave and len(got) > 100 * MEGABYTE:
                            break
            if alone:
                await asyncio.sleep(0.2)
        code, head, body, whole = received(bytes(got))
        assert code in behaviour.statuses, head
        assert b"\r\nevil: 1" not in head.lower(), "one header has become two"
        assert behaviour.body == EITHER or whole == (behaviour.body == WHOLE or code in upstream.FAILED)
        if behaviour.data is not None:
            assert body == behaviour.data
        # The next one, perhaps on the same connection, gets its own answer.
        assert received(await answer(unharmed.server.port, get(b"/info")))[2] == b'{"ok":true}'

    # Sent at once on a kept connection, another request would get that answer: nothing in HTTP tells them apart.
    alone = name == "a second answer later"
    if alone:
        await attack()
    await unharmed.beside(asyncio.sleep(0) if alone else attack())
