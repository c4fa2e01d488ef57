"""The recorder: a reverse proxy that writes every exchange into a cassette before the client sees it.

    from graphtape.recorder import record, Recorder

`capture` is pure; `proxy` is the only module that knows aiohttp. Never imports the replayer.
"""

from __future__ import annotations
