"""Threads, runs, state and everything around a stream, asked before, during and after runs (sections 6, 9 and 10)."""

from __future__ import annotations

import asyncio
from typing import Any

from graphtape.tests.live.conformance.joins import UNKNOWN, body_of, when_over
from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.wire import Answer

ALL = ["values", "updates", "custom", "tasks", "checkpoints"]


def steps(graph: str = "steps", **more: object) -> dict[str, Any]:
    body = {"assistant_id": graph, "input": {"done": []}, "stream_mode": ALL, "stream_resumable": True}
    return body | more


def reads(thread: str, run: str = "") -> dict[str, tuple[str, str, object]]:
    """Everything that shows how far a thread is."""
    found: dict[str, tuple[str, str, object]] = {
        "thread": ("GET", f"/threads/{thread}", None),
        "state": ("GET", f"/threads/{thread}/state", None),
        "history": ("POST", f"/threads/{thread}/history", {"limit": 10}),
        "history, no limit": ("POST", f"/threads/{thread}/history", {}),
        "history by GET": ("GET", f"/threads/{thread}/history?limit=2", None),
        "runs": ("GET", f"/threads/{thread}/runs", None),
    }
    if run:
        found["run"] = ("GET", f"/threads/{thread}/runs/{run}", None)
    return found


async def look(stage: Stage, when: str, thread: str, run: str = "") -> None:
    """Ask for all of it at once, so that it is one moment."""
    asked = reads(thread, run)
    answers = await asyncio.gather(*(stage.probe.ask(*request) for request in asked.values()))
    for name, answer in zip(asked, answers, strict=True):
        stage.keep(f"{when}: {name}", answer)


async def stages(stage: Stage) -> None:
    """What a poll sees before a run, in each of its steps, and after it; then in a second run."""
    thread = await new_thread(stage.record, {"metadata": {"kind": "stages"}})
    await look(stage, "empty", thread)
    for turn in ("first run", "second run"):
        post = await stage.record.open("POST", f"/threads/{thread}/runs/stream", steps())
        run = run_of(post.answer)
        for count in (1, 3):
            await post.until(
                lambda events, count=count: sum(e.name == "custom" for e in events) >= count  # type: ignore[misc]
            )
            # Well inside the step, so that the moment is the same on both sides.
            await asyncio.sleep(0.12)
            await look(stage, f"{turn}, step {count}", thread, run)
        stage.keep(f"{turn}: its stream", await post.end())
        await look(stage, f"{turn}, over", thread, run)


async def interrupted(stage: Stage) -> None:
    """An interrupt and its resume, looked at in between."""
    thread = await new_thread(stage.record)
    path = f"/threads/{thread}/runs/stream"
    post = await stage.record.ask("POST", path, steps("steps_asking"))
    stage.keep("its stream", post)
    await look(stage, "interrupted", thread, run_of(post))
    body = {**steps("steps_asking"), "command": {"resume": "yes"}}
    del body["input"]
    post = await stage.record.ask("POST", path, body)
    stage.keep("the resumed stream", post)
    await look(stage, "resumed", thread, run_of(post))


async def failed(stage: Stage) -> None:
    """A run that ends with an error."""
    thread = await new_thread(stage.record)
    body = body_of("failing", resumable=True, stream_mode=ALL)
    post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body)
    stage.keep("its stream", post)
    await look(stage, "failed", thread, run_of(post))
    join = await stage.probe.ask("GET", f"/threads/{thread}/runs/{run_of(post)}/join")
    stage.keep("join", join)


async def waiting(stage: Stage) -> None:
    """`wait` and `join` of each kind of end, asked as the SDKs do, recorded as streams."""
    graphs = ("steps", "failing", "ask", "ask_twice", "burst", "levels")
    for graph in graphs:
        if graph == "steps":
            body = steps(stream_mode=["values"])
        elif graph == "ask_twice":
            body = body_of("ask", resumable=True, stream_mode=["values"]) | {"assistant_id": graph}
        else:
            body = body_of(graph, resumable=True, stream_mode=["values"])
        body["stream_subgraphs"] = False
        thread = await new_thread(stage.record)
        post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body)
        stage.keep(f"{graph}: stream", post)
        run = run_of(post)
        stage.keep(f"{graph}: join", await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}/join"))
        other = await new_thread(stage.probe)
        wait = await stage.probe.ask("POST", f"/threads/{other}/runs/wait", body)
        stage.keep(f"{graph}: wait", wait)
    for name, path in {
        "join of an unknown run": f"/threads/{thread}/runs/{UNKNOWN}/join",
        "join in an unknown thread": f"/threads/{UNKNOWN}/runs/{UNKNOWN}/join",
        "join, no UUID": f"/threads/{thread}/runs/nope/join",
    }.items():
        stage.keep(name, await stage.probe.ask("GET", path))


