"""Masks named values, and nothing else, in one response body: in each read before it is written, the rest at its end.

Knows values and content codings, no file. One rule: every length stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.redaction.jsontext import Range
from graphtape.cassettes.redaction.splits import SplitFinder
from graphtape.cassettes.redaction.values import ValueMasker
from graphtape.cassettes.streams import BodyDecoder

MOST_DECODED_BYTES: Final = 64 << 20
"""Of a compressed body; a larger one is not searched while it passes."""


class ResponseMasker:
    """One response body that is not compressed.

    Args:
        values: what to mask.
        is_stream: the body is an event stream.
    """

    def __init__(self, values: ValueMasker, *, is_stream: bool) -> None:
        self._values = values
        self._finder = SplitFinder(values, is_stream=is_stream)
        self._found: dict[str, None] = {}

    @property
    def redacted(self) -> tuple[str, ...]:
        """What was found so far; with what `finish` found, once it has been called."""
        return tuple({**self._found, **self._finder.found})

    def feed(self, data: bytes) -> bytes:
        """One read, with the values masked that lie whole in it."""
        self._finder.feed(data)
        clean, labels = self._values.mask(data)
        self._found.update(dict.fromkeys(labels))
        return clean

    def finish(self) -> tuple[Range, ...]:
        """Which bytes of the body are to be masked besides, now that its end is known; for `CassetteWriter.mask`."""
        return self._finder.finish()


class CodedResponseMasker(ResponseMasker):
    """One response body that came compressed though it was asked for as it is: withheld as a whole, if need be.

    It is, if a value is in it, or if nobody can tell.

    Args:
        codings: in the order in which they were applied.
    """

    def __init__(self, values: ValueMasker, codings: Sequence[str], *, is_stream: bool) -> None:
        super().__init__(values, is_stream=False)
        self._inside = ResponseMasker(values, is_stream=is_stream)
        self._bytes = 0
        self._decoder: BodyDecoder | None = None
        try:
            self._decoder = BodyDecoder(codings, limit_bytes=MOST_DECODED_BYTES)
        except UndecodableBody:
            self._give_up()

    def feed(self, data: bytes) -> bytes:
        """One read, as it came."""
        self._bytes += len(data)
        if self._decoder is not None:
            try:
                for piece in self._decoder.feed(data):
                    self._inside.feed(piece)
            except UndecodableBody:
                self._give_up()
        return data

    def finish(self) -> tuple[Range, ...]:
        """The whole body, if it is withheld."""
        self._inside.finish()
        self._found.update(dict.fromkeys(self._inside.redacted))
        return ((0, self._bytes),) if self._found and self._bytes else ()

    def _give_up(self) -> None:
        self._decoder = None
        self._found["body content-encoding"] = None
