"""Ids of the threads that the server makes for runs without one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from graphtape.cassettes.hiddenthreads import made_soon_after, made_thread_id, thread_in_events
from graphtape.cassettes.tape import TapeBlock
from graphtape.protocol.ids import uuid_unix_ms
from graphtape.protocol.sse import Decoder

RUN = "01a22221-90d6-7168-aa04-4c0e337c34ac"
THREAD = "01a22221-90d6-7168-aa04-4c0fed999454"
NAMED = {"thread_id": THREAD}


def blocks(*events: tuple[str, Any]) -> list[TapeBlock]:
    made = []
    for name, data in events:
        raw = f"event: {name}\r\ndata: ".encode() + orjson.dumps(data) + b"\r\n\r\n"
        (block,) = Decoder().feed(raw)
        made.append(TapeBlock(0, block, raw))
    return made


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tasks", {"input": {"thread_id": "mine"}, "metadata": NAMED}),
        ("tasks|sub:1", {"metadata": NAMED}),
        ("checkpoints", {"values": {}, "config": {"configurable": NAMED}}),
        ("debug", {"type": "task", "payload": {"metadata": NAMED}}),
        ("debug", {"type": "checkpoint", "payload": {"config": {"configurable": NAMED}}}),
        ("messages", [{"content": "hi"}, NAMED]),
        ("messages/metadata", {"m": {"metadata": NAMED}}),
        ("events", {"event": "on_chain_start", "metadata": NAMED}),
    ],
)
def test_thread_that_events_name(name: str, data: Any) -> None:
    """It stands where the server itself puts it, in each mode that shows it; other events before are passed over."""
    assert thread_in_events(blocks(("metadata", {"run_id": RUN}), (name, data))) == THREAD


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("values", NAMED),
        ("updates", {"node": NAMED}),
        ("custom", NAMED),
        ("tasks", {"input": NAMED, "metadata": {}}),
        ("tasks", {"metadata": {"thread_id": "no id"}}),
        ("tasks", ["thread_id"]),
        ("messages", NAMED),
        ("messages/metadata", {"thread_id": 1}),
    ],
)
def test_what_the_app_says_names_no_thread(name: str, data: Any) -> None:
    """A `thread_id` of the app's own, or one that is none, is not the thread of the run."""
    assert thread_in_events(blocks((name, data))) is None


def test_threads_of_the_same_moment() -> None:
    """Those made when the run was, or within milliseconds; none where the run's id has no time."""
    others = ["01a22221-90dc-7168-aa04-4c0fed999454", "01a22221-90d5-7168-aa04-4c0fed999454", "no id"]
    assert made_soon_after(RUN, [THREAD, *others]) == [THREAD]
    assert made_soon_after("5b7dfc0d-0e4e-4d4d-8b4b-0d2a8f7d9a10", [THREAD]) == []


def test_made_id() -> None:
    """Of the run's moment, the same every time, and no other run's; also where not even the run has an id."""
    made = made_thread_id(RUN, 3)
    assert made == made_thread_id(RUN, 3) == made_thread_id(RUN, 4)
    assert uuid_unix_ms(made) == uuid_unix_ms(RUN)
    assert len({made, RUN, made_thread_id(THREAD, 3), made_thread_id(None, 3), made_thread_id(None, 4)}) == 5
