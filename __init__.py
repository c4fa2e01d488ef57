"""graphtape: record, replay and mock agent streams.

This module imports nothing; the public names live in the sub-packages `graphtape.recorder`, `graphtape.replayer`,
`graphtape.cassettes` and `graphtape.protocol`.
"""

__version__ = "0.1.0"
