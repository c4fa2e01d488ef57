"""The states of a thread, made from the checkpoints that its runs have shown."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.replayer.twin.states import empty_state

INTERRUPT = {"id": "a" * 32, "value": "ok?", "response_schema": None}


def test_history_from_checkpoints(kit: Any) -> None:
    """The history is every checkpoint that was shown, newest first, one unless a limit is given."""
    events: list[Any] = [(1, "checkpoints", kit.checkpoint(n, {"n": n})) for n in range(3)]
    session = kit.conversation(("checkpoints", events))
    history = kit.read(session, "/history", {"limit": 9})
    assert [state["values"] for state in history] == [{"n": 2}, {"n": 1}, {"n": 0}]
    assert history[0]["parent_checkpoint_id"] == history[1]["checkpoint_id"] == kit.uid(101)
    assert kit.read(session, "/history") == history[:1]
    assert (
        kit.read(session, "/history", {"limit": 9, "before": {"checkpoint_id": kit.uid(102)}}) == history[1:]
    )
    assert kit.read(session, "/state") == history[0]
    assert kit.read(session, f"/state/{kit.uid(100)}") == history[2]
    # Before a checkpoint that is none of the thread's, and states of which the metadata say something.
    between = {"configurable": {"checkpoint_id": f"{kit.uid(101)}0"}}
    assert kit.read(session, "/history", {"limit": 9, "before": between}) == history[1:]
    step = history[1]["metadata"]["step"]
    assert kit.read(session, "/history", {"limit": 9, "metadata": {"step": step}}) == [history[1]]


def test_state_at_no_checkpoint(kit: Any) -> None:
    """The server answers with an empty state that names what was asked for; without a name with the latest."""
    events: list[Any] = [(1, "checkpoints", kit.checkpoint(n, {"n": n})) for n in range(2)]
    session = kit.conversation(("checkpoints", events))
    asked = {"checkpoint": {"checkpoint_id": kit.uid(9), "checkpoint_ns": ""}}
    found = kit.read(session, "/state/checkpoint", asked)
    assert (found["values"], found["checkpoint_id"]) == ({}, kit.uid(9))
    assert found["checkpoint"] == {**asked["checkpoint"], "thread_id": kit.uid(1)}
    assert kit.read(session, "/state/nope")["checkpoint_id"] == "nope"
    assert kit.read(session, "/state/checkpoint", {"checkpoint": {}}) == kit.read(session, "/state")


def test_checkpoint_shown_again_by_a_resume(kit: Any) -> None:
    """A resumed run shows the pending checkpoint again: it is one state, as it is then."""
    task = {"id": kit.uid(50), "name": "ask", "interrupts": [INTERRUPT], "state": None}
    pending = kit.checkpoint(0, {"n": 0}, next=["ask"], tasks=[task])
    resumed = [
        (1, "checkpoints", pending),
        (1, "tasks", {"id": kit.uid(50), "name": "ask", "result": {"n": 1}, "interrupts": []}),
        (1, "checkpoints", kit.checkpoint(1, {"n": 1})),
    ]
    modes = ["checkpoints", "tasks"]
    session = kit.conversation((modes, [(1, "checkpoints", pending)]), (modes, resumed))
    history = kit.read(session, "/history", {"limit": 9})
    assert [state["checkpoint_id"] for state in history] == [kit.uid(101), kit.uid(100)]
    (shown,) = history[1]["tasks"]
    assert shown["result"] == {"n": 1}
    assert shown["interrupts"] == [{"id": "a" * 32, "value": "ok?"}]


def test_input_task(kit: Any) -> None:
    """The task that takes in the input has no events; its result is the input."""
    task = {"id": kit.uid(50), "name": "__start__", "interrupts": [], "state": None}
    session = kit.conversation(("checkpoints", [(1, "checkpoints", kit.checkpoint(0, {}, tasks=[task]))]))
    assert kit.read(session, "/state")["tasks"][0]["result"] == {"n": 2}


def task(kit: Any, number: int, name: str, **more: Any) -> dict[str, Any]:
    """A task of a checkpoint."""
    return {"id": kit.uid(number), "name": name, "interrupts": [], "state": None, **more}


def test_error_of_a_task(kit: Any) -> None:
    """A task that failed shows its exception as Python prints it; the text of a KeyError is printed already."""
    for error, message, shown in (
        ("ValueError", "no luck", "ValueError('no luck')"),
        ("KeyError", "'a'", "KeyError('a')"),
    ):
        failed = {"error": error, "message": message}
        end = {"id": kit.uid(50), "name": "a", "error": failed, "result": {}, "interrupts": []}
        events = [
            (1, "checkpoints", kit.checkpoint(0, {}, next=["a"], tasks=[task(kit, 50, "a")])),
            (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": {}}),
            (1, "tasks", end),
            (1, "error", failed),
        ]
        session = kit.conversation((["checkpoints", "tasks"], events))
        (only,) = kit.read(session, "/state")["tasks"]
        assert (only["error"], only["result"]) == (shown, None)


def test_error_of_a_task_that_only_the_run_shows(kit: Any) -> None:
    """Without events of tasks, the run's error is that of the one task that was going on; of two it is nobody's."""
    error = {"error": "ValueError", "message": "no"}
    for tasks, shown in ((["a"], ["ValueError('no')"]), (["a", "b"], [None, None])):
        all_tasks = [task(kit, 50 + at, name) for at, name in enumerate(tasks)]
        events = [(1, "checkpoints", kit.checkpoint(0, {}, next=tasks, tasks=all_tasks)), (1, "error", error)]
        session = kit.conversation(("checkpoints", events))
        assert [one["error"] for one in kit.read(session, "/state")["tasks"]] == shown


def test_tasks_of_a_cancelled_run(kit: Any) -> None:
    """Tasks that were going on when a run was cancelled say so; what had ended, or not begun, does not."""
    tasks = [task(kit, 50, "done"), task(kit, 51, "going"), task(kit, 52, "waiting")]
    events = [
        (1, "checkpoints", kit.checkpoint(0, {}, next=["done", "going", "waiting"], tasks=tasks)),
        (1, "tasks", {"id": kit.uid(50), "name": "done", "metadata": {}}),
        (1, "tasks", {"id": kit.uid(51), "name": "going", "metadata": {}}),
        (1, "tasks", {"id": kit.uid(50), "name": "done", "result": {"a": 1}, "interrupts": []}),
        (50, "checkpoints", kit.checkpoint(1, {})),
    ]
    session = kit.conversation((["checkpoints", "tasks"], events))
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/cancel", now_ms=20)
    state = kit.read(session, "/state")
    assert [one["error"] for one in state["tasks"]] == [None, "CancelledError()", None]
    assert state["tasks"][0]["result"] == {"a": 1}


def test_interrupts_of_parallel_tasks(kit: Any) -> None:
    """Each task has the interrupt that it raised."""
    tasks = [task(kit, 50, "a"), task(kit, 51, "b")]
    other = {"id": "b" * 32, "value": "and?"}
    events = [
        (1, "checkpoints", kit.checkpoint(0, {}, next=["a", "b"], tasks=tasks)),
        (1, "tasks", {"id": kit.uid(50), "name": "a", "result": {}, "interrupts": [INTERRUPT]}),
        (1, "tasks", {"id": kit.uid(51), "name": "b", "result": {}, "interrupts": [other]}),
        (1, "values", {"__interrupt__": [INTERRUPT]}),
        (1, "values", {"__interrupt__": [other]}),
    ]
    session = kit.conversation((["checkpoints", "tasks", "values"], events))
    plain = {"id": "a" * 32, "value": "ok?"}
    assert [one["interrupts"] for one in kit.read(session, "/state")["tasks"]] == [[plain], [other]]
    assert kit.read(session, "")["interrupts"] == {kit.uid(50): [plain], kit.uid(51): [other]}


def test_metadata_of_a_state(kit: Any) -> None:
    """A state's metadata are those of configuration, run and checkpoint, in the server's order; not what is private."""
    config = {
        "configurable": {
            "checkpoint_ns": "",
            "mine": 5,
            "langgraph_auth_user": None,
            "langgraph_request_id": "r",
            "__after_seconds__": 0,
            "run_id": kit.uid(2),
            "thread_id": kit.uid(1),
            "graph_id": "agent",
            "checkpoint_id": kit.uid(100),
        }
    }
    told = {
        "created_by": "system",
        "graph_id": "agent",
        "run_attempt": 1,
        "run_id": kit.uid(2),
        "tags": ["x"],
    }
    events = [
        (1, "checkpoints", kit.checkpoint(0, {}, config=config)),
        (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": told}),
    ]
    session = kit.conversation((["checkpoints", "tasks"], events))
    metadata = kit.read(session, "/state")["metadata"]
    assert list(metadata) == [
        *("mine", "graph_id", "created_by", "assistant_id", "run_attempt", "run_id", "thread_id", "step"),
        "langgraph_request_id",
    ]


def test_state_after_an_update_that_nothing_shows(kit: Any) -> None:
    """After a state update, whose answer has no values, the state is not that of the run before."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}"
    body = {"assistant_id": "agent", "stream_mode": "values"}
    recording.run(kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), (1, "values", {"n": 1})])
    recording.json("POST", f"{path}/state", {"checkpoint_id": kit.uid(5)}, {"values": {"n": 2}})
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"{path}/runs/stream", body)
    assert kit.read(session, "/state", now_ms=50)["values"] == {"n": 1}
    kit.ask(session, "POST", f"{path}/state", {"values": {"n": 2}}, now_ms=60)
    for what in ("", "/state", "/history"):
        assert kit.ask(session, "GET", f"{path}{what}", now_ms=70).plan.head.status == 422


