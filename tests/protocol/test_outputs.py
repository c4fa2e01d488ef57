"""What nodes of the root return, put back; each case is a shape of `tests/live/graphs_matrix.py` in small."""

from __future__ import annotations

from typing import Any

import pytest

from graphtape.protocol.messages import UnknownShape
from graphtape.protocol.outputs import Rebuilt, RootOutputs, namespace_of

SHARED = {"graph_id": "g", "thread_id": "t", "run_id": "r", "ls_integration": "langchain_chat_model"}


def message(message_id: str | None) -> dict[str, Any]:
    plain: dict[str, Any] = {"content": "", "additional_kwargs": {}, "response_metadata": {}}
    return plain | {"type": "ai", "name": None, "id": message_id}


def said(namespace: str, **extra: Any) -> dict[str, Any]:
    """Metadata of what a model said in the task of this namespace."""
    task = {
        "langgraph_step": 1,
        "langgraph_path": ["__pregel_pull", "x"],
        "langgraph_checkpoint_ns": namespace,
    }
    return SHARED | extra | task | {"ls_model_type": "chat"}


class Run:
    """A recording, told in a few words."""

    def __init__(self, *, lenient: bool = False) -> None:
        self.outputs = RootOutputs(lenient=lenient)

    def start(
        self,
        task: str,
        *,
        inside: tuple[str, ...] = (),
        triggers: str = "branch:to:x",
        seen: str = "",
        **metadata: Any,
    ) -> None:
        payload = {
            "id": task,
            "name": task,
            "input": {"messages": [message(one) for one in seen]},
            "triggers": [triggers],
            "metadata": {"graph_id": "g", "run_id": "r"} | metadata,
        }
        self.outputs.task_started(inside, 1, payload)

    def say(self, message_id: str, *inside: str, **extra: Any) -> None:
        self.outputs.message_sent(inside, message(message_id), said("|".join([*inside, "say:s"]), **extra))

    def end_inside(self, task: str, *inside: str, error: Any = None) -> None:
        self.outputs.inner_task_ended(inside, {"id": task, "name": task, "error": error})

    def end(self, task: str, result: Any, update: Any = None, **more: Any) -> list[Rebuilt]:
        payload = {"id": task, "name": task, "error": None, "result": result, "interrupts": []} | more
        return self.outputs.root_task_ended(payload, update)


def ids(rebuilt: list[Rebuilt]) -> list[str]:
    return [one.message["id"] for one in rebuilt]


def listed(*message_ids: str | None) -> list[dict[str, Any]]:
    return [message(one) for one in message_ids]


@pytest.fixture
def run() -> Run:
    """A root task `a` whose subgraph has said `x`, `y` and `z`; the root has seen `h`."""
    told = Run()
    told.start("a", seen="h")
    for one in "xyz":
        told.say(one, "a:a")
    return told


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ({"messages": listed("h", "x", "y")}, "xy"),
        ({"last": message("y"), "chat": listed("x", "x")}, "yx"),
        ({"messages": {"$writes": [listed("y"), message("x")]}, "n": {"$writes": [1, 2]}}, "yx"),
        ({"__root__": listed("x")}, "x"),
        ({"__return__": listed("x")}, "x"),
        ({"__return__": message("x")}, "x"),
        ({"__return__": {"messages": listed("x")}}, "x"),
        ({"messages": listed("never seen", None, "x")}, "x"),
        ({"deep": {"messages": listed("x")}}, ""),
        ({"messages": listed("h")}, ""),
        (None, ""),
    ],
)
def test_what_is_put_back(run: Run, result: Any, found: str) -> None:
    """Messages seen by inner levels only, where the server looks, each once, in order."""
    assert "".join(ids(run.end("a", result))) == found
    assert run.end("a", result) == []


