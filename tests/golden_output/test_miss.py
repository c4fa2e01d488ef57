"""What the mock says of a request that nothing recorded answers, kept in files that were read by a person."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from graphtape.cassettes.placing import read_tapes
from graphtape.cassettes.reader import Cassette
from graphtape.replayer.answering.dispatch import answer
from graphtape.replayer.answering.replies import Asked
from graphtape.replayer.session import Options, Session

Golden = Callable[[str, str], None]

HELLO: dict[str, Any] = {
    "assistant_id": "agent",
    "input": {"messages": [{"role": "user", "content": "Do I need an umbrella in Zürich today?"}]},
    "config": {"configurable": {"model": "small", "user": "ada"}},
    "stream_mode": ["values", "messages-tuple"],
}
QUESTION = {
    "messages": [{"role": "user", "content": "Do I need sun cream in Lisbon tomorrow, or is it too early?"}]
}
SEARCH = {"metadata": {}, "limit": 10, "offset": 0}


def without_config(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "config"}


# name -> (match, method, path with {thread}, body)
CASES: dict[str, tuple[Any, str, str, Any]] = {
    "typo_in_the_assistant": ("nearest", "POST", "/threads/{thread}/runs/stream", {**HELLO, "assistant_id": "agnet"}),
    "other_input": ("strict", "POST", "/threads/{thread}/runs/stream", {**HELLO, "input": QUESTION}),
    "missing_config": ("strict", "POST", "/threads/{thread}/runs/stream", without_config(HELLO)),
    "no_thread": ("nearest", "POST", "/runs/stream", HELLO),
    "other_route": ("nearest", "GET", "/store/items?namespace=users&key=ada", None),
    "other_query": ("nearest", "GET", "/assistants/{thread}/graph?xray=2", None),
    "other_body": ("nearest", "POST", "/assistants/search", {**SEARCH, "limit": 100, "metadata": {"team": "a"}}),
    "no_json": ("nearest", "POST", "/feedback", b"score=1&comment=good"),
    "version_2": ("nearest", "POST", "/threads/{thread}/commands", {"method": "run.start"}),
    "unknown_thread": ("strict", "POST", "/threads/019f0000-0000-7000-8000-00000000abcd/runs/stream", HELLO),
    "other_modes": ("nearest", "POST", "/threads/{thread}/runs/stream", {**HELLO, "stream_mode": "updates"}),
}  # fmt: skip


@contextmanager
def session(path: Path, match: Any) -> Iterator[Session]:
    with ExitStack() as stack:
        yield Session(read_tapes([stack.enter_context(Cassette.open(path))]), Options(match=match))


@pytest.mark.parametrize("name", CASES)
def test_miss(name: str, kit: Any, golden: Golden) -> None:
    """The answer says what is nearest, what differs and what would help; the log says the same in one line."""
    match, method, target, body = CASES[name]
    ids = kit.ids()
    thread = ids.uuid("thread")
    other = {**HELLO, "input": {"messages": [{"role": "user", "content": "And tomorrow?"}]}}
    cassette = kit.tape(
        "umbrella",
        kit.answer("POST", "/threads", {"thread_id": thread}, {}),
        kit.cases["token_stream"](ids).but(body=HELLO),
        kit.cases["interrupt"](ids).but(body=other),
        kit.answer("POST", "/assistants/search", [], SEARCH),
        kit.answer("GET", f"/assistants/{thread}/graph?xray=1", {}),
        kit.answer("POST", "/feedback", {}, {"score": 0}),
    )
    path, _, query = target.replace("{thread}", thread).partition("?")
    pairs = tuple(
        (key, value) for key, _, value in (part.partition("=") for part in query.split("&") if part)
    )
    data = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    with session(cassette, match) as played:
        reply: Any = answer(played, Asked(method, path, pairs, {}, data, query), 0)
    told = orjson.loads(reply.plan.body)
    shown = [
        f"$ {method} {target} --match {match}",
        f"{reply.plan.head.status} {reply.plan.head.reason}",
        "",
        *textwrap.wrap(told["detail"], 100, break_on_hyphens=False, break_long_words=False),
        "",
        orjson.dumps(told.get("graphtape"), option=orjson.OPT_INDENT_2).decode(),
        "",
        "log:",
        *textwrap.wrap(
            f"{method} {path} {reply.plan.head.status} {reply.note}",
            100,
            break_on_hyphens=False,
            break_long_words=False,
        ),
    ]
    golden(f"miss/{name}.txt", "".join(f"{line}\n" for line in shown))
