"""The bundled cassettes can be recorded anew by anyone, and then say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphtape.cassettes.reader import Cassette
from graphtape.cassettes.samples.capture import HERE, SCRIPTS, capture
from graphtape.cassettes.showing.compare import compare

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make capture` records, in a folder of its own."""
    folder = tmp_path_factory.mktemp("captured")
    capture(folder)
    return folder


@pytest.mark.parametrize("stem", sorted(SCRIPTS))
def test_capture_equals_the_bundled_cassette(stem: str, captured: Path) -> None:
    """`graphtape diff` between the bundled cassette and a new capture is empty."""
    with Cassette.open(HERE / f"{stem}.tape") as old, Cassette.open(captured / f"{stem}.tape") as new:
        assert compare(old, new).differences == []


def test_bundled_cassettes_are_small() -> None:
    """Together they add little to the wheel."""
    assert sum(file.stat().st_size for file in HERE.glob("*.tape")) < 100_000
