"""A node that works, then one that raises."""

from __future__ import annotations

from typing import TypedDict

from langgraph.graph import START, StateGraph


class Count(TypedDict):
    n: int


def works(state: Count) -> Count:
    return {"n": state["n"] + 1}


def breaks(state: Count) -> Count:
    raise ValueError(f"no luck at {state['n']}")


builder = StateGraph(Count)
builder.add_node("works", works)
builder.add_node("breaks", breaks)
builder.add_edge(START, "works")
builder.add_edge("works", "breaks")
failing = builder.compile()
