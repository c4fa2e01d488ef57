"""Response bodies as a client understands them: content coding undone, and cut into SSE blocks, with times.

Knows one exchange and the SSE codec; not files, and not what an event means. One rule: everything keeps the time of
the read that completed it. What is stored stays raw; this is a view.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import zstandard

from graphtape.cassettes.errors import UndecodableBody
from graphtape.cassettes.limits import MAX_DECODED_BODY_BYTES, MAX_WINDOW_BYTES
from graphtape.cassettes.model import Chunk, Exchange, Headers, Response
from graphtape.protocol.sse import Block, Decoder

_PIECE_BYTES: Final = 1 << 18  # what is decompressed at once: bounds memory whatever a coded byte expands to

_ZSTD_SLICE_BYTES: Final = 1 << 10  # as above: 4 bytes of zstd are 128 KiB at most, so that this is 32 MiB


class TimedBlock(NamedTuple):
    """A block of an event stream, when its last byte arrived, and its bytes."""

    block: Block
    at_ns: int
    raw: bytes


class _Undo(Protocol):
    """Undoes one content coding, read by read."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


class _Inflate:
    """gzip (also several members, RFC 1952 section 2.2) and deflate (RFC 9110: zlib; some send it raw)."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._state: Any = zlib.decompressobj(31) if gzip else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._state is None:
                # A zlib header: method 8, and the first two bytes a multiple of 31; the second may not be here yet.
                zlib_form = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
                self._state = zlib.decompressobj(15 if zlib_form else -15)
            piece = self._state.decompress(data, _PIECE_BYTES)
            if piece:
                yield piece
            data = self._state.unconsumed_tail
            if self._state.eof:
                data = self._state.unused_data
                if not self._gzip or not data.startswith(b"\x1f"):
                    return  # padding behind the end is ignored, as browsers do
                self._state = zlib.decompressobj(31)


class _Unzstd:
    """zstd (RFC 8878), with the window that browsers allow (RFC 9659: 8 MiB); also several frames."""

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._state = self._context.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_SLICE_BYTES):
            part = data[at : at + _ZSTD_SLICE_BYTES]
            while part:
                if self._state.eof:
                    self._state = self._context.decompressobj()
                yield self._state.decompress(part)
                part = self._state.unused_data if self._state.eof else b""


class _Unbrotli:
    """Brotli (RFC 7932), if one of the two packages for it is installed."""

    def __init__(self) -> None:
        for name in ("brotli", "brotlicffi"):
            with contextlib.suppress(ImportError):
                self._state: Any = importlib.import_module(name).Decompressor()
                return
        raise UndecodableBody("the response body is compressed with br; `pip install brotli` to read it")

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._state.process(data)


_UNDO: Final[Mapping[str, Callable[[], _Undo]]] = {
    "gzip": lambda: _Inflate(gzip=True),
    "x-gzip": lambda: _Inflate(gzip=True),
    "deflate": lambda: _Inflate(gzip=False),
    "zstd": _Unzstd,
    "br": _Unbrotli,
}


def content_codings(headers: Headers) -> tuple[str, ...]:
    """The codings of a response body, in the order in which they were applied; `identity` is left out."""
    codings: list[str] = []
    for name, value in headers:
        if name.lower() == b"content-encoding":
            codings += (item.strip().lower() for item in value.decode("latin-1").split(","))
    return tuple(coding for coding in codings if coding and coding != "identity")


class BodyDecoder:
    """Undoes the content coding of one response body that comes in reads.

    Args:
        codings: in the order in which they were applied.
        limit_bytes: of what comes out; that of cassettes if None.

    Raises:
        UndecodableBody: an unknown coding.
    """

    def __init__(self, codings: Sequence[str], *, limit_bytes: int | None = None) -> None:
        self._codings = codings
        self._limit_bytes = MAX_DECODED_BODY_BYTES if limit_bytes is None else limit_bytes
        self._undos: list[_Undo] = []
        self._total = 0
        self._position = 0
        for coding in reversed(codings):
            make = _UNDO.get(coding)
            if make is None:
                raise UndecodableBody(
                    f"the response body has the content coding {coding!r}, which graphtape cannot undo"
                )
            self._undos.append(make())

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next read holds.

        Raises:
            UndecodableBody: bytes that are not what the header says, or more than the limit out of a compressed body.
        """
        try:
            for piece in _undo_all(self._undos, data):
                self._total += len(piece)
                if self._codings and self._total > self._limit_bytes:
                    raise UndecodableBody(
                        f"the response body decompresses to more than {self._limit_bytes} bytes; "
                        "its bytes are kept as they came"
                    )
                yield piece
        except UndecodableBody:
            raise
        except Exception as error:
            # zlib.error, ZstdError, brotli.error: they share no base.
            if not isinstance(error, (zlib.error, zstandard.ZstdError)) and type(error).__name__ != "error":
                raise
            raise UndecodableBody(
                f"the response body is not valid {', '.join(self._codings)} in the read that starts at byte "
                f"{self._position} ({error}); its bytes are kept as they came"
            ) from None
        self._position += len(data)


def decoded_chunks(response: Response, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The reads of a response body with its content coding undone, each piece at the time of its read.

    A body that breaks off gives what can be decoded of it.

    Raises:
        UndecodableBody: an unknown coding, bytes that are not what the header says, or more than
            `MAX_DECODED_BODY_BYTES` out of a compressed body.
    """
    codings = content_codings(response.headers)
    if not codings:
        yield from chunks
        return
    decoder = BodyDecoder(codings)
    for chunk in chunks:
        for piece in decoder.feed(chunk.data):
            yield Chunk(chunk.at_ns, piece, chunk.delayed)


def _undo_all(undos: list[_Undo], data: bytes) -> Iterator[bytes]:
    if not undos:
        yield data
        return
    for piece in undos[0].feed(data):
        yield from _undo_all(undos[1:], piece)


def decoded_body(exchange: Exchange) -> bytes:
    """The response body of an exchange with its content coding undone; empty if there was no response.

    Raises:
        UndecodableBody: as `decoded_chunks`.
    """
    if exchange.response is None:
        return b""
    return b"".join(chunk.data for chunk in decoded_chunks(exchange.response, exchange.chunks))


def iter_blocks(exchange: Exchange) -> Iterator[TimedBlock]:
    """The blocks of an exchange whose response is an event stream, the unterminated tail included.

    Raises:
        UndecodableBody: as `decoded_chunks`.
        EventTooLarge: as `protocol.sse.Decoder`.
    """
    if exchange.response is None:
        return
    yield from timed_blocks(decoded_chunks(exchange.response, exchange.chunks))


def timed_blocks(chunks: Iterable[Chunk]) -> Iterator[TimedBlock]:
    """The blocks of an event stream that came in these (decoded) reads."""
    decoder = Decoder()
    held = b""  # bytes of the stream from `base` on, not yet in a block
    pieces: list[
        bytes
    ] = []  # behind `held`: joined only when a block ends, so a long event costs nothing extra
    base = 0
    at_ns = 0
    for chunk in chunks:
        at_ns = chunk.at_ns
        pieces.append(chunk.data)
        blocks = decoder.feed(chunk.data)
        if not blocks:
            continue
        held = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        for block in blocks:
            yield TimedBlock(block, at_ns, held[block.start - base : block.end - base])
        held = held[blocks[-1].end - base :]
        base = blocks[-1].end
        pieces = [held] if held else []
    tail = decoder.finish()
    if tail is not None:
        yield TimedBlock(tail, at_ns, b"".join(pieces))
