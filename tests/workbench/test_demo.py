"""Tests of `workbench/demo.py`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphtape.cassettes.model import Ending
from graphtape.cassettes.reader import Cassette
from graphtape.protocol.errors import GraphtapeError
from graphtape.workbench import demo as module
from graphtape.workbench.client import Received, send
from graphtape.workbench.demo import run_demo, sample_path, server_version

pytestmark = pytest.mark.slow  # sockets and processes: not for `make test-unit`


def played(sample: Path, **options: Any) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = run_demo(out=lines.append, speed="max", sample=sample, **options)
    return code, lines


@pytest.mark.slow
def test_bundled_cassette() -> None:
    """The bundled cassette goes round, byte for byte, and the last line is a command about it."""
    code, lines = played(sample_path())
    assert code == 0
    assert lines[-2].startswith("equal: ")
    assert "langgraph-api 0." in lines[-2]
    with Cassette.open(sample_path()) as sample:
        assert sample.digest() in lines[-2]
    words = shlex.split(lines[-1])
    assert words[:3] == ["next:", "graphtape", "show"]
    assert Path(words[3]) == sample_path()
    assert words[4].isdigit()


def test_small_cassette(kit: Any) -> None:
    """Events are shown as they arrive; what cannot be asked for again is left out."""
    endless = kit.Call("GET", f"/threads/{kit.THREAD}/stream", None, b": beat\r\n\r\n", headers=kit.STREAM,
                       ending=Ending.CLIENT_LEFT)  # fmt: skip
    code, lines = played(kit.write(kit.info(), kit.thread(), kit.run(), endless))
    assert code == 0
    assert sum("values" in line and "messages: [" in line for line in lines) == 2
    assert lines[-2].startswith("equal: 3 exchanges, 3 events")
    assert lines[-1].endswith("a.tape 3")


def test_a_place_where_nothing_may_be_written(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before the demo runs, not behind it (denied here by hand: root may write everywhere)."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(GraphtapeError, match="no permission to write it; give --keep another name"):
        played(kit.write(kit.info()), keep=str(kit.folder / "kept.tape"))


def test_nothing_is_left_behind(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files are gone; the cassette stays only where it was asked for."""
    sample = kit.write(kit.info())
    temporary = kit.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    keep = kit.folder / "kept it.tape"
    code, lines = played(sample, keep=str(keep))
    assert code == 0
    assert list(temporary.iterdir()) == []
    assert shlex.split(lines[-1])[3] == str(keep)
    with Cassette.open(keep) as kept:
        assert kept.finished
    with pytest.raises(GraphtapeError, match="exists already"):
        played(sample, keep=str(keep))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": 500}, "status 500"),
        ({"body": b"other"}, "another body"),
        ({"headers": ()}, "other headers"),
        ({"whole": False}, "another end"),
    ],
)
def test_replay_that_differs(
    change: dict[str, Any], words: str, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A difference anywhere is found, told, and ends with 1."""
    real = send
    asked: list[Any] = []

    async def bent(*args: Any, **options: Any) -> Received:
        received = await real(*args, **options)
        asked.append(args)
        return replace(received, **change) if len(asked) > 1 else received

    monkeypatch.setattr(module, "send", bent)
    code, lines = played(kit.write(kit.info()))
    assert code == 1
    assert any(words in line and "in the replay" in line for line in lines)
    assert lines[-1].startswith("differs: ")


def test_server_versions(kit: Any) -> None:
    """The version is the recorded server's own word, if it gave one."""
    for call, expected in (
        (kit.info(), "langgraph-api 0.16.7"),
        (kit.Call("GET", "/info", None, b"not json"), "a server of unknown version"),
        (kit.thread(), "a server of unknown version"),
    ):
        with Cassette.open(kit.write(call)) as cassette:
            assert server_version(cassette) == expected


def test_installation_without_samples() -> None:
    """A missing sample is our error."""
    with pytest.raises(GraphtapeError, match="install graphtape again"):
        sample_path("no-such.tape")
