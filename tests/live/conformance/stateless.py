"""Runs that are started without a thread: the thread that the server makes for them, and whether it stays.

One rule: as in `twin`, a probe is asked when both sides have told the same event. A hidden thread is found as a client
can find it: by what the answer says of it, else by the metadata that its run gave it.
"""

from __future__ import annotations

from typing import Any

from graphtape.tests.live.conformance.joins import body_of
from graphtape.tests.live.conformance.situations import HELLO
from graphtape.tests.live.conformance.staging import Script, Stage, run_of
from graphtape.tests.live.conformance.threads import ends
from graphtape.tests.live.conformance.twin import ALL, begun, look, shown, steps
from graphtape.tests.live.conformance.wire import Answer, Stream, Wire

WAYS = ("stream", "wait", "create")
PATHS = {"stream": "/runs/stream", "wait": "/runs/wait", "create": "/runs"}
STEPS = 4
FROM_THE_START = {"last-event-id": "-1"}


async def thread_of(stage: Stage, started: Answer, who: dict[str, Any]) -> str:
    """The hidden thread of a run, while it is there."""
    location = started.header("content-location")
    if location.startswith("/threads/"):
        return location.split("/")[2]
    if not started.is_stream:
        return str(started.json["thread_id"])
    found = await stage.probe.ask("POST", "/threads/search", who)
    assert found.json, "no thread has the metadata of the run"
    return str(found.json[0]["thread_id"])


async def listed(stage: Stage, when: str, thread: str, who: dict[str, Any]) -> None:
    """The thread among all threads."""
    for name, (path, body) in {
        "search": ("/threads/search", who),
        "search, busy": ("/threads/search", {**who, "status": "busy"}),
        "search, by id": ("/threads/search", {"ids": [thread]}),
        "count": ("/threads/count", who),
        "count, idle": ("/threads/count", {**who, "status": "idle"}),
    }.items():
        stage.keep(f"{when}: {name}", await stage.probe.ask("POST", path, body))


async def followed(stage: Stage, when: str, thread: str, run: str) -> None:
    """The run as a late reader finds it."""
    base = f"/threads/{thread}/runs/{run}"
    for name, headers in {
        "a join": {},
        "a join from the start": FROM_THE_START,
        "a join from the future": {"last-event-id": "9999999999999-0"},
    }.items():
        join = await stage.probe.ask("GET", f"{base}/stream", headers=headers)
        stage.keep(f"{when}: {name}", join, thread=f"{when} {name}")
    stage.keep(f"{when}: join", await stage.probe.ask("GET", f"{base}/join"))
    stage.keep(f"{when}: cancel", await stage.probe.ask("POST", f"{base}/cancel"))


def started(way: str, completion: str | None, *, resumable: bool = True) -> Script:
    """A recorded client and another that is not, each asking twice; looked at in the run, after it, and used again."""

    async def script(stage: Stage) -> None:
        passed = 0
        for client, wire in {
            "first": stage.record,
            "second": stage.record,
            "third": stage.probe,
            "fourth": stage.probe,
        }.items():
            passed = await one(stage, client, wire, passed)

    async def one(stage: Stage, client: str, wire: Wire, passed: int) -> int:
        # All say the same: in recorded events stands what the recorded client said.
        who: dict[str, Any] = {"metadata": {"who": stage.tag}}
        body = steps(stream_resumable=resumable, **who)
        body["input"] = {"done": [], "gate": stage.tag}
        if completion is not None:
            body["on_completion"] = completion
        await stage.let_pass(stage.tag, passed + 1)
        post = await wire.open("POST", PATHS[way], body)
        if way == "create":
            stage.keep(f"{client}: its answer", await post.end())
        thread = await thread_of(stage, post.answer, who)
        run = run_of(post.answer)
        base = f"/threads/{thread}/runs/{run}"
        watch: Stream = post
        if way != "stream":
            watch = await wire.open("GET", f"{base}/stream", headers=FROM_THE_START)
        await begun(stage, watch, 2)
        await look(stage, f"{client}, in step 2", thread, run)
        await listed(stage, f"{client}, in step 2", thread, who)
        streams = {"stream": await stage.probe.open("GET", f"{base}/stream")}
        streams["join"] = await stage.probe.open("GET", f"{base}/join")
        follower = await stage.probe.open("GET", f"/threads/{thread}/stream")
        await stage.settle()
        await stage.let_pass(stage.tag, passed + STEPS)
        stage.keep(f"{client}: its events", await watch.end(), thread=client)
        if way == "wait":
            stage.keep(f"{client}: its answer", await post.end())
        for what, stream in streams.items():
            stage.keep(f"{client}: {what} joined in step 2", await stream.end(), thread=f"{client} {what}")
        await follower.until(ends(1))
        stage.keep(f"{client}: thread stream", await follower.leave(), thread=f"{client} thread")
        await stage.settle()
        if resumable:
            again = await stage.probe.open("GET", f"/threads/{thread}/stream", headers={"last-event-id": "-"})
            await again.until(ends(1))
            stage.keep(f"{client}: thread stream afterwards", await again.leave(), thread=f"{client} old")
        await look(stage, f"{client}, over", thread, run)
        await listed(stage, f"{client}, over", thread, who)
        await followed(stage, f"{client}, over", thread, run)
        await stage.let_pass(stage.tag, passed + 2 * STEPS)
        more = await wire.ask("POST", f"/threads/{thread}/runs/stream", {**body, "on_completion": "delete"})
        stage.keep(f"{client}: in the same thread", more, thread=client)
        await stage.settle()
        await look(stage, f"{client}, again", thread, run_of(more))
        await listed(stage, f"{client}, again", thread, who)
        return passed + STEPS * (1 + (more.status == 200))

    return script