async def waiting_recorded(stage: Stage) -> None:
    """Runs recorded as `wait`, with and without a thread."""
    for graph in ("steps", "failing", "ask", "burst"):
        body = steps() if graph == "steps" else body_of(graph, resumable=False)
        thread = await new_thread(stage.record)
        wait = await stage.record.ask("POST", f"/threads/{thread}/runs/wait", body)
        stage.keep(f"{graph}: wait", wait)
        base = f"/threads/{thread}/runs/{run_of(wait)}"
        stage.keep(f"{graph}: join", await stage.record.ask("GET", f"{base}/join"))
        stage.keep(f"{graph}: run", await stage.record.ask("GET", base))
        stage.keep(f"{graph}: stateless wait", await stage.record.ask("POST", "/runs/wait", body))
        stage.keep(f"{graph}: stateless stream", await stage.record.ask("POST", "/runs/stream", body))


def cancelled(action: str, wait: int) -> Script:
    """A run recorded whole, played again and cancelled in its second step; then again, and looked at."""

    async def script(stage: Stage) -> None:
        recorded = await new_thread(stage.record)
        await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", steps())
        thread = await new_thread(stage.probe)
        post = await stage.probe.open("POST", f"/threads/{thread}/runs/stream", steps())
        await post.until(lambda events: sum(e.name == "custom" for e in events) >= 2)
        await asyncio.sleep(0.12)
        run = run_of(post.answer)
        base = f"/threads/{thread}/runs/{run}"
        join = await stage.probe.open("GET", f"{base}/stream")
        cancel = f"{base}/cancel?wait={wait}&action={action}"
        stage.keep("the cancel", await stage.probe.ask("POST", cancel))
        stage.keep("the stream that was open", await post.end())
        stage.keep("the join that was open", await join.end())
        await asyncio.sleep(0.5)
        stage.keep("the cancel again", await stage.probe.ask("POST", cancel))
        await look(stage, "cancelled", thread, run)
        again = await stage.probe.ask("GET", f"{base}/stream", headers={"last-event-id": "-1"})
        stage.keep("a join from the start", again)
        stage.keep("join", await stage.probe.ask("GET", f"{base}/join"))

    return script


async def cancel_refused(stage: Stage) -> None:
    """Cancels of what is over, not there, or no id."""
    thread = await new_thread(stage.record)
    post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body_of("burst", resumable=True))
    run = run_of(post)
    for name, path in {
        "a run that is over": f"/threads/{thread}/runs/{run}/cancel",
        "a run that is over, wait": f"/threads/{thread}/runs/{run}/cancel?wait=1&action=rollback",
        "an unknown run": f"/threads/{thread}/runs/{UNKNOWN}/cancel",
        "an unknown thread": f"/threads/{UNKNOWN}/runs/{UNKNOWN}/cancel",
        "no UUID": f"/threads/{thread}/runs/nope/cancel",
        "a thread that is no UUID": f"/threads/nope/runs/{run}/cancel",
        "a bogus action": f"/threads/{thread}/runs/{run}/cancel?action=bogus",
    }.items():
        stage.keep(name, await stage.probe.ask("POST", path))


def multitask(strategy: str) -> Script:
    """A second run while the first goes on; both recorded whole before."""

    async def script(stage: Stage) -> None:
        for _ in range(2):
            recorded = await new_thread(stage.record)
            await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", steps())
        thread = await new_thread(stage.probe)
        path = f"/threads/{thread}/runs/stream"
        first = await stage.probe.open("POST", path, steps())
        await first.until(lambda events: sum(e.name == "custom" for e in events) >= 2)
        await asyncio.sleep(0.12)
        body = steps() if strategy == "absent" else steps(multitask_strategy=strategy)
        second = await stage.probe.open("POST", path, body)
        runs = [run_of(first.answer), run_of(second.answer)]
        await asyncio.sleep(0.3)
        stage.keep("thread while both are there", await stage.probe.ask("GET", f"/threads/{thread}"))
        one = await first.end()
        stage.keep("the first stream", one)
        two = await second.end()
        if strategy == "reject":
            stage.keep("the second answer", two)
        else:
            # What the second run starts from depends on where the first stopped; that is not recorded.
            stage.keep(
                "the head of the second answer", Answer(two.version, two.status, two.reason, two.headers)
            )
            names = [event.name for event in two.events]
            assert names[0] == "metadata", names
            assert names.count("custom") == 4, names
        for number, run in enumerate(runs, start=1):
            if run:
                answer = await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}")
                stage.keep(f"run {number}", answer)

    return script


