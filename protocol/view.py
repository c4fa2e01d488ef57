"""The view: which events of a recorded run a request is entitled to, and with what bytes.

Knows events, their bytes and two requests (the recorded one and the asked one); no cassette, no clock, no session.
One rule: an event that needs no change goes out with exactly the bytes it came with; what cannot be answered
truthfully is refused, never guessed (docs/views.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphtape.protocol.errors import ViewRefused

try:
    from graphtape.protocol.modes import StreamOptions
except ImportError:  # pragma: no cover - until protocol/modes.py lands

    @dataclass(frozen=True, slots=True)
    class StreamOptions:  # type: ignore[no-redef]
        modes: frozenset[str]
        subgraphs: bool = False
        resumable: bool = False


from graphtape.protocol.sse import Block

MESSAGE_MODES = frozenset({"messages", "messages-tuple"})
STREAM_MODES = frozenset(
    {"values", "updates", "custom", "debug", "events", "tasks", "checkpoints"} | MESSAGE_MODES
)
# What rebuilding whole messages reads: outputs and their place, inputs and task ids, steps.
REBUILD_MODES = frozenset({"updates", "tasks", "debug"})

_ID_LINE = re.compile(rb"(?:(?<=\n)|(?<=\r)|^)id(?::[^\r\n]*)?(\r\n|\n|\r)")


@dataclass(frozen=True, slots=True)
class Frame:
    """One event (or comment) of a view, as it goes on the wire."""

    raw: bytes
    event: Block | None
    """The recorded block it comes from (for a rebuilt frame: the one that caused it); None for comments."""
    name: str
    """The event name that `raw` carries; empty for comments."""
    id: str | None
    """The id that `raw` carries; a rebuilt frame of a run with ids has that of the block that caused it."""
    derived: bool = False
    """Whether the bytes were rebuilt, not recorded."""


def without_id(raw: bytes) -> bytes:
    """The same bytes less their id lines."""
    return _ID_LINE.sub(b"", raw)


def with_id(raw: bytes, event_id: str) -> bytes:
    """The same bytes with this id: in place of the id line, or as the last line of the event."""
    line_end = b"\r\n" if raw.endswith(b"\r\n") else raw[-1:] if raw[-1:] in (b"\n", b"\r") else b"\r\n"
    line = b"id: " + event_id.encode() + line_end
    found = _ID_LINE.search(raw)
    if found:
        return raw[: found.start()] + line + without_id(raw[found.end() :])
    if raw.endswith(line_end):
        return raw[: -len(line_end)] + line + line_end
    return raw + line_end + line


class View:
    """Turns the events of a recording into those of another request, one at a time.

    Raises:
        ViewRefused: the recording cannot answer the request.
    """

    def __init__(self, recorded: StreamOptions, asked: StreamOptions, *, flat: bool = False) -> None:
        self._asked = asked
        self._recorded = recorded
        self._strip_ids = recorded.resumable and not asked.resumable
        missing = (asked.modes - MESSAGE_MODES) - recorded.modes
        if missing:
            raise _refused(recorded, asked, f"The recording has no {', '.join(sorted(missing))}.")
        self._derived = ""

    @property
    def is_derived(self) -> bool:
        """Whether some frames may be rebuilt instead of recorded."""
        return bool(self._derived)

    @property
    def derived(self) -> str:
        """What is rebuilt, for the response header `graphtape-derived`; empty if nothing is."""
        return self._derived

    def feed(self, block: Block, raw: bytes) -> list[Frame]:
        """The frames that this block causes.

        Args:
            block: one block of the recorded stream.
            raw: its bytes, blank line included.

        Raises:
            ViewRefused: the recording holds a shape that cannot be rebuilt truthfully.
        """
        if block.data is None:
            return [Frame(raw, None, "", None)]
        name = block.name or "message"
        if not _wanted(name, self._asked):
            return []
        if self._strip_ids and block.id is not None:
            return [Frame(without_id(raw), block, name, None)]
        return [Frame(raw, block, name, block.id)]

    def finish(self) -> list[Frame]:
        """The frames still held when the recording ends."""
        return []


def narrowable(recorded: StreamOptions, asked: StreamOptions) -> bool:
    """Whether a recording made with `recorded` answers `asked` (what `--widen` asks before it widens)."""
    try:
        View(recorded, asked)
    except ViewRefused:
        return False
    return True


def _wanted(name: str, asked: StreamOptions) -> bool:
    base, bar, _ = name.partition("|")
    if bar and not asked.subgraphs:
        return False
    if base == "messages":
        return "messages-tuple" in asked.modes
    if base.startswith("messages/"):
        return "messages" in asked.modes and "messages-tuple" not in asked.modes
    return base not in STREAM_MODES or base in asked.modes


def _refused(recorded: StreamOptions, asked: StreamOptions, reason: str) -> ViewRefused:
    wanted = ", ".join(sorted(asked.modes | recorded.modes))
    return ViewRefused(
        reason=reason,
        recorded_modes=tuple(sorted(recorded.modes)),
        how=f"Record again with stream_mode [{wanted}] and stream_subgraphs true, or with `graphtape record --widen`.",
    )
