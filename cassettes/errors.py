"""Errors of cassette files.

    GraphtapeError (protocol.errors)
    ├── CassetteError                 anything wrong with a cassette; carries the path
    │   ├── NotACassette              the file is something else, or empty
    │   ├── NewerFormat               written by a later graphtape: update
    │   ├── DamagedCassette           bytes changed or missing, at `offset`
    │   ├── CassetteExists            refused to overwrite a file
    │   ├── CassetteWriteFailed       the disk, or the descriptor, failed while recording
    │   └── NoSuchExchange            an exchange number that is not in the file
    └── UndecodableBody               a response body whose content coding cannot be undone

No msgpack, zstandard, struct or OS error leaves the reader or the writer.
"""

from __future__ import annotations

import os

from graphtape.protocol.errors import GraphtapeError


class CassetteError(GraphtapeError):
    """Anything wrong with a cassette file."""

    def __init__(self, path: str | os.PathLike[str], message: str) -> None:
        super().__init__(f"{os.fspath(path)}: {message}")
        self.path = os.fspath(path)


class NotACassette(CassetteError):
    """The file is not a cassette at all, cannot be read, or does not exist."""


class NewerFormat(CassetteError):
    """The file's format version is later than this program's."""

    def __init__(self, path: str | os.PathLike[str], *, found: int, known: int) -> None:
        super().__init__(
            path,
            f"written in cassette format {found}; this graphtape reads up to format {known}. "
            "Update graphtape (pip install -U graphtape) and try again",
        )
        self.found = found
        self.known = known


class DamagedCassette(CassetteError):
    """Bytes of the file are changed or missing.

    Args:
        offset: byte offset of the first frame that cannot be trusted.
        reason: what was found there.
    """

    def __init__(self, path: str | os.PathLike[str], *, offset: int, reason: str) -> None:
        super().__init__(path, f"damaged at byte {offset}: {reason}; restore the file from a copy")
        self.offset = offset
        self.reason = reason


class CassetteExists(CassetteError):
    """The output file exists, and no option says what is to become of it.

    Args:
        can_append: whether `--append` is one of those options.
    """

    def __init__(self, path: str | os.PathLike[str], *, can_append: bool = True) -> None:
        append = "--append to continue it, " if can_append else ""
        super().__init__(path, f"exists already; use {append}--overwrite to replace it")


class CassetteWriteFailed(CassetteError):
    """A write to the cassette failed; what was written before is a good prefix."""


class NoSuchExchange(CassetteError):
    """An exchange number that the cassette does not hold."""

    def __init__(self, path: str | os.PathLike[str], *, number: int, count: int) -> None:
        held = f"it holds exchanges 1 to {count}" if count else "it holds no exchange"
        super().__init__(path, f"there is no exchange {number}; {held} (graphtape ls shows them)")
        self.number = number
        self.count = count


class UndecodableBody(GraphtapeError):
    """A response body whose content coding cannot be undone; the bytes in the cassette are as they came."""
