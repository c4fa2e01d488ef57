"""Objects of threads and runs, derived from the streams."""

from __future__ import annotations

from typing import Any

INTERRUPT = {"id": "a" * 32, "value": "ok?", "response_schema": None}


def test_interrupted_thread(kit: Any) -> None:
    """An interrupted thread names its interrupts by task, without the schema that only streams have."""
    task = {"id": kit.uid(50), "name": "ask", "interrupts": [], "state": None}
    events = [
        (1, "checkpoints", kit.checkpoint(0, {"n": 0}, tasks=[task])),
        (1, "values", {"n": 0, "__interrupt__": [INTERRUPT]}),
    ]
    session = kit.conversation((["values", "checkpoints"], events))
    thread = kit.read(session, "")
    assert (thread["status"], thread["values"]) == ("interrupted", {"n": 0})
    assert thread["interrupts"] == {kit.uid(50): [{"id": "a" * 32, "value": "ok?"}]}


def test_failed_thread(kit: Any) -> None:
    """After a failed run thread and run are in error, with the values that stood before."""
    error = {"error": "ValueError", "message": "boom"}
    session = kit.conversation(("values", [(1, "values", {"n": 1}), (1, "error", error)]))
    thread = kit.read(session, "")
    assert (thread["status"], thread["error"], thread["values"]) == ("error", error, {"n": 1})
    assert kit.read(session, f"/runs/{kit.uid(2)}")["status"] == "error"


def test_values_of_a_run_that_shows_none(kit: Any) -> None:
    """A run that could have changed the values without showing it leaves them unknown; one that only began does not."""
    session = kit.conversation(("values", [(1, "values", {"n": 1})]), ("custom", [(1, "custom", 1)]))
    assert kit.read(session, "/state", now_ms=1001)["values"] == {"n": 1}
    reply = kit.ask(session, "GET", f"/threads/{kit.uid(1)}/state", now_ms=10_000)
    assert reply.plan.head.status == 422


def test_run_object(kit: Any) -> None:
    """A run object says what was asked, with the config that its first checkpoint shows."""
    session = kit.conversation(("checkpoints", [(1, "checkpoints", kit.checkpoint(0, {}))]))
    run = kit.read(session, f"/runs/{kit.uid(2)}")
    assert run["kwargs"]["input"] == {"n": 2}
    assert run["kwargs"]["stream_mode"] == ["checkpoints"]
    assert run["kwargs"]["config"]["configurable"] == {
        "thread_id": kit.uid(1),
        "__pregel_node_finished": None,
    }
    assert run["updated_at"].startswith("2026-11-21T00:10:36.0")


STEP = [(1, "values", {"n": 1}), (9, "values", {"n": 2}), (9, "values", {"n": 3})]


def test_thread_inside_its_first_run(kit: Any) -> None:
    """While a first run goes on its thread is busy and has no values, no error and no interrupts."""
    thread = kit.read(kit.conversation(("values", STEP)), "", now_ms=12)
    assert (thread["status"], thread["values"]) == ("busy", None)
    assert not {"error", "interrupts"} & thread.keys()


def test_thread_inside_a_later_run(kit: Any) -> None:
    """The values of a thread are those at the end of the run before; its state is what is shown now."""
    session = kit.conversation(
        ("values", STEP), ("values", [(1, "values", {"n": 7}), (9, "values", {"n": 8})])
    )
    assert kit.read(session, "", now_ms=1005)["values"] == {"n": 3}
    assert kit.read(session, "/state", now_ms=1005)["values"] == {"n": 7}
    assert kit.read(session, "")["values"] == {"n": 8}


def test_thread_after_a_cancel(kit: Any) -> None:
    """A cancelled thread is interrupted where it was, and says who did it."""
    session = kit.conversation(("values", STEP))
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/cancel", now_ms=13)
    thread = kit.read(session, "")
    assert (thread["status"], thread["values"], thread["interrupts"]) == ("interrupted", {"n": 2}, {})
    assert thread["error"] == {
        "error": "UserInterrupt",
        "message": "interrupt requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
    }


def test_thread_after_a_rollback(kit: Any) -> None:
    """A rollback leaves what the run added to the thread's own object, and no values."""
    session = kit.conversation(("values", STEP))
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}/cancel?action=rollback", now_ms=13)
    thread = kit.read(session, "")
    assert (thread["status"], thread["values"], thread["config"]) == ("idle", None, {"configurable": {}})
    assert (thread["metadata"]["graph_id"], thread["error"]["error"]) == ("agent", "UserRollback")
    assert "interrupts" not in thread
    assert kit.read(session, "/state")["values"] == {}


def test_thread_after_its_last_run_was_deleted(kit: Any) -> None:
    """Deleting a run takes its states away; the thread's own values stay."""
    session = kit.conversation(("values", STEP), ("values", [(1, "values", {"n": 8})]))
    kit.ask(session, "DELETE", f"/threads/{kit.uid(1)}/runs/{kit.uid(3)}", now_ms=5000)
    assert kit.read(session, "")["values"] == {"n": 8}
    assert kit.read(session, "/state")["values"] == {"n": 3}


