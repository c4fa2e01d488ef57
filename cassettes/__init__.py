"""The cassette: one recording, one file. What is in it, and what one reads out of it.

Knows the file, never the network. The format itself (framing, compression, records, index, writer, reader) needs
msgpack and zstandard and nothing else; FORMAT.md is its specification.
"""

from graphtape.cassettes.errors import (
    CassetteError,
    CassetteExists,
    CassetteWriteFailed,
    DamagedCassette,
    NewerFormat,
    NoSuchExchange,
    NotACassette,
    UndecodableBody,
)
from graphtape.cassettes.model import (
    Chunk,
    Ending,
    Exchange,
    ExchangeSummary,
    Headers,
    Recording,
    Request,
    Response,
)
from graphtape.cassettes.reader import Cassette, CheckReport
from graphtape.cassettes.writer import CassetteWriter

__all__ = [
    "Cassette",
    "CassetteError",
    "CassetteExists",
    "CassetteWriteFailed",
    "CassetteWriter",
    "CheckReport",
    "Chunk",
    "DamagedCassette",
    "Ending",
    "Exchange",
    "ExchangeSummary",
    "Headers",
    "NewerFormat",
    "NoSuchExchange",
    "NotACassette",
    "Recording",
    "Request",
    "Response",
    "UndecodableBody",
]