@pytest.mark.parametrize("more", [{"error": {"error": "E"}}, {"interrupts": [{"id": "i"}]}])
def test_a_task_that_does_not_end_well(run: Run, more: dict[str, Any]) -> None:
    """After an error or at an interrupt the server sends nothing."""
    assert run.end("a", {"messages": listed("x")}, **more) == []


def test_order_of_several_writes(run: Run) -> None:
    """Writes to several channels are in order in `updates` only."""
    result = {"messages": {"$writes": [listed("x"), listed("z")]}, "other": listed("y")}
    update = [{"messages": listed("x")}, {"other": listed("y")}, {"messages": listed("z")}]
    assert ids(run.end("a", result, update)) == ["x", "y", "z"]


def test_order_that_updates_do_not_show(run: Run) -> None:
    """An output schema hides a channel, so the order is not known."""
    result = {"messages": {"$writes": [listed("x"), listed("z")]}, "other": listed("y")}
    with pytest.raises(UnknownShape, match="several times"):
        run.end("a", result, [{"messages": listed("x")}, {"messages": listed("z")}])


def test_place_among_recorded_messages(run: Run) -> None:
    """Recorded messages of the same output keep their bytes; what is put back has their metadata."""
    own = SHARED | {"ls_integration": "langgraph", "langgraph_step": 1, "langgraph_checkpoint_ns": "a:a"}
    assert run.outputs.message_sent((), message("own"), own) == "a"
    rebuilt = run.end("a", {"messages": listed("x", "own", "y")})
    assert [(one.message["id"], one.before) for one in rebuilt] == [("x", "own"), ("y", None)]
    assert all(one.metadata is own for one in rebuilt)


def test_metadata_of_a_node() -> None:
    """The run's metadata in its order, then the task's, then the node's own; nothing of inner calls or tags."""
    run = Run()
    run.start("a", node_meta=1, tags=["t"])
    run.say("x", "a:a", inner=2)
    (rebuilt,) = run.end("a", {"messages": listed("x")})
    assert list(rebuilt.metadata.items()) == [
        ("graph_id", "g"),
        ("thread_id", "t"),
        ("run_id", "r"),
        ("ls_integration", "langgraph"),
        ("langgraph_step", 1),
        ("langgraph_node", "a"),
        ("langgraph_triggers", ["branch:to:x"]),
        ("langgraph_path", ["__pregel_pull", "a"]),
        ("langgraph_checkpoint_ns", "a:a"),
        ("node_meta", 1),
    ]


def test_an_integration_of_the_graph_itself() -> None:
    """A graph that names its own integration keeps it."""
    run = Run()
    run.start("a", ls_integration="mine")
    run.say("x", "a:a")
    assert run.end("a", {"messages": listed("x")})[0].metadata["ls_integration"] == "mine"


def test_no_metadata_seen_yet() -> None:
    """Messages that only inner inputs showed, before any message event: nothing to make the metadata from."""
    run = Run()
    run.start("a")
    run.start("b", inside=("a:a",), seen="x")
    run.end_inside("b", "a:a")
    with pytest.raises(UnknownShape, match="metadata"):
        run.end("a", {"messages": listed("x")})


def test_sends() -> None:
    """The path of a `Send` is its number among the pushes of its step."""
    run = Run()
    for task in ("a", "b"):
        run.start(task, triggers="__pregel_push")
    run.say("x", "b:b")
    (rebuilt,) = run.end("b", {"messages": listed("x")})
    assert rebuilt.metadata["langgraph_path"] == ["__pregel_push", 1, False]


def test_calls_one_after_another() -> None:
    """The path of a call has its caller's path and its number."""
    run = Run()
    run.start("e", triggers="__start__")
    run.start("one", triggers="__pregel_push")
    run.end("one", {"__return__": 1})
    run.start("two", triggers="__pregel_push")
    run.say("x", "e:e", "two:two")
    (rebuilt,) = run.end("two", {"__return__": listed("x")})
    assert rebuilt.metadata["langgraph_path"] == ["__pregel_push", ["__pregel_pull", "e"], 1, True]
    assert rebuilt.metadata["langgraph_checkpoint_ns"] == "e:e|two:two"


