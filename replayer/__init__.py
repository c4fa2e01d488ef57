"""The mock server: cassette in, Agent Server out.

    from graphtape.replayer import make_app, serve

`make_app` gives an aiohttp application, `serve` a running server as a context manager; both take the options of
`ReplayOptions` as keyword arguments.
"""

from graphtape.replayer.options import ReplayChoices, ReplayOptions
from graphtape.replayer.server import SESSION, InvalidChoice, make_app
from graphtape.replayer.serving import CannotListen, run, serve

__all__ = [
    "SESSION",
    "CannotListen",
    "InvalidChoice",
    "ReplayChoices",
    "ReplayOptions",
    "make_app",
    "run",
    "serve",
]
