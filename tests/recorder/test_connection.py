"""One connection to the upstream, without sockets: what it hands on, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from graphtape.recorder.connection import Connected, UpstreamBroke, UpstreamConnection, UpstreamFailed

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Taken(list[bytes]):
    """What a body's taker was given; `|` where a callback ended, `.` at the body's end."""

    enough = False

    def take(self, data: bytes, ended: bool) -> None:
        self.append(data + b"." * ended)

    def taken(self) -> bool:
        self.append(b"|")
        return not self.enough


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Wire(asyncio.Transport):
    """A transport that counts how often reading was paused."""

    pauses = 0

    def pause_reading(self) -> None:
        self.pauses += 1

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.fixture
async def made() -> Any:
    protocol = Connected(asyncio.get_running_loop())
    protocol.connection_made(Wire())
    connection = UpstreamConnection(protocol)
    connection.expect("GET")
    return protocol, connection


async def passing(connection: UpstreamConnection, taken: Taken) -> asyncio.Task[bool]:
    await connection.head()
    task = asyncio.ensure_future(connection.pass_on(taken.take, taken.taken))
    await asyncio.sleep(0)
    return task


async def test_reads_are_handed_on_where_they_arrive(made: Any) -> None:
    """In the callback, not in a later turn of the loop; several chunks of one read together."""
    protocol, connection = made
    protocol.data_received(HEAD + chunk(b"a"))
    taken = Taken()
    task = await passing(connection, taken)
    assert taken == [b"a", b"|"]
    protocol.data_received(chunk(b"b") + chunk(b"c"))
    assert taken[2:] == [b"bc", b"|"]
    protocol.data_received(chunk(b"d") + b"0\r\n\r\n")
    assert taken[4:] == [b"d.", b"|"]
    assert await task is True
    assert connection.is_reusable


async def test_the_parser_sees_no_whole_chunks(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the head and the end of a body; taking what has come does not wake it, unless reading had been paused."""
    protocol, connection = made
    parsed: list[bytes] = []
    inherited = ResponseHandler.data_received

    def data_received(self: ResponseHandler, data: bytes) -> None:
        parsed.append(data)
        inherited(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", data_received)
    protocol.data_received(HEAD)
    task = await passing(connection, Taken())
    protocol.data_received(chunk(b"a"))
    protocol.data_received(chunk(b"b"))
    protocol.data_received(b"5\r\nhe")
    assert parsed == [HEAD]
    protocol.data_received(b"llo\r\n0\r\n\r\n")
    assert parsed == [HEAD, b"0\r\n\r\n"]
    assert await task is True


async def test_a_head_without_a_body_yet(made: Any) -> None:
    """Whoever waits for the head gets its call too, though there is nothing to take."""
    protocol, connection = made
    protocol.data_received(HEAD)
    taken = Taken()
    task = await passing(connection, taken)
    assert taken == [b"|"]
    protocol.data_received(b"0\r\n\r\n")
    assert await task is True
    assert taken == [b"|", b".", b"|"]


async def test_an_answer_without_a_body(made: Any) -> None:
    """Its end is told at once."""
    protocol, connection = made
    protocol.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    taken = Taken()
    assert await (await passing(connection, taken)) is True
    assert taken == [b".", b"|"]


async def test_a_large_read_keeps_its_order(made: Any) -> None:
    """What a full buffer held back is parsed while it is read; it comes behind, once, and in the same callback.

    Chunks with extensions, which are the parser's from the first one on.
    """
    protocol, connection = made
    protocol.data_received(HEAD)
    taken = Taken()
    task = await passing(connection, taken)
    body = b"".join(b"%08d" % i * 64 for i in range(1000))
    protocol.data_received(
        b"".join(b"200;x=1\r\n%b\r\n" % body[i : i + 512] for i in range(0, len(body), 512)) + b"0\r\n\r\n"
    )
    assert protocol.transport.pauses
    assert await task is True
    pieces = [piece for piece in taken if piece != b"|"]
    assert len(pieces) > 1
    assert b"".join(pieces) == body + b"."


async def test_a_large_read_of_whole_chunks(made: Any) -> None:
    """It is one piece, whatever a buffer would hold."""
    protocol, connection = made
    protocol.data_received(HEAD)
    taken = Taken()
    task = await passing(connection, taken)
    body = b"".join(b"%08d" % i * 64 for i in range(1000))
    protocol.data_received(b"".join(chunk(body[i : i + 512]) for i in range(0, len(body), 512)))
    protocol.data_received(b"0\r\n\r\n")
    assert await task is True
    assert taken[1:] == [body, b"|", b".", b"|"]


async def test_informational_answers(made: Any) -> None:
    """Before the head, in its read or another; the chunks behind it are where they should be."""
    protocol, connection = made
    protocol.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + b"HTTP/1.1 100 Cont")
    protocol.data_received(b"inue\r\n\r\n" + HEAD + chunk(b"a"))
    taken = Taken()
    task = await passing(connection, taken)
    protocol.data_received(chunk(b"b") + b"0\r\n\r\n")
    assert await task is True
    assert taken == [b"a", b"|", b"b.", b"|"]


