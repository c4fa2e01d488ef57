"""What a run-starting request is compared by."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest

from graphtape.protocol.aspects import (
    ASPECTS,
    MAX_DIFFERENCES,
    Difference,
    Weight,
    differences,
    format_path,
    parse_path,
    preference_differences,
)
from graphtape.protocol.errors import ProtocolError
from graphtape.protocol.mask import MASK

Body = dict[str, object]


def human(text: str, **more: object) -> Body:
    return {"type": "human", "content": text, **more}


def body(text: str = "hello", **more: object) -> Body:
    return {"assistant_id": "agent", "input": {"messages": [human(text)]}, **more}


def constructor(name: str, **kwargs: object) -> Body:
    """A message as JSON.stringify writes one of LangChain's objects."""
    return {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", name], "kwargs": kwargs}


# What varies from one run of a client to the next, and must not matter (docs/clients.md, section 7).
EQUAL: dict[str, tuple[Body, Body]] = {
    "the same": (body(), body()),
    "another order of keys": (
        {"assistant_id": "a", "input": {"a": 1, "b": 2}},
        {"input": {"b": 2, "a": 1}, "assistant_id": "a"},
    ),
    "thread id in the config, as React sends it": (
        body(config={"configurable": {"thread_id": "1"}}),
        body(config={"configurable": {"thread_id": "2"}}),
    ),
    "only the thread id in the config": (body(config={"configurable": {"thread_id": "1"}}), body()),
    "id of a human message": (
        {"input": {"messages": [human("x", id="1")]}},
        {"input": {"messages": [human("x", id="2")]}},
    ),
    "a human message without id": (
        {"input": {"messages": [human("x", id="1")]}},
        {"input": {"messages": [human("x")]}},
    ),
    "id of a user message": (
        {"input": {"messages": [{"role": "user", "content": "x", "id": "1"}]}},
        {"input": {"messages": [{"role": "user", "content": "x", "id": "2"}]}},
    ),
    "id of a human message in another list": (
        {
            "input": {"chat": {"log": [human("x", id="1")]}},
            "command": {"update": {"messages": [human("y", id="3")]}},
        },
        {
            "input": {"chat": {"log": [human("x", id="2")]}},
            "command": {"update": {"messages": [human("y", id="4")]}},
        },
    ),
    "a single human message": (
        {"input": {"messages": human("x", id="1")}},
        {"input": {"messages": human("x", id="2")}},
    ),
    "id of a human message written as an object": (
        {"input": {"messages": [constructor("HumanMessage", content="x", id="1")]}},
        {"input": {"messages": [constructor("HumanMessage", content="x", id="2")]}},
    ),
    "checkpoint of the second turn": (
        body(checkpoint={"checkpoint_id": "1"}),
        body(checkpoint={"checkpoint_id": "2"}),
    ),
    "checkpoint that only one client sends": (
        body(checkpoint={"checkpoint_id": "1", "checkpoint_ns": ""}),
        body(),
    ),
    "checkpoint in the config": (
        body(config={"configurable": {"checkpoint_id": "1", "checkpoint_ns": ""}}),
        body(config={"configurable": {"checkpoint_id": "2"}}),
    ),
    "how the answer is wanted": (
        body(stream_mode=["values"], stream_subgraphs=True, stream_resumable=True),
        body(stream_mode="updates"),
    ),
    "what happens around the run": (
        body(
            metadata={"a": 1},
            on_disconnect="cancel",
            multitask_strategy="reject",
            if_not_exists="create",
            webhook="u",
        ),
        body(
            metadata={"a": 2}, durability="exit", after_seconds=1, feedback_keys=["a"], on_completion="keep"
        ),
    ),
    "fields that the server does not know": (body(foo=1), body(bar=2)),
    "absent and null": (body(config=None, command=None, interrupt_before=None), body()),
    "absent and null, deep": (
        {"input": {"a": {"b": None, "c": 1}}, "config": {"configurable": {"x": None}}},
        {"input": {"a": {"c": 1, "d": None}}, "config": None},
    ),
    "empty objects and lists where the server sees none": (
        body(
            config={"configurable": {}, "metadata": {}, "tags": []},
            context={},
            command={},
            interrupt_before=[],
            interrupt_after=[],
        ),
        body(),
    ),
    "1 and 1.0": ({"input": {"n": 1, "m": [2.0]}}, {"input": {"n": 1.0, "m": [2]}}),
    "an integer beyond 64 bits": ({"input": 2**70}, {"input": 2**70}),
    "a masked value": (
        body(config={"configurable": {"api_key": MASK}}),
        body(config={"configurable": {"api_key": "k"}}),
    ),
    "a masked value that is not sent": (body(config={"configurable": {"api_key": MASK}}), body()),
    "a masked object": ({"context": {"login": MASK}}, {"context": {"login": {"user": "u", "password": "p"}}}),
    "stars as mask": ({"context": {"token": "*****"}}, {"context": {"token": "abcde"}}),
    "a mask inside a text": (
        {"input": f"my key\nis {MASK}, and {MASK}."},
        {"input": "my key\nis abc, and d\ne."},
    ),
    "stars as mask inside a text": (
        {"input": [human("my key is ******** ok")]},
        {"input": [human("my key is abcd1234 ok")]},
    ),
}

# What must matter, and where it is said to be.
DIFFERENT: dict[str, tuple[Body, Body, list[tuple[str, object, object]]]] = {
    "another assistant": (body(), {**body(), "assistant_id": "other"}, [("assistant_id", "agent", "other")]),
    "another text": (body("a"), body("b"), [("input.messages[0].content", "a", "b")]),
    "another spelling of a message": (
        {"input": {"messages": [{"role": "user", "content": "x"}]}},
        {"input": {"messages": [{"type": "human", "content": "x"}]}},
        [("input.messages[0].role", "user", None), ("input.messages[0].type", None, "human")],
    ),
    "id of an answer": (
        {"input": {"messages": [{"type": "ai", "content": "x", "id": "1"}]}},
        {"input": {"messages": [{"type": "ai", "content": "x", "id": "2"}]}},
        [("input.messages[0].id", "1", "2")],
    ),
    "id of an answer written as an object": (
        {"input": [constructor("AIMessage", content="x", id="1")]},
        {"input": [constructor("AIMessage", content="x", id="2")]},
        [("input[0].kwargs.id", "1", "2")],
    ),
    "id of what is no message": ({"input": {"id": "1"}}, {"input": {"id": "2"}}, [("input.id", "1", "2")]),
    "one message more": (
        {"input": {"messages": [human("a")]}},
        {"input": {"messages": [human("a"), human("b")]}},
        [("input.messages[1]", None, human("b"))],
    ),
    "a null more": ({"input": [1]}, {"input": [1, None]}, [("input[1]", None, None)]),
    "start and continue": ({"input": {}}, {"input": None}, [("input", {}, None)]),
    "an empty object inside the input": ({"input": {"a": {}}}, {"input": {}}, [("input.a", {}, None)]),
    "another answer to an interrupt": (
        {"command": {"resume": "yes"}},
        {"command": {"resume": "no"}},
        [("command.resume", "yes", "no")],
    ),
    "an empty answer and none": ({"command": {"resume": {}}}, {}, [("command.resume", {}, None)]),
    "config": (
        {"config": {"recursion_limit": 5, "configurable": {"thread_id": "1", "model": "a"}}},
        {"config": {"configurable": {"thread_id": "2", "model": "b"}}},
        [("config.recursion_limit", 5, None), ("config.configurable.model", "a", "b")],
    ),
    "config that only one has": ({}, {"config": {"tags": ["t"]}}, [("config.tags", None, ["t"])]),
    "context": ({"context": {"a": {"b": 1}}}, {"context": {"a": {"b": 2}}}, [("context.a.b", 1, 2)]),
    "thread_id outside configurable": (
        {"context": {"thread_id": "1"}},
        {"context": {"thread_id": "2"}},
        [("context.thread_id", "1", "2")],
    ),
    "interrupts": (
        {"interrupt_before": "*", "interrupt_after": ["a"]},
        {"interrupt_before": ["*"], "interrupt_after": ["b"]},
        [("interrupt_before", "*", ["*"]), ("interrupt_after[0]", "a", "b")],
    ),
    "true and 1": ({"input": {"a": True}}, {"input": {"a": 1}}, [("input.a", True, 1)]),
    "1 and text": ({"input": 1}, {"input": "1"}, [("input", 1, "1")]),
    "object and list": ({"input": {}}, {"input": []}, [("input", {}, [])]),
    "what is masked in the request only": ({"input": "abc"}, {"input": "***"}, [("input", "abc", "***")]),
    "a mask inside another text": (
        {"input": f"a {MASK} b"},
        {"input": "a x c"},
        [("input", f"a {MASK} b", "a x c")],
    ),
    "stars as mask for a text of another length": (
        {"input": "a ******** b"},
        {"input": "a abcd123 b"},
        [("input", "a ******** b", "a abcd123 b")],
    ),
    "odd keys": (
        {"input": {"a.b": {"": {"c d": 1}}}},
        {"input": {"a.b": {"": {"c d": 2}}}},
        [('input["a.b"][""]["c d"]', 1, 2)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", EQUAL)
def test_what_does_not_matter(case: str) -> None:
    """Equal, whichever of the two was recorded; except for masks, which only a recording has."""
    recorded, asked = EQUAL[case]
    assert differences(recorded, asked) == []
    if "mask" not in case:
        assert differences(asked, recorded) == []


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_matters(case: str) -> None:
    """Every difference, in the order of the table and the bodies, as deep as it goes."""
    recorded, asked, expected = DIFFERENT[case]
    assert differences(recorded, asked) == [Difference(*each) for each in expected]
    if "mask" in case:
        return
    mirrored = differences(asked, recorded)
    assert sorted((d.field, repr(d.asked), repr(d.recorded)) for d in mirrored) == sorted(
        (field, repr(ours), repr(theirs)) for field, ours, theirs in expected
    )


def test_an_assistant_by_its_two_names() -> None:
    """Who knows that a graph and a UUID are one assistant says so; it is asked only about different texts."""
    asked: list[tuple[str, str]] = []

    def same(recorded: str, other: str) -> bool:
        asked.append((recorded, other))
        return other == "fe096781-5601-53d2-b2f6-0d3403f7e9ca"

    recorded = {"assistant_id": "agent"}
    assert (
        differences(recorded, {"assistant_id": "fe096781-5601-53d2-b2f6-0d3403f7e9ca"}, same_assistant=same)
        == []
    )
    assert len(differences(recorded, {"assistant_id": "x"}, same_assistant=same)) == 1
    assert differences(recorded, {"assistant_id": "agent"}, same_assistant=same) == []
    assert len(differences(recorded, {}, same_assistant=same)) == 1
    assert len(asked) == 2


@pytest.mark.parametrize(
    "ignore",
    [
        ["input.now", "input.log[0].at", "input.log[1].at"],
        ["/input/now", "/input/log/0/at", "/input/log/1/at"],
        ["input.now", "input.log[*].at"],
        ["input.*", "input.log"],
        ["input"],
    ],
)
def test_what_the_user_ignores(ignore: list[str]) -> None:
    """Dotted paths and JSON pointers, with `*` for any step; what is below is ignored too."""
    recorded = {"input": {"now": 1, "log": [{"at": 1}, {"at": {"x": 2}}]}}
    asked = {"input": {"now": {"y": 2}, "log": [{"at": 3}, {}]}}
    assert len(differences(recorded, asked)) == 3
    assert differences(recorded, asked, ignore=ignore) == []


def test_an_ignored_path_is_that_path_only() -> None:
    """Neither its neighbours nor the same name elsewhere."""
    found = differences(
        {"input": {"a": {"now": 1}, "now2": 1}}, {"input": {"a": {"now": 2}, "now2": 2}}, ignore=["input.now"]
    )
    assert [each.field for each in found] == ["input.a.now", "input.now2"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("input.now", ("input", "now")),
        ("/input/now", ("input", "now")),
        ("input.messages[0].content", ("input", "messages", "0", "content")),
        ("input[*][3]", ("input", "*", "3")),
        ("/input/a.b/c~1d/~0", ("input", "a.b", "c/d", "~")),
        ("input", ("input",)),
    ],
)
def test_paths_are_read(text: str, path: tuple[str, ...]) -> None:
    """Both spellings; a pointer for keys with dots."""
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "/", ".", "input.", "input..a", "input[", "input[a]", "input]", "[0]", "//a"]
)
def test_what_is_no_path(text: str) -> None:
    """An error of ours, with both spellings in it."""
    with pytest.raises(ProtocolError, match=r"write it as input.messages\[0\].now or as the JSON pointer"):
        differences({}, {}, ignore=[text])


def test_paths_are_written() -> None:
    """What `parse_path` does not take is quoted as JSON."""
    assert format_path(("input", "messages", 0, "a.b", 'c"d')) == 'input.messages[0]["a.b"]["c\\"d"]'


def test_differences_are_capped() -> None:
    """No more than one reads, and one is enough to know."""
    recorded: Body = {"input": list(range(1000))}
    asked: Body = {"input": [i + 1 for i in range(1000)], "config": {"a": 1}}
    assert len(differences(recorded, asked)) == MAX_DIFFERENCES
    assert [each.field for each in differences(recorded, asked, limit=1)] == ["input[0]"]


def test_preferences() -> None:
    """The checkpoint, in each place where clients put it; nothing else."""
    recorded = body("a", checkpoint={"checkpoint_id": "1"}, config={"configurable": {"checkpoint_id": "1"}})
    asked = body("b", checkpoint={"checkpoint_id": "2"}, checkpoint_id="3")
    assert [(each.field, each.recorded, each.asked) for each in preference_differences(recorded, asked)] == [
        ("checkpoint.checkpoint_id", "1", "2"),
        ("checkpoint_id", None, "3"),
        ("config.configurable.checkpoint_id", "1", None),
    ]
    assert preference_differences(recorded, recorded) == []


@pytest.mark.slow
def test_bodies_nested_deeper_than_python_recurses() -> None:
    """A hostile body is compared, not a crash."""
    deep: list[object] = [1]
    other: list[object] = [2]
    for _ in range(2000):
        deep, other = [deep], [other]
    (difference,) = differences({"input": deep}, {"input": other})
    assert (difference.recorded, difference.asked) == (1, 2)
    assert differences({"input": deep}, {"input": deep}) == []


def test_equal_bodies_are_compared_fast() -> None:
    """Equal bodies of a long conversation cost microseconds, since every candidate is asked."""
    recorded = {"assistant_id": "agent", "input": {"messages": [human("x" * 200) for _ in range(200)]}}
    asked = json.loads(json.dumps(recorded))
    started = time.perf_counter()
    for _ in range(20):
        assert differences(recorded, asked) == []
    assert (time.perf_counter() - started) / 20 < 0.005


def test_odd_values_in_messages_are_no_error() -> None:
    """Types where the message rules look, of any shape."""
    odds: tuple[Any, ...] = ([], {}, None, 1, ["HumanMessage"], {"a": []})
    for odd in odds:
        message = {"content": "x", "type": odd, "role": odd, "id": odd}
        assert differences({"input": [message]}, {"input": [dict(message)]}) == []
        assert differences({"input": [message]}, {"input": [{**message, "content": "y"}]})


@pytest.mark.live
def test_the_running_server_knows_no_other_field(agent_server: Any) -> None:
    """Every field of the server's own schemas has a weight."""
    with urllib.request.urlopen(agent_server.url + "/openapi.json", timeout=20) as response:
        schemas = json.load(response)["components"]["schemas"]
    known = {
        name
        for schema in ("RunCreateStateful", "RunCreateStateless")
        for name in schemas[schema]["properties"]
    }
    assert known <= set(ASPECTS)
    assert {name for name, weight in ASPECTS.items() if weight is Weight.COMPARED} <= known
