"""Threads whose ids their clients chose: made by a creation or by a run, found again by their ids and by metadata.

One rule: as in `administering`, everything is asked when nothing runs.
"""

from __future__ import annotations

import uuid
from typing import Any

from graphtape.tests.live.conformance.staging import Script, Stage
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


SCRIPTS: dict[str, Script] = {
    "own thread, made by a run": made(by_run=True, modes=["values"]),
    "own thread, made by its client": made(by_run=False, modes=["values"]),
}
RECORDED_ONLY: dict[str, Script] = {
    "own thread, made by a run, updates only": made(by_run=True, modes=["updates"]),
    "own thread, made by its client, updates only": made(by_run=False, modes=["updates"]),
}
"""Nothing but a recorded read can show the values."""