def test_interrupts_in_order(kit: Any) -> None:
    """Where no event of tasks shows whose an interrupt is, the tasks that have not ended raise them in their order."""
    tasks = [task(kit, 50, "a"), task(kit, 51, "b")]
    other = {"id": "b" * 32, "value": "and?"}
    events = [
        (1, "checkpoints", kit.checkpoint(0, {}, next=["a", "b"], tasks=tasks)),
        (1, "values", {"__interrupt__": [INTERRUPT]}),
        (1, "values", {"__interrupt__": [other]}),
    ]
    session = kit.conversation((["checkpoints", "values"], events))
    found = [one["interrupts"] for one in kit.read(session, "/state")["tasks"]]
    assert found == [[{"id": "a" * 32, "value": "ok?"}], [other]]


def test_tasks_that_were_sent(kit: Any) -> None:
    """A task that another node sent has its place among the sent ones as its path; one that writes nothing a result."""
    tasks = [task(kit, 50 + number, "work") for number in range(3)]
    events: list[Any] = [(1, "checkpoints", kit.checkpoint(0, {}, next=["work"], tasks=tasks))]
    for number, triggers in enumerate((["branch:to:work"], ["__pregel_push"], ["__pregel_push"])):
        start = {"id": kit.uid(50 + number), "name": "work", "triggers": triggers, "metadata": {}}
        events.append((1, "tasks", start))
    events.append((1, "tasks", {"id": kit.uid(50), "name": "work", "result": {}, "interrupts": []}))
    session = kit.conversation((["checkpoints", "tasks"], events))
    found = kit.read(session, "/state")["tasks"]
    assert [one["path"] for one in found] == [
        ["__pregel_pull", "work"],
        ["__pregel_push", 0, False],
        ["__pregel_push", 1, False],
    ]
    assert [one["result"] for one in found] == [{}, None, None]


