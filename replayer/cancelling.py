"""Why a run was cancelled, in the server's words: in this session, or in the recording.

Pure. One rule: the words are those of docs/agent-server.md, section 6, braces and all.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphtape.cassettes.runs import RecordedRun
from graphtape.protocol.operations import Operation


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The end of a run that did not end by itself.

    Args:
        rollback: as if the run had never been; else interrupted where it was.
        reason: what the thread tells of it.
    """

    rollback: bool
    reason: str

    @property
    def error(self) -> dict[str, str]:
        """As the thread object has it."""
        return {"error": "UserRollback" if self.rollback else "UserInterrupt", "message": self.reason}


DISCONNECTED = Cancellation(False, "client disconnected from the run stream (on_disconnect=cancel)")


_ONE_RUN = "/threads/{thread_id}/runs/{run_id}/cancel"
MANY_RUNS = "/runs/cancel"


def requested(*, rollback: bool, path: str = _ONE_RUN) -> Cancellation:
    """By `POST .../cancel`, as the server words it: with names for the ids of the path."""
    action = "rollback" if rollback else "interrupt"
    return Cancellation(rollback, f"{action} requested via POST {path}")


BY_REQUEST = requested(rollback=False)


def superseded(run_id: str, *, rollback: bool) -> Cancellation:
    """By another run of the thread."""
    strategy = "rollback" if rollback else "interrupt"
    return Cancellation(rollback, f"superseded by run {run_id} (multitask_strategy={strategy})")


def recorded_cancellation(run: RecordedRun) -> Cancellation | None:
    """What the recording shows of it; None if it was not cancelled there."""
    if run.cancel is not None:
        actions = [value for name, value in run.cancel.query if name == "action"]
        path = _ONE_RUN if run.cancel.operation is Operation.CANCEL_RUN else MANY_RUNS
        return requested(rollback=actions[-1:] == ["rollback"], path=path)
    if run.displaced_by is not None:
        strategy = run.displaced_by.body.get("multitask_strategy")
        return superseded(run.displaced_by.run_id or "", rollback=strategy == "rollback")
    return DISCONNECTED if run.cancelled else None
