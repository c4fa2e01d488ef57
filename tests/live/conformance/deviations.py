"""Where the mock is known to differ from the server: listed in docs/conformance.md, and no reason for a test to fail.

One rule: an entry says why, and goes when the difference goes; a difference that is not listed fails its test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphtape.tests.live.conformance.comparing import Verdict
from graphtape.tests.live.conformance.report import Cell, Matrix


@dataclass(frozen=True, slots=True)
class Deviation:
    """A known difference.

    Args:
        reason: what differs, and why it stands.
        matrix: matches the title of the matrix.
        cells: matches the beginning of `group: name`.
        detail: is found in what was seen.
    """

    reason: str
    matrix: str = ""
    cells: str = ""
    detail: str = ""

    def covers(self, title: str, cell: Cell) -> bool:
        return bool(
            re.match(self.matrix, title)
            and re.match(self.cells, f"{cell.group}: {cell.name}")
            and re.search(self.detail, cell.detail)
        )


_TWIN, _HTTP = "Session twin", "HTTP"

KNOWN: tuple[Deviation, ...] = (
    Deviation(
        "an assistant that was not recorded is a miss, which says which ones were",
        _TWIN,
        "refusals.*: unknown assistant UUID",
    ),
    Deviation(
        "a path that is none of the server's is a miss, which says how to record it",
        _TWIN,
        r"refusals.*: (unknown path|POST to an unknown path)",
    ),
    Deviation(
        "the mock names the origin that it allows, where the server allows all: only pages of this machine may",
        _HTTP,
        "CORS",
    ),
    Deviation(
        "without `tasks` among the recorded modes, nothing shows the metadata of a run's configuration",
        _TWIN,
        "end, two interrupts: ",
        r"metadata",
    ),
    Deviation(
        "a run without a thread that stays has no checkpoints: nothing shows the configuration in its run object",
        _TWIN,
        r"without a thread, (stream, absent|wait, absent|not resumable): .* step 2: runs?$",
        r"\$(\[0\])?\.kwargs\.config\.configurable",
    ),
    Deviation(
        "of a run that was only waited for nothing shows the configuration in its run object",
        _TWIN,
        r"without a thread, ends: .*, wait(, resumed)?: runs?$",
        r"\$(\[[01]\])?\.kwargs\.config\.configurable",
    ),
    Deviation(
        "from `values` alone only values and interrupts are derived: no tasks, checkpoints, metadata, configuration",
        _TWIN,
        "end, .*values only: ",
        r"\$(\[0\])?\.(next|metadata|interrupts|kwargs\.config)",
    ),
)


def reason_for(title: str, cell: Cell) -> str | None:
    """Why this cell may differ; None if it may not."""
    return next((known.reason for known in KNOWN if known.covers(title, cell)), None)


def unexpected(matrix: Matrix) -> list[str]:
    """The wrong cells that are not known."""
    return [
        f"{cell.group}: {cell.name}: {cell.detail}"
        for cell in matrix.of(Verdict.WRONG)
        if reason_for(matrix.title, cell) is None
    ]
