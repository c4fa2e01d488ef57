"""A thread that changes while one looks: four steps, a third of a second apart; and a silence with a heartbeat."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Steps(TypedDict, total=False):
    done: Annotated[list[str], operator.add]


def step(name: str, seconds: float) -> object:
    async def take(state: Steps) -> Steps:
        get_stream_writer()({"begins": name})
        await asyncio.sleep(seconds)
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
