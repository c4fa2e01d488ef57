"""Request bodies that the server refuses, word for word."""

from __future__ import annotations

import itertools
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from graphtape.protocol.bodies import RULES, BodySchema, Refusal, refusal, run_refusal
from graphtape.protocol.validation import Rule

RUN = {
    BodySchema.STATEFUL: 'schema["components"]["schemas"]["RunCreateStateful"]',
    BodySchema.STATELESS: 'schema["components"]["schemas"]["RunCreateStateless"]',
    BodySchema.CREATE_STATEFUL: "schema",
    BodySchema.CREATE_STATELESS: "schema",
}
"""How the server names the schema of a run-starting body."""

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

NOBODY = "00000000-0000-7000-8000-000000000000"
ROUTES = {
    f"/threads/{NOBODY}/runs/stream": BodySchema.STATEFUL,
    f"/threads/{NOBODY}/runs/wait": BodySchema.STATEFUL,
    f"/threads/{NOBODY}/runs": BodySchema.CREATE_STATEFUL,
    "/runs/stream": BodySchema.STATELESS,
    "/runs/wait": BodySchema.STATELESS,
    "/runs": BodySchema.CREATE_STATELESS,
    "/runs/cancel": BodySchema.CANCEL_RUNS,
    "/threads": BodySchema.CREATE_THREAD,
    "/threads/search": BodySchema.SEARCH_THREADS,
    "/threads/count": BodySchema.COUNT_THREADS,
    "/threads/prune": BodySchema.PRUNE_THREADS,
    f"/threads/{NOBODY}": BodySchema.PATCH_THREAD,
    f"/threads/{NOBODY}/state": BodySchema.UPDATE_STATE,
    f"/threads/{NOBODY}/history": BodySchema.SEARCH_STATES,
    f"/threads/{NOBODY}/state/checkpoint": BodySchema.STATE_AT_CHECKPOINT,
}

SOME: tuple[object, ...] = (
    None, True, 0, -1, 1.5, 2.0, 1001, "", "x", "*", "values", "create", "cancel", "idle", "asc", "exit",
    [], ["x"], [1], ["values", "bogus"], ["thread_id"], [{}], [{"updates": [{}]}], [{"updates": [{"as_node": 1}]}],
    {}, {"a": 1}, {"checkpoint_id": 1}, {"tags": [1], "recursion_limit": "x"}, {"recursion_limit": 2.0},
    {"configurable": []}, {"goto": {"node": "a"}}, {"goto": [{"node": "a", "input": 1}]}, {"ttl": "x"},
    {str(n): "a" for n in range(12)},
)  # fmt: skip
"""Values of every kind, right for some field and wrong for others."""


@pytest.mark.parametrize("schema", RUN)
@pytest.mark.parametrize(("body", "detail"), DETAILS, ids=repr)
def test_runs_word_for_word(body: object, detail: str, schema: BodySchema) -> None:
    """The server's own words, for each way in which it names the schema."""
    assert refusal(body, schema) == detail.replace("{schema}", RUN[schema])


@pytest.mark.parametrize(
    ("schema", "field", "value", "said"),
    [
        (BodySchema.STATEFUL, "multitask_strategy", "x", '"x" is not one of "reject", "rollback" or 2 other'),
        (BodySchema.STATEFUL, "if_not_exists", "x", '"x" is not one of "create" or "reject"'),
        (BodySchema.STATEFUL, "on_disconnect", "x", '"x" is not one of "cancel" or "continue"'),
        (BodySchema.STATEFUL, "durability", "x", '"x" is not one of "sync", "async" or "exit"'),
        (BodySchema.STATELESS, "on_completion", "x", '"x" is not one of "delete" or "keep"'),
        (BodySchema.SEARCH_THREADS, "limit", -1, "-1 is less than the minimum of 1"),
        (BodySchema.SEARCH_THREADS, "status", "x", '"x" is not one of "idle", "busy" or 2 other'),
        (BodySchema.SEARCH_STATES, "before", "x", '"x" is not of type "object"'),
    ],
)
def test_one_wrong_field(schema: BodySchema, field: str, value: object, said: str) -> None:
    """The field is named with what it may be."""
    detail = refusal({"assistant_id": "agent", field: value}, schema)
    assert detail is not None
    assert detail.startswith(said)
    assert f'On instance["{field}"]:' in detail


def test_each_route_has_its_own_fields() -> None:
    """What one route refuses another does not know, and takes."""
    bodies: dict[str, object] = {"on_disconnect": 1, "if_not_exists": 1, "on_completion": 1}
    taken = {
        schema: {
            name
            for name, value in bodies.items()
            if refusal({"assistant_id": "", name: value}, schema) is None
        }
        for schema in RUN
    }
    assert taken == {
        BodySchema.STATEFUL: {"on_completion"},
        BodySchema.STATELESS: {"if_not_exists"},
        BodySchema.CREATE_STATEFUL: {"on_completion", "on_disconnect"},
        BodySchema.CREATE_STATELESS: {"if_not_exists", "on_disconnect"},
    }


CONTEXTS = {"config": {"configurable": {"a": 1}}, "context": {"b": 1}}


