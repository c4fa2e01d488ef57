"""What a recording does not show, asked all the same: a change of a thread whose values nobody knows.

One rule: only what can be known is compared, and it must be the server's.
"""

from __future__ import annotations

import json
from dataclasses import replace

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread
from graphtape.tests.live.conformance.twin import steps
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


SCRIPTS: dict[str, Script] = {"patched, values unknown": patched_unseen}
