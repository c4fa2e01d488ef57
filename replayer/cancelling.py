"""Why a run was cancelled, in the server's words: in this session, or in the recording.

Pure. One rule: the words are those of docs/agent-server.md, section 6, braces and all.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphtape.cassettes.runs import RecordedRun


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


def requested(*, rollback: bool) -> Cancellation:
    """By `POST .../cancel`; the server's text has no ids."""
    action = "rollback" if rollback else "interrupt"
    reason = f"{action} requested via POST /threads/{{thread_id}}/runs/{{run_id}}/cancel"
    return Cancellation(rollback, reason)


BY_REQUEST = requested(rollback=False)


def superseded(run_id: str, *, rollback: bool) -> Cancellation:
    """By another run of the thread."""
    strategy = "rollback" if rollback else "interrupt"
    return Cancellation(rollback, f"superseded by run {run_id} (multitask_strategy={strategy})")


def recorded_cancellation(run: RecordedRun) -> Cancellation | None:
    """What the recording shows of it; None if it was not cancelled there."""
    if run.cancel is not None:
        actions = [value for name, value in run.cancel.query if name == "action"]
        return requested(rollback=actions[-1:] == ["rollback"])
    if run.displaced_by is not None:
        strategy = run.displaced_by.body.get("multitask_strategy")
        return superseded(run.displaced_by.run_id or "", rollback=strategy == "rollback")
    return DISCONNECTED if run.cancelled else None
