"""Threads, assistants, the store and refusals, asked when nothing runs (sections 6, 9 and 10)."""

from __future__ import annotations

from graphtape.tests.live.conformance.joins import UNKNOWN
from graphtape.tests.live.conformance.staging import Stage, new_thread
from graphtape.tests.live.conformance.twin import look, steps


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
