"""Stream modes and the other two switches of a stream, as the Agent Server reads them from a request body.

Knows names and JSON values, no events and no run. One rule: what the server refuses is an error here
(docs/agent-server.md, section 1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from graphtape.protocol.errors import InvalidStreamMode

STREAM_MODES: Final = frozenset(
    {
        "values",
        "updates",
        "messages",
        "messages-tuple",
        "custom",
        "debug",
        "events",
        "tasks",
        "checkpoints",
    }
)
"""The nine modes of a run. `tools` and `lifecycle` exist in the server but are refused on these routes."""

DEFAULT_MODES: Final = frozenset({"values"})

NAMESPACE_SEPARATOR: Final = "|"


class Absent(StrEnum):
    """The type of `ABSENT`, which is not the same as null."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""A key that the body does not have."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a request asks of a stream."""

    modes: frozenset[str] = DEFAULT_MODES
    subgraphs: bool = False
    resumable: bool = False


def parse_stream_modes(value: object = ABSENT) -> frozenset[str]:
    """The modes that a `stream_mode` stands for.

    Absent and `[]` mean `values`; order and repetition mean nothing; `messages-tuple` displaces `messages`, since
    the server then sends no `messages/*` event.

    Raises:
        InvalidStreamMode: null, an unknown name, or anything else that the server answers with 422.
    """
    modes = _read_modes(value)
    if modes is None:
        raise InvalidStreamMode(value)
    return modes


def _read_modes(value: object) -> frozenset[str] | None:
    if value is ABSENT:
        return DEFAULT_MODES
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name in STREAM_MODES for name in names
    ):
        return None
    modes = frozenset(names) or DEFAULT_MODES
    return modes - {"messages"} if "messages-tuple" in modes else modes


def split_event_name(name: str) -> tuple[str, tuple[str, ...]]:
    """`updates|a:1|b:2` is `("updates", ("a:1", "b:2"))`; a root event has the namespace `()`."""
    base, *namespace = name.split(NAMESPACE_SEPARATOR)
    return base, tuple(namespace)


def stream_options(body: Mapping[str, object]) -> StreamOptions:
    """What a run-starting body asks of its stream.

    A `stream_subgraphs` or `stream_resumable` that is no boolean counts as false here; the server refuses it: ask
    `bodies.refusal` first.

    Raises:
        InvalidStreamMode: as `parse_stream_modes`.
    """
    return StreamOptions(
        modes=parse_stream_modes(body.get("stream_mode", ABSENT)),
        subgraphs=body.get("stream_subgraphs") is True,
        resumable=body.get("stream_resumable") is True,
    )
