"""Stream modes and the words of the server's refusals."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from graphtape.protocol.errors import InvalidStreamMode
from graphtape.protocol.modes import (
    STREAM_MODES,
    BodySchema,
    StreamOptions,
    parse_stream_modes,
    refusal,
    split_event_name,
    stream_options,
)

VALUES_ONLY = frozenset({"values"})

ACCEPTED: list[tuple[object, set[str]]] = [
    ([], {"values"}),
    ("updates", {"updates"}),
    (["updates"], {"updates"}),
    (["updates", "updates"], {"updates"}),
    (["custom", "updates"], {"updates", "custom"}),
    ("messages", {"messages"}),
    ("messages-tuple", {"messages-tuple"}),
    (["messages", "messages-tuple"], {"messages-tuple"}),
    (["messages-tuple", "values", "messages"], {"messages-tuple", "values"}),
]

REFUSED: list[object] = [
    None,
    "",
    "bogus",
    "tools",
    "lifecycle",
    "metadata",
    "Values",
    "values,updates",
    5,
    5.0,
    1e-5,
    1e-7,
    1e20,
    2**64,
    -(2**63) - 1,
    True,
    False,
    {},
    {"b": 1, "a": [None, "x"]},
    {"values": True},
    [None],
    [5],
    ["bogus"],
    ["values", "bogus"],
    ["values", None],
    ["values", ["updates"]],
    'é"\\/\n\u2028\x7f\x01',
]

# The shown value of a refusal, as the server printed it.
PRINTED: list[tuple[object, str]] = [
    ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
    ({"é": []}, '{"é":[]}'),
    ('é"x\n\u2028', '"é\\"x\\n\u2028"'),
    ("a\x7f\x01/\\", '"a\x7f\\u0001/\\\\"'),
    (1e20, "1e+20"),
    (1e-7, "1e-7"),
    (1e-5, "0.00001"),
    (-1.5e-5, "-0.000015"),
    (1.23456789e-05, "0.0000123456789"),
    (0.0001, "0.0001"),
    (5.0, "5.0"),
    (-0.0, "-0.0"),
    (1e15, "1000000000000000.0"),
    (1e16, "1e+16"),
    (2**64 - 1, "18446744073709551615"),
    (2**64, "1.8446744073709552e+19"),
    (True, "true"),
    (None, "null"),
]

# Body -> the detail, as the server wrote it, with {schema} for the schema's name.
DETAILS: list[tuple[object, str]] = [
    ([], '[] is not of type "object"\n\nFailed validating "type" in {schema}\n\nOn instance:\n    []'),
    (None, 'null is not of type "object"\n\nFailed validating "type" in {schema}\n\nOn instance:\n    null'),
    (
        {"stream_mode": "bogus"},
        (
            '"assistant_id" is a required property\n\nFailed validating "required" in {schema}\n\n'
            'On instance:\n    {"stream_mode":"bogus"}'
        ),
    ),
    (
        {"assistant_id": 5, "stream_mode": "bogus"},
        (
            "5 is not valid under any of the schemas listed in the 'anyOf' keyword\n\n"
            'Failed validating "anyOf" in {schema}["properties"]["assistant_id"]\n\nOn instance["assistant_id"]:\n    5'
        ),
    ),
    (
        {"assistant_id": "agent", "stream_subgraphs": "x", "stream_mode": "bogus"},
        (
            "\"bogus\" is not valid under any of the schemas listed in the 'anyOf' keyword\n\n"
            'Failed validating "anyOf" in {schema}["properties"]["stream_mode"]\n\n'
            'On instance["stream_mode"]:\n    "bogus"'
        ),
    ),
    (
        {"assistant_id": "agent", "stream_subgraphs": "x", "stream_resumable": None},
        (
            'null is not of type "boolean"\n\nFailed validating "type" in {schema}["properties"]["stream_resumable"]'
            '\n\nOn instance["stream_resumable"]:\n    null'
        ),
    ),
    (
        {"assistant_id": "agent", "stream_subgraphs": 1},
        (
            '1 is not of type "boolean"\n\nFailed validating "type" in {schema}["properties"]["stream_subgraphs"]\n\n'
            'On instance["stream_subgraphs"]:\n    1'
        ),
    ),
]

THREAD = "00000000-0000-7000-8000-000000000000"
ROUTES = {
    f"/threads/{THREAD}/runs/stream": BodySchema.STATEFUL,
    f"/threads/{THREAD}/runs/wait": BodySchema.STATEFUL,
    f"/threads/{THREAD}/runs": BodySchema.CREATE,
    "/runs/stream": BodySchema.STATELESS,
    "/runs/wait": BodySchema.STATELESS,
    "/runs": BodySchema.CREATE,
}


def test_a_missing_stream_mode_is_values() -> None:
    """Without the key, the mode is `values`."""
    assert parse_stream_modes() == VALUES_ONLY
    assert stream_options({}) == StreamOptions(VALUES_ONLY, subgraphs=False, resumable=False)


@pytest.mark.parametrize(
    ("value", "modes"), ACCEPTED, ids=lambda one: repr(sorted(one) if isinstance(one, set) else one)
)
def test_accepted_values(value: object, modes: set[str]) -> None:
    """One mode or a list; order and repetition mean nothing; messages-tuple displaces messages."""
    assert parse_stream_modes(value) == modes
    assert stream_options({"stream_mode": value}).modes == modes


@pytest.mark.parametrize("mode", sorted(STREAM_MODES))
def test_each_of_the_nine_modes(mode: str) -> None:
    """Each is accepted alone and in a list."""
    assert parse_stream_modes(mode) == parse_stream_modes([mode]) == {mode}
    assert len(STREAM_MODES) == 9


@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_refused_values(value: object) -> None:
    """Null, unknown names and other types are refused, alone and in a list; the error keeps the value."""
    with pytest.raises(InvalidStreamMode) as caught:
        parse_stream_modes(value)
    assert caught.value.value == value
    with pytest.raises(InvalidStreamMode):
        stream_options({"stream_mode": value})
    assert refusal({"assistant_id": "agent", "stream_mode": value}, BodySchema.STATEFUL) is not None


def test_every_list_of_modes_is_the_set_of_its_members() -> None:
    """All pairs, in both orders."""
    for pair in itertools.permutations(STREAM_MODES, 2):
        expected = set(pair) - ({"messages"} if "messages-tuple" in pair else set())
        assert parse_stream_modes(list(pair)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("updates", ("updates", ())),
        ("updates|a:1|b:2", ("updates", ("a:1", "b:2"))),
        ("messages/partial", ("messages/partial", ())),
        ("custom|sub graph é:38d4", ("custom", ("sub graph é:38d4",))),
        ("", ("", ())),
        ("values|", ("values", ("",))),
    ],
)
def test_event_names_are_split(name: str, expected: tuple[str, tuple[str, ...]]) -> None:
    """What stands before the first bar is the mode, each part behind it one level of the namespace."""
    assert split_event_name(name) == expected


def test_the_switches() -> None:
    """Only true is true; what is no boolean the server refuses, and here it asks for nothing."""
    assert stream_options({"stream_subgraphs": True, "stream_resumable": True}) == StreamOptions(
        VALUES_ONLY, subgraphs=True, resumable=True
    )
    wrongs: tuple[object, ...] = (None, 1, "true", [])
    for wrong in wrongs:
        options = stream_options({"stream_subgraphs": wrong, "stream_resumable": wrong})
        assert (options.subgraphs, options.resumable) == (False, False)


@pytest.mark.parametrize(("value", "printed"), PRINTED, ids=repr)
def test_values_are_printed_as_the_validator_does(value: object, printed: str) -> None:
    """Keys sorted, nothing escaped that JSON does not require, numbers as the server writes them."""
    detail = refusal({"assistant_id": "agent", "stream_mode": value}, BodySchema.CREATE)
    assert detail is not None
    assert detail.startswith(f"{printed} is not valid")
    assert detail.endswith(f"    {printed}")


@pytest.mark.parametrize("schema", BodySchema)
@pytest.mark.parametrize(("body", "detail"), DETAILS, ids=repr)
def test_refusals_word_for_word(body: object, detail: str, schema: BodySchema) -> None:
    """The server's own words, for each way in which it names the schema."""
    assert refusal(body, schema) == detail.replace("{schema}", schema)


