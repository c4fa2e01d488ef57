"""Three levels, each with tokens, a custom event and an update."""

from __future__ import annotations

import itertools

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph


def model(text: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=itertools.cycle([AIMessage(text)]))


async def leaf(state: MessagesState) -> dict[str, list[AnyMessage]]:
    get_stream_writer()({"level": "leaf"})
    return {"messages": [await model("deep down").ainvoke(state["messages"])]}


leaf_builder = StateGraph(MessagesState)
leaf_builder.add_node("leaf", leaf)
leaf_builder.add_edge(START, "leaf")


async def middle(state: MessagesState) -> dict[str, list[AnyMessage]]:
    get_stream_writer()({"level": "middle"})
    return {"messages": [await model("half way").ainvoke(state["messages"])]}


middle_builder = StateGraph(MessagesState)
middle_builder.add_node("middle", middle)
middle_builder.add_node("below", leaf_builder.compile())
middle_builder.add_edge(START, "middle")
middle_builder.add_edge("middle", "below")


async def top(state: MessagesState) -> dict[str, list[AnyMessage]]:
    get_stream_writer()({"level": "top"})
    return {"messages": [await model("back on top").ainvoke(state["messages"])]}


top_builder = StateGraph(MessagesState)
top_builder.add_node("inside", middle_builder.compile())
top_builder.add_node("top", top)
top_builder.add_edge(START, "inside")
top_builder.add_edge("inside", "top")
levels = top_builder.compile()
