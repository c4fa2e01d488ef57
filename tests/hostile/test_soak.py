"""Two minutes of `make soak`, beside the other tests."""

from __future__ import annotations

import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_minutes(soak_verdict: tuple[int, str]) -> None:
    """Under mixed load with faults files, tasks and memory do not pile up, and no good stream is harmed."""
    status, said = soak_verdict

    assert status == 0, said
    assert "nothing piled up" in said
