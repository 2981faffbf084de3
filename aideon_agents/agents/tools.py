"""The tools of an agent: LangChain tools, plain functions, MCP servers."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from aideon_agents.agents.functions import (
    NamedArguments,
    from_function,
    refuse_unusable,
    with_values,
)
from aideon_agents.agents.mcp import TOOL_NAME, McpServer, connected, named_apart
from aideon_agents.errors import UserError
from aideon_agents.models.pictures.blocks import parts, url_of

if TYPE_CHECKING:
    from langchain_core.messages import ToolMessage

Tool: TypeAlias = BaseTool | Callable[..., Any] | McpServer
"""A LangChain tool, a function whose signature and docstring describe it, or a server."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools of one agent."""

    tools: tuple[BaseTool, ...]
    servers: tuple[McpServer, ...] = ()
    """Servers with more tools; they are started for each run of the node."""
    max_rounds: int
    """How many answers may call tools."""
    seconds: float
    """How long one call of a tool may take."""
    local: frozenset[str] = frozenset()
    """The tools that keep their arguments to themselves: private ones may be passed to them."""

    @property
    def described(self) -> str:
        """The names of the tools and what each does; of servers, which only say it when they run."""
        named = [f"{tool.name} ({_first_line(tool.description)})" for tool in self.tools]
        named += [f"those of {server.short_name()}" for server in self.servers]
        return f"Tools: {', '.join(named)}."

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[dict[str, BaseTool]]:
        """Every tool by name, ready for the length of a block."""
        async with contextlib.AsyncExitStack() as stack:
            found = [
                (server, await stack.enter_async_context(connected(server)))
                for server in self.servers
            ]
            yield _by_name([*self.tools, *named_apart(found)])

    def rehearsed(self) -> Toolbox:
        """The same tools, but none of them does anything, and no server is started.

        A rehearsal invents the arguments, so a tool must not act on them, and what it returns
        cannot change an answer that is made by rule.
        """
        return dataclasses.replace(self, tools=tuple(map(_rehearsed, self.tools)), servers=())


def toolbox(given: object, *, max_rounds: int, seconds: float) -> Toolbox | None:
    """Check an agent's tools; None where there are none. `seconds` is the limit of one call."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UserError(f"tools must be a list, not {given!r}")
    listed = cast("Sequence[object]", given)
    if max_rounds < 1 or seconds <= 0:
        raise UserError("max_tool_rounds and tool_timeout must be more than 0")
    if not listed:
        return None
    servers = tuple(one for one in listed if isinstance(one, McpServer))
    own = [one for one in listed if not isinstance(one, McpServer)]
    tools = tuple(map(_tool, own))
    _by_name(tools)  # refuses two of one name
    local = [tool.name for tool, one in zip(tools, own, strict=True) if _is_local(one)]
    return Toolbox(
        tools=tools,
        servers=servers,
        max_rounds=max_rounds,
        seconds=seconds,
        local=frozenset(local),
    )


def _is_local(given: object) -> bool:
    """Whether a tool or a function is marked as one that sends its arguments nowhere."""
    marked: Any = (getattr(given, "tags", None), getattr(given, "metadata", None))
    tags, metadata = marked
    return "local" in (tags or ()) or bool((metadata or {}).get("local"))


def _tool(given: object) -> BaseTool:
    name = given.name if isinstance(given, BaseTool) else _function_name(given)
    if not TOOL_NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a valid tool name: use 1 to 64 letters, digits, _ and -")
    try:
        tool = given if isinstance(given, BaseTool) else from_function(cast("Any", given))
        if isinstance(given, StructuredTool):
            refuse_unusable(given)
            tool = with_values(given)
        convert_to_openai_tool(tool)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the arguments of the tool {name} cannot be described to a model: {error}"
        ) from error
    return tool


def _function_name(given: object) -> str:
    name = getattr(given, "__name__", None)
    if name is None or not callable(given) or isinstance(given, type):
        raise UserError(
            f"{given!r} cannot be a tool: give a LangChain tool, a function, or mcp_server(...)"
        )
    if not inspect.getdoc(given):
        raise UserError(f"the tool {name} needs a docstring: it tells the model what the tool does")
    return name


def _first_line(text: str) -> str:
    """What a text begins with, without the braces that a prompt's text has for inputs."""
    first = (text.strip().splitlines() or [""])[0]
    return first.translate(str.maketrans("{}", "()")).strip().rstrip(".")


def _by_name(tools: Iterable[BaseTool]) -> dict[str, BaseTool]:
    named: dict[str, BaseTool] = {}
    for tool in tools:
        if tool.name in named:
            raise UserError(f"two tools are called {tool.name!r}: give one of them another name")
        named[tool.name] = tool
    return named


def _rehearsed(tool: BaseTool) -> BaseTool:
    async def answer(_given: Any) -> str:
        return f"{tool.name} was not called: this is a rehearsal"

    return NamedArguments(
        name=tool.name, description=tool.description, args_schema=tool.tool_call_schema, work=answer
    )


def with_text(result: ToolMessage, text: str) -> ToolMessage:
    """A result with another text, and with its pictures."""
    shown = pictures_of(result)
    content: Any = [{"type": "text", "text": text}, *shown] if shown else text
    return result.model_copy(update={"content": content})


def pictures_of(result: ToolMessage) -> list[Any]:
    """The pictures of a result."""
    return [one for one in parts(result.content) if url_of(one) is not None]


def text_of(result: ToolMessage) -> str:
    """The text alone, with the kind of what is no text."""
    if isinstance(result.content, str):
        return result.content
    return "\n".join(
        block if isinstance(block, str) else str(block.get("text") or f"[{block.get('type')}]")
        for block in result.content
    )