def disconnecting(value: str, path: str = "/threads/{t}/runs/stream") -> Script:
    """The client of a run leaves in the middle."""

    async def script(stage: Stage) -> None:
        recorded = await new_thread(stage.record)
        await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", steps())
        thread = await new_thread(stage.probe)
        more = {} if value == "absent" else {"on_disconnect": value}
        post = await stage.probe.open("POST", path.replace("{t}", thread), steps(**more))
        await post.until(lambda events: sum(e.name == "custom" for e in events) >= 2)
        run = run_of(post.answer)
        await post.leave()
        over = await when_over(stage.probe, f"/threads/{thread}/runs/{run}")
        assert over.json["status"] == ("interrupted" if value == "cancel" else "success"), over.json["status"]
        join = await stage.probe.ask(
            "GET",
            f"/threads/{thread}/runs/{run}/stream?stream_mode=custom",
            headers={"last-event-id": "-1"},
        )
        stage.keep("a join afterwards", join)
        stage.keep("thread", await stage.probe.ask("GET", f"/threads/{thread}"))
        stage.keep("state", await stage.probe.ask("GET", f"/threads/{thread}/state"))

    return script


async def threads(stage: Stage) -> None:
    """Creating, searching, counting, copying, changing and deleting threads."""
    nobody = {"metadata": {"who": f"not {stage.tag}"}}
    who = {"metadata": {"who": stage.tag}}
    first = stage.keep("create", await stage.record.ask("POST", "/threads", who))
    thread = first.json["thread_id"]
    second = (await stage.record.ask("POST", "/threads", who)).json["thread_id"]
    third = (await stage.record.ask("POST", "/threads", who)).json["thread_id"]
    post = await stage.record.ask(
        "POST", f"/threads/{second}/runs/stream", steps("steps_asking", stream_subgraphs=False)
    )
    stage.keep("a stream", post)
    probe = stage.probe
    for name, (path, body) in {
        "search": ("/threads/search", who),
        "search, limit 1": ("/threads/search", {**who, "limit": 1}),
        "search, limit 2 offset 1": ("/threads/search", {**who, "limit": 2, "offset": 1}),
        "search, limit 2 offset 2": ("/threads/search", {**who, "limit": 2, "offset": 2}),
        "search, beyond the end": ("/threads/search", {**who, "limit": 2, "offset": 7}),
        "search, idle": ("/threads/search", {**who, "status": "idle"}),
        "search, interrupted": ("/threads/search", {**who, "status": "interrupted"}),
        "search, busy": ("/threads/search", {**who, "status": "busy"}),
        "search, nobody": ("/threads/search", nobody),
        "search, sorted": ("/threads/search", {**who, "sort_by": "created_at", "sort_order": "asc"}),
        "search, ids": ("/threads/search", {"ids": [thread, third]}),
        "search, selected": ("/threads/search", {**who, "select": ["thread_id", "status"]}),
        "count": ("/threads/count", who),
        "count, interrupted": ("/threads/count", {**who, "status": "interrupted"}),
        "count, nobody": ("/threads/count", nobody),
        "search, bad limit": ("/threads/search", {"limit": -1}),
        "search, bad status": ("/threads/search", {"status": "bogus"}),
    }.items():
        stage.keep(name, await probe.ask("POST", path, body))
    copied = stage.keep("copy", await probe.ask("POST", f"/threads/{second}/copy"))
    if copied.status == 200:
        copy = copied.json["thread_id"]
        await look(stage, "the copy", copy)
    stage.keep("patch", await probe.ask("PATCH", f"/threads/{thread}", {"metadata": {"more": 1}}))
    stage.keep("get after patch", await probe.ask("GET", f"/threads/{thread}"))
    stage.keep("delete", await probe.ask("DELETE", f"/threads/{third}"))
    stage.keep("get after delete", await probe.ask("GET", f"/threads/{third}"))
    stage.keep("state after delete", await probe.ask("GET", f"/threads/{third}/state"))
    stage.keep("delete again", await probe.ask("DELETE", f"/threads/{third}"))
    stage.keep("count after delete", await probe.ask("POST", "/threads/count", who))
    stage.keep("same id", await probe.ask("POST", "/threads", {"thread_id": thread}))
    stage.keep(
        "same id, do nothing",
        await probe.ask("POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"}),
    )


