"""What an agent may use: LangChain tools, plain functions, MCP servers."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from aideon_agents.agents.mcp import McpServer, connected
from aideon_agents.errors import UserError

Tool: TypeAlias = BaseTool | Callable[..., Any] | McpServer
"""A LangChain tool, a function whose signature and docstring say what it takes, or a server."""

_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)  # what providers accept


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools of one agent."""

    tools: tuple[BaseTool, ...]
    servers: tuple[McpServer, ...] = ()
    """Where more of them are; they are started for each run of the node."""
    max_rounds: int
    """How many answers may call tools."""
    seconds: float
    """How long one call of a tool may take."""

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[dict[str, BaseTool]]:
        """Have every tool ready, by name, for the length of a block."""
        async with contextlib.AsyncExitStack() as stack:
            tools = list(self.tools)
            for server in self.servers:
                tools += await stack.enter_async_context(connected(server))
            yield _by_name(tools)

    def rehearsed(self) -> Toolbox:
        """The same tools, none of which does anything.

        A rehearsal makes arguments up. What a tool would do with them is not to happen, and what
        it would answer cannot change an answer that is worked out by rule. No server is started.
        """
        return dataclasses.replace(self, tools=tuple(map(_stand_in, self.tools)), servers=())


def toolbox(given: object, *, max_rounds: int, seconds: float) -> Toolbox | None:
    """Check what an agent was given as tools."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UserError(f"tools are given as a list, not as {given!r}")
    listed = cast("Sequence[object]", given)
    if max_rounds < 1 or seconds <= 0:
        raise UserError("max_tool_rounds and tool_timeout must be more than 0")
    if not listed:
        return None
    servers = tuple(one for one in listed if isinstance(one, McpServer))
    tools = tuple(_tool(one) for one in listed if not isinstance(one, McpServer))
    _by_name(tools)
    return Toolbox(tools=tools, servers=servers, max_rounds=max_rounds, seconds=seconds)


def _tool(given: object) -> BaseTool:
    name = given.name if isinstance(given, BaseTool) else _name_of_function(given)
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot name a tool: take letters, digits, _ and - alone")
    try:
        tool = given if isinstance(given, BaseTool) else _of_function(cast("Any", given))
        convert_to_openai_tool(tool)
    except Exception as error:
        raise UserError(f"what the tool {name} takes cannot be told to a model: {error}") from error
    return tool


def _name_of_function(given: object) -> str:
    name = getattr(given, "__name__", None)
    if name is None or not callable(given) or isinstance(given, type):
        raise UserError(
            f"{given!r} cannot be a tool: give a LangChain tool, a function, or mcp_server(...)"
        )
    if not inspect.getdoc(given):
        raise UserError(f"the tool {name} needs a docstring: it tells the model what the tool does")
    return name


def _of_function(function: Callable[..., Any]) -> BaseTool:
    is_async = inspect.iscoroutinefunction(function)
    return StructuredTool.from_function(
        func=None if is_async else function,
        coroutine=function if is_async else None,
        parse_docstring=True,
    )


def _by_name(tools: Iterable[BaseTool]) -> dict[str, BaseTool]:
    named: dict[str, BaseTool] = {}
    for tool in tools:
        if tool.name in named:
            raise UserError(f"two tools are called {tool.name!r}: give one of them another name")
        named[tool.name] = tool
    return named


def _stand_in(tool: BaseTool) -> BaseTool:
    async def answer(**_: Any) -> str:
        return f"{tool.name} was not called: this is a rehearsal"

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.tool_call_schema,
        coroutine=answer,
    )