def test_thread_of_its_first_run(kit: Any) -> None:
    """A thread that a run created has the metadata of that run, and the server's order of members."""
    recording = kit.recording()
    body = {"assistant_id": "agent", "if_not_exists": "create", "metadata": {"m": 1}}
    recording.run(kit.uid(1), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", f"/threads/{kit.uid(9)}/runs/stream", body)
    thread = kit.value(kit.ask(session, "GET", f"/threads/{kit.uid(9)}", now_ms=1))
    assert list(thread)[:3] == ["thread_id", "status", "metadata"]
    assert list(thread["metadata"]) == ["graph_id", "assistant_id", "m"]


def test_inner_checkpoint_of_a_failed_run(kit: Any) -> None:
    """A failed run leaves the values of the last checkpoint that its stream showed, of whatever level."""
    events: list[Any] = [
        (1, "checkpoints", kit.checkpoint(0, {"outer": 1})),
        (1, "checkpoints|sub:" + kit.uid(7), kit.checkpoint(1, {"inner": 1})),
        (1, "error", {"error": "ValueError", "message": "no"}),
    ]
    recording = kit.recording()
    recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": "checkpoints", "stream_subgraphs": True}
    recording.run(kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), *events])
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    assert kit.read(session, "")["values"] == {"inner": 1}
    assert kit.read(session, "/state")["values"] == {"outer": 1}


def test_run_object_before_it_starts(kit: Any) -> None:
    """A pending run lacks what the server adds when it starts it."""
    told = {"created_by": "system", "graph_id": "agent", "run_attempt": 1, "langgraph_version": "1.2"}
    events = [
        (20, "checkpoints", kit.checkpoint(0, {})),
        (1, "tasks", {"id": kit.uid(50), "name": "a", "metadata": told}),
    ]
    session = kit.conversation((["checkpoints", "tasks"], events))
    before = kit.read(session, f"/runs/{kit.uid(2)}", now_ms=1)
    assert before["status"] == "pending"
    config = before["kwargs"]["config"]
    assert "__pregel_node_finished" not in config["configurable"]
    assert list(config["metadata"]) == ["created_by", "graph_id", "assistant_id"]
    config = kit.read(session, f"/runs/{kit.uid(2)}", now_ms=30)["kwargs"]["config"]
    assert config["configurable"]["__pregel_node_finished"] is None
    assert list(config["metadata"])[3:] == ["run_attempt", "langgraph_version"]


def test_run_object_of_another_request(kit: Any) -> None:
    """What a request says that no recording is matched by is in its run object."""
    recording = kit.recording()
    recording.thread(1)
    body = {"assistant_id": "agent", "stream_mode": "values"}
    recording.run(kit.uid(1), kit.uid(2), body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    asked = {**body, "stream_mode": ["values"], "multitask_strategy": "interrupt", "metadata": {"m": 1}}
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", asked)
    run = kit.read(session, f"/runs/{kit.uid(2)}")
    assert (run["multitask_strategy"], run["metadata"]["m"]) == ("interrupt", 1)


def test_run_in_line(kit: Any) -> None:
    """A run that waits, or was cancelled before it had its turn, lacks what the server adds when it starts it."""
    recording = kit.recording()
    recording.thread(1)
    config = {
        "configurable": {"a": 1, "__pregel_node_finished": None},
        "metadata": {"b": 1, "run_attempt": 1},
    }
    for number in (2, 3):
        recording.run(kit.uid(1), kit.uid(number), {"assistant_id": "agent", "input": number})
        recorded = {"run_id": kit.uid(number), "status": "success", "kwargs": {"config": config}}
        recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(number)}", recorded)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    for number in (2, 3):
        body = {"assistant_id": "agent", "input": number}
        kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    path = f"/runs/{kit.uid(3)}"
    expected = {"configurable": {"a": 1}, "metadata": {"b": 1}}
    waiting = kit.read(session, path, now_ms=15)
    assert (waiting["status"], waiting["kwargs"]["config"]) == ("pending", expected)
    assert kit.read(session, f"/runs/{kit.uid(2)}", now_ms=15)["kwargs"]["config"] == config
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}{path}/cancel", now_ms=16)
    cancelled = kit.read(session, path, now_ms=99)
    assert (cancelled["status"], cancelled["kwargs"]["config"]) == ("interrupted", expected)