def test_a_good_body_is_not_refused() -> None:
    """Every accepted value of the checked fields, and fields that the server ignores."""
    for value, _ in ACCEPTED:
        body = {
            "assistant_id": "",
            "stream_mode": value,
            "stream_subgraphs": False,
            "stream_resumable": True,
            "x": 1,
        }
        assert refusal(body, BodySchema.STATELESS) is None


def test_a_deeply_nested_value_is_printed_in_bounded_depth() -> None:
    """A hostile body is a refusal, not a crash."""
    value: object = 1
    for _ in range(5000):
        value = [value]
    detail = refusal({"assistant_id": "agent", "stream_mode": value}, BodySchema.STATEFUL)
    assert detail is not None
    assert "..." in detail
    with pytest.raises(InvalidStreamMode, match=r"\[\.\.\.\].* is not a stream mode"):
        parse_stream_modes(value)


def post(url: str, body: object) -> tuple[int, str]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["detail"]


@pytest.mark.live
def test_the_running_server_refuses_in_these_words(agent_server: Any) -> None:
    """Every refused value of this file, on each route: the server's detail is ours."""
    for path, schema in ROUTES.items():
        bodies = [body for body, _ in DETAILS]
        values = REFUSED if path.endswith("stream") else REFUSED[:4]
        bodies += [{"assistant_id": "agent", "stream_mode": value} for value in values]
        bodies += [{"assistant_id": "agent", "stream_mode": value} for value, _ in PRINTED[:2]]
        bodies += [{"assistant_id": "agent", "stream_resumable": value} for value in (None, "true", 1, 0.5)]
        for body in bodies:
            assert post(agent_server.url + path, body) == (422, refusal(body, schema)), (path, body)


@pytest.mark.live
def test_the_running_server_accepts_these_values(agent_server: Any) -> None:
    """What we accept gets past the schema: the refusal is then that the assistant is unknown."""
    for value, _ in ACCEPTED:
        status, detail = post(
            agent_server.url + "/runs/stream", {"assistant_id": "nobody", "stream_mode": value}
        )
        assert (status, detail[:27]) == (422, "Invalid assistant: 'nobody'")
