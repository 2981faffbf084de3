"""The tool calls of one answer: run at the same time, and whatever goes wrong told to the model.

How an agent asks: one question to a chain of models, or as many as its tools need.

Tools first, the shape last: a model that is held to a schema cannot call a tool with every
provider, and one that calls tools does not keep to a schema. Each question goes to a fresh chain, so
that a candidate that failed in one round is tried again in the next.

What an agent with tools has done so far, kept while it is still at work.

Such an agent asks several times inside one node, and LangGraph runs a node from its beginning when
a run goes on after a question, a limit or a crash. So each question and each call of a tool is one
of LangGraph's tasks: what came of it is kept beside the node's checkpoint, and given out again in
the same order, instead of being paid or done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ToolMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.messages.tool import tool_call
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.func import task
from pydantic import ValidationError

from aideon_agents.agents.mcp import ServerDown
from aideon_agents.agents.tools import Toolbox
from aideon_agents.errors import LimitError, Malformed, UserError
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models import default_models
from aideon_agents.models.bridge import in_own_thread
from aideon_agents.models.rehearsal import RehearsalChatModel
from aideon_agents.models.shape import parse
from aideon_agents.state import INSIDE, NODE_PATH, Context, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from langchain_core.messages import AIMessage, ToolCall
    from langchain_core.runnables import RunnableConfig
    from pydantic import BaseModel


Said = TypeVar("Said", bound=BaseMessage)

QUESTION = f"{INSIDE}question"
TOOL = f"{INSIDE}tool"
"""The names of the tasks."""


async def kept(
    name: str,
    work: Callable[[RunnableConfig], Coroutine[Any, Any, Said]],
    config: RunnableConfig,
) -> Said:
    """Do something once, or say what came of it when the node ran before."""
    if not _can_keep(config):
        return await work(config)
    ended = asyncio.Event()
    ended.set()

    async def doing() -> dict[str, Any]:
        ended.clear()
        try:
            return message_to_dict(await work(_placed(config)))
        finally:
            ended.set()

    try:
        # As plain data: whoever streams messages is shown each message that a task returns.
        (said,) = messages_from_dict([await task(name=name)(doing)()])
        return cast("Said", said)
    finally:
        await ended.wait()  # LangGraph's task is cancelled with this one, and not waited for


def _can_keep(config: RunnableConfig) -> bool:
    """Whether LangGraph can run a task here and keep what comes of it.

    It cannot without a checkpointer, and not for a coroutine of a synchronous run or of another
    loop. Where it limits how much runs at once, the node and its task would wait for each other.
    """
    known = config.get("configurable") or {}
    loop = getattr(known.get("__pregel_call"), "keywords", {}).get("loop")  # it has no public name
    return (
        loop is asyncio.get_running_loop()
        and known.get("__pregel_checkpointer") is not None
        and config.get("max_concurrency") is None
    )


def _placed(config: RunnableConfig) -> RunnableConfig:
    """The node's config for what runs in a task: questions to a person are counted for each task."""
    return {**config, "configurable": get_config().get("configurable", {})}


_log = logging.getLogger("aideon_agents.agents")

_RAISED = (GraphBubbleUp, LimitError, UserError, ServerDown)
"""What a model can do nothing about: a question to a person, a limit, the caller's mistake."""
_SHOWN = 80  # characters of arguments that are no JSON


@dataclasses.dataclass(frozen=True)
class Call:
    """One tool call that a model made."""

    made: ToolCall
    """With an id, and with arguments that a provider takes back in the next question."""
    problem: str | None = None
    """Why it cannot be run, None when it can."""


def calls_in(answer: AIMessage) -> list[Call]:
    """The tool calls of an answer, those included that cannot be read."""
    made = [(call["name"], call["args"], call["id"], None) for call in answer.tool_calls]
    unreadable = [
        (call["name"] or "unnamed", {}, call["id"], _unreadable(call["args"]))
        for call in answer.invalid_tool_calls
    ]
    return [
        Call(tool_call(name=name, args=args, id=identity or f"call_{nth}"), problem)
        for nth, (name, args, identity, problem) in enumerate([*made, *unreadable])
    ]


def with_calls(answer: AIMessage, calls: Sequence[Call]) -> AIMessage:
    """The answer as the next question quotes it: some servers refuse arguments that are no JSON."""
    understood = {"tool_calls": [call.made for call in calls], "invalid_tool_calls": []}
    return answer.model_copy(update=understood)


async def results_of(
    calls: Sequence[Call],
    tools: Mapping[str, BaseTool],
    *,
    seconds: float,
    config: RunnableConfig,
) -> list[ToolMessage]:
    """Run tool calls, all at the same time."""
    inside = _inside(config)
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(_once(call, tools, seconds, inside)) for call in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    given = [done.result() for done in running]
    if stops := [one for one in given if isinstance(one, GraphBubbleUp)]:
        raise _together(stops)
    return [one for one in given if isinstance(one, ToolMessage)]