def test_recorded_run_object_of_another_request(kit: Any) -> None:
    """A recorded run object says what this session's request says: its input's ids, modes, flags and strategy."""
    recording = kit.recording()
    recording.thread(1)
    body = {"assistant_id": "agent", "input": {"messages": [{"content": "hi", "id": "u-1"}]}}
    recording.run(kit.uid(1), kit.uid(2), body)
    kwargs = {"input": body["input"], "stream_mode": ["values"], "subgraphs": False, "resumable": False}
    recorded = {"run_id": kit.uid(2), "multitask_strategy": "enqueue", "kwargs": kwargs}
    recording.json("GET", f"/threads/{kit.uid(1)}/runs/{kit.uid(2)}", recorded)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    mine = {"messages": [{"content": "hi"}]}
    asked = {**body, "input": mine, "stream_mode": ["values", "values"], "multitask_strategy": "interrupt"}
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", {**asked, "stream_resumable": True})
    run = kit.read(session, f"/runs/{kit.uid(2)}", now_ms=15)
    assert run["kwargs"]["input"] == mine
    assert (run["kwargs"]["stream_mode"], run["kwargs"]["resumable"]) == (["values", "values"], True)
    assert run["multitask_strategy"] == "interrupt"


def test_thread_after_an_inner_interrupt(kit: Any) -> None:
    """A run that stops inside an inner graph leaves that graph's values and tasks: the last checkpoint it showed."""
    inner = kit.checkpoint(1, {"inner": 1}, next=["ask"], tasks=[{"id": kit.uid(51), "name": "ask"}])
    name = "|sub:" + kit.uid(50)
    root_task = {"id": kit.uid(50), "name": "sub", "result": {}, "interrupts": [INTERRUPT]}
    events: list[Any] = [
        (1, "checkpoints", kit.checkpoint(0, {"outer": 1}, next=["sub"], tasks=[{"id": kit.uid(50)}])),
        (1, "checkpoints" + name, inner),
        (1, "tasks" + name, {"id": kit.uid(51), "name": "ask", "result": {}, "interrupts": [INTERRUPT]}),
        (1, "tasks", root_task),
        (1, "values", {"outer": 1, "__interrupt__": [INTERRUPT]}),
    ]
    recording = kit.recording()
    recording.thread(1)
    modes = ["checkpoints", "tasks", "values"]
    body = {"assistant_id": "agent", "stream_mode": modes, "stream_subgraphs": True}
    recording.run(kit.uid(1), kit.uid(2), body, [(1, "metadata", {}), *events])
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", f"/threads/{kit.uid(1)}/runs/stream", body)
    thread = kit.read(session, "")
    assert (thread["status"], thread["values"]) == ("interrupted", {"inner": 1})
    assert thread["interrupts"] == {kit.uid(51): [{"id": "a" * 32, "value": "ok?"}]}
    assert kit.read(session, "/state")["values"] == {"outer": 1}


def test_run_object_of_a_recorded_start(kit: Any) -> None:
    """The answer to a start is the run before it began; what the server adds then is added, as its tasks show it."""
    recording = kit.recording()
    recording.thread(1)
    config = {"configurable": {"a": 1}, "metadata": {"b": 1}}
    told = {"run_id": kit.uid(2), "thread_id": kit.uid(1), "status": "pending", "kwargs": {"config": config}}
    base, body = f"/threads/{kit.uid(1)}/runs", {"assistant_id": "agent", "stream_mode": "tasks"}
    recording.json("POST", base, told, body)
    shown = {"b": 1, "run_attempt": 1, "langgraph_version": "1.2"}
    reads = [
        (5, kit.sse("metadata", {"run_id": kit.uid(2)})),
        (5, kit.sse("tasks", {"id": kit.uid(3), "name": "a", "metadata": shown})),
    ]
    recording.call("GET", f"{base}/{kit.uid(2)}/stream", headers=kit.STREAM_TAIL, reads=reads)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    kit.ask(session, "POST", base, body)
    path = f"/runs/{kit.uid(2)}"
    assert kit.read(session, path, now_ms=0)["kwargs"]["config"] == config
    begun = kit.read(session, path)["kwargs"]["config"]
    assert begun == {"configurable": {"a": 1, "__pregel_node_finished": None}, "metadata": shown}


def test_run_that_was_just_asked_for(kit: Any) -> None:
    """The answer to who asked for it has nothing of what is added when it begins, however soon that is."""
    recording = kit.recording()
    thread_id = recording.thread(1)
    body = {"assistant_id": "agent", "input": "hi"}
    kwargs = {"config": {"configurable": {"a": 1}, "metadata": {"b": 2}}, "stream_mode": ["values"]}
    made = {"run_id": kit.uid(2), "thread_id": thread_id, "status": "pending", "kwargs": kwargs}
    recording.json("POST", f"/threads/{thread_id}/runs", made, body)
    session = kit.session(recording)
    kit.ask(session, "POST", "/threads", {})
    asked = {**body, "stream_mode": ["values", "updates"]}
    told = kit.value(kit.ask(session, "POST", f"/threads/{thread_id}/runs", asked))
    assert told["status"] == "pending"
    assert told["kwargs"]["config"] == kwargs["config"]