async def assistants(stage: Stage) -> None:
    """Assistants, their schemas and graphs; /info and /ok. All recorded: nothing else can show them."""
    wire = stage.record
    found = stage.keep("search", await wire.ask("POST", "/assistants/search", {"graph_id": "steps"}))
    assistant = found.json[0]["assistant_id"]
    for name, (method, path, body) in {
        "search, limit 2": ("POST", "/assistants/search", {"limit": 2}),
        "search, next page": ("POST", "/assistants/search", {"limit": 2, "offset": 2}),
        "count": ("POST", "/assistants/count", {}),
        "get": ("GET", f"/assistants/{assistant}", None),
        "get by graph name": ("GET", "/assistants/steps", None),
        "get unknown": ("GET", f"/assistants/{UNKNOWN}", None),
        "schemas": ("GET", f"/assistants/{assistant}/schemas", None),
        "graph": ("GET", f"/assistants/{assistant}/graph", None),
        "subgraphs": ("GET", f"/assistants/{assistant}/subgraphs", None),
        "versions": ("POST", f"/assistants/{assistant}/versions", {}),
        "info": ("GET", "/info", None),
        "ok": ("GET", "/ok", None),
    }.items():
        stage.keep(name, await wire.ask(method, path, body))
    thread = await new_thread(wire)
    for name, given in (("by graph name", "steps"), ("by UUID", assistant)):
        body = steps(assistant_id=given, stream_mode=["updates"])
        stage.keep(f"run {name}", await wire.ask("POST", f"/threads/{thread}/runs/stream", body))


async def store(stage: Stage) -> None:
    """The store: put, get, search, namespaces, delete, as recorded."""
    wire = stage.record
    item = {"namespace": ["conform", "a"], "key": "k", "value": {"v": 1}}
    for name, (method, path, body) in {
        "get before": ("GET", "/store/items?namespace=conform.a&key=k", None),
        "put": ("PUT", "/store/items", item),
        "get": ("GET", "/store/items?namespace=conform.a&key=k", None),
        "search": ("POST", "/store/items/search", {"namespace_prefix": ["conform"]}),
        "namespaces": ("POST", "/store/namespaces", {"prefix": ["conform"]}),
        "delete": ("DELETE", "/store/items", {"namespace": ["conform", "a"], "key": "k"}),
        "get after": ("GET", "/store/items?namespace=conform.a&key=k", None),
    }.items():
        stage.keep(name, await wire.ask(method, path, body))


