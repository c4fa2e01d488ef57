"""Adding up message chunks: langchain-core, which the server uses, is the oracle."""

from __future__ import annotations

import copy
import importlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.protocol.messages import (
    Accumulation,
    UnknownShape,
    add_chunks,
    chunk_to_message,
    dumps,
    is_message,
    iter_messages,
    loads,
    parse_partial_json,
)

# The oracle of these tests, and of nothing else: the product does not know langchain-core.
oracle = importlib.import_module("langchain_core.messages")
oracle_json = importlib.import_module("langchain_core.utils.json")

META = {"langgraph_node": "n"}


def written(message: Any) -> bytes:
    """A message as the server writes it."""
    return orjson.dumps(message.model_dump())


def chunk(**fields: Any) -> dict[str, Any]:
    """A chunk as it stands in a `messages` event."""
    message: dict[str, Any] = orjson.loads(
        written(oracle.AIMessageChunk(**({"content": "", "id": "m"} | fields)))
    )
    return message


def call(
    index: int | None, args: str | None, name: str | None = None, call_id: str | None = None
) -> dict[str, Any]:
    return {"name": name, "args": args, "id": call_id, "index": index, "type": "tool_call_chunk"}


def usage(**extra: Any) -> dict[str, Any]:
    return {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, **extra}


SEQUENCES: dict[str, list[dict[str, Any]]] = {
    "words": [{"content": "a"}, {"content": " b"}, {"content": ""}, {"content": "ï…"}],
    "name in the first only": [{"content": "a", "name": "bob"}, {"content": "b", "name": "bob"}],
    "unknown fields are dropped": [{"content": "a", "extra_field": 1}, {"content": "b", "extra_field": 2}],
    "blocks by index": [
        {"content": [{"type": "text", "text": "a", "index": 0}]},
        {"content": [{"type": "text", "text": "b", "index": 0}, {"type": "text", "text": "c", "index": 1}]},
        {"content": [{"type": "text", "text": "d", "index": "lc_x"}]},
        {"content": [{"type": "text", "text": "e", "index": "lc_x"}, {"type": "text", "text": "f"}]},
    ],
    "string before blocks": [
        {"content": "a"},
        {"content": [{"type": "text", "text": "b"}]},
        {"content": "c"},
    ],
    "empty string before blocks": [{"content": ""}, {"content": [{"type": "text", "text": "b"}]}],
    "blocks before string": [
        *(
            {"content": ["x"]},
            {"content": "y"},
            {"content": [{"type": "t"}]},
            {"content": ""},
            {"content": "z"},
        ),
    ],
    "empty blocks before string": [{"content": []}, {"content": "y"}],
    "non-standard blocks": [
        {"content": [{"type": "non_standard", "index": 0, "value": {"type": "v", "a": "1"}}]},
        {"content": [{"type": "non_standard", "index": 0, "value": {"type": "v", "a": "2", "b": 1}}]},
        {"content": [{"type": "text", "text": "t", "index": 1}]},
        {"content": [{"type": "non_standard", "index": 1, "value": {"type": "v", "c": 1}}]},
    ],
    "tool calls by index": [
        {"tool_call_chunks": [call(0, "", "add", "c1")]},
        {"tool_call_chunks": [call(0, '{"a": [1, {"b":')]},
        {"tool_call_chunks": [call(1, None, "sub", "c2")]},
        {"tool_call_chunks": [call(0, ' "x\\'), call(1, '{"k"')]},
        {"tool_call_chunks": [call(0, 'ny"}]}'), call(1, ": nul")]},
        {"tool_call_chunks": [call(1, "l}")], "chunk_position": "last"},
    ],
    "another id under one index": [
        {"tool_call_chunks": [call(0, "{}", "add", "c1")]},
        {"tool_call_chunks": [call(0, "{}", "add", "c2")]},
    ],
    "calls without index": [
        {"tool_call_chunks": [call(None, "{}", "add", "c1")]},
        {"tool_call_chunks": [call(None, "[1]", "add", "c1")]},
        {"tool_call_chunks": [call(None, "no json")]},
    ],
    "whole tool calls": [
        {
            "tool_calls": [{"name": "n", "args": {"a": 1}, "id": "c"}],
            "invalid_tool_calls": [{"name": "n", "args": "x", "id": "d", "error": "e"}],
        },
        {"content": "more"},
    ],
    "usage": [
        {"usage_metadata": usage(output_token_details={"reasoning": 1, "audio": 2})},
        {"content": "x"},
        {"usage_metadata": usage(input_token_details={"cache_read": 1, "audio": 4})},
        {"usage_metadata": usage(output_token_details={"reasoning": 5})},
    ],
    "metadata": [
        {
            "response_metadata": {
                "model_provider": "p",
                "n": 1,
                "created": 5,
                "none": None,
                "d": {"a": "x"},
                "l": [1],
            }
        },
        {
            "response_metadata": {
                "model_provider": "p",
                "n": 2,
                "created": 7,
                "none": "y",
                "d": {"a": "y"},
                "l": [2],
            }
        },
        {
            "response_metadata": {"id": "same", "d": None},
            "additional_kwargs": {"id": "same", "flag": True, "f": 1.5},
        },
        {"additional_kwargs": {"id": "same", "flag": True, "f": 1.5}},
    ],
    "standard blocks, version 1": [
        {
            "content": [
                {
                    "type": "tool_call_chunk",
                    "id": "c",
                    "name": "n",
                    "args": '{"a"',
                    "index": 0,
                    "extras": {"e": 1},
                }
            ],
            "tool_call_chunks": [call(0, '{"a"', "n", "c")],
            "response_metadata": {"output_version": "v1"},
        },
        {
            "content": [
                {"type": "tool_call_chunk", "args": ":1}", "index": 0},
                {"type": "server_tool_call_chunk", "args": "{}", "index": 1},
            ],
            "tool_call_chunks": [call(0, ":1}")],
        },
        {"content": [], "chunk_position": "last", "response_metadata": {"output_version": "v1"}},
    ],
    "version 1 in one chunk": [
        {
            "content": [{"type": "server_tool_call", "args": "[]", "index": 1}, "text"],
            "chunk_position": "last",
            "response_metadata": {"output_version": "v1"},
        },
    ],
}