def test_states_since_an_update(kit: Any) -> None:
    """What a run has shown since a state update is told; a history that would go further back is refused."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}"
    recording.json("POST", f"{path}/state", {"checkpoint_id": kit.uid(5)}, {"values": {"n": 2}})
    body = {"assistant_id": "agent", "stream_mode": "checkpoints"}
    recording.run(
        kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), (1, "checkpoints", kit.checkpoint(3, {}))]
    )
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"{path}/state", {"values": {"n": 2}})
    kit.ask(session, "POST", f"{path}/runs/stream", body)
    assert kit.read(session, "/state")["checkpoint_id"] == kit.uid(103)
    assert len(kit.read(session, "/history", {"limit": 1})) == 1
    assert kit.ask(session, "POST", f"{path}/history", {"limit": 2}, now_ms=99).plan.head.status == 422


def test_state_after_an_update_that_a_stream_told_of(kit: Any) -> None:
    """Where a stream of the thread told of a state update, that state is the thread's, on top of those before."""
    recording = kit.recording()
    path = f"/threads/{recording.thread(1)}"
    body = {"assistant_id": "agent", "stream_mode": "checkpoints"}
    recording.run(
        kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), (1, "checkpoints", kit.checkpoint(3, {}))]
    )
    recording.json("POST", f"{path}/state", {"checkpoint_id": kit.uid(104)}, {"values": {"n": 2}})
    state = {"values": {"n": 2}, "next": ["a"], "tasks": [], "checkpoint_id": kit.uid(104)}
    event = kit.sse("state_update", {"state": state, "thread_id": kit.uid(1)}, "2000000000000-0")
    target = f"{path}/stream?stream_modes=state_update"
    recording.call("GET", target, headers=kit.STREAM_TAIL, reads=[(1, event)])
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"{path}/runs/stream", body)
    kit.ask(session, "POST", f"{path}/state", {"values": {"n": 2}}, now_ms=99)
    assert kit.read(session, "/state") == state
    history = kit.read(session, "/history", {"limit": 9})
    assert [one["checkpoint_id"] for one in history] == [kit.uid(104), kit.uid(103)]
    thread = kit.read(session, "")
    assert (thread["status"], thread["values"], thread["error"]) == ("interrupted", {"n": 2}, None)


