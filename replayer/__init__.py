"""The mock server: cassette in, Agent Server out.

    from graphtape.replayer import make_app, serve

`make_app` gives an aiohttp application, `serve` a running server as a context manager.
"""

from graphtape.replayer.server import SESSION, CannotListen, ReplayOptions, make_app, run, serve

__all__ = ["SESSION", "CannotListen", "ReplayOptions", "make_app", "run", "serve"]
