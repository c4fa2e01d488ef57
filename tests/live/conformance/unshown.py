"""What a recording does not show, asked all the same: of a thread whose values nobody knows, of runs without a stream.

One rule: only what can be known is compared, and it must be the server's.
"""

from __future__ import annotations

import json
from dataclasses import replace

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread
from graphtape.tests.live.conformance.twin import look, steps
from graphtape.tests.live.conformance.wire import Answer

UNKNOWN_TOGETHER = frozenset({"values", "interrupts"})


def known(answer: Answer) -> Answer:
    """A thread's object without the members that nothing can show."""
    if answer.status != 200:
        return answer
    told = {name: value for name, value in answer.json.items() if name not in UNKNOWN_TOGETHER}
    return replace(answer, chunks=[json.dumps(told).encode()])


async def patched_unseen(stage: Stage) -> None:
    """Metadata are merged into a thread whose values no stream showed; it is found by them, and a run has them."""
    thread = await new_thread(stage.record, {"metadata": {"who": stage.tag}})
    await stage.let_pass(thread, 8)
    path = f"/threads/{thread}"
    for turn in (1, 2):
        post = await stage.record.ask("POST", f"{path}/runs/stream", steps(stream_mode=["updates", "tasks"]))
        stage.keep(f"{turn}: its stream", post)
        await stage.settle()
        for name, headers in {
            "patch": {},
            "patch, minimal": {"prefer": "return=minimal"},
            "patch, minimal and more": {"prefer": "return=minimal, wait=1"},
        }.items():
            body = {"metadata": {name: f"{stage.tag} {turn}"}}
            answer = await stage.probe.ask("PATCH", path, body, headers=headers)
            stage.keep(f"{turn}: {name}", known(answer))
            for what, asked in {
                "search": {"select": ["thread_id", "metadata", "status"]},
                "count": {},
            }.items():
                found = await stage.probe.ask("POST", f"/threads/{what}", {**body, **asked})
                stage.keep(f"{turn}: {name}: {what}", found)
        again = {"thread_id": thread, "if_exists": "do_nothing", "metadata": {"of": "nobody"}}
        stage.keep(f"{turn}: made again", known(await stage.probe.ask("POST", "/threads", again)))


def ended_unseen(graph: str, evidence: str) -> Script:
    """A run in the background, whose end nothing but its thread tells.

    Args:
        evidence: what is recorded of the thread.
    """

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record, {"metadata": {"who": stage.tag}})
        path = f"/threads/{thread}"
        given: dict[str, object] = {"n": 1} if graph == "failing" else {"done": []}
        body = {"assistant_id": graph, "input": given}
        created = await stage.record.ask("POST", f"{path}/runs", body)
        stage.keep("POST runs", created)
        run = created.json["run_id"]
        await stage.probe.pause(4)
        stage.keep("the evidence", await stage.record.ask("GET", f"{path}{evidence}"))
        who = {"metadata": {"who": stage.tag}}
        for name, (method, where, asked) in {
            "run": ("GET", f"{path}/runs/{run}", None),
            "runs": ("GET", f"{path}/runs?select=run_id&select=status", None),
            "success": ("GET", f"{path}/runs?status=success&select=run_id", None),
            "found": ("POST", "/threads/search", {**who, "select": ["thread_id", "status"]}),
            "idle": ("POST", "/threads/count", {**who, "status": "idle"}),
            "join": ("GET", f"{path}/runs/{run}/join", None),
            "join of its stream": ("GET", f"{path}/runs/{run}/stream", None),
            "thread": ("GET", path, None),
            "state": ("GET", f"{path}/state", None),
        }.items():
            answer = await stage.probe.ask(method, where, asked)
            stage.keep(name, status_of(answer) if name == "run" else answer)

    return script


def status_of(answer: Answer) -> Answer:
    """Of a run's object what the object as it was created did not have already."""
    told = {name: answer.json[name] for name in ("run_id", "thread_id", "status")}
    return replace(answer, chunks=[json.dumps(told).encode()])


def left_in_silence(flag: str) -> Script:
    """A reader comes when the run has begun, and leaves before it has got a byte."""

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record)
        await stage.let_pass(thread, 0)
        path = f"/threads/{thread}/runs"
        body = steps(stream_mode=["updates"], stream_resumable=False)
        created = stage.keep("POST runs", await stage.record.ask("POST", path, body))
        run = created.json["run_id"]
        await stage.probe.pause(2)
        await look(stage, "before", thread, run)
        join = await stage.record.open("GET", f"{path}/{run}/stream?cancel_on_disconnect={flag}")
        await stage.probe.pause(1)
        await look(stage, "listening", thread, run)
        await stage.probe.pause(5)
        stage.keep("the join that is left", await join.leave())
        await stage.probe.pause(1)
        await stage.let_pass(thread, 8)
        await stage.probe.pause(2)
        await look(stage, "left", thread, run)
        stage.keep("again", await stage.probe.ask("GET", f"{path}/{run}/stream"))
        stage.keep("join", await stage.probe.ask("GET", f"{path}/{run}/join"))

    return script


def statuses_in_silence(how: str) -> Script:
    """The same, of which nothing else is recorded: what can be known of the run and its thread all the same.

    Args:
        how: the reader leaves, which ends the run, or the run is cancelled.
    """

    async def script(stage: Stage) -> None:
        thread = await new_thread(stage.record, {"metadata": {"who": stage.tag}})
        await stage.let_pass(thread, 0)
        path = f"/threads/{thread}/runs"
        run = (await stage.record.ask("POST", path, steps(stream_mode=["updates"]))).json["run_id"]

        async def look_at(when: str) -> None:
            select = "select=run_id&select=status"
            stage.keep(f"{when}: runs", await stage.probe.ask("GET", f"{path}?{select}"))
            for status in ("busy", "idle", "interrupted"):
                asked = {"metadata": {"who": stage.tag}, "status": status}
                stage.keep(f"{when}: {status}", await stage.probe.ask("POST", "/threads/count", asked))
            whole = {"metadata": {"who": stage.tag}, "select": ["thread_id", "status"]}
            stage.keep(f"{when}: thread", await stage.probe.ask("POST", "/threads/search", whole))

        await stage.probe.pause(2)
        join = await stage.record.open("GET", f"{path}/{run}/stream?cancel_on_disconnect=1")
        await stage.probe.pause(1)
        await look_at("listening")
        await stage.probe.pause(3)
        if how == "left":
            await join.leave()
        else:
            await stage.probe.ask("POST", f"{path}/{run}/cancel")
            stage.keep("its stream", await join.end())
        await stage.probe.pause(0.5)
        await look_at("over")

    return script


RECORDED_ONLY: dict[str, Script] = {
    "left in silence, cancelling": left_in_silence("1"),
    "left in silence, going on": left_in_silence("0"),
}
SILENCE = {f"in silence, {how}": statuses_in_silence(how) for how in ("left", "cancelled")}
EVIDENCE = {
    f"{graph}, ended unseen, but for {evidence or '/'}": ended_unseen(graph, evidence)
    for graph in ("steps", "failing", "steps_asking")
    for evidence in ("", "/state")
}
SCRIPTS: dict[str, Script] = {"patched, values unknown": patched_unseen, **EVIDENCE, **SILENCE}
