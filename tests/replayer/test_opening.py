"""What the log says of cassettes that are not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.replayer.opening import notes_on


@pytest.fixture
def notes(kit: Any) -> Any:
    """(the notes on a file, its name)."""

    def read(path: Path) -> list[str]:
        with Cassette.open(path) as cassette:
            return [note.replace(str(path), "a.tape") for note in notes_on([cassette])]

    return read


def test_whole(kit: Any, notes: Any) -> None:
    """Nothing to say; exchanges that a client or the user ended are nothing unusual."""
    made = kit.recording()
    made.json("GET", "/info", {})
    made.call("GET", "/ok", ending=Ending.CLIENT_LEFT)
    made.call("GET", "/ok", ending=Ending.RECORDER_STOPPED)
    assert notes(made.close()) == []


def test_killed_recorder(kit: Any, notes: Any) -> None:
    """What has no end, where the file breaks off, what becomes of it, and what to do."""
    made = kit.recording()
    made.json("GET", "/info", {})
    made.call("GET", "/ok", reads=((1, b"o"),), ending=None)
    path = made.close(finished=False)
    size = path.stat().st_size
    told = (
        "; exchange 2 without an end: where nothing equal is whole, what was recorded of it is played, then the "
        "connection breaks, unless another exchange holds the rest; graphtape verify a.tape says what is whole, "
        "graphtape record URL -o a.tape --append records on"
    )
    unfinished = "a.tape: unfinished: its recorder was killed, or is still recording"
    assert notes(path) == [unfinished + told]
    with path.open("ab") as file:
        file.write(b"half a frame")
    assert notes(path) == [f"{unfinished}; nothing after byte {size} could be read{told}"]


def test_recorded_on(kit: Any, notes: Any) -> None:
    """A cassette closed with open exchanges in it, as `--append` leaves it after a crash: five are named."""
    made = kit.recording()
    for _ in range(7):
        made.call("GET", "/ok", ending=None)
    (note,) = notes(made.close())
    assert note.startswith("a.tape: exchanges 1, 2, 3, 4, 5 and 2 more without an end: ")
    assert note.endswith("; graphtape ls a.tape shows it")


def test_nothing_recorded(kit: Any, notes: Any) -> None:
    """An empty recording is sound, and of no use."""
    (note,) = notes(kit.recording().close())
    assert note.startswith("a.tape: it holds no exchange, so there is nothing to replay; ")
