"""Tests of `cassettes/showing/preview.py`."""

from __future__ import annotations

import time

import orjson
import pytest

from graphtape.cassettes.showing.preview import LIMIT, body_preview, event_preview


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("metadata", {"run_id": "r1", "attempt": 1}, "run r1, attempt: 1"),
        ("error", {"error": "ValueError", "message": "boom"}, "ValueError: boom"),
        ("messages", [{"type": "AIMessageChunk", "content": "Hel"}, {"langgraph_node": "model"}], '"Hel"  (model)'),
        ("messages|sub:1", [{"type": "AIMessageChunk", "content": "x"}, {}], '"x"'),
        ("messages", [{"type": "tool", "content": "42"}, {"langgraph_node": "tools"}], 'tool: "42"  (tools)'),
        ("messages", [{"type": "AIMessageChunk", "content": ""}, {}], '""'),
        (
            "messages",
            [{"type": "AIMessageChunk", "content": "", "tool_call_chunks": [{"name": "f", "args": '{"a'}]}, {}],
            '→ f({"a)',
        ),
        ("messages", [{"type": "AIMessageChunk", "content": [{"type": "text", "text": "hi"}]}, {}], '"hi"'),
        ("messages/partial", [{"type": "ai", "content": "Hello"}], 'ai: "Hello"'),
        ("messages/metadata", {"m1": {"metadata": {"langgraph_node": "model"}}}, "m1  (model)"),
        ("values", {"messages": [{"type": "human", "content": "a"}, {"type": "ai", "content": "b"}], "n": 2},
         'messages: [1 before, ai: "b"], n: 2'),
        ("values", {"foo": "hi"}, 'foo: "hi"'),
        ("updates", {"node": {"foo": "x"}}, 'node: {foo: "x"}'),
        ("updates", {"__interrupt__": []}, "__interrupt__: []"),
        ("tasks", {"id": "1", "name": "n", "input": {"a": 1}}, "n starts: a: 1"),
        ("tasks", {"id": "1", "name": "n", "error": None, "result": {"a": 1}, "interrupts": []}, "n done: a: 1"),
        ("tasks", {"name": "n", "error": {"error": "E", "message": "m"}, "result": {}}, "n failed: E: m"),
        ("checkpoints", {"values": {"a": 1}, "metadata": {"step": 0}, "next": ["n"]}, "step 0 → n: {a: 1}"),
        ("debug", {"type": "task", "payload": {"name": "n", "input": 1}}, "task: n starts: 1"),
        ("events", {"event": "on_chain_end", "name": "n", "data": {}}, "on_chain_end n: {}"),
        ("custom", None, "null"),
        ("custom", "a\nb\x1b", '"a\\nb\\x1b"'),
        ("custom", 3, "3"),
    ],
)  # fmt: skip
def test_event_of_the_server(name: str, value: object, shown: str) -> None:
    """Each kind of event says first what a person looks for."""
    assert event_preview(name, orjson.dumps(value)) == shown


@pytest.mark.parametrize("name", ["metadata", "error", "values", "messages", "messages/partial", "messages/metadata",
                                  "tasks", "checkpoints", "debug", "events", "updates", "custom", ""])  # fmt: skip
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, [1], [[]], [{}], {"a": None}, {"content": 1, "type": "x"},
                                   {"payload": 1, "values": 1, "event": 1, "name": 1, "messages": [1]},
                                   [{"type": "AIMessageChunk", "content": {"a": 1}, "tool_calls": [1]}, 1]],
)  # fmt: skip
def test_event_of_an_unexpected_shape(name: str, value: object) -> None:
    """A preview never fails, whatever the data is."""
    assert isinstance(event_preview(name, orjson.dumps(value)), str)


def test_data_that_is_no_json() -> None:
    """Text is shown as text, bad bytes are replaced, none is said to be none."""
    assert event_preview("x", b"hello\xff\x00") == "hello�\\0"
    assert event_preview("x", None) == "(no data)"
    assert body_preview(b"") == "(empty)"


def test_huge_data() -> None:
    """Megabytes cost no walk through all of them."""
    data = orjson.dumps({"blob": "漢" * 1_000_000})
    start = time.perf_counter()
    assert len(event_preview("custom", data)) <= LIMIT
    assert len(event_preview("custom", data * 2)) <= LIMIT
    assert time.perf_counter() - start < 0.25


def test_many_keys_and_deep_nesting() -> None:
    """Wide and deep data end in an ellipsis."""
    assert event_preview("custom", orjson.dumps({str(n): n for n in range(10_000)})).endswith("…")
    deep: object = 1
    for _ in range(50):
        deep = [deep]
    assert event_preview("custom", orjson.dumps(deep)) == "[[[[[[…]]]]]]"
