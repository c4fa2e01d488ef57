"""What lives beside runs: assistants, crons, items of the store, threads made of states or left behind by runs.

One rule: everything is asked when nothing runs, what can change is read twice between its changes, and a second client
of the same mock does it all again.
"""

from __future__ import annotations

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.wire import Answer

ASK = {
    "assistant_id": "ask",
    "input": {"said": []},
    "stream_mode": ["values", "updates", "tasks", "checkpoints"],
}
RESUME = {"assistant_id": "ask", "command": {"resume": "yes"}, "stream_mode": ASK["stream_mode"]}


async def kept(stage: Stage, name: str, method: str, path: str, body: object = None) -> Answer:
    """Ask once, and have the answer compared."""
    return stage.keep(name, await stage.record.ask(method, path, body))


async def twice(stage: Stage, name: str, method: str, path: str, body: object = None) -> None:
    """Ask as clients do that are rendered twice."""
    for each in (name, f"{name}, again"):
        await kept(stage, each, method, path, body)


async def assistants_in_use(stage: Stage) -> None:
    """An assistant from its creation to its end, and runs of it."""
    who = {"metadata": {"who": stage.tag}}
    await twice(stage, "search, none", "POST", "/assistants/search", who)
    made = {"graph_id": "ask", "name": "mine", "config": {"tags": ["x"], "configurable": {"a": 1}}, **who}
    assistant = (await kept(stage, "create", "POST", "/assistants", made)).json["assistant_id"]
    path = f"/assistants/{assistant}"
    await twice(stage, "get", "GET", path)
    thread = await new_thread(stage.record)
    post = await stage.record.ask(
        "POST", f"/threads/{thread}/runs/stream", {**ASK, "assistant_id": assistant}
    )
    stage.keep("a run", post)
    await stage.settle()
    for name, read in {"run": f"/runs/{run_of(post)}", "thread": "", "state": "/state"}.items():
        await kept(stage, name, "GET", f"/threads/{thread}{read}")
    await kept(stage, "patch", "PATCH", path, {"name": "yours", "context": {"a": 2}})
    await twice(stage, "get, patched", "GET", path)
    await twice(stage, "search, patched", "POST", "/assistants/search", who)
    await kept(stage, "back to version 1", "POST", f"{path}/latest", {"version": 1})
    await twice(stage, "get, set back", "GET", path)
    await kept(stage, "versions", "POST", f"{path}/versions", {})
    for name in ("schemas", "graph?xray=true", "subgraphs?recurse=true", "graph?xray=-1"):
        await kept(stage, name, "GET", f"{path}/{name}")
    again = {"assistant_id": assistant, "graph_id": "ask"}
    await kept(stage, "there already", "POST", "/assistants", again)
    await kept(stage, "there, and no matter", "POST", "/assistants", {**again, "if_exists": "do_nothing"})
    await kept(stage, "delete", "DELETE", path)
    await twice(stage, "count, deleted", "POST", "/assistants/count", who)
    await twice(stage, "get, deleted", "GET", path)
    refused = {**ASK, "assistant_id": assistant}
    await kept(stage, "a run, deleted", "POST", f"/threads/{thread}/runs/stream", refused)


async def items_in_use(stage: Stage) -> None:
    """An item that is put, changed and deleted; others beside it."""
    space = ["conform", stage.tag]
    path, item = f"/store/items?namespace=conform.{stage.tag}&key=k", {"namespace": space, "key": "k"}
    await twice(stage, "nothing", "GET", path)
    for value in (1, 2):
        await kept(
            stage, f"put {value}", "PUT", "/store/items", {**item, "value": {"v": value}, "index": False}
        )
        await twice(stage, f"get {value}", "GET", path)
        await twice(stage, f"search {value}", "POST", "/store/items/search", {"namespace_prefix": space})
    other = {"namespace": [*space, "deep"], "key": "k2", "value": {"v": 3}, "ttl": 10}
    await kept(stage, "put another", "PUT", "/store/items", other)
    wanted = {"namespace_prefix": space, "filter": {"v": {"$gt": 1}}, "limit": 1, "offset": 1}
    await twice(stage, "search, filtered", "POST", "/store/items/search", wanted)
    await twice(stage, "namespaces", "POST", "/store/namespaces", {"prefix": space, "max_depth": 3})
    await kept(stage, "delete", "DELETE", "/store/items", item)
    await twice(stage, "get, deleted", "GET", path)
    await kept(stage, "put nonsense", "PUT", "/store/items", {**item, "value": 3})


async def crons(stage: Stage) -> None:
    """Of a thread, by whose id they are found, and of none."""
    thread = await new_thread(stage.record)
    body = {"schedule": "0 0 1 1 *", "assistant_id": "ask", "input": {"said": []}}
    await kept(stage, "create for a thread", "POST", f"/threads/{thread}/runs/crons", body)
    await twice(stage, "search", "POST", "/runs/crons/search", {"thread_id": thread})
    await twice(stage, "count", "POST", "/runs/crons/count", {"thread_id": thread})
    cron = (await kept(stage, "create", "POST", "/runs/crons", body)).json["cron_id"]
    await twice(stage, "get", "GET", f"/runs/crons/{cron}")
    await kept(stage, "patch", "PATCH", f"/runs/crons/{cron}", {"enabled": False})
    await twice(stage, "get, patched", "GET", f"/runs/crons/{cron}")
    await kept(stage, "delete", "DELETE", f"/runs/crons/{cron}")
    await twice(stage, "get, deleted", "GET", f"/runs/crons/{cron}")


