"""The event with which a thread's stream tells of an update of its state.

Pure. One rule: the state is as recorded, on a stream of the thread or by a read at this stage; else the event is left
out, since nobody knows what the graph made of the update (docs/agent-server.md, section 8).
"""

from __future__ import annotations

import orjson

from graphtape.cassettes.runs import RecordedThread
from graphtape.protocol.ids import EventId, format_event_id, harvest, parse_event_id
from graphtape.protocol.operations import Operation
from graphtape.protocol.sse import encode
from graphtape.replayer.play import parsed
from graphtape.replayer.thread import SessionThread, Told

_NAME = "state_update"


def told_of(thread: SessionThread, recorded: RecordedThread, step: int) -> Told | None:
    """What streams of this thread say of a recorded update; None if no recording shows the state that it made.

    Args:
        step: the update, among the steps of the recorded thread.
    """
    found = _recorded(recorded, step)
    if found is None:
        return None
    data, event_id = found
    ids = thread.ids_for(harvest(parsed(data)) if thread.scope(recorded) else set(), recorded)
    last = thread.last_event_id
    if event_id is None or event_id <= last:
        event_id = last[0] + 1, 0
    data = ids.apply(data)
    payload = parsed(data)
    state = payload.get("state") if isinstance(payload, dict) else None
    return Told(
        event_id,
        encode(_NAME, data, format_event_id(event_id)),
        state if isinstance(state, dict) else {},
    )


def _recorded(recorded: RecordedThread, step: int) -> tuple[bytes, EventId | None] | None:
    """(payload, its id) as a stream of the thread had it, else made of a read at this stage."""
    answer = recorded.steps[step].call.json()
    made = answer.get("checkpoint_id") if isinstance(answer, dict) else None
    block = recorded.state_updates.get(str(made))
    if block is not None and block.data is not None:
        return block.data, parse_event_id(block.id) if block.id else None
    for read in recorded.reads:
        if (
            read.operation is Operation.GET_STATE
            and not read.query
            and recorded.stage_at(read.started) == (tuple(range(step + 1)), ())
        ):
            return orjson.dumps({"state": read.json(), "thread_id": recorded.thread_id}), None
    return None
