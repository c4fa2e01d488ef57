"""Threads, runs and state, asked before, during and after runs (sections 6, 9 and 10).

One rule: a probe is asked when both sides have told the same event. The real server is held there by a gate, the mock
by its clock.
"""

from __future__ import annotations

import asyncio
from typing import Any

from graphtape.tests.live.conformance.joins import UNKNOWN, body_of, when_over
from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.wire import Answer, Stream

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


async def recorded_whole(stage: Stage, body: object = None) -> None:
    """One run in a thread of its own, which the cassette holds from its start to its end."""
    thread = await new_thread(stage.record)
    path = f"/threads/{thread}/runs/stream"
    if body is not None:
        await stage.record.ask("POST", path, body)
        return
    await stage.let_pass(thread, 0)
    post = await stage.record.open("POST", path, steps())
    for count in range(1, 5):
        # Events that the recorder read at once come at once, and nobody can look between them.
        await shown(post, count)
        await stage.let_pass(thread, count)
    await post.end()


async def shown(run: Stream, count: int) -> None:
    """Return when a stream has shown the beginning of so many steps."""
    await run.until(lambda events: sum(event.name == "custom" for event in events) >= count)


async def begun(stage: Stage, run: Stream, count: int) -> None:
    """Return when a stream has shown the beginning of so many steps, and nothing moves."""
    await shown(run, count)
    await stage.settle()


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
    for number, turn in enumerate(("first run", "second run")):
        await stage.let_pass(thread, 4 * number)
        post = await stage.record.open("POST", f"/threads/{thread}/runs/stream", steps())
        run = run_of(post.answer)
        for count in (1, 3):
            await stage.let_pass(thread, 4 * number + count - 1)
            await begun(stage, post, count)
            await look(stage, f"{turn}, step {count}", thread, run)
        await stage.let_pass(thread, 4 * number + 4)
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
        await recorded_whole(stage)
        thread = await new_thread(stage.probe)
        await stage.let_pass(thread, 1)
        post = await stage.probe.open("POST", f"/threads/{thread}/runs/stream", steps())
        await begun(stage, post, 2)
        run = run_of(post.answer)
        base = f"/threads/{thread}/runs/{run}"
        join = await stage.probe.open("GET", f"{base}/stream")
        cancel = f"{base}/cancel?wait={wait}&action={action}"
        stage.keep("the cancel", await stage.probe.ask("POST", cancel))
        stage.keep("the stream that was open", await post.end())
        stage.keep("the join that was open", await join.end())
        await stage.settle()
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
            await recorded_whole(stage)
        thread = await new_thread(stage.probe)
        await stage.let_pass(thread, 1)
        path = f"/threads/{thread}/runs/stream"
        first = await stage.probe.open("POST", path, steps())
        await begun(stage, first, 2)
        body = steps() if strategy == "absent" else steps(multitask_strategy=strategy)
        second = await stage.probe.open("POST", path, body)
        runs = [run_of(first.answer), run_of(second.answer)]
        if strategy in ("interrupt", "rollback"):
            await first.end()
        await stage.settle()
        stage.keep("thread while both are there", await stage.probe.ask("GET", f"/threads/{thread}"))
        await stage.let_pass(thread, 8)
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
        await recorded_whole(stage)
        thread = await new_thread(stage.probe)
        await stage.let_pass(thread, 1)
        more = {} if value == "absent" else {"on_disconnect": value}
        post = await stage.probe.open("POST", path.replace("{t}", thread), steps(**more))
        await begun(stage, post, 2)
        run = run_of(post.answer)
        await post.leave()
        await stage.settle()
        await stage.let_pass(thread, 4)
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


async def started_elsewhere(stage: Stage) -> None:
    """POST .../runs polled from pending to its end."""
    # It waits longer than a client takes to ask for it, and runs longer than it takes to ask again.
    body = steps(after_seconds=1)
    await recorded_whole(stage, body)
    thread = await new_thread(stage.probe)
    await stage.let_pass(thread, 0)
    created = stage.keep("POST runs", await stage.probe.ask("POST", f"/threads/{thread}/runs", body))
    run = created.json["run_id"]
    seen: list[str] = []
    for _ in range(200):
        answer = await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}")
        status = answer.json["status"]
        if not seen or seen[-1] != status:
            seen.append(status)
            await stage.settle()
            shown = await stage.probe.ask("GET", f"/threads/{thread}")
            stage.keep(f"run {status}", answer)
            stage.keep(f"thread while {status}", shown)
        if status == "running":
            await stage.let_pass(thread, 4)
        if status not in ("pending", "running"):
            break
        await stage.probe.pause(0.03)
    stage.keep("join", await stage.probe.ask("GET", f"/threads/{thread}/runs/{run}/join"))
    await look(stage, "over", thread, run)