def ours(chunks: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    sums = Accumulation()
    return [event for one in chunks for event in sums.feed(one, META)]


def theirs(fields: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    """What the server does, in its words: add, convert, write."""
    total: Any = None
    events: list[tuple[str, bytes]] = []
    for one in fields:
        message = oracle.AIMessageChunk(**({"content": "", "id": "m"} | copy.deepcopy(one)))
        if total is None:
            events.append(("messages/metadata", orjson.dumps({message.id: {"metadata": META}})))
        total = message if total is None else total + message
        events.append(
            ("messages/partial", orjson.dumps([oracle.message_chunk_to_message(total).model_dump()]))
        )
    return events


@pytest.mark.parametrize("name", SEQUENCES)
def test_chunks_add_up_as_in_the_server(name: str) -> None:
    """Every event has the bytes that langchain-core's sum would have."""
    chunks = [chunk(**fields) for fields in SEQUENCES[name]]
    before = copy.deepcopy(chunks)
    assert ours(chunks) == theirs(SEQUENCES[name])
    assert chunks == before


TEXT = st.text(alphabet='ab{}[]":,\\1\n é\x00', max_size=6)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), TEXT, st.just(0.5))
KEYS = st.sampled_from(["id", "index", "type", "created", "a", "value", "output_version"])
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=4
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "non_standard", "tool_call_chunk"])},
    optional={
        "index": st.one_of(st.integers(0, 1), st.sampled_from(["lc_1", "x"])),
        "id": st.sampled_from([None, "c", "d", ""]),
        "text": TEXT,
        "value": st.dictionaries(KEYS, SCALAR, max_size=2),
    },
)
CALL = st.builds(
    call,
    st.sampled_from([None, 0, 1]),
    st.none() | TEXT,
    st.sampled_from([None, "n"]),
    st.sampled_from([None, "c"]),
)
DETAILS = st.dictionaries(st.sampled_from(["audio", "reasoning"]), st.integers(0, 3))
CHUNK = st.fixed_dictionaries(
    {"content": TEXT | st.lists(TEXT | BLOCK, max_size=2)},
    optional={
        "tool_call_chunks": st.lists(CALL, max_size=2),
        "additional_kwargs": st.dictionaries(KEYS, VALUE, max_size=2),
        "response_metadata": st.dictionaries(KEYS, VALUE, max_size=2),
        "usage_metadata": st.builds(usage, output_token_details=DETAILS),
        "chunk_position": st.sampled_from([None, "last"]),
    },
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(CHUNK, min_size=1, max_size=4))
def test_any_chunks(fields: list[dict[str, Any]]) -> None:
    """The same bytes as langchain-core, and refused where it raises."""
    chunks = [chunk(**one) for one in fields]
    try:
        expected = theirs(fields)
    except (TypeError, ValueError, AttributeError):
        with pytest.raises(UnknownShape):
            ours(chunks)
    else:
        assert [(n, loads(d)) for n, d in ours(chunks)] == [(n, orjson.loads(d)) for n, d in expected]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": [true, null, {"c": "d\\n\\u00e9\\\\"}]}',
        "[1, 2.5e3, NaN]",
        '{"a":\n"b\nc"}',
        "}",
        '{"a"]',
        "",
        "x",
    ],
)
def test_every_prefix_of_json(text: str) -> None:
    """A cut anywhere is repaired, or refused, as langchain-core does."""
    for end in range(len(text) + 1):
        expected: object
        try:
            expected = repr(oracle_json.parse_partial_json(text[:end]))
        except ValueError:
            expected = ValueError
        try:
            assert repr(parse_partial_json(text[:end])) == expected
        except ValueError:
            assert expected is ValueError