@pytest.mark.parametrize(
    ("body", "stateful", "status", "said"),
    [
        ({"checkpoint_id": "nope"}, True, 422, "Invalid checkpoint ID"),
        ({"command": {"resume": 1}}, False, 400, "You must provide a thread_id when resuming."),
        (CONTEXTS, True, 400, "Cannot specify both configurable and context."),
        ({"webhook": "/here"}, True, 422, "Loopback webhooks (relative URLs and localhost) are disabled by"),
        ({"webhook": "x"}, True, 422, "Invalid webhook hostname ''"),
        ({"webhook": "ftp://a"}, True, 422, "Webhook host blocked: scheme 'ftp' not allowed"),
        ({"webhook": "http://LocalHost:1/"}, True, 422, "Webhook host blocked: localhost address"),
        ({"webhook": "http://127.8.0.1/"}, True, 422, "Webhook host blocked: loopback IP range"),
        ({"webhook": "http://[::1]/"}, True, 422, "Webhook host blocked: blocked IP range"),
        ({**CONTEXTS, "webhook": "/here", "command": {"resume": 1}}, False, 400, "You must provide"),
        ({**CONTEXTS, "checkpoint_id": "nope"}, False, 422, "Invalid checkpoint ID"),
    ],
    ids=repr,
)
def test_refused_for_what_it_says(body: dict[str, Any], stateful: bool, status: int, said: str) -> None:
    """In the server's words, and of several reasons its first."""
    found = run_refusal(body, stateful=stateful)
    assert found is not None
    assert (found.status, found.detail[: len(said)]) == (status, said)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"checkpoint_id": NOBODY},
        {"checkpoint_id": NOBODY.replace("-", "")},
        {"checkpoint_id": ""},
        {"command": {"resume": 1}},
        {"command": None, "config": {}, "context": {"b": 1}},
        {"config": {"configurable": {"a": 1}}, "context": {}},
        {
            "config": {"configurable": {"langgraph_request_id": "x", "__after_seconds__": 1}},
            "context": {"b": 1},
        },
        {"webhook": "https://example.com/done"},
        {"webhook": "http://10.0.0.1/"},
        {"webhook": "http://[broken"},
    ],
    ids=repr,
)
def test_what_is_taken(body: dict[str, Any]) -> None:
    """Not refused; what the server would have to look up is none of this module's business."""
    assert run_refusal(body, stateful=True) is None


def fields(rule: Rule) -> set[str]:
    """Every member that a rule names."""
    return set(rule.properties).union(*map(fields, rule.all_of))


def bodies(schema: BodySchema, count: int) -> Iterator[object]:
    """Each field with each value, and the same random bodies every time."""
    names = sorted(fields(RULES[schema]) - {"assistant_id"})
    base = {"assistant_id": "nobody"} if schema in RUN else {}
    dice = random.Random(schema.value)
    each = [{**base, name: value} for name, value in itertools.product(names, SOME)]
    yield from dice.sample(each, min(count, len(each)))
    for _ in range(count // 4):
        yield {**base, **{name: dice.choice(SOME) for name in dice.sample(names, min(3, len(names)))}}
    yield from (None, [], "x", {})


def ask(url: str, method: str, body: object) -> tuple[int, str]:
    """Status, and the detail of a refusal."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            # Of some bodies that it takes the server then fails: `values` of a search.
            return error.code, json.loads(text)["detail"] if text[:1] == b"{" else ""


@pytest.mark.live
@pytest.mark.parametrize(("path", "schema"), ROUTES.items(), ids=str)
def test_the_running_server_refuses_the_same(path: str, schema: BodySchema, agent_server: Any) -> None:
    """Every value in every field: what we refuse the server refuses in these words, and it takes the rest."""
    method = "PATCH" if schema is BodySchema.PATCH_THREAD else "POST"
    for body in [*bodies(schema, 80), *(body for body, _ in DETAILS)]:
        status, detail = ask(agent_server.url + path, method, body)
        ours = refusal(body, schema)
        if ours is not None:
            assert (status, detail) == (422, ours), body
        else:
            assert "Failed validating" not in detail, body


@pytest.mark.live
def test_the_running_server_refuses_for_these_reasons(agent_server: Any) -> None:
    """Texts, statuses and their order."""
    wholes: list[dict[str, Any]] = [
        {"checkpoint_id": "nope", "command": {"resume": 1}},
        {"command": {"resume": 1}, **CONTEXTS},
        {**CONTEXTS, "webhook": "/here"},
        *({"webhook": url} for url in ("/here", "x", "ftp://a", "http://localhost/", "http://127.0.0.1/")),
        {"webhook": "http://[::1]/"},
    ]
    for path in ("/runs/stream", f"/threads/{NOBODY}/runs/stream", f"/threads/{NOBODY}/runs"):
        for body in wholes:
            ours = run_refusal(body, stateful=path != "/runs/stream")
            theirs = ask(agent_server.url + path, "POST", {"assistant_id": "steps", **body})
            assert ours is not None
            assert theirs == Refusal(*ours), (path, body)
