"""The tool calls of one answer: run at the same time, and whatever goes wrong told to the model."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import logging
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from pydantic import ValidationError

from aideon_agents.agents.keeping import TOOL, kept
from aideon_agents.agents.mcp import ServerDown
from aideon_agents.errors import LimitError, UserError
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.threads import in_own_thread
from aideon_agents.state import NODE_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import ToolCall
    from langchain_core.runnables import RunnableConfig

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
