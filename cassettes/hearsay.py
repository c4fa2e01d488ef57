"""What is told of a run by others than its own answer: when it was over, how it ended, how long it had to wait.

Reads recorded answers of its thread; knows nothing of streams. One rule: the first that tells of its end counts, and
what was told to go on was not over. Between the two the run is taken to have ended in the middle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from graphtape.cassettes.model import Ending
from graphtape.protocol.operations import Operation

if TYPE_CHECKING:
    from graphtape.cassettes.calls import Moment, RecordedCall
    from graphtape.cassettes.runs import RecordedRun, RecordedThread, Tapes

_GOING_ON = ("pending", "running")
_TELLING_NS = 750_000_000
"""A reader who comes when a run is over is sent away after half a second: one who stayed longer saw it go on."""
CANCELLED = "CancelledError()"
"""What the state shows of a task that was running when its run was cancelled."""
_ENDED = {"idle": "success", "interrupted": "success", "error": "error"}
"""By the status of a thread: that of its last run."""


class Sign(NamedTuple):
    """Something that was told of a run at a moment."""

    at: Moment
    status: str
    """Of the run; empty if only that it was over."""
    thread: str = ""
    """The status of its thread, where that is what was told."""
    exact: bool = False
    """It was told when it happened."""

    @property
    def is_open(self) -> bool:
        return self.status in _GOING_ON


class Heard(NamedTuple):
    """All that others tell of a run."""

    open_until: Moment | None
    """When it was last told to go on."""
    pending_until: Moment | None
    """When it was last told to wait for its turn."""
    over: Moment | None
    """When it was over; None if nothing tells."""
    status: str
    """How it ended; empty if nothing tells."""
    thread: str
    """The status of its thread after it; empty if nothing tells."""


def heard_of(run: RecordedRun, tapes: Tapes) -> Heard:
    """What the recording tells of a run, but for its own stream."""
    signs = sorted([*_of_joins(run), *_of_itself(run), *_of_its_thread(run, tapes)])
    ends = [sign for sign in signs if not sign.is_open]
    before = [sign for sign in signs if sign.is_open and (not ends or sign.at < ends[0].at)]
    open_until = before[-1].at if before else None
    return Heard(
        open_until,
        max((sign.at for sign in before if sign.status == "pending"), default=None),
        _moment(run, ends[0], max(open_until or run.call.ended, run.call.ended)) if ends else None,
        next((sign.status for sign in ends if sign.status and not sign.thread), "")
        or next((sign.status for sign in ends if sign.status), ""),
        next((sign.thread for sign in ends if sign.thread), ""),
    )


def _moment(run: RecordedRun, end: Sign, known_open: Moment) -> Moment:
    if run.ended_by is not None and run.ended_by <= end.at:
        return max(run.ended_by, known_open)
    if end.exact or end.at[0] != known_open[0] or end.at < known_open:
        return end.at
    return end.at[0], (known_open[1] + end.at[1] + 1) // 2


def _of_joins(run: RecordedRun) -> Iterator[Sign]:
    for join in run.joins:
        if join.summary.ending is Ending.COMPLETE:
            yield Sign(join.ended, "", exact=True)
        elif join.answered and join.ended[1] - join.started[1] > _TELLING_NS:
            yield Sign(join.ended, "running")
    shown = run.thread.run_ends.get(run.run_id or "") if run.thread is not None else None
    if shown is not None:
        yield Sign(shown, "", exact=True)


def _of_itself(run: RecordedRun) -> Iterator[Sign]:
    """Its objects, and its own word that it is to wait."""
    if run.held_until is not None:
        yield Sign(run.held_until, "pending")
    for read, row in run.thread.run_rows.get(run.run_id or "", ()) if run.thread is not None else ():
        if read.order > run.order:
            yield Sign(read.started, str(row["status"]))


def _of_its_thread(run: RecordedRun, tapes: Tapes) -> Iterator[Sign]:
    """Objects and states of its thread, from when nothing else went on there."""
    thread = run.thread
    if thread is None:
        return
    window = _alone(run, thread)
    rows = tapes.thread_objects.get(thread.thread_id, [])
    first = bisect_right(rows, run.order, key=lambda pair: pair[0].order)
    for call, row in takewhile(lambda pair: not window.ends_before(pair[0]), rows[first:]):
        status = str(row["status"])
        if status == "busy" and window.holds(call):
            yield Sign(call.started, "running")
        elif status in _ENDED and window.holds(call):
            yield Sign(call.started, "interrupted" if run.cancelled else _ENDED[status], status)
    for call in thread.reads:
        if _shows_the_state(call) and window.holds(call):
            status = _left_by(call.json(), run)
            if status:
                yield Sign(call.started, "interrupted" if run.cancelled else _ENDED[status], status)


def _shows_the_state(call: RecordedCall) -> bool:
    """Whether a read was of the thread's state as it is; the Python SDK always says whether it wants subgraphs."""
    return call.operation is Operation.GET_STATE and all(name == "subgraphs" for name, _ in call.query)


def values_left(run: RecordedRun) -> Any:
    """The values that a run left in its thread, as the first read after its end has them; None if there is none."""
    if run.thread is None:
        return None
    window = _alone(run, run.thread)
    for call in run.thread.reads:
        told = _shows_the_state(call) or (call.operation is Operation.GET_THREAD and not call.query)
        if told and call.started >= run.done and window.holds(call):
            answer = call.json()
            if isinstance(answer, dict) and isinstance(answer.get("values"), dict):
                return answer["values"]
    return None


class _Window(NamedTuple):
    """When what is said of a thread is said of one run: it alone is there, until the next begins."""

    order: int
    since: Moment
    until: Moment | None

    def holds(self, call: RecordedCall) -> bool:
        return call.order > self.order and self.since <= call.started and not self.ends_before(call)

    def ends_before(self, call: RecordedCall) -> bool:
        """Whether a call came too late."""
        return self.until is not None and self.until <= call.started


def _alone(run: RecordedRun, thread: RecordedThread) -> _Window:
    others = [step.run for step in thread.steps[: run.step] if step.run is not None]
    ends = [step.call.started for step in thread.steps[run.step + 1 : run.step + 2]]
    # The server calls a thread idle when a run in its line is cancelled, whatever goes on.
    ends += [one.ended_by for one in others if one.ended_by is not None and run.call.started <= one.ended_by]
    since = max([run.call.ended, *(one.done for one in others)])
    return _Window(run.order, since, min(ends, default=None))


def _left_by(state: Any, run: RecordedRun) -> str:
    """The status of a thread of which this is the state; empty if this run may still go on, or another has made it."""
    metadata = state.get("metadata") if isinstance(state, dict) else None
    if not isinstance(metadata, dict) or run.run_id is None or metadata.get("run_id") != run.run_id:
        return ""
    if not state.get("next"):
        return "idle"
    tasks = [task for task in state.get("tasks") or [] if isinstance(task, dict)]
    if not tasks or any(_goes_on(task) for task in tasks):
        return ""
    errors = [task["error"] for task in tasks if task.get("error")]
    if errors:
        return "error" if any(error != CANCELLED for error in errors) else ""
    return "interrupted" if any(task.get("interrupts") for task in tasks) else ""


def _goes_on(task: dict[str, Any]) -> bool:
    return not task.get("error") and not task.get("interrupts") and task.get("result") is None
