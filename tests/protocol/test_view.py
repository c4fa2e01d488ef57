"""The view on small streams made by hand; `tests/live/test_view_matrix.py` compares it with the real server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtape.protocol.errors import ViewRefused
from graphtape.protocol.modes import StreamOptions
from graphtape.protocol.sse import Decoder, encode, encode_comment
from graphtape.protocol.view import Frame, View, frame_with_id, is_flat, narrowable, with_id, without_id

EVERYTHING = frozenset({"values", "updates", "messages-tuple", "custom", "debug", "tasks", "checkpoints"})
RECORDED = StreamOptions(EVERYTHING, subgraphs=True, resumable=True)
HEARTBEAT = encode_comment(b"heartbeat")
NS = "sub:t1"


def ask(*modes: str, subgraphs: bool = False, resumable: bool = False) -> StreamOptions:
    return StreamOptions(frozenset(modes), subgraphs, resumable)


def event(name: str, payload: Any, event_id: str | None = "5-0") -> bytes:
    return encode(name, orjson.dumps(payload), event_id)


def message(message_id: str | None, content: str = "hi", kind: str = "ai") -> dict[str, Any]:
    plain: dict[str, Any] = {
        "content": content,
        "additional_kwargs": {},
        "response_metadata": {},
        "type": kind,
        "name": None,
    }
    plain |= {"id": message_id, "tool_calls": [], "invalid_tool_calls": [], "usage_metadata": None}
    return plain | ({"tool_call_chunks": [], "chunk_position": None} if kind == "AIMessageChunk" else {})


def metadata(node: str, namespace: str, *, model: bool) -> dict[str, Any]:
    shared = {"graph_id": "g", "thread_id": "t", "run_id": "r"}
    kind = {"ls_integration": "langchain_chat_model" if model else "langgraph"}
    task = {"langgraph_step": 1, "langgraph_node": node, "langgraph_triggers": [f"branch:to:{node}"]}
    path = {"langgraph_path": ["__pregel_pull", node], "langgraph_checkpoint_ns": namespace}
    return shared | kind | task | path | ({"checkpoint_ns": NS, "ls_model_type": "chat"} if model else {})


def start(name: str, node: str, task: str, *messages: dict[str, Any]) -> list[bytes]:
    payload: dict[str, Any] = {
        "id": task,
        "name": node,
        "input": {"messages": list(messages)},
        "triggers": [f"branch:to:{node}"],
    }
    payload["metadata"] = {"graph_id": "g", "run_id": "r"}
    record = {"step": 1, "timestamp": "2026", "type": "task", "payload": payload}
    return [event(f"tasks{name}", payload), event(f"debug{name}", record)]


def end(name: str, node: str, task: str, *messages: dict[str, Any], **more: Any) -> list[bytes]:
    payload: dict[str, Any] = {
        "id": task,
        "name": node,
        "error": None,
        "result": {"messages": list(messages)},
        "interrupts": [],
    }
    payload |= more
    record = {"step": 1, "timestamp": "2026", "type": "task_result", "payload": payload}
    return [event(f"tasks{name}", payload), event(f"debug{name}", record)]


HUMAN = message("h", kind="human")
SAID = message("m", "hello you")
TOKENS = [message("m", text, "AIMessageChunk") for text in ("hello", " you")]
INNER_META = metadata("say", f"{NS}|say:t2", model=True)
NEW = message("n", "new")
NEW_META = metadata("sub", NS, model=False)

# A node `sub` whose subgraph says `m` in two tokens; the node returns its input, `m`, and a message of its own.
STREAM = [
    event("metadata", {"run_id": "r", "attempt": 1}),
    event("values", {"messages": [HUMAN]}),
    *start("", "sub", "t1", HUMAN),
    *start(f"|{NS}", "say", "t2", HUMAN),
    event(f"custom|{NS}", {"level": 2}),
    *(event(f"messages|{NS}", [token, INNER_META]) for token in TOKENS),
    event(f"updates|{NS}", {"say": {"messages": [SAID]}}),
    *end(f"|{NS}", "say", "t2", SAID),
    event("messages", [NEW, NEW_META]),
    event("updates", {"sub": {"messages": [HUMAN, SAID, NEW]}}),
    *end("", "sub", "t1", HUMAN, SAID, NEW),
    event("values", {"messages": [HUMAN, SAID, NEW]}),
    event("custom", None),
    event("checkpoints", {}),
    event("error", {"error": "ValueError", "message": "boom"}),
    event("feedback", {}),
]

# Behind the subgraph's last event, and behind the node's own message.
INNER_END = next(n for n, raw in enumerate(STREAM) if b'"type":"task_result"' in raw) + 1
OWN = INNER_END + 1


def feed(view: View, stream: Iterable[bytes]) -> list[Frame]:
    decoder = Decoder()
    frames: list[Frame] = []
    at = 0
    whole = b"".join(stream)
    for block in decoder.feed(whole):
        frames += view.feed(block, whole[block.start : block.end])
        at = block.end
    if (tail := decoder.finish()) is not None:
        frames += view.feed(tail, whole[at:])
    return frames + view.finish()


def shown(
    asked: StreamOptions, recorded: StreamOptions = RECORDED, stream: Iterable[bytes] = STREAM
) -> list[str]:
    return [frame.name for frame in feed(View(recorded, asked), stream)]


def payload(frame: Frame) -> Any:
    (block,) = Decoder().feed(frame.raw)
    assert block.data is not None
    return orjson.loads(block.data)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (ask("values"), ["values", "values"]),
        (ask("custom"), ["custom"]),
        (ask("custom", subgraphs=True), [f"custom|{NS}", "custom"]),
        (ask("updates", subgraphs=True), [f"updates|{NS}", "updates"]),
        (ask("messages-tuple", subgraphs=True), [f"messages|{NS}"] * 2 + ["messages"]),
        (ask("tasks"), ["tasks", "tasks"]),
        (ask("checkpoints", "debug"), ["debug", "debug", "checkpoints"]),
    ],
)
def test_filter_by_name(asked: StreamOptions, names: list[str]) -> None:
    """Modes and levels by name, and always metadata, error and feedback, with the recorded bytes less ids."""
    view = View(RECORDED, asked)
    frames = feed(view, STREAM)
    assert [frame.name for frame in frames] == ["metadata", *names, "error", "feedback"]
    recorded = {without_id(raw) for raw in STREAM}
    assert all(frame.raw in recorded and frame.id is None and not frame.derived for frame in frames)
    assert not view.is_derived


def test_the_recorded_request_itself() -> None:
    """Asked as recorded, every byte passes, ids and heartbeats included."""
    stream = [*STREAM, HEARTBEAT]
    assert b"".join(frame.raw for frame in feed(View(RECORDED, RECORDED), stream)) == b"".join(stream)


def test_whole_messages_of_a_subgraph() -> None:
    """Without subgraphs the inner tokens vanish and the message comes whole before the parent's update."""
    view = View(RECORDED, ask("messages-tuple", "updates", resumable=True))
    frames = feed(view, STREAM)
    assert [frame.name for frame in frames] == [
        "metadata",
        "messages",
        "messages",
        "updates",
        "error",
        "feedback",
    ]
    rebuilt, own = frames[1:3]
    assert (rebuilt.derived, own.derived) == (True, False)
    assert payload(rebuilt) == [SAID, NEW_META]
    assert list(payload(rebuilt)[1]) == list(NEW_META)
    assert (rebuilt.id, own.raw) == ("5-0", event("messages", [NEW, NEW_META]))
    assert view.derived == "messages of subgraphs put back from debug"


