"""The recorder on disks that are full, that fail, and that may lose their power, while twenty streams pass."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes import Cassette
from graphtape.tests.slow.failing_disk import CLOSED, Call, Disk, read_trace
from graphtape.tests.slow.twenty_streams import clients, read_until, recording

pytestmark = pytest.mark.slow
ROOM = 100_000
PASSED = 60_000_000
"""Far more than there is room for, and than passes until a failing sync is noticed."""

_TMPFS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
new_user, new_mounts, private = 0x10000000, 0x00020000, 1 << 18 | 1 << 14
user, group = os.getuid(), os.getgid()
if libc.unshare(new_mounts if user == 0 else new_user | new_mounts):
    sys.exit(1)
if user:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
if libc.mount(None, b"/", None, private, None):
    sys.exit(1)
if libc.mount(b"tmpfs", os.fsencode(sys.argv[1]), b"tmpfs", 0, b"size=" + sys.argv[2].encode()):
    sys.exit(1)
print("mounted", flush=True)
sys.stdin.read()
"""
"""A process that has a small file system where nobody else has one, for as long as its stdin is open."""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A folder on a tmpfs of its own, reached through /proc; None where this user may not mount one."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TMPFS, str(folder), str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        mounted = process.stdout.readline() == b"mounted\n"
        yield Path(f"/proc/{process.pid}/root{folder}") if mounted else None
    finally:
        process.communicate()


FAILING = {
    "full disk": Disk(error="ENOSPC", room_bytes=ROOM),
    "broken disk": Disk(error="EIO", room_bytes=ROOM),
    "closed descriptor": Disk(error=CLOSED, room_bytes=ROOM),
    "broken from the first byte": Disk(error="EIO", room_bytes=400),
    "disk that does not sync": Disk(sync_error="EIO"),
}


# Going on takes as long as its streams do: two kinds of failure stand for all.
@pytest.mark.parametrize(
    ("failing", "policy"),
    [*((failing, "stop") for failing in FAILING), ("full disk", "pass"), ("broken disk", "pass")],
)
async def test_failing_disk(tmp_path: Path, failing: str, policy: str) -> None:
    """When nothing more can be written, traffic stops, or goes on unrecorded; the file is a good prefix."""
    disk = FAILING[failing]
    size = await fails(tmp_path / "full.tape", policy, program=disk.command())
    assert disk.sync_error or size <= disk.room_bytes


@pytest.mark.parametrize("policy", ["stop", "pass"])
async def test_limited_file(tmp_path: Path, policy: str) -> None:
    """As above, where the kernel lets no file grow further."""
    limit = (ROOM, ROOM)
    size = await fails(
        tmp_path / "full.tape", policy, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert size <= ROOM


@pytest.mark.parametrize("policy", ["stop", "pass"])
async def test_small_file_system(tmp_path: Path, policy: str) -> None:
    """As above, on a file system that is really full; who may not mount one gets the error of one."""
    room = 25 * 4096
    with small_disk(tmp_path, room) as folder:
        if folder is None:
            program = Disk(error="ENOSPC", room_bytes=room).command()
            assert await fails(tmp_path / "full.tape", policy, program=program) <= room
        else:
            assert await fails(folder / "full.tape", policy) <= room


async def fails(tape: Path, policy: str, **how: Any) -> int:
    """Record until the disk fails, and hold what is promised against what came; returns the size of the file."""
    readers = clients()
    async with recording(tape, "--on-write-error", policy, **how) as (process, port):
        # With `stop` the recorder ends before this many bytes are there.
        await read_until(readers, port, PASSED, lambda: process.send_signal(signal.SIGTERM))
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"write failed" in said or b"the disk did not take it" in said, said
    assert b"Traceback" not in said, said
    total = 0
    with Cassette.open(tape) as cassette:
        cassette.check()
        exchanges = [cassette.exchange(at) for at in range(1, len(cassette.exchanges) + 1)]
        recorded = {exchange.request.target: exchange.body for exchange in exchanges}
        for reader in readers:
            body = recorded.get(reader.target, b"")
            total += len(reader.body)
            if reader.received.startswith(b"HTTP/1.1 500 "):
                assert policy == "stop", "the recorder's own answer, once it cannot write"
            elif policy == "stop":
                assert body.startswith(reader.body), reader.target
            else:
                assert reader.body.startswith(body), reader.target
    assert (total < PASSED) == (policy == "stop")
    return os.stat(tape).st_size


INTERVAL_S = 0.1
STALL_S = 1.0
"""What a loaded machine may add to any one of the times below; to the median it may add a tenth of it."""


async def trace_of(
    tmp_path: Path, *, seconds: float = 2, sync_s: float = 0, options: tuple[str, ...] = ()
) -> list[Call]:
    """What a recorder asks of its disk while twenty streams of fifty events a second pass."""
    trace = tmp_path / "trace"
    disk = Disk(trace=str(trace), sync_s=sync_s)
    readers = clients()
    loop = asyncio.get_running_loop()
    async with recording(tmp_path / "x.tape", *options, program=disk.command(), pace_s=0.02) as (
        process,
        port,
    ):
        loop.call_later(seconds, process.send_signal, signal.SIGTERM)
        await read_until(readers, port, 1 << 40, lambda: None)
        await process.communicate()
    assert process.returncode == 0
    return read_trace(trace)


def lateness(calls: list[Call]) -> list[float]:
    """Seconds from each write to the begin of the first sync that covers it."""
    syncs = [call.began_ns for call in calls if call.name == "sync"]
    late = []
    for call in calls:
        if call.name != "sync":
            covering = [began for began in syncs if began >= call.ended_ns]
            late.append((min(covering) - call.ended_ns) / 1e9 if covering else float("inf"))
    return late


@pytest.mark.parametrize("options", [(), ("--sync-interval", "0.4")], ids=["default", "400 ms"])
async def test_power_loss(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What the power takes is what was written in the last sync interval: every write is synced within it."""
    calls = await trace_of(tmp_path, options=options)
    interval_s = float(options[1]) if options else INTERVAL_S
    late = lateness(calls)
    assert len(late) > 100
    assert max(late) < interval_s + STALL_S
    assert statistics.median(late) < 1.1 * interval_s
    syncs = sum(call.name == "sync" for call in calls)
    assert syncs < 3 * 2 / interval_s, "no more often than asked"


async def test_slow_sync(tmp_path: Path) -> None:
    """A sync that takes half a second holds up no write: it is not on the loop."""
    calls = await trace_of(tmp_path, sync_s=0.5)
    final = calls.pop()  # when all is over; the recorder waits for it
    assert final.name == "sync"
    syncs = [call for call in calls if call.name == "sync"]
    writes = [call for call in calls if call.name != "sync"]
    assert {call.thread for call in syncs}.isdisjoint(call.thread for call in writes)
    for sync in syncs[:-1]:
        meanwhile = sum(sync.began_ns < write.began_ns < sync.ended_ns for write in writes)
        assert meanwhile > 20, "twenty streams of fifty events a second"
    assert len(syncs) > 1