async def threads_of_states(stage: Stage) -> None:
    """A thread made of states, a copy of another that runs on; then both are pruned."""
    steps = [
        {"updates": [{"values": {"said": [word]}, "as_node": node}]}
        for word, node in (("a", "__input__"), ("b", "before"))
    ]
    await kept(stage, "no graph", "POST", "/threads", {"supersteps": steps})
    made = {"supersteps": steps, "metadata": {"graph_id": "ask"}}
    thread = (await kept(stage, "create", "POST", "/threads", made)).json["thread_id"]
    await kept(stage, "thread", "GET", f"/threads/{thread}")
    await kept(stage, "state", "GET", f"/threads/{thread}/state")
    await kept(stage, "run", "POST", f"/threads/{thread}/runs/stream", {**ASK, "input": None})
    await stage.settle()
    await kept(stage, "history", "POST", f"/threads/{thread}/history", {"limit": 9})
    first = await new_thread(stage.record, {"ttl": {"strategy": "delete", "ttl": 100}})
    await kept(stage, "ttl", "GET", f"/threads/{first}?include=ttl")
    await kept(stage, "first run", "POST", f"/threads/{first}/runs/stream", ASK)
    await stage.settle()
    copy = (await kept(stage, "copy", "POST", f"/threads/{first}/copy")).json["thread_id"]
    await kept(stage, "state of the copy", "GET", f"/threads/{copy}/state")
    await kept(stage, "resume in the copy", "POST", f"/threads/{copy}/runs/stream", RESUME)
    await stage.settle()
    await kept(stage, "state of the copy, resumed", "GET", f"/threads/{copy}/state")
    await kept(stage, "what it is a copy of", "GET", f"/threads/{first}/state")
    before = {"limit": 1, "before": {"checkpoint_id": "1f000000-0000-6000-8000-000000000000"}}
    await kept(stage, "history that breaks the server", "POST", f"/threads/{first}/history", before)
    pruned = {"thread_ids": [thread, copy]}
    keep = {**pruned, "strategy": "keep_latest"}
    await kept(stage, "prune, keep the latest", "POST", "/threads/prune", keep)
    await kept(stage, "prune", "POST", "/threads/prune", pruned)
    for name, gone in {"thread": thread, "copy": copy}.items():
        await kept(stage, f"{name}, pruned", "GET", f"/threads/{gone}")
    await kept(stage, "bogus columns", "GET", f"/threads/{first}/runs?select=bogus")


async def left_behind(stage: Stage) -> None:
    """Threads of runs that were asked for without one: some are kept, others are gone."""
    keep = {**ASK, "on_completion": "keep"}
    body = (await kept(stage, "in the background", "POST", "/runs", keep)).json
    await stage.record.pause(1.5)
    path = f"/threads/{body['thread_id']}"
    for name, read in {
        "run": f"/runs/{body['run_id']}",
        "runs": "/runs",
        "thread": "",
        "state": "/state",
    }.items():
        await kept(stage, name, "GET", f"{path}{read}")
    await kept(stage, "resume", "POST", f"{path}/runs/wait", RESUME)
    await stage.settle()
    await kept(stage, "state, resumed", "GET", f"{path}/state")
    waited = stage.keep("wait", await stage.record.ask("POST", "/runs/wait", ASK))
    gone = waited.header("content-location").split("/")[2]
    await stage.settle()
    await kept(stage, "gone", "GET", f"/threads/{gone}")
    batch = (await kept(stage, "batch", "POST", "/runs/batch", [keep, ASK])).json
    await stage.record.pause(2)
    path = f"/threads/{batch[0]['thread_id']}/runs/{batch[0]['run_id']}"
    for name in ("", "/join", "/stream"):
        await kept(stage, f"of the batch: {name}", "GET", f"{path}{name}")


async def written_at_the_end(stage: Stage) -> None:
    """Runs that write down their states when they are over."""
    for how in ({"durability": "exit"}, {"checkpoint_during": False}):
        thread = await new_thread(stage.record)
        for turn in (1, 2):
            body = {**ASK, **how}
            name = f"{next(iter(how))}, {turn}"
            stage.keep(name, await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body))
            await stage.settle()
            state = await stage.probe.ask("GET", f"/threads/{thread}/state")
            stage.keep(f"{name}: state", state)
            history = await stage.probe.ask("POST", f"/threads/{thread}/history", {"limit": 9})
            stage.keep(f"{name}: history", history)


SCRIPTS: dict[str, Script] = {"written at the end": written_at_the_end}
RECORDED_ONLY: dict[str, Script] = {
    "assistants in use": assistants_in_use,
    "items in use": items_in_use,
    "crons": crons,
    "threads of states": threads_of_states,
    "left behind": left_behind,
}
"""Nothing but a recording can show what these ask for."""