def test_place_before_the_update() -> None:
    """Where a node returns nothing but what its subgraph said, its update waits for the end record."""
    stream = [
        *STREAM[:INNER_END],
        event("updates", {"sub": {"messages": [SAID]}}),
        *end("", "sub", "t1", SAID),
    ]
    assert shown(ask("messages-tuple", "updates"), stream=stream) == ["metadata", "messages", "updates"]


@pytest.mark.parametrize(
    "update", [{"__interrupt__": []}, {"sub": None, "__metadata__": {"cached": True}}, None]
)
def test_updates_without_an_end_record_are_not_held(update: Any) -> None:
    """Interrupts and cached tasks go out at once."""
    view = View(RECORDED, ask("messages-tuple", "updates"))
    (block,) = Decoder().feed(raw := event("updates", update, None))
    assert [frame.raw for frame in view.feed(block, raw)] == [raw]


def test_place_among_callback_events() -> None:
    """With `events`, the message stands right behind the end of the node's run."""
    ended = {"event": "on_chain_end", "name": "sub", "metadata": NEW_META}
    other = {"event": "on_chain_stream", "name": "g", "metadata": {}}
    tail = [event("events", ended), event("events", other), event("updates", {"sub": {"messages": [SAID]}})]
    stream = [*STREAM[:INNER_END], *tail, *end("", "sub", "t1", SAID)]
    recorded = StreamOptions(EVERYTHING | {"events"}, True)
    assert shown(ask("events", "messages-tuple"), recorded, stream) == [
        "metadata",
        "events",
        "messages",
        "events",
    ]