async def endings(stage: Stage) -> None:
    """Kept threads by how their runs end: with an error, with an interrupt that is answered."""
    for client, wire in {"first": stage.record, "other": stage.probe}.items():
        for way in ("wait", "stream"):
            for graph in ("failing", "steps_asking"):
                name = f"{client}, {graph}, {way}"
                who = {"metadata": {"who": f"{stage.tag} {graph} {way}"}}
                body = steps(graph) if graph == "steps_asking" else body_of(graph, resumable=True)
                body |= {**who, "on_completion": "keep", "stream_mode": ALL}
                post = await wire.ask("POST", PATHS[way], body)
                stage.keep(f"{name}: its answer", post, thread=name)
                await stage.settle()
                thread = await thread_of(stage, post, who)
                await look(stage, name, thread, run_of(post))
                await listed(stage, name, thread, who)
                if graph == "failing":
                    continue
                more: dict[str, Any] = {**steps(graph), "command": {"resume": "yes"}}
                del more["input"]
                resumed = await wire.ask("POST", f"/threads/{thread}/runs/stream", more)
                stage.keep(f"{name}: resumed", resumed, thread=name)
                await stage.settle()
                await look(stage, f"{name}, resumed", thread, run_of(resumed))


def ended_early(how: str, completion: str) -> Script:
    """A run that was recorded whole, and that its client ends in its second step: by a cancel, or by leaving it."""

    async def script(stage: Stage) -> None:
        who: dict[str, Any] = {"metadata": {"who": stage.tag}}
        body = steps(on_completion=completion, on_disconnect="cancel", **who)
        body["input"] = {"done": [], "gate": stage.tag}
        await stage.let_pass(stage.tag, 0)
        recorded = await stage.record.open("POST", "/runs/stream", body)
        for count in range(1, STEPS + 1):
            await shown(recorded, count)
            await stage.let_pass(stage.tag, count)
        await recorded.end()
        await stage.let_pass(stage.tag, STEPS + 1)
        post = await stage.probe.open("POST", "/runs/stream", body)
        await begun(stage, post, 2)
        thread, run = await thread_of(stage, post.answer, who), run_of(post.answer)
        if how == "leave":
            await post.leave()
            await stage.settle()
        else:
            cancel = f"/threads/{thread}/runs/{run}/cancel?action={how}&wait=1"
            stage.keep("the cancel", await stage.probe.ask("POST", cancel))
            stage.keep("its events", await post.end())
        await stage.settle()
        await look(stage, "ended", thread, run)
        await listed(stage, "ended", thread, who)
        await followed(stage, "ended", thread, run)

    return script


def recorded_otherwise(recorded: str, asked: str) -> Script:
    """A client keeps the thread that the recorded one did not, or the other way round."""

    async def script(stage: Stage) -> None:
        cases: list[tuple[str, dict[str, Any], list[str]]] = [
            ("steps_asking", {"done": []}, ["values", "updates", "tasks", "custom"]),
            ("ask_twice", {"said": []}, [*ALL, "debug"]),
            ("levels", HELLO, ["values", "messages-tuple"]),
            ("tools", HELLO, [*ALL, "debug"]),
            ("failing", {"n": 1}, ["values", "debug"]),
        ]
        for graph, given, modes in cases:
            who = {"metadata": {"who": f"{stage.tag} {graph}"}}
            body = {"assistant_id": graph, "input": given, "stream_mode": modes, "stream_subgraphs": True}
            await stage.record.ask("POST", "/runs/stream", {**body, **who, "on_completion": recorded})
            await stage.settle()
            body |= {**who, "on_completion": asked}
            post = await stage.probe.ask("POST", "/runs/stream", body)
            stage.keep(f"{graph}: stream", post, thread=graph)
            wait = await stage.probe.ask("POST", "/runs/wait", body)
            stage.keep(f"{graph}: wait", wait)
            await stage.settle()
            if asked == "keep" and not {"checkpoints", "debug"}.isdisjoint(modes):
                continue  # the mock refuses the stream
            base = wait.header("content-location")
            await listed(stage, graph, base.split("/")[2], who)
            stage.keep(f"{graph}: join", await stage.probe.ask("GET", f"{base}/join"))

    return script


SCRIPTS: dict[str, Script] = {
    **{
        f"without a thread, {way}, {completion or 'absent'}": started(way, completion)
        for way in WAYS
        for completion in (None, "keep")
    },
    "without a thread, not resumable": started("stream", None, resumable=False),
    "without a thread, kept, not resumable": started("stream", "keep", resumable=False),
    "without a thread, ends": endings,
    **{
        f"without a thread, {completion}, {how}": ended_early(how, completion)
        for completion in ("delete", "keep")
        for how in ("interrupt", "rollback", "leave")
    },
    "without a thread, keep recorded as delete": recorded_otherwise("delete", "keep"),
    "without a thread, delete recorded as keep": recorded_otherwise("keep", "delete"),
}
