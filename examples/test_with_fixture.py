"""Tests of a client against a recorded conversation.

    .venv/bin/python -m pytest examples/test_with_fixture.py       # in the .venv that `make test` sets up

Copied into your own tests, with a cassette beside it, it needs only pytest, langgraph-sdk and graphtape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from graphtape.replayer import serve

CHAT = Path(__file__).parents[1] / "cassettes/samples/agent.tape"


@pytest.fixture
def client() -> Iterator[SyncLangGraphClient]:
    with serve([CHAT], speed="max", match="strict") as mock, get_sync_client(url=mock.url) as client:
        yield client


def test_a_person_says_yes(client: SyncLangGraphClient) -> None:
    """The graph asks before it sends, and sends once it was told to."""
    thread_id = client.threads.create()["thread_id"]
    asked = list(
        client.runs.stream(thread_id, "approval", input={"topic": "the party"}, stream_mode="values")
    )
    assert asked[-1].data["__interrupt__"][0]["value"]["question"] == "Send this?"

    sent = list(client.runs.stream(thread_id, "approval", command={"resume": "yes"}, stream_mode="values"))
    assert sent[-1].data["outcome"] == "sent"
    assert client.threads.get_state(thread_id)["next"] == []
