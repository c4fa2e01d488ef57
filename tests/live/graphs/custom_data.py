"""Custom events of every shape that JSON has, and text that trips parsers."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

# U+2028 and U+0085 end lines for `str.splitlines`, NUL ends an SSE id, the last one is half of a pair.
ODD_TEXTS = (
    "line\u2028separator\u2029paragraph\u0085next\x7fdel\ufeffbom",
    "nul\x00inside",
    'newline\nreturn\rtab\tquote"backslash\\',
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈, right to left: שלום עולم",
    "lone \ud800 surrogate",
    "event: fake\r\n\r\ndata: {}\r\n\r\n",
)


class Said(TypedDict):
    texts: Annotated[list[str], operator.add]


def write_shapes(state: Said) -> Said:
    write = get_stream_writer()
    for value in (None, True, 0, -1.5, "", "plain", [], {}, [1, [2, [3]]], {"ключ": {"é": None}}):
        write(value)
    return {"texts": ["shapes"]}


shapes_builder = StateGraph(Said)
shapes_builder.add_node("write", write_shapes)
shapes_builder.add_edge(START, "write")
custom_data = shapes_builder.compile()


def write_texts(state: Said) -> Said:
    write = get_stream_writer()
    for text in ODD_TEXTS:
        write({"text": text})
    return {"texts": list(ODD_TEXTS)}


texts_builder = StateGraph(Said)
texts_builder.add_node("sub graph é", write_texts)
texts_builder.add_edge(START, "sub graph é")
odd_unicode = texts_builder.compile()