async def test_a_head_in_pieces(made: Any) -> None:
    """Its body is the parser's; nothing else differs."""
    protocol, connection = made
    protocol.data_received(HEAD[:-1])
    protocol.data_received(HEAD[-1:] + chunk(b"a"))
    taken = Taken()
    task = await passing(connection, taken)
    protocol.data_received(chunk(b"b") + b"0\r\n\r\n")
    assert await task is True
    assert taken == [b"a", b"|", b"b.", b"|"]
    assert connection.is_reusable


async def test_a_second_answer(made: Any) -> None:
    """The connection serves again; what an answer has behind its end makes it useless."""
    protocol, connection = made
    for _ in range(2):
        connection.expect("GET")
        protocol.data_received(HEAD + chunk(b"a"))
        taken = Taken()
        task = await passing(connection, taken)
        protocol.data_received(b"0\r\n\r\n")
        assert await task is True
        assert b"".join(taken) == b"a|.|"
    assert connection.is_reusable
    protocol.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not connection.is_reusable


@pytest.mark.parametrize("broken", [b"zz\r\nx", b"3\r\nabcX\r\n", b"3\r\nabc5\r\nhello\r\n"])
async def test_chunks_that_are_none(made: Any, broken: bytes) -> None:
    """The connection is given up as one that broke, behind all that came before."""
    protocol, connection = made
    protocol.data_received(HEAD + chunk(b"a"))
    taken = Taken()
    task = await passing(connection, taken)
    protocol.data_received(broken)
    protocol.connection_lost(None)
    with pytest.raises(UpstreamBroke):
        await task
    assert b"".join(taken).replace(b"|", b"") == (b"aabc" if broken.startswith(b"3") else b"a")


async def test_enough_for_now(made: Any) -> None:
    """After `taken` said so nothing is given, until the next call; nothing is lost in between."""
    protocol, connection = made
    protocol.data_received(HEAD)
    taken = Taken()
    task = await passing(connection, taken)
    taken.enough = True
    protocol.data_received(chunk(b"a"))
    protocol.data_received(chunk(b"b"))
    assert await task is False
    assert taken == [b"|", b"a", b"|"]
    taken.enough = False
    protocol.data_received(b"0\r\n\r\n")
    assert await connection.pass_on(taken.take, taken.taken) is True
    assert taken[3:] == [b"b.", b"|"]


async def test_bytes_that_arrive_with_the_break(made: Any) -> None:
    """What came in the same read as the connection's end is handed on before the break is told."""
    protocol, connection = made
    protocol.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
    protocol.connection_lost(None)
    assert (await connection.head()).code == 200
    assert await connection.read() == b"half"
    with pytest.raises(UpstreamBroke):
        await connection.read()


async def test_a_break_while_it_passes(made: Any) -> None:
    """It is told in the callback that tells of it, behind all that came."""
    protocol, connection = made
    protocol.data_received(HEAD + chunk(b"a"))
    taken = Taken()
    task = await passing(connection, taken)
    protocol.data_received(b"5\r\nhal")
    protocol.connection_lost(ConnectionResetError(104, "Connection reset by peer"))
    with pytest.raises(UpstreamBroke):
        await task
    assert b"".join(taken).replace(b"|", b"") == b"ahal"


async def test_a_taker_that_fails(made: Any) -> None:
    """Its error reaches whoever waits, and it is given nothing more."""
    protocol, connection = made
    protocol.data_received(HEAD)
    taken = Taken()

    def take(data: bytes, ended: bool) -> None:
        raise ZeroDivisionError

    await connection.head()
    task = asyncio.ensure_future(connection.pass_on(take, taken.taken))
    await asyncio.sleep(0)
    protocol.data_received(chunk(b"a"))
    protocol.data_received(chunk(b"b"))
    with pytest.raises(ZeroDivisionError):
        await task
    assert taken == [b"|"]


async def test_no_http(made: Any) -> None:
    """What is no HTTP is a 502 that says so."""
    protocol, connection = made
    protocol.data_received(b"SSH-2.0-OpenSSH\r\n\r\n")
    with pytest.raises(UpstreamFailed, match="did not answer in HTTP"):
        await connection.head()