def test_place_without_updates_and_tasks() -> None:
    """With `debug` alone the message stands before the node's result."""
    recorded = ask("messages-tuple", "debug", subgraphs=True)
    stream = [raw for raw in STREAM if raw.startswith((b"event: messages", b"event: debug"))]
    frames = feed(View(recorded, ask("messages-tuple", "debug")), stream)
    assert [frame.name for frame in frames] == ["debug", "messages", "messages", "debug"]
    assert payload(frames[1])[0] == SAID


def test_messages_from_messages_tuple() -> None:
    """Tokens are added up: metadata once per id, then the sum after each token; no namespace in the names."""
    view = View(RECORDED, ask("messages", subgraphs=True))
    frames = feed(view, STREAM)[1:-2]
    assert [frame.name for frame in frames] == [
        *("messages/metadata", "messages/partial", "messages/partial"),
        *("messages/metadata", "messages/complete"),
    ]
    assert all(frame.derived for frame in frames)
    assert payload(frames[0]) == {"m": {"metadata": INNER_META}}
    assert [payload(frame)[0]["content"] for frame in frames[1:3]] == ["hello", "hello you"]
    assert view.derived == "messages added up from messages-tuple"


def test_messages_without_subgraphs_from_messages_tuple() -> None:
    """Both at once: the subgraph's message is complete, at the parent's end."""
    frames = feed(View(RECORDED, ask("messages")), STREAM)[1:-2]
    assert [frame.name for frame in frames] == ["messages/metadata", "messages/complete"] * 2
    assert [payload(frame)[0]["id"] for frame in frames[1::2]] == ["m", "n"]


def as_messages(stream: Iterable[bytes]) -> list[bytes]:
    """The same stream recorded with `messages` in place of `messages-tuple`."""
    view = View(RECORDED, StreamOptions(EVERYTHING - {"messages-tuple"} | {"messages"}, True, True))
    return [frame.raw for frame in feed(view, stream)]


def test_messages_without_subgraphs_from_messages() -> None:
    """Levels are told by the metadata; inner events go, whole messages come."""
    recorded = StreamOptions(EVERYTHING - {"messages-tuple"} | {"messages"}, True, True)
    frames = feed(View(recorded, ask("messages", "updates")), as_messages(STREAM))
    assert [frame.name for frame in frames][1:-2] == ["messages/metadata", "messages/complete"] * 2 + [
        "updates"
    ]
    assert [frame.derived for frame in frames][1:-2] == [True, True, False, False, False]
    assert [payload(frame)[0]["id"] for frame in frames[2:5:2]] == ["m", "n"]


def test_one_id_on_two_levels() -> None:
    """In a `messages` recording the sums of two levels cannot be parted."""
    recorded = StreamOptions(EVERYTHING - {"messages-tuple"} | {"messages"}, True, True)
    late = event("messages", [message("m", "again", "AIMessageChunk"), metadata("top", "top:t9", model=True)])
    stream = as_messages([*STREAM[:-2], late])
    with pytest.raises(ViewRefused, match="two levels"):
        feed(View(recorded, ask("messages")), stream)


