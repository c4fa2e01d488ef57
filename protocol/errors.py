"""The root of graphtape's error tree, with the errors of what is on the wire.

    GraphtapeError                    everything a user can cause and read; never a traceback
    ├── ProtocolError                 bytes or fields on the wire that break a rule
    │   ├── EventTooLarge             an SSE event above the decoder's limit
    │   └── InvalidStreamMode         a `stream_mode` the Agent Server refuses
    ├── UsageMistake                  an option or argument that cannot be used (exit status 2)
    ├── ViewRefused                   a view that a recording cannot answer truthfully (HTTP 422)
    └── CassetteError …               see `graphtape.cassettes.errors`

Mistakes of a programmer raise builtins (`TypeError`, `ValueError`).
"""

from __future__ import annotations

import reprlib


class GraphtapeError(Exception):
    """What happened, where, and what to do next, in words for the user."""


class UsageMistake(GraphtapeError):
    """An option or argument that cannot be used: what was typed is wrong, not what it was about."""


class ProtocolError(GraphtapeError):
    """Something on the wire broke a rule."""


class EventTooLarge(ProtocolError):
    """An SSE event grew past the decoder's limit.

    Args:
        offset: byte offset in the stream at which the event starts.
        limit_bytes: the limit that was passed.
    """

    def __init__(self, *, offset: int, limit_bytes: int) -> None:
        super().__init__(
            f"the SSE event that starts at byte {offset} of the stream is larger than {limit_bytes} bytes; "
            "raise max_event_bytes if such events are expected"
        )
        self.offset = offset
        self.limit_bytes = limit_bytes


class InvalidStreamMode(ProtocolError):
    """A `stream_mode` that the server refuses with 422 (reference, section 1.3)."""

    def __init__(self, value: object) -> None:
        super().__init__(f"{reprlib.repr(value)} is not a stream mode")
        self.value = value


class ViewRefused(GraphtapeError):
    """A view that this recording cannot answer truthfully.

    Args:
        reason: what is missing, in one sentence.
        recorded_modes: the modes that were recorded, sorted.
        how: what to type to record more.
    """

    def __init__(self, *, reason: str, recorded_modes: tuple[str, ...], how: str) -> None:
        super().__init__(f"{reason} Recorded modes: {', '.join(recorded_modes) or 'none'}. {how}")
        self.reason = reason
        self.recorded_modes = recorded_modes
        self.how = how
