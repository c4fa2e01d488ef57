"""Two rhythms: 200 events at once, and ten a fifth of a second apart."""

from __future__ import annotations

import asyncio
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph


class Count(TypedDict):
    n: int


async def write_burst(state: Count) -> Count:
    write = get_stream_writer()
    for i in range(200):
        write({"i": i})
    return {"n": 200}


burst_builder = StateGraph(Count)
burst_builder.add_node("write", write_burst)
burst_builder.add_edge(START, "write")
burst = burst_builder.compile()


async def write_slowly(state: Count) -> Count:
    write = get_stream_writer()
    for i in range(10):
        await asyncio.sleep(0.2)
        write({"tick": i})
    return {"n": 10}


slow_builder = StateGraph(Count)
slow_builder.add_node("write", write_slowly)
slow_builder.add_edge(START, "write")
slow = slow_builder.compile()
