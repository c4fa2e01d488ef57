"""The status of a thread after odd ends: failed and then written, deleted, copied; cancelled or left before its turn.

One rule: threads are looked for by each status, one at a time too, so that the pagination headers count.
"""

from __future__ import annotations

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.twin import begun, look, recorded_whole, steps

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


def ended_in_line(action: str, how: str) -> Script:
    """A run that waits for another is cancelled or deleted, and its thread may be called idle while the other goes on.

    Args:
        action: query of the cancel; or `delete`.
        how: `stream`, if somebody listens to it; `create`, if nobody does.
    """

    async def script(stage: Stage) -> None:
        for _ in range(2):
            held = await new_thread(stage.record)
            await stage.let_pass(held, 0)
            post = await stage.record.open("POST", f"/threads/{held}/runs/stream", steps("steps_asking"))
            await stage.record.pause(2)
            await stage.let_pass(held, 8)
            await post.end()
        thread = await new_thread(stage.probe, {"metadata": {"who": stage.tag}})
        await stage.let_pass(thread, 0)
        path = f"/threads/{thread}/runs"
        first = await stage.probe.open("POST", f"{path}/stream", steps("steps_asking"))
        await begun(stage, first, 1)
        where = f"{path}/stream" if how == "stream" else path
        second = await stage.probe.open("POST", where, steps("steps_asking"))
        if how == "create":
            await second.end()
        run = run_of(second.answer)
        await found_by_status(stage, "both", thread)
        ending = (
            ("DELETE", f"{path}/{run}") if action == "delete" else ("POST", f"{path}/{run}/cancel?{action}")
        )
        stage.keep("the end of it", await stage.probe.ask(*ending))
        stage.keep("again", await stage.probe.ask(*ending))
        stage.keep("state", await stage.probe.ask("GET", f"/threads/{thread}/state"))
        for name, read in {"run": f"/{run}", "runs": "", "pending": "?status=pending"}.items():
            stage.keep(f"ended: {name}", await stage.probe.ask("GET", f"{path}{read}"))
        await found_by_status(stage, "ended", thread)
        joins = {
            "join": (f"{path}/{run}/join", {}),
            "a join": (f"{path}/{run}/stream", {}),
            "a join from the start": (f"{path}/{run}/stream", {"last-event-id": "-1"}),
        }
        for name, (where, headers) in joins.items():
            stage.keep(name, await stage.probe.ask("GET", where, headers=headers))
        stage.keep("the second answer", await second.end())
        await stage.let_pass(thread, 8)
        await first.end()
        await found_by_status(stage, "the first is over", thread)
        stage.keep("over: runs", await stage.probe.ask("GET", path))
        stage.keep("over: join", await stage.probe.ask("GET", f"{path}/{run}/join"))

    return script


def run_after_a_cancel(strategy: str = "") -> Script:
    """While a run goes on, one that waits is cancelled, by request or by a third one; the third has its turn then."""

    async def script(stage: Stage) -> None:
        for _ in range(3):
            await recorded_whole(stage)
        thread = await new_thread(stage.probe, {"metadata": {"who": stage.tag}})
        await stage.let_pass(thread, 0)
        path = f"/threads/{thread}/runs"
        first = await stage.probe.open("POST", f"{path}/stream", steps())
        await begun(stage, first, 1)
        second = (await stage.probe.ask("POST", path, steps())).json["run_id"]
        if not strategy:
            await stage.probe.ask("POST", f"{path}/{second}/cancel")
        await stage.settle()
        more = {"multitask_strategy": strategy} if strategy else {}
        third = await stage.probe.open("POST", f"{path}/stream", steps(**more))
        await found_by_status(stage, "the third is there", thread)
        await stage.let_pass(thread, 8)
        await first.end()
        await begun(stage, third, 1)
        await stage.settle()
        await third.end()
        who = {"metadata": {"who": stage.tag}, "select": ["status"]}
        stage.keep("over: thread", await stage.probe.ask("POST", "/threads/search", who))
        stage.keep("over: runs", await stage.probe.ask("GET", f"{path}?select=status&select=run_id"))

    return script


def in_place_of_a_waiting_one(strategy: str) -> Script:
    """A run takes the place of one that has not begun: the server calls the thread idle for as long as it goes on."""

    async def script(stage: Stage) -> None:
        for _ in range(2):
            await recorded_whole(stage)
        thread = await new_thread(stage.probe, {"metadata": {"who": stage.tag}})
        await stage.let_pass(thread, 0)
        path = f"/threads/{thread}/runs"
        await stage.probe.ask("POST", path, steps(after_seconds=30))
        post = await stage.probe.open("POST", f"{path}/stream", steps(multitask_strategy=strategy))
        await found_by_status(stage, "at once", thread)
        await begun(stage, post, 1)
        await found_by_status(stage, "begun", thread)
        stage.keep("runs", await stage.probe.ask("GET", f"{path}?select=status&select=run_id"))
        await stage.let_pass(thread, 4)
        await post.end()
        await found_by_status(stage, "over", thread)

    return script


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


SCRIPTS: dict[str, Script] = {
    "threads by status": after_failures,
    **{
        f"ended in line, {action}, {how}": ended_in_line(action, how)
        for action, how in (
            ("action=interrupt", "create"),
            ("action=interrupt", "stream"),
            ("action=rollback", "create"),
            ("action=rollback", "stream"),
            ("wait=1&action=rollback", "create"),
            ("delete", "create"),
        )
    },
    **{
        f"in place of a waiting one, {strategy}": in_place_of_a_waiting_one(strategy)
        for strategy in ("interrupt", "rollback")
    },
    "run after a cancel": run_after_a_cancel(),
    "interrupting run after others": run_after_a_cancel("interrupt"),
    "rolling back run after others": run_after_a_cancel("rollback"),
}
RECORDED_ONLY: dict[str, Script] = {"left before its turn": left_before_its_turn}