async def _once(
    call: Call, tools: Mapping[str, BaseTool], seconds: float, config: RunnableConfig
) -> ToolMessage | GraphBubbleUp:
    """A call's result, now or from before; the calls beside one that stops come to their end."""
    try:
        return await kept(TOOL, functools.partial(_told, call, tools, seconds), config)
    except GraphBubbleUp as stop:
        return stop


def _together(stops: Sequence[GraphBubbleUp]) -> GraphBubbleUp:
    """All questions to a person at once, unless something else is to stop the graph."""
    asking = [stop for stop in stops if isinstance(stop, GraphInterrupt)]
    if len(asking) < len(stops):
        return next(stop for stop in stops if stop not in asking)
    asked = {one.id: one for stop in asking for one in stop.args[0]}
    return GraphInterrupt(tuple(asked.values()))


async def _told(
    call: Call, tools: Mapping[str, BaseTool], seconds: float, config: RunnableConfig
) -> ToolMessage:
    name = call.made["name"]
    if call.problem:
        return _error(call, call.problem)
    if name not in tools:
        return _error(call, f"there is no tool {name}; there are {', '.join(tools)}")
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            said = await _run(tools[name], call.made, config)
    except _RAISED:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a tool raises, the model is told
        late = isinstance(error, TimeoutError) and limit.expired()
        why = f"{name} took longer than {seconds:g} s" if late else _why(error)
        _log.info("tool %s failed: %s", name, one_line(why))
        return _error(call, why)
    if not isinstance(said, ToolMessage):
        return _error(call, f"{name} gave back a {type(said).__name__}, which cannot be told")
    if said.status == "error":
        return _error(call, _text(said))
    return ToolMessage(_text(said), tool_call_id=said.tool_call_id, name=said.name)


async def _run(tool: BaseTool, call: ToolCall, config: RunnableConfig) -> Any:
    if hasattr(tool, "coroutine"):
        waits = cast("Any", tool).coroutine is not None
    else:
        waits = type(tool)._arun is not BaseTool._arun  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - LangChain has no other sign
    if waits:
        return await tool.ainvoke(call, config)
    return await in_own_thread(functools.partial(tool.invoke, call, config))


def _inside(config: RunnableConfig) -> RunnableConfig:
    """The config for tools: agents of a graph that a tool runs have places of their own."""
    metadata = {
        key: value for key, value in (config.get("metadata") or {}).items() if key != NODE_PATH
    }
    return cast("RunnableConfig", {**config, "metadata": metadata})


def _text(said: ToolMessage) -> str:
    """The text alone: chat completions take nothing else from a tool."""
    if isinstance(said.content, str):
        return said.content
    return "\n".join(
        block if isinstance(block, str) else str(block.get("text") or f"[{block.get('type')}]")
        for block in said.content
    )


def _error(call: Call, why: str) -> ToolMessage:
    identity, name = str(call.made["id"]), call.made["name"]
    return ToolMessage(f"Error: {one_line(why)}", tool_call_id=identity, name=name, status="error")


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}"
            for one in error.errors(include_url=False)
        )
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _unreadable(arguments: str | None) -> str:
    begins = (arguments or "")[:_SHOWN]
    return f"the arguments are no JSON object; they begin {json.dumps(begins, ensure_ascii=False)}"


_NO_MORE = "\n\n(No further tool can be called. Answer now, with what you have.)"


async def ask(
    request: ModelRequest,
    context: Context,
    told: list[BaseMessage],
    *,
    output: type[BaseModel] | None,
    toolbox: Toolbox | None,
    config: RunnableConfig,
) -> Any:
    """Ask a model."""
    chain = functools.partial((context.models or default_models()).chat, request, context)
    answer: AIMessage | None = None
    if toolbox:
        told, answer = await _with_tools(chain, told, toolbox, config)
    if output is None:
        return answer if answer is not None else await chain().ainvoke(told, config)
    if answer is not None:
        with contextlib.suppress(Malformed):
            return parse(answer, output)
    return await cast("Any", chain()).with_structured_output(output).ainvoke(told, config)


async def _with_tools(
    chain: Callable[[], Any], told: list[BaseMessage], toolbox: Toolbox, config: RunnableConfig
) -> tuple[list[BaseMessage], AIMessage | None]:
    """Let the model call tools."""
    if _rehearses(chain()):
        toolbox = toolbox.rehearsed()
    async with toolbox.opened() as tools:
        results: list[ToolMessage] = []
        for _ in range(toolbox.max_rounds):
            asking = chain().bind_tools(list(tools.values())) if tools else chain()
            question = functools.partial(asking.ainvoke, told)
            answer = await kept(QUESTION, question, config)
            calls = calls_in(answer)
            if not calls:
                return told, answer
            results = await results_of(calls, tools, seconds=toolbox.seconds, config=config)
            told = [*told, with_calls(answer, calls), *results]
    return [*told[:-1], _closing(results[-1])], None


def _rehearses(chain: Any) -> bool:
    primary = chain.runnable if isinstance(chain, RunnableWithFallbacks) else chain
    return isinstance(primary, RehearsalChatModel)


def _closing(result: ToolMessage) -> ToolMessage:
    """The last result, with the end of the tools said in it: nobody else is to speak last."""
    return result.model_copy(update={"content": f"{result.content}{_NO_MORE}"})
