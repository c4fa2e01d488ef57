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


_JOINS, _THREADS, _TWIN, _HTTP = "Joins", "Thread streams", "Session twin", "HTTP"

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
    Deviation("`state_update` is not sent", _THREADS, "the state is written", "state_update|comments"),
    Deviation(
        "events that were recorded only on the stream of a thread are not shown",
        _THREADS,
        "runs nobody streamed",
    ),
    Deviation(
        "the mock names the origin that it allows, where the server allows all: only pages of this machine may",
        _HTTP,
        "CORS",
    ),
    Deviation(
        "what a cancel leaves (`error` of thread and tasks, values) is not derived",
        _TWIN,
        "(cancel, |on_disconnect cancel|multitask (interrupt|rollback))",
        r"UserInterrupt|UserRollback|CancelledError|\$\.done|\$\.metadata\.graph_id|\$\.multitask_strategy",
    ),
    Deviation(
        "metadata given to a thread is not in the metadata of derived states",
        _TWIN,
        "a run in its steps: |threads.*: the copy",
        r"metadata\.(kind|who)",
    ),
    Deviation(
        "derived values of a thread change with its stream, the server's when a run ends",
        _TWIN,
        "(a run in its steps|polled from pending|multitask).*: .*thread",
        r"\$\.(values|error)",
    ),
    Deviation("a task's error is not in derived states", _TWIN, "error", r"tasks\[0\]\.error"),
    Deviation("a copy has the original's status, values and runs", _TWIN, "threads.*: (copy|the copy)"),
    Deviation(
        "search does not check what it is asked for; its pages are those of the session alone",
        _TWIN,
        "threads.*: (search|count)",
    ),
    Deviation(
        "a run that was rolled back can still be read",
        _TWIN,
        "multitask rollback, recorded: run 1",
        "status 404",
    ),
    Deviation("a second deletion is answered like the first", _TWIN, "threads, recorded: delete again"),
    Deviation(
        "a run that is pending already has what it gets when it starts",
        _TWIN,
        "polled from pending.*: (POST runs|run pending)",
    ),
    Deviation(
        "after a client left its stream, what was recorded later is not found",
        _TWIN,
        "on_disconnect.*, recorded",
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
