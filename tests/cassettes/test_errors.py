"""Tests of `graphtape.cassettes.errors`: each says what, where, and what to do next."""

from __future__ import annotations

import pytest

import graphtape.cassettes as public
from graphtape.cassettes import (
    CassetteError,
    CassetteExists,
    DamagedCassette,
    NewerFormat,
    NoSuchExchange,
    UndecodableBody,
)
from graphtape.protocol.errors import GraphtapeError

MESSAGES: list[tuple[CassetteError, str]] = [
    (CassetteError("a.tape", "why"), "a.tape: why"),
    (
        DamagedCassette("a.tape", offset=9, reason="why"),
        "a.tape: damaged at byte 9: why; restore the file from a copy",
    ),
    (
        CassetteExists("a.tape"),
        "a.tape: exists already; use --append to continue it, --overwrite to replace it",
    ),
    (
        NoSuchExchange("a.tape", number=4, count=3),
        "a.tape: there is no exchange 4; it holds exchanges 1 to 3 (graphtape ls shows them)",
    ),
    (
        NoSuchExchange("a.tape", number=1, count=0),
        "a.tape: there is no exchange 1; it holds no exchange (graphtape ls shows them)",
    ),
    (
        NewerFormat("a.tape", found=3, known=1),
        "a.tape: written in cassette format 3; this graphtape reads up to format 1. "  # noqa: ISC004
        "Update graphtape (pip install -U graphtape) and try again",
    ),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES, ids=lambda value: type(value).__name__)
def test_message(error: CassetteError, message: str) -> None:
    """The message starts with the file."""
    assert str(error) == message
    assert error.path == "a.tape"


def test_one_tree() -> None:
    """Every public error is a GraphtapeError; those of files are CassetteErrors."""
    errors = [value for name in public.__all__ if isinstance(value := getattr(public, name), type)]
    ours = [error for error in errors if issubclass(error, Exception)]
    assert all(issubclass(error, GraphtapeError) for error in ours)
    assert [error for error in ours if not issubclass(error, CassetteError)] == [UndecodableBody]


def test_public_names() -> None:
    """`__all__` is sorted and exact."""
    assert public.__all__ == sorted(public.__all__)
    assert all(hasattr(public, name) for name in public.__all__)
