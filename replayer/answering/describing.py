"""Objects of a run and of a thread as this session's clients may see them now.

Pure. One rule: as recorded with today's status, else as far as the streams show.
"""

from __future__ import annotations

from typing import Any

import orjson

from graphtape.cassettes.placing import created_thread_id
from graphtape.protocol.ids import IdMap
from graphtape.replayer.answering.answers import Turn
from graphtape.replayer.play import Play, parsed
from graphtape.replayer.thread import SessionThread
from graphtape.replayer.twin.assistants import recorded_run_objects
from graphtape.replayer.twin.metadata import tells_otherwise
from graphtape.replayer.twin.objects import known_members, run_object, shows_its_configuration, thread_object
from graphtape.replayer.twin.told_threads import told_thread

Json = dict[str, Any]

READ_HOW = (
    "Record with stream_mode values or checkpoints among the modes, or read it at this point while recording."
)
WAIT_HOW = "Record it with POST .../runs/wait, or with stream_mode values among the modes."


def described_run(turn: Turn, play: Play) -> Json:
    """The run object as of now."""
    thread = turn.session.known(play.thread_id or "")
    recorded = recorded_run_objects(play)
    if thread is not None and tells_otherwise(thread) and shows_its_configuration(play):
        recorded = []
    return run_object(play, recorded[-1] if recorded else None, thread, turn.now_ns)


def described_thread(turn: Turn, thread: SessionThread) -> Json | None:
    """The thread object as of now; None if nothing shows its values."""
    turn.session.open_deep_link(thread, turn.now_ns)
    tapes, now_ns = turn.session.tapes, turn.now_ns
    return (
        told_thread(tapes, thread, now_ns)
        or thread_object(thread, created_object(thread), now_ns)
        or told_thread(tapes, thread, now_ns, before_a_patch=True)
    )


def known_of(turn: Turn, thread: SessionThread) -> tuple[Json, bool]:
    """(the thread object as of now, whether it is whole): without its values where nothing shows them."""
    whole = described_thread(turn, thread)
    if whole is not None:
        return whole, True
    return known_members(thread, created_object(thread), turn.now_ns), False


def created_object(thread: SessionThread) -> Json | None:
    """The recorded answer to the creation, with this thread's id."""
    if thread.created is None:
        return None
    answer = parsed(creation_ids(thread).apply(orjson.dumps(thread.created.json())))
    return answer if isinstance(answer, dict) and "thread_id" in answer else None


def creation_ids(thread: SessionThread) -> IdMap:
    """The replacement for the recorded answer to the creation."""
    recorded_id = created_thread_id(thread.created) if thread.created is not None else None
    return IdMap({recorded_id: thread.thread_id} if recorded_id is not None else {})
