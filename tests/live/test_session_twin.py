"""Threads, runs, state and all that surrounds a stream: the mock says at every moment what the server says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from graphtape.tests.live.conformance import (
    administering,
    conversations,
    own_threads,
    resources,
    situations,
    stateless,
    statuses,
    twin,
    unshown,
)
from graphtape.tests.live.conformance.deviations import unexpected
from graphtape.tests.live.conformance.report import REPORT
from graphtape.tests.live.conformance.staging import Case, play_all

if TYPE_CHECKING:
    from graphtape.cassettes.samples.agent_server import AgentServer

pytestmark = [pytest.mark.live, pytest.mark.slow]
FULL = os.environ.get("GRAPHTAPE_FULL") == "1"

SCRIPTS = {
    "a run in its steps": twin.stages,
    "interrupt and resume": twin.interrupted,
    "error": twin.failed,
    "wait and join": twin.waiting,
    "polled from pending": twin.started_elsewhere,
    "cancel refused": twin.cancel_refused,
    "threads": administering.threads,
    "refusals": administering.refusals,
    **{
        f"cancel, {action}, wait={wait}": twin.cancelled(action, wait)
        for action in ("interrupt", "rollback")
        for wait in (0, 1)
    },
    **{
        f"multitask {strategy}": twin.multitask(strategy)
        for strategy in ("absent", "reject", "enqueue", "interrupt", "rollback")
    },
    **situations.SCRIPTS,
    **own_threads.SCRIPTS,
    **statuses.SCRIPTS,
    **stateless.SCRIPTS,
    **resources.SCRIPTS,
    **{f"on_disconnect {value}": twin.disconnecting(value) for value in ("absent", "cancel", "continue")},
}
# Nothing but a recording can show these.
RECORDED_ONLY = {
    "wait, recorded as wait": twin.waiting_recorded,
    "assistants": administering.assistants,
    "store": administering.store,
    **own_threads.RECORDED_ONLY,
    **statuses.RECORDED_ONLY,
    **unshown.RECORDED_ONLY,
    **resources.RECORDED_ONLY,
}
# Only what was not recorded is of interest.
PROBED_ONLY = {**conversations.SCRIPTS, **unshown.SCRIPTS}
# What is asked when nothing runs.
UNTIMED = {"error", "cancel refused", "threads", "refusals", "assistants", "store", *resources.RECORDED_ONLY}
UNTIMED -= {"left behind"}
# Recorded with --widen too.
WIDENED = {
    *own_threads.SCRIPTS,
    *own_threads.RECORDED_ONLY,
    *statuses.RECORDED_ONLY,
    *stateless.SCRIPTS,
    *resources.RECORDED_ONLY,
}
# Asked by a second client too.
BY_TWO = {*resources.SCRIPTS, *resources.RECORDED_ONLY}
USUAL = {
    "a run in its steps",
    "interrupt and resume",
    "error",
    "cancel refused",
    "threads",
    "refusals",
    "cancel, interrupt, wait=1",
    "multitask reject",
    "on_disconnect cancel",
    "store",
    "multitask interrupt",
    "polled from pending",
    "runs in line",
    "deleted runs",
    "threads by runs",
    "copies",
    "patched",
    "waits cancelled",
    "end, inner interrupt",
    "other clients",
    "ids that clients bring",
    "new chats",
    "clients at once",
    "own thread, made by a run, updates only",
    "runs by ids spelled otherwise",
    "left before its turn",
    "threads by status",
    "ended in line, action=interrupt, stream",
    "patched, values unknown",
    "without a thread, stream, absent",
    "without a thread, keep, leave",
    "assistants in use",
}


def cases() -> list[Case]:
    out = []
    recorded_only = {"a run in its steps", *RECORDED_ONLY}
    for recorded in (True, False):
        tail = ", recorded" if recorded else ""
        for name, script in {**SCRIPTS, **(RECORDED_ONLY if recorded else PROBED_ONLY)}.items():
            # Recorded reads of a run in its steps, derived ones of everything else.
            few = name in USUAL and recorded == (name in recorded_only)
            how = {
                "probes_recorded": recorded,
                "speed": "max" if name in UNTIMED else "1",
                "stepped": True,
                "clients": 2 if name in BY_TWO else 1,
            }
            out.append(Case(name + tail, script, how, few))
            if recorded and name in WIDENED:
                both = few and (name not in resources.RECORDED_ONLY or name == "left behind")
                out.append(Case(f"{name}, widened", script, {**how, "widen": True}, both))
    return out


@pytest.mark.timeout(1200 if FULL else 120)
async def test_session_is_what_the_server_says(agent_server: AgentServer, tmp_path: Path) -> None:
    """No status, state, history, list or refusal differs, recorded or derived."""
    matrix = REPORT.matrix("Session twin")
    chosen = [case for case in cases() if FULL or case.representative]
    await play_all(matrix, agent_server.url, chosen, tmp_path, at_once=4)
    print("\n".join(matrix.lines()))
    assert not unexpected(matrix)
