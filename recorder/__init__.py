"""The recorder: a reverse proxy that writes every exchange into a cassette before the client sees it.

    from graphtape.recorder import Recorder, record

`capture` is pure; `proxy`, `downstream`, `upstream` and `recording` know aiohttp. Never imports the replayer.
"""

from __future__ import annotations

from graphtape.recorder.recording import (
    DEFAULT_PORT,
    CannotListen,
    CassetteFailed,
    Recorder,
    RecordingReport,
    record,
)

__all__ = ["DEFAULT_PORT", "CannotListen", "CassetteFailed", "Recorder", "RecordingReport", "record"]
