"""Threads whose ids their clients chose, and spell in their own way; found again by their ids and by metadata.

One rule: as in `administering`, everything is asked when nothing runs.
"""

from __future__ import annotations

import uuid
from typing import Any

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.twin import steps


def own_id(stage: Stage, word: str) -> str:
    """An id of this play alone, the same on both sides."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stage.tag} {word}"))


def made(*, by_run: bool, modes: list[str]) -> Script:
    """A thread is made, something runs in it, its metadata change; at each point its client creates it once more."""

    async def script(stage: Stage) -> None:
        thread = own_id(stage, "made")
        await stage.let_pass(thread, 8)
        again = {"thread_id": thread, "if_exists": "do_nothing"}
        body = steps(stream_mode=modes)
        if by_run:
            body |= {"if_not_exists": "create", "metadata": {"who": stage.tag}}
        else:
            first = {**again, "metadata": {"who": stage.tag}}
            stage.keep("its creation", await stage.record.ask("POST", "/threads", first))
            stage.keep("before any run: again", await stage.probe.ask("POST", "/threads", first))
        for turn in ("first run", "second run"):
            post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", body)
            stage.keep(f"{turn}: stream", post)
            await stage.settle()
            await created_again(stage, turn, again)
            await found(stage, turn, thread, {"who": stage.tag})
        patch = {"metadata": {"now": stage.tag}}
        stage.keep("the patch", await stage.probe.ask("PATCH", f"/threads/{thread}", patch))
        await created_again(stage, "patched", again)
        await found(stage, "patched", thread, {"now": stage.tag})
        stage.keep("patched: thread", await stage.probe.ask("GET", f"/threads/{thread}"))

    return script


async def created_again(stage: Stage, when: str, again: dict[str, Any]) -> None:
    """The thread exists already, which its client minds or not."""
    for name, body in {
        "again": again,
        "again, with metadata": {**again, "metadata": {"of": "nobody"}},
        "again, raise": {"thread_id": again["thread_id"]},
    }.items():
        stage.keep(f"{when}: {name}", await stage.probe.ask("POST", "/threads", body))


async def found(stage: Stage, when: str, thread: str, metadata: dict[str, str]) -> None:
    """Looked for by what its metadata are now."""
    for name, (path, body) in {
        "search": ("/threads/search", {"metadata": metadata}),
        "search, selected": ("/threads/search", {"metadata": metadata, "select": ["thread_id", "metadata"]}),
        "search, by id": ("/threads/search", {"ids": [thread]}),
        "count": ("/threads/count", {"metadata": metadata}),
    }.items():
        stage.keep(f"{when}: {name}", await stage.probe.ask("POST", path, body))


def spellings(identifier: str) -> dict[str, str]:
    """An id as the server takes it in a path, and in one way as it does not."""
    digits = identifier.replace("-", "")
    return {
        "digits": digits,
        "upper case": identifier.upper(),
        "braces": f"%7B{identifier}%7D",
        "a name": f"urn:uuid:{identifier}",
        "odd dashes": f"{digits[:3]}-{digits[3:]}",
        "a blank": f"%20{identifier}",
    }


async def spelled(stage: Stage) -> None:
    """Ids of threads and runs in other spellings, in paths and in bodies; also those of nothing."""
    thread = await new_thread(stage.record, {"metadata": {"who": stage.tag}})
    await stage.let_pass(thread, 40)
    post = await stage.record.ask("POST", f"/threads/{thread}/runs/stream", steps())
    await stage.settle()
    run = run_of(post)
    nothing = own_id(stage, "nothing")
    for name, t in spellings(thread).items():
        r, n = spellings(run)[name], spellings(nothing)[name]
        for path in ("", "/state", "/history", "/runs", f"/runs/{run}", f"/runs/{run}/join"):
            stage.keep(
                f"{name}: GET {path.replace(run, 'r')}", await stage.probe.ask("GET", f"/threads/{t}{path}")
            )
        for path in ("", "/join"):
            answer = await stage.probe.ask("GET", f"/threads/{thread}/runs/{r}{path}")
            stage.keep(f"{name}: GET of the run {path}", answer)
        for path in (f"/threads/{t}/runs/{run}/stream", f"/threads/{thread}/runs/{r}/stream"):
            join = await stage.probe.ask("GET", path, headers={"last-event-id": "-1"})
            stage.keep(f"{name}: join {'of the run' if r in path else ''}", join)
        for path in ("", "/state", "/history", "/runs", f"/runs/{r}", f"/runs/{r}/join", f"/runs/{r}/stream"):
            answer = await stage.probe.ask("GET", f"/threads/{n}{path}")
            stage.keep(f"{name}: nothing {path.replace(r, 'r')}", answer)
        for asked, path, body in (
            ("POST", f"/threads/{t}/runs/{r}/cancel", None),
            ("POST", "/runs/cancel", {"thread_id": t, "run_ids": [r]}),
            ("POST", "/threads/search", {"ids": [t], "select": ["thread_id"]}),
            ("POST", "/threads", {"thread_id": t, "if_exists": "do_nothing"}),
            ("POST", f"/threads/{t}/history", {"limit": 3}),
            ("PATCH", f"/threads/{t}", {"metadata": {name: 1}}),
            ("POST", f"/threads/{n}/copy", None),
            ("DELETE", f"/threads/{n}", None),
            ("DELETE", f"/threads/{t}/runs/{n}", None),
        ):
            what = path.replace(t, "t").replace(r, "r").replace(n, "n")
            stage.keep(f"{name}: {asked} {what}", await stage.probe.ask(asked, path, body))


async def spelled_runs(stage: Stage) -> None:
    """Runs that are started, waited for and deleted by other spellings of their threads."""
    for name in ("digits", "upper case", "braces"):
        thread = own_id(stage, name)
        t = spellings(thread)[name]
        await stage.let_pass(thread, 20)
        body = steps(if_not_exists="create")
        post = stage.keep(
            f"{name}: stream", await stage.record.ask("POST", f"/threads/{t}/runs/stream", body)
        )
        await stage.settle()
        for path in ("", "/state", "/runs"):
            stage.keep(f"{name}: GET {path}", await stage.probe.ask("GET", f"/threads/{thread}{path}"))
        stage.keep(f"{name}: wait", await stage.record.ask("POST", f"/threads/{t}/runs/wait", body))
        await stage.settle()
        run = spellings(run_of(post))[name]
        for path in (f"/runs/{run}", ""):
            stage.keep(
                f"{name}: DELETE {path and 'run'}", await stage.probe.ask("DELETE", f"/threads/{t}{path}")
            )
        stage.keep(f"{name}: deleted", await stage.probe.ask("GET", f"/threads/{t}"))


SCRIPTS: dict[str, Script] = {
    "ids spelled otherwise": spelled,
    "runs by ids spelled otherwise": spelled_runs,
    "own thread, made by a run": made(by_run=True, modes=["values"]),
    "own thread, made by its client": made(by_run=False, modes=["values"]),
}
RECORDED_ONLY: dict[str, Script] = {
    "own thread, made by a run, updates only": made(by_run=True, modes=["updates"]),
    "own thread, made by its client, updates only": made(by_run=False, modes=["updates"]),
}
"""Nothing but a recorded read can show the values."""
