"""Streams of a thread: every spelling, every Last-Event-ID, and what comes when (docs/agent-server.md, section 8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from graphtape.protocol.sse import Block
from graphtape.tests.live.conformance.joins import LAST, MIDDLE, UNKNOWN, body_of
from graphtape.tests.live.conformance.staging import Script, Stage, new_thread
from graphtape.tests.live.conformance.wire import Answer, Stream, Wire

STREAM_MODES = {
    "absent": "",
    "empty": "?stream_modes=",
    "run_modes": "?stream_modes=run_modes",
    "lifecycle": "?stream_modes=lifecycle",
    "state_update": "?stream_modes=state_update",
    "comma": "?stream_modes=lifecycle,state_update",
    "comma and blanks": "?stream_modes=" + quote("run_modes, state_update"),
    "all three": "?stream_modes=run_modes,lifecycle,state_update",
    "one twice": "?stream_modes=lifecycle,lifecycle",
    "repeated, the last counts": "?stream_modes=state_update&stream_modes=lifecycle",
    "repeated, the other way": "?stream_modes=run_modes&stream_modes=state_update",
    "as the SDKs send it": "?stream_mode=lifecycle",
    "both parameters": "?stream_mode=lifecycle&stream_modes=state_update",
    "an unknown parameter": "?modes=lifecycle",
}
REFUSED = {
    "array": "?stream_modes=" + quote('["lifecycle"]'),
    "bogus": "?stream_modes=bogus",
    "values": "?stream_modes=values",
    "one of two is bogus": "?stream_modes=lifecycle,bogus",
    "trailing comma": "?stream_modes=lifecycle,",
    "only a comma": "?stream_modes=,",
    "capitals": "?stream_modes=Lifecycle",
    "blank": "?stream_modes=%20",
}
ACCEPTED_IDS: dict[str, str | None] = {
    "absent": None,
    "empty": "",
    "-": "-",
    "0": "0",
    "0-0": "0-0",
    "ms": "1700000000000",
    "ms-n": "1700000000000-5",
    "ms-*": "1700000000000-*",
    "real": MIDDLE,
    "last": LAST,
    "future": "9999999999999-0",
}
REFUSED_IDS = ("-1", "$", "+", "zzz", "1-a", "1-2-3", "1700000000000-", " 1", "*", "१")
QUIET_S = 0.4
"""How long a stream is watched for more than is expected."""


def ends(count: int) -> Callable[[list[Block]], bool]:
    """So many runs are over."""
    return lambda events: sum(b'"run_done"' in (event.data or b"") for event in events) >= count


async def _closed(stage: Stage, streams: dict[str, Stream], prefix: str = "") -> None:
    await asyncio.sleep(QUIET_S)
    for name, stream in streams.items():
        stage.keep(prefix + name, await stream.leave())


async def _conversation(stage: Stage, thread: str) -> None:
    """A resumable run with subgraphs, one that is not resumable, one that fails, an interrupt and its resume."""
    for graph, resumable, more in (
        ("levels", True, {"stream_mode": ["values", "updates", "custom"]}),
        ("burst", False, {}),
        ("failing", True, {}),
    ):
        body = body_of(graph, resumable=resumable, **more)
        await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body)


async def live(stage: Stage) -> None:
    """Every spelling, attached before anything runs."""
    thread = await new_thread(stage.record)
    names = list(STREAM_MODES)
    opened = [
        await stage.probe.open("GET", f"/threads/{thread}/stream{STREAM_MODES[name]}") for name in names
    ]
    streams = dict(zip(names, opened, strict=True))
    await _conversation(stage, thread)
    await streams["absent"].until(ends(3))
    await _closed(stage, streams)


async def refused(stage: Stage) -> None:
    """What is refused, in the server's words."""
    thread = await new_thread(stage.record)
    await _conversation(stage, thread)
    for name, query in REFUSED.items():
        stage.keep(f"stream_modes {name}", await _brief(stage.probe, f"/threads/{thread}/stream{query}"))
    for value in REFUSED_IDS:
        headers = {"last-event-id": value.encode().decode("latin-1")}
        answer = await _brief(stage.probe, f"/threads/{thread}/stream", headers)
        stage.keep(f"last-event-id {value}", answer)
    for name, path in {
        "no UUID": "/threads/nope/stream",
        "no UUID and a bogus mode": "/threads/nope/stream?stream_modes=bogus",
        "a thread that is not there": f"/threads/{UNKNOWN}/stream",
        "a thread that is not there, from the start": f"/threads/{UNKNOWN}/stream?stream_modes=lifecycle",
    }.items():
        stage.keep(name, await _brief(stage.probe, path))


