"""The graphs behind the bundled cassettes: small, without keys or network, and the same every time.

`agent` answers with the help of a tool, `research` nests subgraphs two levels deep, `approval` waits for a person.
The model is a script that types with a pause between words, so that a recording has a rhythm worth replaying.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypedDict

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

PAUSE_S = 0.03
"""Between two words: fast typing, slow enough to see."""


class ScriptedModel(BaseChatModel):
    """A chat model that says `reply` word by word, then asks for `tool`, if it has one."""

    reply: str
    tool: str = ""
    arguments: tuple[str, ...] = ()
    """The JSON of the tool's arguments, in the pieces in which it is streamed."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _pieces(self) -> list[AIMessageChunk]:
        words = self.reply.split(" ")
        pieces = [AIMessageChunk(content=word if i == 0 else f" {word}") for i, word in enumerate(words)]
        name: str | None = self.tool
        for part in self.arguments:
            call = {"name": name, "args": part, "id": f"call_{self.tool}" if name else None, "index": 0}
            pieces.append(AIMessageChunk(content="", tool_call_chunks=[call]))  # type: ignore[list-item]
            name = None
        return pieces

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        first, *rest = self._pieces()
        whole = first
        for piece in rest:
            whole = whole + piece
        message = AIMessage(content=whole.content, tool_calls=whole.tool_calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._pieces():
            await asyncio.sleep(PAUSE_S)
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                await run_manager.on_llm_new_token(str(piece.content), chunk=chunk)
            yield chunk


# agent: a model, a tool that reports its progress, and the model again


@tool
async def weather(city: str) -> str:
    """The weather in a city."""
    report = get_stream_writer()
    for step, station in enumerate(("harbour", "airport", "old town"), start=1):
        await asyncio.sleep(PAUSE_S * 3)
        report({"progress": step, "of": 3, "station": station})
    return f"{city}: 14 °C, light rain, wind from the west"


async def answer(state: MessagesState) -> dict[str, list[AnyMessage]]:
    questions = sum(message.type == "human" for message in state["messages"])
    if questions > 1:
        model = ScriptedModel(reply="Tomorrow is drier, about 17 °C, so leave it at home.")
    elif isinstance(state["messages"][-1], ToolMessage):
        model = ScriptedModel(reply="It is 14 °C in Zürich with light rain ☔ so take an umbrella.")
    else:
        model = ScriptedModel(
            reply="Let me look that up.", tool="weather", arguments=('{"ci', 'ty": "Zü', 'rich"}')
        )
    return {"messages": [await model.ainvoke(state["messages"])]}


agent_builder = StateGraph(MessagesState)
agent_builder.add_node("model", answer)
agent_builder.add_node("tools", ToolNode([weather]))
agent_builder.add_edge(START, "model")
agent_builder.add_conditional_edges("model", tools_condition)
agent_builder.add_edge("tools", "model")
agent = agent_builder.compile()


# research: write -> (search -> (read)) -> conclude, with tokens at every level


class Research(MessagesState):
    notes: str


async def read(state: Research) -> Research:
    message = await ScriptedModel(reply="Cassettes keep bytes and times.").ainvoke("read")
    return {"messages": [message], "notes": f"{state['notes']}; bytes and times"}


read_builder = StateGraph(Research)
read_builder.add_node("read", read)
read_builder.add_edge(START, "read")
reading = read_builder.compile()


async def pick(state: Research) -> Research:
    get_stream_writer()({"picked": "FORMAT.md"})
    message = await ScriptedModel(reply="One page looks right.").ainvoke("pick")
    return {"messages": [message], "notes": "one page"}


search_builder = StateGraph(Research)
search_builder.add_node("pick", pick)
search_builder.add_node("reading", reading)
search_builder.add_edge(START, "pick")
search_builder.add_edge("pick", "reading")
searching = search_builder.compile()


async def conclude(state: Research) -> dict[str, list[AnyMessage]]:
    message = await ScriptedModel(reply="A replay can be exact.").ainvoke("conclude")
    return {"messages": [message]}


research_builder = StateGraph(Research)
research_builder.add_node("searching", searching)
research_builder.add_node("conclude", conclude)
research_builder.add_edge(START, "searching")
research_builder.add_edge("searching", "conclude")
research = research_builder.compile()


# approval: draft -> review (waits for a person) -> send or drop


class Approval(TypedDict, total=False):
    topic: str
    draft: str
    outcome: str


async def draft(state: Approval) -> Approval:
    message = await ScriptedModel(reply=f"Dear all, about {state['topic']}: yes.").ainvoke("draft")
    return {"draft": str(message.content)}


def review(state: Approval) -> Approval:
    decision = interrupt({"question": "Send this?", "draft": state["draft"]})
    return {"outcome": "sent" if decision == "yes" else "dropped"}


approval_builder = StateGraph(Approval)
approval_builder.add_node("write", draft)
approval_builder.add_node("review", review)
approval_builder.add_edge(START, "write")
approval_builder.add_edge("write", "review")
approval_builder.add_edge("review", END)
approval = approval_builder.compile()
