"""Threads and runs in rarer situations: runs in line, deleted runs, threads that a run creates, copies that go on.

One rule: as in `twin`, a probe is asked when both sides have told the same event.
"""

from __future__ import annotations

import uuid
from typing import Any

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.twin import ALL, begun, look, recorded_whole, steps

HELLO = {"messages": [{"role": "user", "content": "hello", "id": "u1"}]}


def ending(graph: str, given: dict[str, Any], *resumes: object, **more: object) -> Script:
    """A run of a graph, and its continuations, looked at when each is over."""

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record)
        for turn, resume in enumerate((None, *resumes)):
            body = {
                "assistant_id": graph,
                **({"command": {"resume": resume}} if turn else {"input": given}),
                "stream_mode": ALL,
                "stream_subgraphs": True,
                **more,
            }
            post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body)
            stage.keep(f"turn {turn}: its stream", post)
            await stage.settle()
            await look(stage, f"turn {turn}", thread, run_of(post))
            join = await stage.probe.ask("GET", f"/threads/{thread}/runs/{run_of(post)}/join")
            stage.keep(f"turn {turn}: join", join)

    return script


async def waiting_in_line(stage: Stage) -> None:
    """Three runs of one thread: one goes on, two wait; one of them is cancelled, the other has its turn."""
    for _ in range(3):
        await recorded_whole(stage)
    thread = await new_thread(stage.probe)
    await stage.let_pass(thread, 1)
    path = f"/threads/{thread}/runs"
    first = await stage.probe.open("POST", f"{path}/stream", steps())
    await begun(stage, first, 2)
    second = (await stage.probe.ask("POST", path, steps())).json["run_id"]
    third = await stage.probe.open("POST", f"{path}/stream", steps())
    await stage.settle()
    runs = {"first": run_of(first.answer), "second": second, "third": run_of(third.answer)}
    for name, run in runs.items():
        stage.keep(f"while the first goes on: {name}", await stage.probe.ask("GET", f"{path}/{run}"))
    stage.keep("while the first goes on: runs", await stage.probe.ask("GET", path))
    for query in ("status=pending", "status=running", "limit=1&offset=1", "select=run_id&select=status"):
        stage.keep(f"runs, {query}", await stage.probe.ask("GET", f"{path}?{query}"))
    stage.keep("the cancel of the second", await stage.probe.ask("POST", f"{path}/{second}/cancel"))
    stage.keep("the second, cancelled", await stage.probe.ask("GET", f"{path}/{second}"))
    await stage.let_pass(thread, 8)
    await first.end()
    await third.end()
    await stage.settle()
    for name, run in runs.items():
        stage.keep(f"over: {name}", await stage.probe.ask("GET", f"{path}/{run}"))


async def deleted_runs(stage: Stage) -> None:
    """A run is deleted when it is over, with the states that it made."""
    thread = await new_thread(stage.record)
    await stage.let_pass(thread, 8)
    runs = []
    for number in (1, 2):
        post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", steps())
        runs.append(run_of(post))
        stage.keep(f"stream {number}", post)
    path = f"/threads/{thread}/runs/{runs[1]}"
    stage.keep("the deletion", await stage.probe.ask("DELETE", path))
    stage.keep("again", await stage.probe.ask("DELETE", path))
    stage.keep("its run", await stage.probe.ask("GET", path))
    stage.keep("its join", await stage.probe.ask("GET", f"{path}/join"))
    await look(stage, "deleted", thread, runs[0])


async def threads_by_runs(stage: Stage) -> None:
    """A run creates its thread, with metadata and configuration of its own."""
    thread = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stage.tag} by a run"))
    await stage.let_pass(thread, 1)
    body = steps(
        if_not_exists="create",
        metadata={"tag": stage.tag},
        config={"tags": ["a"], "metadata": {"of": "config"}, "configurable": {"mine": 5}},
    )
    post = await stage.record.open("POST", f"/threads/{thread}/runs/stream", body)
    await begun(stage, post, 2)
    await look(stage, "step 2", thread, run_of(post.answer))
    await stage.let_pass(thread, 4)
    stage.keep("its stream", await post.end())
    await stage.settle()
    await look(stage, "over", thread, run_of(post.answer))


async def copies(stage: Stage) -> None:
    """A copy is made in the middle of a run and at its end; then something runs in the copy."""
    thread = await new_thread(stage.record, {"metadata": {"tag": stage.tag}})
    await stage.let_pass(thread, 1)
    post = await stage.record.open("POST", f"/threads/{thread}/runs/stream", steps())
    await begun(stage, post, 2)
    early = stage.keep("copy in the middle", await stage.probe.ask("POST", f"/threads/{thread}/copy"))
    await look(stage, "copied in the middle", early.json["thread_id"])
    await stage.let_pass(thread, 8)
    await post.end()
    await stage.settle()
    late = stage.keep("copy of the end", await stage.probe.ask("POST", f"/threads/{thread}/copy"))
    copy = late.json["thread_id"]
    again = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", steps())
    stage.keep("the original goes on", again)
    await look(stage, "a copy whose original went on", copy)
    await stage.let_pass(copy, 4)
    post = await stage.probe.open("POST", f"/threads/{copy}/runs/stream", steps())
    await post.end()
    await stage.settle()
    run = await stage.probe.ask("GET", f"/threads/{copy}/runs/{run_of(post.answer)}")
    stage.keep("a run in the copy: run", run)
    stage.keep("a run in the copy: runs", await stage.probe.ask("GET", f"/threads/{copy}/runs"))


