"""Recordings for the tests of this folder."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def two_creations(kit: Any) -> Any:
    """Three threads that were created, the second with another body than the others."""
    recording = kit.recording()
    recording.thread(1)
    recording.thread(2, {"metadata": {"kind": "b"}})
    recording.thread(3)
    return recording
