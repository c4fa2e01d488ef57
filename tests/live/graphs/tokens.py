"""One node, one model, a handful of tokens."""

from __future__ import annotations

import itertools

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, MessagesState, StateGraph

# A cycle of one: the answer does not depend on how many runs there were.
model = GenericFakeChatModel(messages=itertools.cycle([AIMessage("one small step for a mock")]))


async def say(state: MessagesState) -> dict[str, list[AnyMessage]]:
    return {"messages": [await model.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("say", say)
builder.add_edge(START, "say")
tokens = builder.compile()