def test_two_messages_side_by_side() -> None:
    """Each id has its own sum and its own metadata event."""
    events = ours([chunk(id="a", content="1"), chunk(id="b", content="2"), chunk(id="a", content="3")])
    assert [name for name, _ in events] == ["messages/metadata", "messages/partial"] * 2 + [
        "messages/partial"
    ]
    assert orjson.loads(events[-1][1])[0]["content"] == "13"


def test_whole_message() -> None:
    """What is no chunk is complete, with its own bytes."""
    message = orjson.loads(written(oracle.ToolMessage("x", tool_call_id="c", id="t")))
    assert ours([message]) == [
        ("messages/metadata", dumps({"t": {"metadata": META}})),
        ("messages/complete", dumps([message])),
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [orjson.loads(written(oracle.ToolMessageChunk("x", tool_call_id="c", id="m")))],
        [chunk(), orjson.loads(written(oracle.AIMessage("x", id="m")))],
        [orjson.loads(written(oracle.AIMessage("x", id="m"))), chunk()],
        [chunk() | {"id": None}],
        [chunk(additional_kwargs={"a": 1}), chunk(additional_kwargs={"a": "x"})],
        [chunk(additional_kwargs={"a": True}), chunk(additional_kwargs={"a": False})],
        [
            chunk(additional_kwargs={"tool_calls": [{"no": "function"}]})
            | {"tool_calls": [], "tool_call_chunks": []}
        ],
        [chunk() | {"content": 5}],
        [chunk() | {"tool_call_chunks": ["x"]}],
        [{"type": "ai", "id": "m"}],
    ],
)
def test_unknown_shapes_are_refused(messages: list[dict[str, Any]]) -> None:
    """What the server would do with them is not known, so nothing is sent."""
    with pytest.raises(UnknownShape):
        ours(messages)


@pytest.mark.parametrize(
    "data",
    [
        rb'"a\ufffdb"',
        '"a\ufffdb"'.encode(),
        rb'"a\\ufffdb"',
        '"\u2028\u0085\x7f\ufeff"'.encode(),
        b'{"a":1.5e+16,"b":-0.0,"c":18446744073709551615}',
    ],
)
def test_json_is_written_as_it_was_read(data: bytes) -> None:
    """The escape for NUL and a raw U+FFFD stay apart; numbers and odd characters keep their form."""
    assert dumps(loads(data)) == data


def test_json_that_needs_the_servers_rules() -> None:
    """NUL becomes an escape; half a surrogate pair and a huge integer are refused."""
    with pytest.raises(UnknownShape):
        dumps("\ud83d")
    assert dumps("\0") == rb'"\ufffd"'
    with pytest.raises(UnknownShape):
        dumps(2**64)
    with pytest.raises(UnknownShape):
        loads(b"{")


def test_half_a_surrogate_pair_in_arguments() -> None:
    """Arguments cut inside an escaped emoji fail the server's run in this mode, so they are refused."""
    chunks = [
        chunk(tool_call_chunks=[call(0, '{"a":', "n", "c")]),
        chunk(tool_call_chunks=[call(0, '"\\ud83d')]),
    ]
    with pytest.raises(UnknownShape):
        ours(chunks)


def test_messages_of_a_state() -> None:
    """Messages are found as values and in lists that are values, nowhere deeper."""
    one, two = chunk(id="1"), chunk(id="2")
    state = {"m": [one, "x", [two]], "last": two, "deep": {"m": [one]}, "n": None}
    assert [message["id"] for message in iter_messages(state)] == ["1", "2"]
    assert not list(iter_messages([one]))
    assert not is_message({"type": "ai", "content": ""})
    assert is_message(json.loads(json.dumps(one)))


def test_add_then_convert() -> None:
    """The two steps are public for callers that keep sums themselves."""
    total = add_chunks(chunk(content="a"), chunk(content="b"))
    assert total["type"] == "AIMessageChunk"
    assert chunk_to_message(total)["type"] == "ai"
