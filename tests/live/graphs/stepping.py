"""A thread that changes while one looks: four steps, a third of a second apart; and a silence with a heartbeat.

A test that looks in the middle of a run holds it there: the item `("gates", thread id)` of the store says how many
steps of the thread may have passed. Without it a step takes its time. A run whose thread nobody knows beforehand names
its gate in its input.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from typing import Annotated, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_store, get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Steps(TypedDict, total=False):
    done: Annotated[list[str], operator.add]
    gate: str


passed: Counter[str] = Counter()
"""By gate: the steps that it has let through."""


async def wait(name: str, seconds: float) -> None:
    """Stand at a gate, or, where there is none, for so long."""
    gate = await get_store().aget(("gates",), name)
    if gate is None:
        await asyncio.sleep(seconds)
        return
    while gate is None or gate.value["open"] <= passed[name]:
        await asyncio.sleep(0.01)
        gate = await get_store().aget(("gates",), name)
    passed[name] += 1


def step(name: str, seconds: float) -> object:
    async def take(state: Steps, config: RunnableConfig) -> Steps:
        get_stream_writer()({"begins": name})
        await wait(state.get("gate") or str(config["configurable"]["thread_id"]), seconds)
        return {"done": [name]}

    return take


builder = StateGraph(Steps)
names = ("one", "two", "three", "four")
for each in names:
    builder.add_node(each, step(each, 0.35))
for before, after in zip((START, *names), names, strict=False):
    builder.add_edge(before, after)
steps = builder.compile()


async def asks(state: Steps) -> Steps:
    return {"done": [f"told {interrupt({'question': 'go on?'})}"]}


asking_builder = StateGraph(Steps)
asking_builder.add_node("one", step("one", 0.3))
asking_builder.add_node("asks", asks)
asking_builder.add_node("two", step("two", 0.3))
asking_builder.add_edge(START, "one")
asking_builder.add_edge("one", "asks")
asking_builder.add_edge("asks", "two")
steps_asking = asking_builder.compile()

silent_builder = StateGraph(Steps)
silent_builder.add_node("silent", step("silent", 5.6))
silent_builder.add_edge(START, "silent")
silent = silent_builder.compile()