async def _brief(wire: Wire, path: str, headers: dict[str, str] | None = None) -> Answer:
    """An answer, or the beginning of a stream that stays open."""
    stream = await wire.open("GET", path, headers=headers)
    if stream.answer.status == 200:
        await asyncio.sleep(0.15)
        return await stream.leave()
    return await stream.end()


def replayed(query: str) -> Script:
    """Every Last-Event-ID, attached when all runs are over; then one more run."""

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record)
        watcher = await stage.record.open("GET", f"/threads/{thread}/stream")
        await _conversation(stage, thread)
        await watcher.until(ends(3))
        # As any client has them: from the stream of the thread.
        ids = [block.id or "" for block in watcher.answer.events]
        streams = {}
        for name, value in ACCEPTED_IDS.items():
            sent = {MIDDLE: ids[3], LAST: ids[-1]}.get(value or "", value)
            headers = {} if sent is None else {"Last-Event-ID": sent}
            streams[name] = await stage.probe.open("GET", f"/threads/{thread}/stream{query}", headers=headers)
        await asyncio.sleep(0.3)
        await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body_of("ask", resumable=True))
        await watcher.until(ends(4))
        stage.keep("the watcher", await watcher.leave())
        await _closed(stage, streams, "last-event-id ")

    return script


async def attached_mid_run(stage: Stage) -> None:
    """Attached while a run goes on: from now on, and its end; then a second run, from its start."""
    thread = await new_thread(stage.record)
    path = f"/threads/{thread}/runs/stream"
    post = await stage.record.open("POST", path, body_of("slow", resumable=True))
    seen = await post.events(4)
    cursor = seen.events[2].id or ""
    streams = {
        name: await stage.probe.open("GET", f"/threads/{thread}/stream{query}", headers=headers)
        for name, query, headers in (
            ("run_modes", "", {}),
            ("lifecycle", "?stream_modes=lifecycle", {}),
            ("from the start", "", {"last-event-id": "-"}),
            ("from a real id", "", {"last-event-id": cursor}),
            ("lifecycle from the start", "?stream_modes=lifecycle", {"last-event-id": "0"}),
        )
    }
    stage.keep("the first run", await post.end())
    stage.keep("the second run", await stage.record.ask("POST", path, body_of("burst", resumable=False)))
    await streams["run_modes"].until(ends(2))
    await _closed(stage, streams)


async def state_updates(stage: Stage) -> None:
    """`state_update` comes when the state is written from outside, and only then."""
    thread = await new_thread(stage.record)
    streams = {
        name: await stage.record.open("GET", f"/threads/{thread}/stream?stream_modes={name}")
        for name in ("run_modes", "state_update", "run_modes,state_update", "lifecycle,state_update")
    }
    await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body_of("ask", resumable=True))
    for name in ("run_modes", "run_modes,state_update", "lifecycle,state_update"):
        # The server looks for news every 20 ms, and what it finds at once has no order of its own.
        await streams[name].until(ends(1))
    update = {"values": {"said": ["from outside"]}, "as_node": "before"}
    stage.keep("POST state", await stage.record.ask("POST", f"/threads/{thread}/state", update))
    await stage.record.ask("PATCH", f"/threads/{thread}", {"metadata": {"a": 1}})
    await streams["state_update"].events(1)
    await _closed(stage, streams)


async def several_endings(stage: Stage) -> None:
    """Runs that end by an interrupt, by a cancel, by a rollback: each says run_done."""
    thread = await new_thread(stage.record)
    streams = {
        name: await stage.record.open("GET", f"/threads/{thread}/stream?stream_modes={name}")
        for name in ("run_modes", "lifecycle")
    }
    path = f"/threads/{thread}/runs"
    await stage.record.ask("POST", f"{path}/stream", body_of("ask", resumable=True))
    resume = {**body_of("ask", resumable=True), "command": {"resume": "yes"}}
    del resume["input"]
    await stage.record.ask("POST", f"{path}/stream", resume)
    await streams["lifecycle"].until(ends(2))
    await stage.record.ask("POST", f"{path}/wait", body_of("burst", resumable=False))
    await streams["lifecycle"].until(ends(3))
    answer = await stage.record.ask("POST", path, body_of("slow", resumable=True))
    run = answer.json["run_id"]
    await streams["run_modes"].until(lambda events: any(b'"tick":2' in (e.data or b"") for e in events))
    await stage.record.ask("POST", f"{path}/{run}/cancel?wait=1&action=interrupt")
    await streams["lifecycle"].until(ends(4))
    await _closed(stage, streams)