def test_tags_that_the_messages_mode_leaves_in_events() -> None:
    """A recording with messages has a model's tags in `events`; where the asked run would not, they go."""
    recorded = StreamOptions(EVERYTHING | {"events"}, True)
    inner = {"event": "on_chat_model_start", "metadata": {**INNER_META, "tags": ["mine"]}, "parent_ids": []}
    root = {"event": "on_chat_model_end", "metadata": {"langgraph_checkpoint_ns": "a:1", "tags": ["mine"]}}
    own = {"event": "on_chain_start", "metadata": {"tags": ["mine"]}}
    stream = [event("events", one, None) for one in (inner, root, own)]

    def tagged(*modes: str, subgraphs: bool = False) -> list[bool]:
        frames = feed(View(recorded, ask(*modes, subgraphs=subgraphs)), stream)
        assert [frame.derived for frame in frames] == [b"tags" not in frame.raw for frame in frames]
        return ["tags" in payload(frame)["metadata"] for frame in frames]

    assert tagged("events") == tagged("events", "values", subgraphs=True) == [False, False, True]
    assert tagged("events", "messages-tuple") == [False, True, True]
    assert tagged("events", "messages-tuple", subgraphs=True) == [True, True, True]
    assert "tags" in View(recorded, ask("events")).derived


@pytest.mark.parametrize("modes", [{"messages-tuple"}, {"messages"}])
def test_both_message_modes_asked(modes: set[str]) -> None:
    """`messages-tuple` wins, whichever way the options were made."""
    asked = StreamOptions(frozenset({"messages", "messages-tuple"}), True)
    assert [n for n in shown(asked) if n.startswith("messages")] == [f"messages|{NS}"] * 2 + ["messages"]
    with pytest.raises(ViewRefused):
        View(ask("messages", subgraphs=True), asked)


@pytest.mark.parametrize(
    ("recorded", "asked", "reason"),
    [
        (ask("values"), ask("updates"), "no events of the mode updates"),
        (ask("values"), ask("custom", "events"), "custom and events"),
        (ask("messages"), ask("messages-tuple"), "no messages-tuple"),
        (ask("values"), ask("messages"), "neither messages nor messages-tuple"),
        (ask("values"), ask("values", subgraphs=True), "without stream_subgraphs"),
        (ask("events", "values"), ask("events", "values", subgraphs=True), "without stream_subgraphs"),
        (ask("messages-tuple", "updates", subgraphs=True), ask("messages-tuple"), "mode debug"),
        (ask("messages", "tasks", subgraphs=True), ask("messages"), "mode debug"),
        (ask("messages-tuple", subgraphs=True), ask("messages"), "mode debug"),
    ],
)
def test_refused_before_the_stream(recorded: StreamOptions, asked: StreamOptions, reason: str) -> None:
    """What the requests alone show to be impossible is refused at once, naming what was recorded and what to do."""
    with pytest.raises(ViewRefused, match=reason) as refused:
        View(recorded, asked)
    assert refused.value.recorded_modes == tuple(sorted(recorded.modes))
    assert "stream_mode" in refused.value.how
    assert "--widen" in refused.value.how
    assert not narrowable(recorded, asked)


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        (ask("events"), ask("events", subgraphs=True)),
        (ask("events", "values", subgraphs=True), ask("events")),
        (ask("messages-tuple"), ask("messages")),
        (ask("messages-tuple", "debug", subgraphs=True), ask("messages")),
        (RECORDED, ask("messages-tuple", subgraphs=True)),
    ],
)
def test_narrowable(recorded: StreamOptions, asked: StreamOptions) -> None:
    """What the requests alone show to be possible."""
    assert narrowable(recorded, asked)


def test_a_run_without_subgraphs_needs_no_debug() -> None:
    """Where the caller knows that no level but the root ran, the name filter is the truth."""
    recorded = ask("messages-tuple", "values", subgraphs=True)
    stream = [event("values", {}), event("messages", [SAID, NEW_META])]
    names = {"values", "messages"}
    assert is_flat(recorded, names)
    view = View(recorded, ask("messages-tuple"), flat=True)
    assert [frame.name for frame in feed(view, stream)] == ["messages"]
    assert not is_flat(recorded, {*names, "values|a:1"})
    assert not is_flat(ask("messages-tuple", subgraphs=True), {"messages"})


