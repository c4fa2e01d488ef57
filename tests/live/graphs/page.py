"""The graphs of the official streaming page: a joke in two steps, by a model, in a subgraph, and with custom data."""

from __future__ import annotations

import asyncio
import itertools
from typing import TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    topic: str
    joke: str
    query: str
    answer: str


async def refine_topic(state: State) -> State:
    return {"topic": state["topic"] + " and cats"}


async def generate_joke(state: State) -> State:
    # Long enough for a second connection to join.
    await asyncio.sleep(0.4)
    return {"joke": f"This is a joke about {state['topic']}"}


joke_builder = StateGraph(State)
joke_builder.add_node("refine_topic", refine_topic)
joke_builder.add_node("generate_joke", generate_joke)
joke_builder.add_edge(START, "refine_topic")
joke_builder.add_edge("refine_topic", "generate_joke")
joke_builder.add_edge("generate_joke", END)
page_joke = joke_builder.compile()

model = GenericFakeChatModel(messages=itertools.cycle([AIMessage("why did the ice cream melt")]))


async def call_model(state: State) -> State:
    return {"joke": str((await model.ainvoke(f"Generate a joke about {state['topic']}")).content)}


model_builder = StateGraph(State)
model_builder.add_node("call_model", call_model)
model_builder.add_edge(START, "call_model")
page_model = model_builder.compile()


async def write(state: State) -> State:
    writer = get_stream_writer()
    writer({"custom_key": "Generating custom data inside node"})
    return {"answer": "some data"}


custom_builder = StateGraph(State)
custom_builder.add_node("write", write)
custom_builder.add_edge(START, "write")
page_custom = custom_builder.compile()


class SubState(TypedDict):
    foo: str
    bar: str


async def sub_one(state: SubState) -> dict[str, str]:
    return {"bar": "bar"}


async def sub_two(state: SubState) -> dict[str, str]:
    return {"foo": state["foo"] + state["bar"]}


sub_builder = StateGraph(SubState)
sub_builder.add_node("sub_one", sub_one)
sub_builder.add_node("sub_two", sub_two)
sub_builder.add_edge(START, "sub_one")
sub_builder.add_edge("sub_one", "sub_two")


class ParentState(TypedDict):
    foo: str


async def node_1(state: ParentState) -> ParentState:
    return {"foo": "hi! " + state["foo"]}


parent_builder = StateGraph(ParentState)
parent_builder.add_node("node_1", node_1)
parent_builder.add_node("node_2", sub_builder.compile())
parent_builder.add_edge(START, "node_1")
parent_builder.add_edge("node_1", "node_2")
page_subgraphs = parent_builder.compile()
