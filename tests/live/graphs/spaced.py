"""Events 0.45 s apart: a reader who is away for one second or two comes back between two of them, not beside one."""

from __future__ import annotations

import asyncio
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph


class Count(TypedDict):
    n: int


async def tick(state: Count) -> Count:
    write = get_stream_writer()
    for number in range(4):
        await asyncio.sleep(0.45)
        write({"tick": number})
    return {"n": state["n"] + 1}


builder = StateGraph(Count)
builder.add_node("tick", tick)
builder.add_edge(START, "tick")
spaced = builder.compile()
