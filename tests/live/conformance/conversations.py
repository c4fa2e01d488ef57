"""Conversations that were never recorded: other clients, new chats, ids that the client brings, all of them at once.

One rule: one conversation is recorded; everything else the mock has to tell as the server tells it, under ids of its
own. The comparison renames one to one over a whole script, so an id of one conversation that turns up in another is
found.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from graphtape.tests.live.conformance.staging import Script, Stage, new_thread, run_of
from graphtape.tests.live.conformance.twin import reads
from graphtape.tests.live.conformance.wire import Wire

MODES = ["values", "updates", "messages-tuple", "custom", "tasks", "checkpoints"]
CHATS = 10


def said(text: str, message_id: str | None = None, **more: object) -> dict[str, Any]:
    """A message to a graph of three levels, each with tokens."""
    message = {"role": "user", "content": text} | ({"id": message_id} if message_id else {})
    body = {
        "assistant_id": "levels",
        "input": {"messages": [message]},
        "stream_mode": MODES,
        "stream_subgraphs": True,
        "stream_resumable": True,
    }
    return body | more


async def talk(stage: Stage, wire: Wire, who: str, thread: str, *ids: str | None, **more: object) -> None:
    """Two turns, with all that is read between and after; each message has the id that is given for it."""
    for turn, message_id in enumerate(ids or (None, None), start=1):
        body = said(f"hello {turn}", message_id, **more)
        post = await wire.ask("POST", f"/threads/{thread}/runs/stream", body)
        stage.keep(f"{who}, turn {turn}: stream", post, thread=who)
        run = run_of(post)
        for name, request in reads(thread, run).items():
            stage.keep(f"{who}, turn {turn}: {name}", await wire.ask(*request))
        again = await wire.ask("GET", f"/threads/{thread}/runs/{run}/stream", headers={"last-event-id": "-1"})
        stage.keep(f"{who}, turn {turn}: join", again, thread=f"{who}, joined {turn}")


async def clients(stage: Stage) -> None:
    """A second and a third client say what the first, recorded one said."""
    await talk(stage, stage.record, "first", await new_thread(stage.record))
    for who in ("second", "third"):
        await talk(stage, stage.probe, who, await new_thread(stage.probe))


async def brought(stage: Stage) -> None:
    """Clients that bring their own ids: of the thread, of messages, of both."""
    await talk(stage, stage.record, "recorded", await new_thread(stage.record), "u-1", "u-2")
    thread = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stage.tag} created"))
    created = await stage.probe.ask("POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"})
    stage.keep("its creation", created)
    await talk(stage, stage.probe, "a thread", thread, "u-3", "u-4")
    mine = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stage.tag} message {number}")) for number in (1, 2)]
    await talk(stage, stage.probe, "messages", await new_thread(stage.probe), *mine)
    thread = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{stage.tag} by a run"))
    await talk(stage, stage.probe, "by its first run", thread, "mine-1", "mine-2", if_not_exists="create")


async def new_chats(stage: Stage) -> None:
    """ "New chat" pressed ten times, and something said in each; then all are listed."""
    for number in range(CHATS + 1):
        wire = stage.probe if number else stage.record
        created = await wire.ask("POST", "/threads", {"metadata": {"tag": stage.tag}})
        stage.keep(f"chat {number}: creation", created)
        thread = created.json["thread_id"]
        post = await wire.ask("POST", f"/threads/{thread}/runs/stream", said("hello", stream_mode=["values"]))
        stage.keep(f"chat {number}: stream", post, thread=f"chat {number}")
        stage.keep(f"chat {number}: state", await wire.ask("GET", f"/threads/{thread}/state"))
        stage.keep(f"chat {number}: run", await wire.ask("GET", f"/threads/{thread}/runs/{run_of(post)}"))
    found = {"metadata": {"tag": stage.tag}}
    for name, asked in {"all": {"limit": 20}, "a page": {"limit": 4, "offset": 2}}.items():
        stage.keep(f"list, {name}", await stage.probe.ask("POST", "/threads/search", found | asked))
    stage.keep("count", await stage.probe.ask("POST", "/threads/count", found))


async def at_once(stage: Stage) -> None:
    """Four clients that talk at the same time, each in a thread of its own."""
    await talk(stage, stage.record, "first", await new_thread(stage.record))

    async def client(number: int) -> None:
        await talk(stage, stage.probe, f"client {number}", await new_thread(stage.probe))

    await asyncio.gather(*(client(number) for number in range(4)))


async def stateless(stage: Stage) -> None:
    """The same without threads, three times."""
    for number in range(3):
        wire = stage.probe if number else stage.record
        post = await wire.ask("POST", "/runs/stream", said("hello"))
        stage.keep(f"stream {number}", post, thread=f"{number}")


SCRIPTS: dict[str, Script] = {
    "other clients": clients,
    "ids that clients bring": brought,
    "new chats": new_chats,
    "clients at once": at_once,
    "without threads": stateless,
}
