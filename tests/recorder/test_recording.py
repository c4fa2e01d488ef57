"""A whole run of the recorder, as the command line calls it."""

from __future__ import annotations

import asyncio
import io
import socket
from typing import Any

import pytest

from graphtape.cassettes.errors import CassetteExists
from graphtape.cassettes.redaction.values import RedactionError
from graphtape.protocol.errors import GraphtapeError
from graphtape.recorder import CannotListen, record
from graphtape.recorder.upstream import BadUpstream

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata: 1\n\n"


async def run(url: Any, path: Any, visit: Any = None, **options: Any) -> Any:
    """Record until `visit` is done; (report, what was announced, what was shown)."""
    stop, lines, shown = asyncio.Event(), [], io.StringIO()
    ready = asyncio.Event()

    def announce(line: Any) -> None:
        lines.append(line)
        ready.set()

    options.setdefault("port", 0)
    task = asyncio.ensure_future(record(url, path, announce=announce, progress=shown, stop=stop, **options))
    waiter = asyncio.ensure_future(ready.wait())
    await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if ready.is_set() and visit is not None:
        await visit(lines[0].rpartition("http://")[2])
    stop.set()
    return await task, lines, shown.getvalue()


async def get(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_one_run(rig: Any, answering: Any, opened: Any, tmp_path: Any) -> None:
    """One line when ready, a report of what was recorded, and what to type next."""
    path = tmp_path / "my tape.tape"
    async with rig(answering(OK)) as r:
        report, lines, shown = await run(r.upstream.url, path, get)
    assert lines[0].startswith("graphtape: listening on http://127.0.0.1:")
    assert (report.exchanges, report.events, report.response_bytes, report.unfinished) == (1, 1, 9, 0)
    assert f"graphtape: recorded 1 exchange, 1 event, 9 B in {path}\n" in shown
    assert shown.endswith(f"graphtape: next: graphtape replay '{path}'\n")
    cassette = opened(path)
    assert cassette.finished
    assert cassette.recordings[0].upstream == r.upstream.url
    assert path.stat().st_mode & 0o777 == 0o600


async def test_append_and_overwrite(rig: Any, answering: Any, opened: Any, tmp_path: Any) -> None:
    """An existing file is refused, continued or replaced, as was said."""
    path = tmp_path / "x.tape"
    async with rig(answering(OK)) as r:
        await run(r.upstream.url, path, get)
        before = path.read_bytes()
        with pytest.raises(CassetteExists):
            await run(r.upstream.url, path, get)
        assert path.read_bytes() == before
        await run(r.upstream.url, path, get, append=True)
        assert len(opened(path).recordings) == 2
        await run(r.upstream.url, path, get, overwrite=True)
        assert len(opened(path).exchanges) == 1
        with pytest.raises(GraphtapeError, match="--append and --overwrite"):
            await run(r.upstream.url, path, append=True, overwrite=True)


async def test_port_in_use(tmp_path: Any) -> None:
    """The message says what to do, and no empty cassette is left behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListen, match=r"in use.*--port"):
            await run("http://h", tmp_path / "x.tape", port=taken.getsockname()[1])
    assert not (tmp_path / "x.tape").exists()


@pytest.mark.parametrize(
    ("host", "upstream"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("localhost", "LOCALHOST"),
        ("0.0.0.0", "127.0.0.1"),
    ],
)
async def test_a_recorder_in_front_of_itself(tmp_path: Any, host: str, upstream: str) -> None:
    """It would ask itself without end: the port of the recorder was given for that of the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(BadUpstream, match="where this recorder listens"):
        await run(f"http://{upstream}:{port}", tmp_path / "x.tape", host=host, port=port)
    assert not (tmp_path / "x.tape").exists()


async def test_a_server_with_the_same_port_elsewhere(tmp_path: Any) -> None:
    """The port alone is no sign: another address of this machine may have a server there."""
    try:
        server = socket.create_server(("127.0.0.2", 0))
    except OSError:
        pytest.skip("only one loopback address here")
    with server:
        port = server.getsockname()[1]
        _, lines, _ = await run(f"http://127.0.0.2:{port}", tmp_path / "x.tape", port=port)
    assert lines == [f"graphtape: listening on http://127.0.0.1:{port}"]


async def test_nothing_to_replay(tmp_path: Any) -> None:
    """A recording in which no upstream answered is to be looked at, not replayed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    report, _, shown = await run(f"http://127.0.0.1:{port}", tmp_path / "x.tape", get)
    assert report.exchanges == 1
    assert "graphtape: next: graphtape ls" in shown


async def test_host_that_is_not_here(tmp_path: Any) -> None:
    """An address of another machine."""
    with pytest.raises(CannotListen, match=r"203\.0\.113\.1.*give --host an address of this machine"):
        await run("http://h", tmp_path / "x.tape", host="203.0.113.1")


async def test_ipv6_is_announced_in_brackets(rig: Any, answering: Any, tmp_path: Any) -> None:
    """The line is a URL that a client can use."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with rig(answering(OK)) as r:
        _, lines, _ = await run(r.upstream.url, tmp_path / "x.tape", get, host="::1")
    assert lines[0].startswith("graphtape: listening on http://[::1]:")


async def test_all_interfaces_are_warned_about(rig: Any, answering: Any, tmp_path: Any) -> None:
    """Recording for a whole network is not done silently."""
    async with rig(answering(OK)) as r:
        _, _, shown = await run(r.upstream.url, tmp_path / "x.tape", host="0.0.0.0")
    assert "not a loopback address" in shown
    assert "graphtape: next: graphtape ls" in shown


async def test_values_of_the_environment(
    rig: Any, answering: Any, opened: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    """--redact-env masks the value wherever it stands, asks for plain answers, and leaves the client's bytes alone."""
    monkeypatch.setenv("MY_TOKEN", "data: 1")
    seen: list[bytes] = []
    path = tmp_path / "x.tape"

    async def visit(address: Any) -> None:
        assert (await get(address)).endswith(b"data: 1\n\n")

    async with rig(answering(OK, seen)) as r:
        await run(r.upstream.url, path, visit, redact_env=["MY_TOKEN"])
    assert opened(path).exchange(1).body == b"*******\n\n"
    with pytest.raises(RedactionError, match="NOT_SET"):
        await run("http://h", tmp_path / "y.tape", redact_env=["NOT_SET"])


async def test_what_was_written_is_synced(
    rig: Any, answering: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the interval, in another thread, and only when there is something new."""
    import threading

    from graphtape.cassettes.clock import FakeClock
    from graphtape.cassettes.writer import CassetteWriter
    from graphtape.recorder import recording
    from graphtape.recorder.syncing import DiskSync

    synced: list[int] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Spy:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: Any) -> Any:
            return getattr(self._inner, name)

        def sync(self) -> None:
            synced.append(threading.get_ident())
            self._inner.sync()
            loop.call_soon_threadsafe(done.set)

    clock = FakeClock()
    intervals: list[float] = []

    class Disk(DiskSync):
        def __init__(self, sync: Any, interval_s: float, failed: Any) -> None:
            intervals.append(interval_s)
            super().__init__(sync, interval_s, failed)

    monkeypatch.setattr(recording, "DiskSync", Disk)
    async with rig(answering(OK), clock=clock, wrap=Spy, sync_interval=0.25) as r:
        await asyncio.wait_for(done.wait(), 5)
        done.clear()
        client = await r.get("/")
        await client.until(b"data: 1\n\n")
        await asyncio.wait_for(done.wait(), 5)
    assert threading.get_ident() not in synced
    assert intervals == [0.25]
    assert CassetteWriter is not None
