"""Two minutes of `make soak`."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_minutes() -> None:
    """Under mixed load with faults neither files nor tasks pile up, and no good stream is harmed."""
    command = [sys.executable, "-m", "graphtape.tests.hostile.soak", "120"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "nothing piled up" in found.stdout
