"""The status of a thread after odd ends: failed and then written, deleted, copied; cancelled or left before its turn.

One rule: threads are looked for by each status, one at a time too, so that the pagination headers count.
"""

from __future__ import annotations

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.twin import look, steps

FAILS = {
    "assistant_id": "failing",
    "input": {"n": 1},
    "stream_mode": ["values", "updates", "tasks", "checkpoints"],
}


async def found_by_status(stage: Stage, when: str, thread: str) -> None:
    """The thread, and all threads of this play by their status."""
    await stage.settle()
    stage.keep(f"{when}: thread", await stage.probe.ask("GET", f"/threads/{thread}"))
    who = {"metadata": {"who": stage.tag}}
    for status in ("error", "idle", "interrupted", "busy"):
        asked = {**who, "status": status}
        for more in ({}, {"limit": 1}, {"limit": 1, "offset": 1}):
            body = {**asked, **more, "select": ["thread_id", "status"]}
            found = await stage.probe.ask("POST", "/threads/search", body)
            stage.keep(f"{when}: {status} {more or ''}", found)
        stage.keep(f"{when}: count of {status}", await stage.probe.ask("POST", "/threads/count", asked))


async def after_failures(stage: Stage) -> None:
    """Runs fail; then something is done to their threads."""

    async def failed() -> tuple[str, str]:
        thread = await new_thread(stage.record, {"metadata": {"who": stage.tag}})
        return thread, run_of(await stage.record.ask("POST", f"/threads/{thread}/runs/stream", FAILS))

    thread, _ = await failed()
    await found_by_status(stage, "failed", thread)
    update = await stage.record.ask("POST", f"/threads/{thread}/state", {"values": {"n": 5}})
    stage.keep("the update", update)
    # Without it nobody knows what the update left to do, and the mock refuses to say.
    stage.keep("its state", await stage.record.ask("GET", f"/threads/{thread}/state"))
    await found_by_status(stage, "updated", thread)
    thread, run = await failed()
    stage.keep("the deletion", await stage.probe.ask("DELETE", f"/threads/{thread}/runs/{run}"))
    await found_by_status(stage, "its run deleted", thread)
    stage.keep("the copy", await stage.probe.ask("POST", f"/threads/{thread}/copy"))
    for action in ("interrupt", "rollback"):
        thread, _ = await failed()
        later = await stage.record.ask("POST", f"/threads/{thread}/runs", {**FAILS, "after_seconds": 30})
        await found_by_status(stage, f"{action}: another waits", thread)
        path = f"/threads/{thread}/runs/{later.json['run_id']}"
        cancel = await stage.record.ask("POST", f"{path}/cancel?action={action}")
        stage.keep(f"{action}: the cancel", cancel)
        await found_by_status(stage, f"{action}: cancelled before its turn", thread)
        stage.keep(f"{action}: run", await stage.probe.ask("GET", path))


async def left_before_its_turn(stage: Stage) -> None:
    """A run in the background is ended by a reader who leaves before it has begun."""
    thread = await new_thread(stage.record)
    await stage.let_pass(thread, 1)
    created = await stage.record.ask("POST", f"/threads/{thread}/runs", steps(after_seconds=2))
    stage.keep("POST runs", created)
    path = f"/threads/{thread}/runs/{created.json['run_id']}"
    join = await stage.probe.open("GET", f"{path}/stream?cancel_on_disconnect=1")
    stage.keep("the join that is left", await join.leave())
    await stage.probe.pause(1)
    await look(stage, "left", thread, created.json["run_id"])
    for name, headers in {"a join": {}, "a join from the start": {"last-event-id": "-1"}}.items():
        stage.keep(name, await stage.probe.ask("GET", f"{path}/stream", headers=headers))
    stage.keep("join", await stage.probe.ask("GET", f"{path}/join"))


SCRIPTS: dict[str, Script] = {"threads by status": after_failures}
RECORDED_ONLY: dict[str, Script] = {"left before its turn": left_before_its_turn}
