"""What an answer can be, and what every answer needs to know.

Pure. One rule: an answer is data; the shell only sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from graphtape.protocol.bodies import BodySchema, refusal
from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.joining import JoinFilter, ThreadFilter
from graphtape.protocol.jsonvalue import MAX_DEPTH, is_too_deep
from graphtape.protocol.operations import Operation, Resolved
from graphtape.replayer.answering.replies import Asked, json_plan
from graphtape.replayer.plan import Head, Plan
from graphtape.replayer.play import Play
from graphtape.replayer.session import Session


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; times since the request."""

    plan: Plan
    note: str = ""
    """What the log says of it."""
    recorded: bool = False
    """Whether its times are recorded ones, to be paced."""

    @property
    def head(self) -> Head:
        return self.plan.head


@dataclass(frozen=True, slots=True)
class RunStream:
    """The stream of a run that this request started."""

    play: Play
    head: Head
    note: str = ""


class Silence(NamedTuple):
    """How long a recorded reader of a run got nothing."""

    until_ns: int
    """Since the run's start."""
    whole: bool
    """The upstream ended it; else the reader left."""


@dataclass(frozen=True, slots=True)
class JoinStream:
    """A reader of a run's stream."""

    play: Play
    head: Head
    shows: JoinFilter
    last_event_id: str
    cancel_on_disconnect: bool = False
    note: str = ""
    silence: Silence | None = None
    """What is known of the run's events, if it is only that such a reader got none."""


@dataclass(frozen=True, slots=True)
class RunWait:
    """The values of a run, once it is over; a newline every five seconds until then."""

    play: Play
    head: Head
    body: Plan | None
    """The recorded answer; None to derive it from the events when they have been shown."""
    starts: bool = False
    """This request started the run: it moves it, and its leaving may end it."""
    cancel_on_disconnect: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class ThreadStream:
    """A reader of all runs of a thread; never ends by itself."""

    thread_id: str
    head: Head
    shows: ThreadFilter
    last_event_id: str | None
    note: str = ""


Answer = Reply | RunStream | JoinStream | RunWait | ThreadStream


def stream_of(answer: Answer, target: str) -> tuple[str, str] | None:
    """Which stream an answer is a response of, as (kind, name); None if its body is no stream of events.

    Args:
        target: the request's method and target, the name of a stream that belongs to no run or thread.
    """
    match answer:
        case RunStream() | JoinStream():
            return "run", answer.play.run_id
        case ThreadStream():
            return "thread", answer.thread_id
        case Reply():
            types = [value for name, value in answer.head.headers if name.lower() == b"content-type"]
            return ("target", target) if types and types[-1].startswith(b"text/event-stream") else None
        case RunWait():
            return None


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, in its session, at its time."""

    session: Session
    asked: Asked
    resolved: Resolved | None
    now_ns: int

    @property
    def params(self) -> Mapping[str, str]:
        return self.resolved.params if self.resolved else {}

    @property
    def given(self) -> Mapping[str, str]:
        """The parameters of the path as they are spelled in it."""
        return self.resolved.given if self.resolved else {}

    @property
    def operation(self) -> Operation | None:
        return self.resolved.operation if self.resolved else None


def refused_view(refused: ViewRefused) -> Reply:
    """The 422 for what this recording cannot answer truthfully."""
    detail = {
        "reason": refused.reason,
        "recorded_modes": list(refused.recorded_modes),
        "how": refused.how,
    }
    return Reply(json_plan(422, {"detail": str(refused), "graphtape": detail}), note=str(refused))


def not_recorded(what: str, how: str) -> Reply:
    """The 422 for a read that neither the recording nor the streams answer."""
    detail = f"{what} was not recorded at this point, and no stream shows it. {how}"
    return Reply(json_plan(422, {"detail": detail, "graphtape": {"reason": what, "how": how}}), note=detail)


def invalid_json(turn: Turn) -> Reply:
    """The server's 422 for a body that is no JSON, or why one that is JSON cannot be looked into."""
    if is_too_deep(turn.asked.body):
        text = (
            f"The request body is nested deeper than {MAX_DEPTH} levels, which a replay does not look into."
        )
        return Reply(json_plan(422, {"detail": text}), note=text)
    return Reply(json_plan(422, {"detail": "Invalid JSON in request body"}))


def refused_body(turn: Turn, schema: BodySchema) -> Reply | None:
    """The server's 422 for a body that is no JSON or not of its form; None if it takes it."""
    body = turn.asked.json
    if body is None and turn.asked.body.strip() != b"null":
        return invalid_json(turn)
    text = refusal(body, schema)
    return Reply(json_plan(422, {"detail": text})) if text is not None else None
