"""Graphs of the view matrix: each has one shape that a filter by event name could get wrong.

Loaded by the real Agent Server; knows nothing of graphtape. Everything is deterministic but ids and times. Every name
in `NAMES` is a graph; `langgraph.json` is made from it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

HELLO = "hello my friend"


def model(text: str = HELLO) -> GenericFakeChatModel:
    """Streams `text` word by word."""
    return GenericFakeChatModel(messages=itertools.cycle([AIMessage(text)]))


class ChunkModel(BaseChatModel):
    """Streams the given chunks; all with one id, as providers do."""

    chunks: list[AIMessageChunk]
    delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "chunks"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        whole = self.chunks[0]
        for chunk in self.chunks[1:]:
            whole = whole + chunk  # type: ignore[assignment]
        return ChatResult(generations=[ChatGeneration(message=message_chunk_to_message(whole))])

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            await asyncio.sleep(self.delay)
            yield ChatGenerationChunk(message=chunk.model_copy(deep=True))


class Whole(BaseChatModel):
    """Does not stream."""

    text: str = "whole answer"

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.text))])


def say(text: str = HELLO, *, custom: Any = None, name: str = "") -> Any:
    """A node that says `text` with tokens, and `custom` through the writer."""

    async def node(state: MessagesState) -> dict[str, Any]:
        if custom is not None:
            get_stream_writer()(custom)
        return {"messages": [await model(text).ainvoke(state["messages"])]}

    if name:
        node.__name__ = name
    return node


def chain(*nodes: tuple[str, Any], state: Any = MessagesState) -> Any:
    """The nodes one after another, compiled."""
    graph = StateGraph(state)
    before = START
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph.compile()


def fixed(*messages: BaseMessage) -> Any:
    """A node that returns copies of the messages."""
    return lambda _state: {"messages": [message.model_copy(deep=True) for message in messages]}


agent = chain(("say", say()))
flat = chain(("one", say(custom={"at": "one"})), ("two", say("and so on", custom=None)))

# Metadata and tags of the whole graph.
_r = StateGraph(MessagesState)
_r.add_node("sub", agent.with_config(metadata={"inner_meta": "i"}))
_r.add_node("after", say("after"), metadata={"node_meta": [1]})
_r.add_edge(START, "sub")
_r.add_edge("sub", "after")
rootmeta = _r.compile().with_config(metadata={"ls_integration": "mine", "aaa": 1}, tags=["roottag"])


# --- levels
_leaf = chain(("leaf", say("leaf says hi", custom={"level": 3})))
_mid = chain(("midsay", say("mid says hi", custom={"level": 2})), ("leafsub", _leaf))
nested = chain(("midsub", _mid), ("top", say("top says hi", custom={"level": 1})))

static = chain(
    ("a", fixed(AIMessage("one", id="fixed-1"), HumanMessage("two"))), ("b", fixed(AIMessage("three")))
)
_static_leaf = chain(("x", fixed(AIMessage("inner one", id="inner-1"), AIMessage("inner two"))))
static_sub = chain(("sub", _static_leaf), ("b", fixed(AIMessage("outer"))))
noidg = chain(("a", fixed(AIMessage("no id"))), ("b", fixed(AIMessage("nor here"), HumanMessage("or here"))))


# --- tools
@tool
async def add(a: int, b: int) -> str:
    """Add two numbers."""
    # Two calls at once: the sleep puts them in order.
    await asyncio.sleep(0.05 * a)
    get_stream_writer()({"adding": [a, b]})
    return str(a + b)


@tool
async def ask_agent(text: str, config: RunnableConfig) -> str:
    """Ask another graph."""
    result = await agent.ainvoke({"messages": [HumanMessage(text)]}, config)
    return str(result["messages"][-1].content)


_CALLS = [
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[{"name": "add", "args": "", "id": "call-1", "index": 0, "type": "tool_call_chunk"}],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[
            {"name": None, "args": '{"a": 1', "id": None, "index": 0, "type": "tool_call_chunk"}
        ],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[{"name": None, "args": ', "b"', "id": None, "index": 0, "type": "tool_call_chunk"}],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[{"name": "add", "args": "", "id": "call-2", "index": 1, "type": "tool_call_chunk"}],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[{"name": None, "args": ": 2}", "id": None, "index": 0, "type": "tool_call_chunk"}],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        tool_call_chunks=[
            {"name": None, "args": '{"a": 3, "b": 4}', "id": None, "index": 1, "type": "tool_call_chunk"}
        ],
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        usage_metadata={
            "input_tokens": 5,
            "output_tokens": 7,
            "total_tokens": 12,
            "input_token_details": {"cache_read": 1},
        },
    ),
    AIMessageChunk(
        "",
        id="tool-msg-1",
        response_metadata={"finish_reason": "tool_calls", "model_name": "fake"},
        usage_metadata={
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "output_token_details": {"reasoning": 2},
        },
        chunk_position="last",
    ),
]


def _call(*chunks: AIMessageChunk) -> Any:
    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await ChunkModel(chunks=list(chunks)).ainvoke(state["messages"])]}

    return node


tools = chain(
    (
        "call",
        fixed(
            AIMessage(
                "",
                tool_calls=[
                    {"name": "add", "args": {"a": 1, "b": 2}, "id": "c1"},
                    {"name": "add", "args": {"a": 3, "b": 4}, "id": "c2"},
                ],
            )
        ),
    ),
    ("tools", ToolNode([add])),
    ("answer", say("it is done")),
)
toolchunks = chain(("call", _call(*_CALLS)), ("tools", ToolNode([add])), ("answer", say("it is done")))
toolchunks_sub = chain(("agent", toolchunks), ("after", say("and over")))
toolgraph = chain(
    ("call", fixed(AIMessage("", tool_calls=[{"name": "ask_agent", "args": {"text": "hi"}, "id": "c1"}]))),
    ("tools", ToolNode([ask_agent])),
    ("answer", say("it is done")),
)

_BLOCKS = [
    AIMessageChunk([{"type": "thinking", "thinking": "hm", "index": 0}], id="blocks-1"),
    AIMessageChunk(
        [{"type": "thinking", "thinking": " so", "index": 0}], id="blocks-1", additional_kwargs={"trace": "a"}
    ),
    AIMessageChunk(
        [{"type": "text", "text": "It ", "index": 1}], id="blocks-1", additional_kwargs={"trace": "b", "n": 1}
    ),
    AIMessageChunk(
        [{"type": "text", "text": "ïs…", "index": 1}],
        id="blocks-1",
        response_metadata={"model_provider": "x"},
    ),
    AIMessageChunk("", id="blocks-1", response_metadata={"model_provider": "x", "stop": None}),
    AIMessageChunk([], id="blocks-1", response_metadata={"stop": "end"}, chunk_position="last"),
]
blocks = chain(("think", _call(*_BLOCKS)))
blocks_sub = chain(("sub", blocks), ("end", fixed(AIMessage("fine", id="end-1"))))


# --- interrupts and errors
def _ask(_state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(str(interrupt({"question": "ok?"})))]}


def _boom(_state: MessagesState) -> dict[str, Any]:
    raise ValueError("boom")


hitl = chain(("say", say()), ("ask", _ask))
hitl_nested = chain(("sub", chain(("insay", say("inner")), ("ask", _ask))), ("end", say("done")))
err = chain(("say", say()), ("boom", _boom))
err_nested = chain(("sub", chain(("insay", say("inner")), ("boom", _boom))), ("end", say("done")))


# --- fan out
class Words(TypedDict, total=False):
    words: list[str]
    messages: Annotated[list[AnyMessage], add_messages]


async def _work(state: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [await model(state["word"]).ainvoke("x")]}


def _fan(target: str) -> Any:
    def route(state: Words) -> list[Send]:
        return [
            Send(target, {"word": word, "messages": [HumanMessage(word, id=f"in-{word}")]})
            for word in state.get("words") or ["alpha beta"]
        ]

    return route


def _fanout(node: Any) -> Any:
    graph = StateGraph(Words)
    graph.add_node("start", lambda _state: {})
    graph.add_node("work", node)
    graph.add_edge(START, "start")
    graph.add_conditional_edges("start", _fan("work"), ["work"])
    return graph.compile()


fanout = _fanout(_work)
fanout_sub = _fanout(chain(("insay", say("sub sent"))))


async def _slow_sub(state: dict[str, Any]) -> dict[str, Any]:
    # Sends run at once; the sleep puts them in order, so that two runs can be compared.
    await asyncio.sleep({"a": 0.0, "b": 0.25, "c": 0.5}[state["word"]])
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": result["messages"]}


def _fan3(_state: Words) -> Command[str]:
    return Command(
        update={"messages": [AIMessage("sending", id="sending")]},
        goto=[Send("work", {"word": w, "messages": [HumanMessage(w, id=f"in-{w}")]}) for w in "abc"],
    )


_f3 = StateGraph(Words)
_f3.add_node("start", _fan3, destinations=("work",))
_f3.add_node("work", _slow_sub)
_f3.add_node("end", say("joined"))
_f3.add_edge(START, "start")
_f3.add_edge("work", "end")
fanout3 = _f3.compile()


# --- a graph called inside a node; odd outputs
async def _invoke(state: MessagesState) -> dict[str, Any]:
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": result["messages"]}


async def _invoke_last(state: MessagesState) -> dict[str, Any]:
    result = await agent.ainvoke(
        {"messages": [*state["messages"], HumanMessage("made here", id="made-here")]}
    )
    return {"messages": [result["messages"][-2], AIMessage("own", id="own-1"), result["messages"][-1]]}


async def _invoke_command(state: MessagesState) -> Command[str]:
    result = await agent.ainvoke({"messages": state["messages"]})
    return Command(update={"messages": result["messages"]}, goto="next")


async def _invoke_list(state: MessagesState) -> list[Any]:
    result = await agent.ainvoke({"messages": state["messages"]})
    return [
        Command(update={"messages": [result["messages"][-1]]}),
        {"messages": [AIMessage("second", id="second")]},
        Command(goto="next"),
    ]


async def _invoke_alone(state: MessagesState) -> dict[str, Any]:
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": result["messages"][-1]}


async def _invoke_remove(state: MessagesState) -> dict[str, Any]:
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": [RemoveMessage(id=str(state["messages"][0].id)), *result["messages"]]}


invoked = chain(("call", _invoke), ("after", say("after")))
invoked_mixed = chain(("call", _invoke_last), ("after", say("after")))
invoked_alone = chain(("call", _invoke_alone), ("after", say("after")))
remove = chain(("call", _invoke_remove), ("after", say("after")))


def _with_goto(node: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("call", node, destinations=("next",))
    graph.add_node("next", say("went on"))
    graph.add_edge(START, "call")
    return graph.compile()


invoked_command = _with_goto(_invoke_command)
invoked_list = _with_goto(_invoke_list)


def _goto(_state: MessagesState) -> Command[str]:
    return Command(update={"messages": [AIMessage("routed")]}, goto="next")


cmdg = _with_goto(_goto)


async def _invoke_meta(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    inner: RunnableConfig = {"metadata": {"k": 1}, "tags": ["called"], "configurable": {"who": "inner"}}
    result = await agent.ainvoke({"messages": state["messages"]}, inner)
    return {"messages": result["messages"]}


invoked_meta = chain(("call", _invoke_meta), ("after", say("after")))


# Two inner calls in one node: the second sees what the first said as its input.
async def _twice(state: MessagesState) -> dict[str, Any]:
    first = await agent.ainvoke({"messages": state["messages"]})
    second = await agent.ainvoke({"messages": first["messages"]})
    return {"messages": second["messages"]}


twice = chain(("call", _twice))


# --- states
class Chat(TypedDict, total=False):
    chat: Annotated[list[AnyMessage], add_messages]
    last: AnyMessage
    note: str


async def _chat(state: Chat) -> Chat:
    answer = await model("chat says").ainvoke(state["chat"])
    return {"chat": [answer], "last": answer, "note": "n"}


otherkey = chain(("sub", chain(("inner", _chat), state=Chat)), ("after", _chat), state=Chat)


class Out(TypedDict, total=False):
    answer: str


class Full(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    answer: str


async def _private(state: Full) -> Full:
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": result["messages"], "answer": "42"}


_o = StateGraph(Full, output_schema=Out)
_o.add_node("call", _private)
_o.add_edge(START, "call")
outschema = _o.compile()


class Model(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages] = []
    n: int = 0


async def _pydantic(state: Model) -> Model:
    result = await agent.ainvoke({"messages": state.messages})
    return Model(messages=result["messages"], n=state.n + 1)


pydantic_state = chain(("call", _pydantic), state=Model)


# --- hand-offs to the parent ----------------------------------------------------------------------------------------
async def _handoff(state: MessagesState) -> Command[str]:
    answer = await model("over to bob").ainvoke(state["messages"])
    return Command(graph=Command.PARENT, goto="bob", update={"messages": [*state["messages"], answer]})


_h = StateGraph(MessagesState)
_h.add_node("alice", chain(("think", say("alice thinks")), ("hand", _handoff)), destinations=("bob",))
_h.add_node("bob", say("bob here"))
_h.add_edge(START, "alice")
handoff = _h.compile()


# --- models and tags
async def _whole(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Whole().ainvoke(state["messages"])]}


whole_sub = chain(("sub", chain(("inner", _whole))), ("after", _whole))


async def _quiet(state: MessagesState) -> dict[str, Any]:
    return {
        "messages": [await model("quiet words").with_config(tags=["nostream"]).ainvoke(state["messages"])]
    }


nostream = chain(("sub", chain(("inner", _quiet))), ("after", _quiet))


async def _tagged(state: MessagesState) -> dict[str, Any]:
    tagged = model("tagged words").with_config(tags=["mine"], metadata={"who": "tagged", "a_first": 1})
    return {"messages": [await tagged.ainvoke(state["messages"])]}


_t = StateGraph(MessagesState)
_t.add_node(
    "sub",
    chain(("inner", _tagged)).with_config(metadata={"sub": "yes"}, tags=["subtag"]),
    metadata={"node_meta": 1},
)
_t.add_node("after", _tagged, metadata={"ls_late": 2})
_t.add_edge(START, "sub")
_t.add_edge("sub", "after")
tagged = _t.compile()


# A node that streams and then throws its tokens away for another message.
async def _discard(state: MessagesState) -> dict[str, Any]:
    await model("never kept").ainvoke(state["messages"])
    result = await agent.ainvoke({"messages": state["messages"]})
    return {"messages": [AIMessage("kept", id="kept"), *result["messages"]]}


discard = chain(("call", _discard))


# --- in parallel
def _stream_words(words: list[str], delay: float, message_id: str) -> Any:
    chunks = [AIMessageChunk(word, id=message_id) for word in words]

    async def node(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(delay / 2)
        return {"messages": [await ChunkModel(chunks=chunks, delay=delay).ainvoke(state["messages"])]}

    return node


def _parallel(left: Any, right: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("left", left)
    graph.add_node("right", right)
    graph.add_edge(START, "left")
    graph.add_edge(START, "right")
    return graph.compile()


_left = _stream_words(["l1 ", "l2 ", "l3"], 0.2, "left-1")
_right = _stream_words(["r1 ", "r2 ", "r3 ", "r4"], 0.26, "right-1")
parallel = _parallel(_left, _right)
parallel_sub = _parallel(chain(("lin", _left)), chain(("rin", _right)))


# --- the functional API
@task
async def _think(text: str) -> BaseMessage:
    return await model(text).ainvoke("x")


@task
async def _sub_task(text: str) -> dict[str, Any]:
    return await agent.ainvoke({"messages": [HumanMessage(text, id="task-in")]})


@entrypoint()
async def func(inputs: dict[str, Any]) -> dict[str, Any]:
    """Tokens inside tasks."""
    first = await _think("task words")
    return {"messages": [first, AIMessage("end", id="func-end")]}


@entrypoint()
async def func_sub(inputs: dict[str, Any]) -> dict[str, Any]:
    """A graph inside a task."""
    return await _sub_task("task words")


@task
async def _calls_task(text: str) -> list[BaseMessage]:
    inner = await _sub_task(text)
    return [AIMessage("from a call", id="called"), *inner["messages"]]


@entrypoint()
async def func_calls(inputs: dict[str, Any]) -> dict[str, Any]:
    """Calls one after another, the second in vain for this test, the third with a graph."""
    first = await _think("one two")
    second = await _think("three")
    third = await _sub_task("task words")
    return {"messages": [first, second, *third["messages"]]}


@entrypoint()
async def func_nested(inputs: dict[str, Any]) -> list[BaseMessage]:
    """A call that calls."""
    return await _calls_task("task words")


@entrypoint()
async def func_parallel(inputs: dict[str, Any]) -> dict[str, Any]:
    """Calls at once."""
    both = await asyncio.gather(_sub_task("one"), _later())
    return {"messages": [*both[0]["messages"], both[1]]}


@task
async def _later() -> BaseMessage:
    await asyncio.sleep(0.3)
    return AIMessage("late", id="late")


@entrypoint()
async def func_direct(inputs: dict[str, Any]) -> dict[str, Any]:
    """A graph in the entrypoint itself."""
    return await agent.ainvoke({"messages": [HumanMessage("direct", id="direct-in")]})


@task
async def _ask_task() -> str:
    return str(interrupt("go on?"))


@entrypoint()
async def func_hitl(inputs: dict[str, Any]) -> dict[str, Any]:
    """An interrupt between calls."""
    first = await _think("one two")
    await _ask_task()
    third = await _sub_task("task words")
    return {"messages": [first, *third["messages"]]}


# Sends of which one asks: when it goes on, the others are done.
async def _send_ask(state: dict[str, Any]) -> dict[str, Any]:
    if state["word"] == "b":
        interrupt("which?")
    return await _slow_sub(state)


_sh = StateGraph(Words)
_sh.add_node("start", _fan3, destinations=("work",))
_sh.add_node("work", _send_ask)
_sh.add_edge(START, "start")
send_hitl = _sh.compile()


# A subgraph asks, then says more; the parent has a second node.
hitl_sub = chain(
    ("sub", chain(("insay", say("inner")), ("ask", _ask), ("more", say("more")))), ("end", say("done"))
)

NAMES = (
    "flat rootmeta nested static static_sub noidg tools toolchunks toolchunks_sub toolgraph blocks blocks_sub "
    "hitl hitl_nested err err_nested fanout fanout_sub fanout3 invoked invoked_mixed invoked_alone "
    "invoked_command invoked_list remove cmdg twice otherkey outschema pydantic_state handoff whole_sub "
    "nostream tagged discard parallel parallel_sub func func_sub "
    "func_calls func_nested func_direct func_hitl send_hitl hitl_sub invoked_meta func_parallel"
).split()