def test_a_call_in_a_call() -> None:
    """An event below it names its caller."""
    run = Run()
    run.start("e", triggers="__start__")
    run.start("one", triggers="__pregel_push")
    run.start("two", triggers="__pregel_push")
    run.start("b", inside=("e:e", "one:one", "two:two"))
    run.say("x", "e:e", "one:one", "two:two")
    run.end_inside("b", "e:e", "one:one", "two:two")
    (rebuilt,) = run.end("two", {"__return__": listed("x")})
    caller = ["__pregel_push", ["__pregel_pull", "e"], 0, True]
    assert rebuilt.metadata["langgraph_path"] == ["__pregel_push", caller, 0, True]
    assert rebuilt.metadata["langgraph_checkpoint_ns"] == "e:e|one:one|two:two"


@pytest.mark.parametrize("lenient", [False, True])
def test_calls_at_once(*, lenient: bool) -> None:
    """Who called cannot be told; a lenient reading takes the entrypoint."""
    run = Run(lenient=lenient)
    run.start("e", triggers="__start__")
    run.start("one", triggers="__pregel_push")
    run.start("two", triggers="__pregel_push")
    run.say("x", "somewhere:else")
    if lenient:
        (rebuilt,) = run.end("two", {"__return__": listed("x")})
        assert rebuilt.metadata["langgraph_path"] == ["__pregel_push", ["__pregel_pull", "e"], 1, True]
        assert run.outputs.doubts
    else:
        with pytest.raises(UnknownShape, match="at once"):
            run.end("two", {"__return__": listed("x")})


def test_a_cached_task_no_longer_runs() -> None:
    """What was done before an interrupt is said to be cached, and calls nothing."""
    run = Run()
    run.start("e", triggers="__start__")
    run.start("one", triggers="__pregel_push")
    run.outputs.task_cached("one")
    run.start("two", triggers="__pregel_push")
    run.say("x", "e:e", "two:two")
    assert run.end("two", {"__return__": listed("x")})[0].metadata["langgraph_path"][2] == 1


def test_an_entrypoint_that_called_a_graph(run: Run) -> None:
    """Whether the value was wrapped in `entrypoint.final` is not recorded."""
    with pytest.raises(UnknownShape, match="entrypoint"):
        run.end("a", {"__end__": {"messages": listed("x")}})


def test_a_hand_over_to_the_parent(run: Run) -> None:
    """A subgraph that leaves by `Command(graph=PARENT)` has a task without end; its node sends nothing."""
    run.start("b", inside=("a:a",))
    assert run.end("a", {"messages": listed("x")}) == []


def test_a_failed_part_of_a_subgraph(run: Run) -> None:
    """A node that goes on after a failure inside also leaves tasks without end: a doubt."""
    run.start("b", inside=("a:a", "1"))
    run.start("c", inside=("a:a", "1"))
    run.end_inside("c", "a:a", "1", error={"error": "E"})
    with pytest.raises(UnknownShape, match="failed"):
        run.end("a", {"messages": listed("x")})


def test_an_end_without_a_start(run: Run) -> None:
    """What ran it is not known."""
    with pytest.raises(UnknownShape, match="never started"):
        run.end("b", {"messages": listed("x")})


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        (["__pregel_pull", "say"], ("sub:1",)),
        (["__pregel_push", 0, False], ("sub:1",)),
        (["__pregel_push", ["__pregel_pull", "e"], 0, True], ()),
        (None, ("sub:1",)),
    ],
)
def test_namespace_of_a_message(path: Any, namespace: tuple[str, ...]) -> None:
    """All segments but the task's own, and but one per call of the functional API."""
    metadata = {"langgraph_checkpoint_ns": "sub:1|say:2", "langgraph_path": path}
    assert namespace_of(metadata) == namespace
    assert namespace_of({}) == ()