async def patched(stage: Stage) -> None:
    """Metadata that a client merges before a run, inside of it and after it."""
    thread = await new_thread(stage.record, {"metadata": {"a": 1, "b": {"c": 1}}})

    async def patch(value: object) -> None:
        answer = await stage.probe.ask("PATCH", f"/threads/{thread}", {"metadata": value})
        stage.keep(f"patch {value}", answer)

    await patch({"b": {"d": 2}})
    await look(stage, "before", thread)
    await stage.let_pass(thread, 1)
    post = await stage.record.open("POST", f"/threads/{thread}/runs/stream", steps())
    await begun(stage, post, 2)
    await patch({"inside": True})
    await look(stage, "inside", thread, run_of(post.answer))
    await stage.let_pass(thread, 4)
    await post.end()
    await stage.settle()
    await patch({"after": None})
    await look(stage, "after", thread, run_of(post.answer))


async def updated_states(stage: Stage) -> None:
    """A client writes the state, of a thread that has run and of one that has not."""
    thread = await new_thread(stage.record)
    empty = await stage.record.ask("POST", f"/threads/{thread}/state", {"values": {"done": ["early"]}})
    stage.keep("a state before any run", empty)
    await stage.let_pass(thread, 8)
    await stage.record.ask("POST", f"/threads/{thread}/runs/stream", steps())
    update = {"values": {"done": ["mine"]}, "as_node": "one"}
    stage.keep("the update", await stage.record.ask("POST", f"/threads/{thread}/state", update))
    await look(stage, "updated", thread)
    body = steps()
    del body["input"]
    post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body | {"input": None})
    stage.keep("a run from there", post)
    await look(stage, "gone on", thread, run_of(post))


async def waits_cancelled(stage: Stage) -> None:
    """What those get who wait for a run that is cancelled."""
    await recorded_whole(stage)
    for name, how in {"started by wait": "wait", "joined": "stream"}.items():
        thread = await new_thread(stage.probe)
        await stage.let_pass(thread, 1)
        path = f"/threads/{thread}/runs"
        post = await stage.probe.open("POST", f"{path}/{how}", steps())
        run = run_of(post.answer)
        if how == "stream":
            await begun(stage, post, 2)
        else:
            watch = await stage.probe.open("GET", f"{path}/{run}/stream")
            await begun(stage, watch, 2)
        join = await stage.probe.open("GET", f"{path}/{run}/join")
        cancel = await stage.probe.open("POST", f"{path}/{run}/cancel?wait=1")
        stage.keep(f"{name}: cancel", await cancel.end())
        stage.keep(f"{name}: join", await join.end())
        if how == "wait":
            stage.keep(f"{name}: wait", await post.end())
        await stage.settle()
        stage.keep(f"{name}: thread", await stage.probe.ask("GET", f"/threads/{thread}"))


async def interrupted_then_new(stage: Stage) -> None:
    """After an interrupt a new input instead of an answer; and a rollback that leaves the interrupt of before."""
    thread = await new_thread(stage.record)
    path = f"/threads/{thread}/runs/stream"
    body = steps("steps_asking")
    stage.keep("first", await stage.record.ask("POST", path, body))
    post = await stage.record.ask("POST", path, body | {"input": {"done": ["again"]}})
    stage.keep("second", post)
    await stage.settle()
    await look(stage, "interrupted twice", thread, run_of(post))


SCRIPTS: dict[str, Script] = {
    "end, two interrupts": ending(
        "ask_twice", {"said": []}, stream_mode=["values", "updates", "checkpoints"]
    ),
    "end, two interrupts with tasks": ending("ask_twice", {"said": []}),
    "end, inner interrupt": ending("hitl_nested", HELLO, "yes"),
    "end, inner error": ending("err_nested", HELLO),
    "end, inner error, values only": ending("err_nested", HELLO, stream_mode=["values"]),
    "end, before a node": ending("steps_asking", {"done": []}, "go", interrupt_before=["asks"]),
    "end, recursion": ending("steps_asking", {"done": []}, config={"recursion_limit": 1}),
    "end, levels": ending("levels", HELLO),
    "end, fan out": ending("fanout", {"messages": []}),
    "end, tools": ending("tools", HELLO),
    "end, values only": ending("steps_asking", {"done": []}, "yes", stream_mode=["values"]),
    "runs in line": waiting_in_line,
    "deleted runs": deleted_runs,
    "threads by runs": threads_by_runs,
    "copies": copies,
    "patched": patched,
    "updated states": updated_states,
    "waits cancelled": waits_cancelled,
    "interrupted, then new input": interrupted_then_new,
}
