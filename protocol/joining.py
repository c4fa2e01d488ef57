"""Which events of a run a join shows, and which events of a thread its stream shows: filters by event name.

Knows names and query values, never payloads that are not its business, clocks or sessions. One rule: accept what the
server accepts, ignore what it ignores, and refuse in its words (docs/agent-server.md, sections 6 and 8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from graphtape.protocol.errors import ProtocolError

THREAD_STREAM_MODES = ("lifecycle", "run_modes", "state_update")

_STREAM_ID = re.compile(r"^\d+(-(\d+|\*))?$")
_MESSAGE_MODES = frozenset({"messages", "messages-tuple"})


class InvalidThreadStream(ProtocolError):
    """A thread stream that the server refuses with 422; the message is the server's `detail`."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class JoinFilter:
    """What `stream_mode` of `GET /threads/{t}/runs/{r}/stream` lets through.

    It filters what the run publishes, and cannot add to it. An empty `modes` shows everything.
    """

    modes: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, values: Sequence[str]) -> JoinFilter:
        """The filter of all values of the parameter, in the order of the query; never refuses.

        Only the last value counts. Empty, as the Python SDK sends for "unset", is the same as absent. A value that
        starts with `[` and is a JSON array is a list; anything else is one name, so `a,b` matches no event.
        """
        value = values[-1] if values else ""
        if not value:
            return cls()
        if value.startswith("["):
            try:
                names = orjson.loads(value)
            except orjson.JSONDecodeError:
                names = None
            if isinstance(names, list):
                if not names:
                    return cls()
                # What is no string matches no name, but keeps the list from being empty.
                return cls(frozenset(name if isinstance(name, str) else "\0" for name in names))
        return cls(frozenset({value}))

    def shows(self, name: str) -> bool:
        """Whether an event of this full name (namespace included) is sent."""
        if not self.modes or name in self.modes:
            return True
        if name.startswith("messages") and not self.modes.isdisjoint(_MESSAGE_MODES):
            return True
        base, bar, _ = name.partition("|")
        return bool(bar) and base in self.modes


@dataclass(frozen=True, slots=True)
class ThreadFilter:
    """What `stream_modes` of `GET /threads/{t}/stream` lets through."""

    modes: frozenset[str] = frozenset({"run_modes"})

    @classmethod
    def parse(cls, values: Sequence[str], *, docs_semantics: bool = False) -> ThreadFilter:
        """The filter of all values of `stream_modes`, in the order of the query.

        Args:
            docs_semantics: repeated parameters add up, as the official page says; the server reads the last one only.

        Raises:
            InvalidThreadStream: an unknown name, also every JSON array (the server takes commas only).
        """
        read = [value for value in values if value] if docs_semantics else [*values[-1:]]
        names: list[str] = []
        for value in read:
            if value:
                names += [name.strip() for name in value.split(",")] if "," in value else [value]
        for name in names:
            if name not in THREAD_STREAM_MODES:
                raise InvalidThreadStream(f"Invalid stream mode: {name}")
        return cls(frozenset(names)) if names else cls()

    def shows(self, name: str, data: bytes | None = None) -> bool:
        """Whether an event of this full name is sent.

        Args:
            data: its payload; only looked at for `metadata` under `lifecycle`.
        """
        if name == "state_update":
            return "state_update" in self.modes
        if "run_modes" in self.modes:
            return True
        return "lifecycle" in self.modes and name == "metadata" and _is_lifecycle(data)


def check_thread_stream_id(value: str | None) -> str | None:
    """The `Last-Event-ID` of a thread stream: None if it is absent or empty (live only).

    Joins of runs do not check theirs (docs/agent-server.md, section 6).

    Raises:
        InvalidThreadStream: neither `-`, `<ms>`, `<ms>-<n>` nor `<ms>-*`.
    """
    if not value:
        return None
    if value == "-" or _STREAM_ID.match(value):
        return value
    raise InvalidThreadStream("Invalid last-event-id: must be a valid Redis stream ID")


def is_stored(name: str, modes: frozenset[str]) -> bool:
    """Whether a resumable run keeps an event of this name for later joins (docs/agent-server.md, sections 0 and 6).

    Kept is what is named by a mode that the run asked for, and `metadata`; never `error`, `feedback` or `messages/*`.
    """
    base = name.partition("|")[0]
    if base == "messages":
        return not modes.isdisjoint(_MESSAGE_MODES)
    return base == "metadata" or base in modes


def _is_lifecycle(data: bytes | None) -> bool:
    try:
        payload = orjson.loads(data or b"null")
    except orjson.JSONDecodeError:
        return False
    if not isinstance(payload, dict):
        return False
    return payload.get("status") == "run_done" or ("attempt" in payload and "run_id" in payload)
