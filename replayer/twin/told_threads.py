"""The object of a thread as the recording had it at this stage, in whatever answer it stood.

Pure. One rule: the thread alone counts: it must be as far as it was then, with the same metadata, unless the caller has
nothing better.
"""

from __future__ import annotations

import orjson

from graphtape.cassettes.runs import Tapes
from graphtape.protocol.ids import harvest
from graphtape.protocol.operations import Operation
from graphtape.replayer.play import parsed
from graphtape.replayer.shown import Json
from graphtape.replayer.thread import SessionThread
from graphtape.replayer.twin.metadata import thread_metadata


def told_thread(
    tapes: Tapes, thread: SessionThread, now_ns: int, *, before_a_patch: bool = False
) -> Json | None:
    """What the server said of the thread when it was as far as it is now, ids replaced; None if it did not say it.

    Args:
        before_a_patch: also what it said when the thread had other metadata, with those that it has now.
    """
    recorded, done, in_flight, exact = thread.stage(now_ns)
    if recorded is None or in_flight or not exact or thread.is_copy:
        return None
    if thread.born_of_run != recorded.born_of_run:
        return None  # the server keeps its members in another order
    # The answer to a change is what it made of the thread.
    rows = [
        row
        for call, row in tapes.thread_objects.get(recorded.thread_id, ())
        if recorded.stage_at(call.ended if call.operation is Operation.UPDATE_THREAD else call.started)
        == (done, ())
    ]
    metadata = thread_metadata(thread)
    for row in reversed(rows):
        ids = thread.ids_for(harvest(row) if thread.scope(recorded) else set(), recorded)
        told = parsed(ids.apply(orjson.dumps(row)))
        if isinstance(told, dict) and told.get("metadata") == metadata:
            return told
        if isinstance(told, dict) and before_a_patch:
            return {**told, "metadata": metadata}
    return None
