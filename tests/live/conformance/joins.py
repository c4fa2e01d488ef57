"""Joins of a run: every row and column of docs/agent-server.md, section 6, as scripts."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.wire import Answer, Wire

FUTURE = "9999999999999-0"
MIDDLE, LAST = "real", "last"
LAST_EVENT_IDS: dict[str, str | None] = {
    "absent": None,
    "empty": "",
    "-1": "-1",
    "-": "-",
    "0": "0",
    "real": MIDDLE,
    "last": LAST,
    "zzz": "zzz",
    "future": FUTURE,
}
STREAM_MODES = {
    "empty": "stream_mode=",
    "one": "stream_mode=updates",
    "custom": "stream_mode=custom",
    "values": "stream_mode=values",
    "array": "stream_mode=" + quote('["updates","custom"]'),
    "array of one": "stream_mode=" + quote('["values"]'),
    "empty array": "stream_mode=" + quote("[]"),
    "broken array": "stream_mode=" + quote('["updates"'),
    "repeated": "stream_mode=values&stream_mode=custom",
    "comma": "stream_mode=updates,custom",
    "bogus": "stream_mode=bogus",
    "not in the run": "stream_mode=debug",
    "messages": "stream_mode=messages",
    "messages-tuple": "stream_mode=messages-tuple",
    "metadata": "stream_mode=metadata",
    "error": "stream_mode=error",
    "values and error": "stream_mode=" + quote('["values","error"]'),
    "as the Python SDK": "cancel_on_disconnect=false&stream_mode=updates&stream_mode=values",
    "as the JavaScript SDK": "cancel_on_disconnect=0&stream_mode=values",
}
MODES_OF = {
    "slow": ["custom", "values", "updates"],
    "burst": ["custom", "values"],
    "failing": ["values", "updates", "tasks"],
    "levels": ["values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"],
    "tokens": ["messages", "updates"],
    "ask": ["values", "updates"],
}
INPUT_OF: dict[str, object] = {
    "slow": {"n": 0},
    "burst": {"n": 0},
    "failing": {"n": 1},
    "levels": {"messages": [{"role": "user", "content": "hello", "id": "u1"}]},
    "tokens": {"messages": [{"role": "user", "content": "hello", "id": "u1"}]},
    "ask": {"said": []},
}
EVENTS_OF_SLOW = 14
TRUE = ("true", "1", "yes")
TICKS_BEFORE = 4
"""Events of `slow` that have come when the joins of a running run are asked for."""


def body_of(graph: str, *, resumable: bool, **more: object) -> dict[str, object]:
    return {
        "assistant_id": graph,
        "input": INPUT_OF[graph],
        "stream_mode": MODES_OF[graph],
        "stream_subgraphs": True,
        "stream_resumable": resumable,
    } | more


def _header(value: str | None, ids: list[str]) -> dict[str, str]:
    if value is None:
        return {}
    if value in (MIDDLE, LAST):
        # A run without ids has none to give back; the client of another run would send such a one.
        known = ids or ["1700000000000-0"]
        # The id of the second event: the first that other events follow in any case.
        value = known[-1] if value == LAST else known[min(1, len(known) - 1)]
    return {"last-event-id": value}


def running(*, resumable: bool) -> Script:
    """Joins of a run that is being streamed: by Last-Event-ID and by stream_mode, all at once."""

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record)
        post = await stage.record.open(
            "POST", f"/threads/{thread}/runs/stream", body_of("slow", resumable=resumable)
        )
        seen = await post.events(TICKS_BEFORE)
        path = f"/threads/{thread}/runs/{run_of(seen)}/stream"
        ids = [block.id for block in seen.events[:TICKS_BEFORE] if block.id]
        asked = {
            f"last-event-id {name}": (path, _header(value, ids)) for name, value in LAST_EVENT_IDS.items()
        }
        for name, query in STREAM_MODES.items():
            asked[f"stream_mode {name}"] = (f"{path}?{query}", {})
            asked[f"stream_mode {name}, last-event-id -1"] = (f"{path}?{query}", {"last-event-id": "-1"})
        opened = await asyncio.gather(
            *(stage.probe.open("GET", where, headers=headers) for where, headers in asked.values())
        )
        stage.keep("the run's own stream", await post.end())
        for name, stream in zip(asked, opened, strict=True):
            stage.keep(name, await stream.end())

    return script


def finished(graph: str, *, resumable: bool) -> Script:
    """The same joins when the run is over."""

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record)
        post = await stage.record.ask(
            "POST", f"/threads/{thread}/runs/stream", body_of(graph, resumable=resumable)
        )
        stage.keep("the run's own stream", post)
        path = f"/threads/{thread}/runs/{run_of(post)}/stream"
        ids = [block.id for block in post.events if block.id]
        asked = {
            f"last-event-id {name}": (path, _header(value, ids)) for name, value in LAST_EVENT_IDS.items()
        }
        for name, query in STREAM_MODES.items():
            asked[f"stream_mode {name}, last-event-id -1"] = (f"{path}?{query}", {"last-event-id": "-1"})
        answers = await asyncio.gather(
            *(stage.probe.ask("GET", where, headers=headers) for where, headers in asked.values())
        )
        for name, answer in zip(asked, answers, strict=True):
            stage.keep(name, answer)

    return script


UNKNOWN = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"


async def no_run(stage: Stage) -> None:
    """Joins of what is not there, and of what is no id."""
    thread = await new_thread(stage.record)
    post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body_of("burst", resumable=True))
    run = run_of(post)
    paths = {
        "unknown run": f"/threads/{thread}/runs/{UNKNOWN}/stream",
        "unknown thread": f"/threads/{UNKNOWN}/runs/{UNKNOWN}/stream",
        "run of another thread": f"/threads/{UNKNOWN}/runs/{run}/stream",
        "run is no UUID": f"/threads/{thread}/runs/nope/stream",
        "thread is no UUID": f"/threads/nope/runs/{run}/stream",
        "neither is a UUID": "/threads/nope/runs/nope/stream",
        "stateless stream": f"/runs/{run}/stream",
        "stateless run": f"/runs/{run}",
        "stateless join": f"/runs/{run}/join",
    }
    for header, headers in (("", {}), (" with last-event-id -1", {"last-event-id": "-1"})):
        answers = await asyncio.gather(
            *(stage.probe.ask("GET", path, headers=headers) for path in paths.values())
        )
        for name, answer in zip(paths, answers, strict=True):
            stage.keep(name + header, answer)


def cancelling(flag: str) -> Script:
    """A reader with `cancel_on_disconnect` that leaves in the middle of a run that was recorded whole."""

    async def script(stage: Stage) -> None:
        body = body_of("slow", resumable=True)
        recorded = await new_thread(stage.record)
        await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", body)
        thread = await new_thread(stage.probe)
        post = await stage.probe.open("POST", f"/threads/{thread}/runs/stream", body)
        base = f"/threads/{thread}/runs/{run_of(await post.events(TICKS_BEFORE))}"
        join = await stage.probe.open("GET", f"{base}/stream?cancel_on_disconnect={flag}")
        await join.events(2)
        await join.leave()
        whole = await post.end()
        count = len(whole.events)
        assert (count < EVENTS_OF_SLOW) == (flag.lower() in TRUE), f"{flag}: {count} events"
        # Where exactly a cancelled run stops is chance; that it stopped, or not, is what counts.
        whole.chunks = [b"".join(whole.chunks[:TICKS_BEFORE])]
        stage.keep("the run's own stream, its beginning", whole)
        run = await when_over(stage.probe, base)
        assert (run.json["status"] == "interrupted") == (flag.lower() in TRUE), run.json["status"]
        again = await stage.probe.ask(
            "GET", f"{base}/stream?stream_mode=values", headers={"last-event-id": "-1"}
        )
        stage.keep("a join afterwards", again)

    return script


async def when_over(wire: Wire, base: str) -> Answer:
    """The run as soon as it has a status that stays."""
    for _ in range(100):
        answer = await wire.ask("GET", base)
        if answer.json["status"] not in ("pending", "running"):
            break
        await wire.pause(0.05)
    return answer


async def pending(stage: Stage) -> None:
    """A join of a run that waits for another: it gets everything from the start."""
    thread = await new_thread(stage.record)
    first = await stage.record.open("POST", f"/threads/{thread}/runs/stream", body_of("slow", resumable=True))
    await first.events(TICKS_BEFORE)
    second = await stage.record.open(
        "POST", f"/threads/{thread}/runs/stream", body_of("slow", resumable=True, input={"n": 1})
    )
    path = f"/threads/{thread}/runs/{run_of(second.answer)}/stream"
    joins = {
        "absent": await stage.probe.open("GET", path),
        "-1": await stage.probe.open("GET", path, headers={"last-event-id": "-1"}),
        "custom": await stage.probe.open("GET", path + "?stream_mode=custom"),
    }
    stage.keep("the first run", await first.end())
    stage.keep("the second run", await second.end())
    for name, stream in joins.items():
        stage.keep(f"join of the pending run, {name}", await stream.end())


async def created(stage: Stage) -> None:
    """A run that nobody streams from the start: POST .../runs, then joins, then `join` for its values."""
    thread = await new_thread(stage.record)
    answer = await stage.record.ask("POST", f"/threads/{thread}/runs", body_of("slow", resumable=True))
    stage.keep("POST runs", answer)
    base = f"/threads/{thread}/runs/{answer.json['run_id']}"
    whole = await stage.record.open("GET", f"{base}/stream", headers={"last-event-id": "-1"})
    await whole.events(TICKS_BEFORE)
    late = await stage.probe.open("GET", f"{base}/stream")
    values = await stage.probe.open("GET", f"{base}/join")
    stage.keep("from the start", await whole.end())
    stage.keep("late", await late.end())
    stage.keep("join", await values.end())
    stage.keep("again", await stage.probe.ask("GET", f"{base}/stream", headers={"last-event-id": "-1"}))
