"""The threads that the server makes for runs that are started without one: which ids they have.

Pure. Only `wait` and a run object name them (docs/agent-server.md, section 1). One rule: an id is taken from what can
be of no other run; where nothing shows it, one is made of the run's, the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from graphtape.protocol.ids import canonical_uuid, derive, uuid_unix_ms
from graphtape.protocol.jsonvalue import loads

if TYPE_CHECKING:
    from graphtape.cassettes.tape import TapeBlock

_NOWHERE = "01900000-0000-7000-8000-000000000001"
"""What an id is made of where the cassette does not even show the run's."""

_SOON_MS = 5
"""The server makes the two ids one right after the other."""

_PLACES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "tasks": (("metadata",),),
    "checkpoints": (("config", "configurable"),),
    "debug": (("payload", "metadata"), ("payload", "config", "configurable")),
    "events": (("metadata",),),
}
"""By mode: where its events name the thread. What the app itself says stands elsewhere."""


def thread_in_events(events: Iterable[TapeBlock]) -> str | None:
    """The thread that a run's events name as theirs; None if none does."""
    for entry in events:
        data = entry.block.data or b""
        if b'"thread_id"' not in data:
            continue
        base = (entry.block.name or "").partition("|")[0]
        try:
            payload: Any = loads(data)
        except ValueError:
            continue
        for found in _owners(base, payload):
            identifier = found.get("thread_id") if isinstance(found, dict) else None
            if isinstance(identifier, str) and canonical_uuid(identifier) == identifier:
                return identifier
    return None


def _owners(base: str, payload: Any) -> list[Any]:
    """The objects of an event in which the server itself says `thread_id`."""
    if base == "messages":
        return payload[1:2] if isinstance(payload, list) else []
    if base == "messages/metadata" and isinstance(payload, dict):
        return [each.get("metadata") for each in payload.values() if isinstance(each, dict)]
    return [_inside(payload, path) for path in _PLACES.get(base, ())]


def _inside(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def made_soon_after(run_id: str, thread_ids: Iterable[str]) -> list[str]:
    """Of these threads those whose ids were made when the run's was, as the one that is the run's must have been."""
    run_ms = uuid_unix_ms(run_id)
    if run_ms is None:
        return []
    return [one for one in thread_ids if 0 <= (uuid_unix_ms(one) or 0) - run_ms <= _SOON_MS]


def made_thread_id(run_id: str | None, order: int) -> str:
    """An id for a thread that nothing shows: of the same moment as its run's."""
    return derive(run_id or _NOWHERE, 0, 0, 1 if run_id else 2 + order)