def test_an_unknown_shape_found_on_the_way() -> None:
    """Refused from `feed`; a lenient view takes the likelier case and says so."""
    direct = [*STREAM[:INNER_END], *end("", "sub", "t1", result={"__end__": {"messages": [SAID]}})]
    with pytest.raises(ViewRefused, match="entrypoint 'sub'"):
        feed(View(RECORDED, ask("messages-tuple")), direct)
    view = View(RECORDED, ask("messages-tuple"), lenient=True)
    assert [frame.name for frame in feed(view, direct)] == ["metadata", "messages"]
    assert len(view.doubts) == 1


def test_heartbeats_are_not_held() -> None:
    """While a node's messages wait for its end record, comments pass."""
    frames = feed(View(RECORDED, ask("messages-tuple")), [*STREAM[:OWN], HEARTBEAT, *STREAM[OWN:]])
    assert [frame.name for frame in frames][:4] == ["metadata", "", "messages", "messages"]
    assert frames[1] == Frame(HEARTBEAT, None, "", None)


def test_an_error_releases_what_is_held() -> None:
    """A run that fails between a message and its node's end loses nothing."""
    stream = [*STREAM[:OWN], event("error", {})]
    assert shown(ask("messages-tuple"), stream=stream) == ["metadata", "messages", "error"]


def test_a_recording_that_stops() -> None:
    """What is held is released at the end."""
    assert shown(ask("messages-tuple"), stream=STREAM[:OWN]) == ["metadata", "messages"]


def test_a_second_attempt_starts_over() -> None:
    """After a new `metadata` event nothing of the first attempt counts as seen."""
    frames = feed(View(RECORDED, ask("messages")), [*STREAM[:-2], *STREAM])
    half = ["metadata", *["messages/metadata", "messages/complete"] * 2]
    assert [frame.name for frame in frames] == [*half, *half, "error", "feedback"]


def test_a_recording_that_breaks_off_inside_an_event() -> None:
    """The head of an event passes if its whole would have passed unchanged."""
    tail = STREAM[-4][:-2]
    assert tail.startswith(b"event: custom")
    stream = [STREAM[0], tail]
    assert b"".join(f.raw for f in feed(View(RECORDED, RECORDED), stream)) == b"".join(stream)
    assert len(feed(View(RECORDED, ask("custom")), stream)) == 2
    assert len(feed(View(RECORDED, ask("values")), stream)) == 1
    assert len(feed(View(RECORDED, ask("messages")), stream)) == 1


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_ids_are_put_in_and_taken_out(line_end: bytes) -> None:
    """Only the id line changes, whatever the line ends; data that looks like an id line stays."""
    plain = line_end.join([b"event: a", b"data: id: 3", b"data:id", b"", b""])
    given_id = line_end.join([b"event: a", b"data: id: 3", b"data:id", b"id: 7-0", b"", b""])
    assert with_id(plain, "7-0") == given_id
    assert without_id(given_id) == plain
    assert with_id(given_id, "8-1") == given_id.replace(b"7-0", b"8-1")
    first = line_end.join([b"id", b"data: 1", b"id:2", b"", b""])
    assert without_id(first) == line_end.join([b"data: 1", b"", b""])
    assert with_id(first, "9") == line_end.join([b"id: 9", b"data: 1", b"", b""])
    frame = frame_with_id(Frame(plain, None, "a", None), "7-0")
    assert (frame.raw, frame.id) == (given_id, "7-0")


JSON = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["m", "sub", "t1", "task", "task_result", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["payload", "type", "id", "name", "result", "messages", "input", "content", "metadata", "sub"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        *("metadata", "debug", f"debug|{NS}", "tasks", "updates", "events"),
        *("messages", f"messages|{NS}", "messages/metadata", "messages/partial"),
    ]
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(NAMES, JSON), max_size=4),
    st.sampled_from(["messages", "messages-tuple"]),
    st.booleans(),
)
def test_any_payloads(events: list[tuple[str, Any]], mode: str, subgraphs: bool) -> None:
    """A payload of any form is served or refused; no other exception leaves."""
    for recorded in (RECORDED, StreamOptions(EVERYTHING - {"messages-tuple"} | {"messages"}, True)):
        if not narrowable(recorded, ask(mode, subgraphs=subgraphs)):
            continue
        try:
            feed(
                View(recorded, ask(mode, subgraphs=subgraphs)),
                [*STREAM[:4], *(event(*one) for one in events)],
            )
        except ViewRefused:
            continue
