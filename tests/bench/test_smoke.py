"""The bench runs, and counts what it must never count. No times are judged here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from graphtape.bench.__main__ import ROWS, main
from graphtape.bench.measuring import Row
from graphtape.bench.servers import Servers
from graphtape.bench.session import SIZES, Run

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/proc/self/schedstat").exists(),
    reason="the bench needs a C compiler and Linux",
)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", ["R3"])
def test_row_in_its_quickest_mode(tmp_path: Path, name: str) -> None:
    """A row starts its servers, loses nothing (it would raise), and every ratio is a positive number."""
    run = Run(SIZES["smoke"], tmp_path, Servers(tmp_path), missing={"nginx": "", "mitmproxy": ""})
    try:
        row: Row = ROWS[name](run)
    finally:
        run.close()
    assert row.events > 100
    assert all(line.ratio.low <= line.ratio.median <= line.ratio.high for line in row.lines)
    assert all(line.ratio.median > 0 for line in row.lines)


def test_row_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped row is a usage error that names the rows there are."""
    with pytest.raises(SystemExit) as ended:
        main(["R99"])
    assert ended.value.code == 2
    assert "R1 R2" in capsys.readouterr().err
