"""The place of --widen."""

from __future__ import annotations

import pytest

from graphtape.protocol.errors import GraphtapeError
from graphtape.recorder.shaping import make_shaper


def test_without_widen_nothing_is_shaped() -> None:
    """The default passes every exchange as it came."""
    assert make_shaper(widen=False) is None


def test_widen_says_that_it_is_missing() -> None:
    """A promise that is not kept yet is an error, not a silent recording of less."""
    with pytest.raises(GraphtapeError, match="--widen"):
        make_shaper(widen=True)