async def refusals(stage: Stage) -> None:
    """What the server refuses whatever was recorded, in its words."""
    thread = await new_thread(stage.record)
    await stage.record.ask("POST", f"/threads/{thread}/runs/stream", steps())
    stream = f"/threads/{thread}/runs/stream"
    post = {
        "invalid JSON": (stream, b"{nope"),
        "empty body": (stream, b""),
        "invalid UTF-8": (stream, b'{"assistant_id":"\xff"}'),
        "lone surrogate": (stream, b'{"assistant_id":"\\ud800"}'),
        "no object": (stream, b"[1]"),
        "no assistant": (stream, b'{"input":{}}'),
        "assistant of another type": (stream, b'{"assistant_id":7}'),
        "threads without a body": ("/threads", b""),
        "threads with a bad id": ("/threads", b'{"thread_id":"nope"}'),
        "wait, invalid JSON": (f"/threads/{thread}/runs/wait", b"{nope"),
        "runs, invalid JSON": (f"/threads/{thread}/runs", b"{nope"),
        "stateless, invalid JSON": ("/runs/stream", b"{nope"),
        "stateless, no assistant": ("/runs/stream", b"{}"),
        "search, invalid JSON": ("/threads/search", b"{nope"),
        "history, invalid JSON": (f"/threads/{thread}/history", b"{nope"),
        "state, invalid JSON": (f"/threads/{thread}/state", b"{nope"),
    }
    for name, (path, content) in post.items():
        stage.keep(name, await stage.probe.ask("POST", path, content=content))
    ok = steps()
    for name, (path, body) in {
        "unknown thread": (f"/threads/{UNKNOWN}/runs/stream", ok),
        "unknown thread, wait": (f"/threads/{UNKNOWN}/runs/wait", ok),
        "unknown thread, create": (f"/threads/{UNKNOWN}/runs", ok),
        "thread is no UUID": ("/threads/nope/runs/stream", ok),
        "thread is no UUID, wait": ("/threads/nope/runs/wait", ok),
        "thread is no UUID, create": ("/threads/nope/runs", ok),
        "unknown assistant UUID": (stream, ok | {"assistant_id": UNKNOWN}),
        "bad checkpoint": (stream, ok | {"checkpoint_id": "nope"}),
        "bogus mode": (stream, ok | {"stream_mode": "bogus"}),
        "bogus mode in a list": (stream, ok | {"stream_mode": ["values", "bogus"]}),
        "null mode": (stream, ok | {"stream_mode": None}),
        "empty mode": (stream, ok | {"stream_mode": ""}),
        "number mode": (stream, ok | {"stream_mode": 1}),
        "tools mode": (stream, ok | {"stream_mode": "tools"}),
        "subgraphs a string": (stream, ok | {"stream_subgraphs": "yes"}),
        "resumable a string": (stream, ok | {"stream_resumable": "yes"}),
        "if_not_exists bogus": (stream, ok | {"if_not_exists": "bogus"}),
        "on_disconnect bogus": (stream, ok | {"on_disconnect": "bogus"}),
        "multitask bogus": (stream, ok | {"multitask_strategy": "bogus"}),
        "durability bogus": (stream, ok | {"durability": "bogus"}),
        "configurable and context": (
            stream,
            ok | {"config": {"configurable": {"a": 1}}, "context": {"b": 1}},
        ),
        "stateless resume": ("/runs/stream", {"assistant_id": "steps", "command": {"resume": 1}}),
        "stateless bogus mode": ("/runs/stream", ok | {"stream_mode": "bogus"}),
        "webhook loopback": (stream, ok | {"webhook": "http://127.0.0.1/x"}),
    }.items():
        stage.keep(name, await stage.probe.ask("POST", path, body))
    for name, (method, path) in {
        "thread": ("GET", f"/threads/{UNKNOWN}"),
        "thread, no UUID": ("GET", "/threads/nope"),
        "state": ("GET", f"/threads/{UNKNOWN}/state"),
        "state, no UUID": ("GET", "/threads/nope/state"),
        "history": ("GET", f"/threads/{UNKNOWN}/history"),
        "history, no UUID": ("GET", "/threads/nope/history"),
        "runs": ("GET", f"/threads/{UNKNOWN}/runs"),
        "runs, no UUID": ("GET", "/threads/nope/runs"),
        "run": ("GET", f"/threads/{thread}/runs/{UNKNOWN}"),
        "run, no UUID": ("GET", f"/threads/{thread}/runs/nope"),
        "GET runs/stream": ("GET", stream),
        "GET /runs/stream": ("GET", "/runs/stream"),
        "delete thread": ("DELETE", f"/threads/{UNKNOWN}"),
        "delete run": ("DELETE", f"/threads/{thread}/runs/{UNKNOWN}"),
        "copy": ("POST", f"/threads/{UNKNOWN}/copy"),
        "unknown path": ("GET", "/nope"),
        "unknown path below a thread": ("GET", f"/threads/{thread}/nope"),
        "POST to an unknown path": ("POST", "/nope"),
        "PUT a thread": ("PUT", f"/threads/{thread}"),
        "DELETE runs/stream": ("DELETE", stream),
        "GET /threads": ("GET", "/threads"),
        "GET /threads/search": ("GET", "/threads/search"),
        "PUT /runs/wait": ("PUT", "/runs/wait"),
    }.items():
        stage.keep(f"{name} ({method})", await stage.probe.ask(method, path))


async def started_elsewhere(stage: Stage) -> None:
    """POST .../runs polled from pending to its end."""
    recorded = await new_thread(stage.record)
    await stage.record.ask("POST", f"/threads/{recorded}/runs/stream", steps())
    thread = await new_thread(stage.probe)
    created = stage.keep("POST runs", await stage.probe.ask("POST", f"/threads/{thread}/runs", steps()))
    run = created.json["run_id"]
    seen: list[str] = []
    for _ in range(200):
        answer = await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}")
        status = answer.json["status"]
        if not seen or seen[-1] != status:
            seen.append(status)
            shown = await stage.probe.ask("GET", f"/threads/{thread}")
            stage.keep(f"run {status}", answer)
            stage.keep(f"thread while {status}", shown)
        if status not in ("pending", "running"):
            break
        await asyncio.sleep(0.03)
    stage.keep("join", await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}/join"))
    await look(stage, "over", thread, run)
