"""Answers as data."""

from __future__ import annotations

import orjson

from graphtape.protocol.errors import ViewRefused
from graphtape.replayer.answering.answers import not_recorded, refused_view


def test_refused_view() -> None:
    """A refused view is a 422 whose detail says what is missing, what was recorded and how to record more."""
    reply = refused_view(ViewRefused(reason="No tokens.", recorded_modes=("values",), how="Record again."))
    told = orjson.loads(reply.plan.body)
    assert reply.head.status == 422
    assert told["detail"] == reply.note == "No tokens. Recorded modes: values. Record again."
    assert told["graphtape"] == {"reason": "No tokens.", "recorded_modes": ["values"], "how": "Record again."}


def test_not_recorded() -> None:
    """A read that nothing answers is a 422 that says what to record."""
    reply = not_recorded("The state", "Read it.")
    told = orjson.loads(reply.plan.body)
    assert told["detail"] == "The state was not recorded at this point, and no stream shows it. Read it."
