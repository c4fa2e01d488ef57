"""Interrupts and their resume: one question, and two asked at once."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Answers(TypedDict):
    said: Annotated[list[str], operator.add]


def before(state: Answers) -> Answers:
    return {"said": ["before"]}


def question(state: Answers) -> Answers:
    return {"said": [str(interrupt({"question": "ok?"}))]}


one_builder = StateGraph(Answers)
one_builder.add_node("before", before)
one_builder.add_node("question", question)
one_builder.add_edge(START, "before")
one_builder.add_edge("before", "question")
ask = one_builder.compile()


def left(state: Answers) -> Answers:
    return {"said": [f"left {interrupt('left?')}"]}


def right(state: Answers) -> Answers:
    return {"said": [f"right {interrupt('right?')}"]}


two_builder = StateGraph(Answers)
two_builder.add_node("left", left)
two_builder.add_node("right", right)
two_builder.add_edge(START, "left")
two_builder.add_edge(START, "right")
ask_twice = two_builder.compile()