def test_states_of_a_thread_that_goes_with_its_run(kit: Any) -> None:
    """It has none, whatever its run shows: the server keeps no checkpoints for it."""
    recording = kit.recording()
    recording.run(None, kit.uid(2), {"assistant_id": "agent"})
    session = kit.session(recording)
    play = kit.ask(session, "POST", "/runs/stream", {"assistant_id": "agent"}).play
    path = f"/threads/{play.thread_id}"
    assert kit.value(kit.ask(session, "GET", f"{path}/state", now_ms=25)) == empty_state()
    assert kit.value(kit.ask(session, "POST", f"{path}/history", {"limit": 9}, now_ms=25)) == []
    assert kit.value(kit.ask(session, "GET", path, now_ms=25))["values"] is None


@pytest.mark.parametrize(("shown", "statuses"), [("values", [200, 200, 200]), ("updates", [422, 422, 422])])
def test_thread_that_did_not_stay_when_it_was_recorded(kit: Any, shown: str, statuses: list[int]) -> None:
    """Its run had no checkpoints, so that none were shown means nothing: what is known is the values, if they are."""
    recording = kit.recording()
    body = {"assistant_id": "agent", "stream_mode": [shown, "checkpoints"]}
    recording.run(None, kit.uid(2), body, [(1, "metadata", {"run_id": kit.uid(2)}), (1, shown, {"n": 1})])
    session = kit.session(recording)
    asked = {**body, "stream_mode": shown, "on_completion": "keep"}
    path = f"/threads/{kit.ask(session, 'POST', '/runs/stream', asked).play.thread_id}"
    found = [
        kit.ask(session, method, f"{path}{what}", {"limit": 9} if what == "/history" else None, now_ms=99)
        for method, what in (("GET", ""), ("GET", "/state"), ("POST", "/history"))
    ]
    assert [reply.plan.head.status for reply in found] == statuses
    if shown == "values":
        assert [state["values"] for state in kit.value(found[2])] == [{"n": 1}]


def test_run_that_nobody_watched(kit: Any) -> None:
    """Of a background run that is over and was neither streamed nor waited for, nobody knows what it left behind."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "input": "hi", "stream_mode": ["values", "checkpoints"]}
    made = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending"}
    recording.json("POST", f"/threads/{thread_id}/runs", made, body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread_id}/runs", body)
    for path in ("", "/state", "/history"):
        refused = kit.ask(session, "GET", f"/threads/{thread_id}{path}", now_ms=10_000)
        assert refused.plan.head.status == 422


@pytest.mark.parametrize(
    "told", [{"__interrupt__": [{"value": "ok?", "id": "0" * 32}]}, {"__error__": {"error": "E"}}]
)
def test_wait_that_hides_the_values(kit: Any, told: Any) -> None:
    """Interrupts alone, or an error, say nothing of the values."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "input": "hi", "stream_mode": ["values", "updates"]}
    location = (b"content-location", f"/threads/{thread_id}/runs/{kit.uid(2)}".encode())
    headers = (location, (b"content-type", b"application/json"))
    recording.json("POST", f"/threads/{thread_id}/runs/wait", told, body, headers=headers)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/wait", body)
    refused = kit.ask(session, "GET", f"/threads/{thread_id}/state", now_ms=10_000)
    assert refused.plan.head.status == 422


@pytest.mark.parametrize(
    "how", [{"durability": "exit"}, {"checkpoint_during": False}, {"durability": "sync"}]
)
def test_states_that_are_written_at_the_end(kit: Any, how: dict[str, Any]) -> None:
    """A run that writes at its exit leaves its last state, which follows on the last of the run before."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    bodies = [{"assistant_id": "agent", "input": n, "stream_mode": "checkpoints", **how} for n in (1, 2)]
    for number, body in enumerate(bodies):
        shown = [kit.checkpoint(2 * number + n, {"n": n}, parent_config=None) for n in (0, 1)]
        events = [
            (1, "metadata", {"run_id": kit.uid(2 + number)}),
            *((50, "checkpoints", one) for one in shown),
        ]
        recording.run(thread_id, kit.uid(2 + number), body, events)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})

    def states(now_ms: int) -> list[tuple[Any, Any]]:
        found = kit.read(session, "/history", {"limit": 10}, now_ms)
        return [(one["checkpoint_id"], one["parent_checkpoint_id"]) for one in found]

    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", bodies[0])
    first, second, third, last = (kit.uid(100 + n) for n in range(4))
    at_exit = "sync" not in how.values()
    assert states(70) == ([] if at_exit else [(first, None)])
    assert states(1000) == ([(second, None)] if at_exit else [(second, None), (first, None)])
    kit.ask(session, "POST", f"/threads/{thread_id}/runs/stream", bodies[1], now_ms=1000)
    if at_exit:
        assert states(1070) == [(second, None)]
        assert states(2000) == [(last, second), (second, None)]
    else:
        assert [one for one, _ in states(2000)] == [last, third, second, first]
