"""MCP servers: started when a node runs, and closed when it ends.

A session per run of a node costs the server's start each time (a Python one: about a second). In
return nothing outlives the node: no process, and no connection that belongs to another event loop.

The session lives in its own task. Otherwise the library's task groups would wrap what is raised
inside, and LangGraph would not see an interrupt.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import importlib.util
import json
import re
import shlex
import tempfile
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from aideon_agents.agents.functions import NamedArguments
from aideon_agents.errors import StepFailed, UserError
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import TextIO

    from langchain_core.tools import BaseTool, StructuredTool
    from mcp import ClientSession


_LONGEST = 64
TOOL_NAME = re.compile(rf"[\w-]{{1,{_LONGEST}}}", re.ASCII)
"""The names of tools that every provider accepts."""


class ServerDown(StepFailed):
    """An MCP server did not start, or died."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class McpServer:
    """How to reach an MCP server; made by `mcp_server`."""

    command: str | None
    args: tuple[str, ...]
    env: Mapping[str, str] | None
    url: str | None
    headers: Mapping[str, str] | None
    prefix: str | None
    """What the names of its tools begin with; None: it is added where two servers' tools share one."""
    seconds: float
    """How long it may take to start and list its tools."""

    def __str__(self) -> str:
        """The command, or the address without its login and query, which may be secret."""
        if self.url is None:
            return one_line(shlex.join([str(self.command), *self.args]))
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    def short_name(self) -> str:
        """The host of its address, or the last word of its command that is no option."""
        if self.url is not None:
            return str(urlsplit(self.url).hostname)
        words = [str(self.command), *self.args]
        return PurePath([word for word in words if not word.startswith("-")][-1]).stem


def mcp_server(
    command: str | None = None,
    args: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    prefix: str | None = None,
    timeout: float = 60.0,
) -> McpServer:
    """An MCP server whose tools an agent may use: `tools=[mcp_server("uvx", ["some-server"])]`.

    It is started, or connected to, each time the agent's node runs, and closed when the node ends.

    Args:
        command: The program of a server that communicates over stdin and stdout.
        args: The program's arguments.
        env: Its environment besides PATH, HOME and the like; the keys of this process are not
            passed on.
        url: The address of a server that uses streamable HTTP, instead of a command.
        headers: The headers of each request to the address.
        prefix: What the names of its tools begin with, as in `PREFIX_search`. None: the tools keep
            their names, and only where two servers have a tool of the same name, the names begin
            with the servers'. Characters that providers refuse in a name become `_`.
        timeout: Seconds in which it must start and list its tools.

    Returns:
        A description for an agent's `tools`.

    Raises:
        UserError: Not exactly one of command and url is given, or the extra is not installed.
    """
    if (command is None) == (url is None):
        raise UserError("mcp_server needs exactly one of command and url")
    if timeout <= 0:
        raise UserError("mcp_server: timeout must be more than 0")
    if prefix is not None and not TOOL_NAME.fullmatch(prefix):
        raise UserError(f"mcp_server: prefix is {prefix!r}: use 1 to 64 letters, digits, _ and -")
    if importlib.util.find_spec("langchain_mcp_adapters") is None:
        raise UserError("MCP servers need an extra: pip install 'aideon-agents[mcp]'")
    return McpServer(
        command=command,
        args=tuple(args),
        env=env,
        url=url,
        headers=headers,
        prefix=prefix,
        seconds=timeout,
    )


def named_apart(found: Sequence[tuple[McpServer, Sequence[BaseTool]]]) -> list[BaseTool]:
    """The tools of several servers, each with a name of its own that providers accept."""
    servers = collections.Counter(
        name for _, tools in found for name in {_legal(tool.name) for tool in tools}
    )
    named: dict[str, BaseTool] = {}
    for server, tools in found:
        for tool in tools:
            name = _legal(tool.name)
            if server.prefix or servers[name] > 1:
                name = _legal(f"{server.prefix or server.short_name()}_{name}")
            number = 1
            while name in named:
                number += 1
                name = f"{_legal(tool.name)[: _LONGEST - 4]}_{number}"
            named[name] = tool.model_copy(update={"name": name})
    return list(named.values())


def _legal(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:_LONGEST] or "tool"


@contextlib.asynccontextmanager
async def connected(server: McpServer) -> AsyncGenerator[list[BaseTool]]:
    """Load a server's tools for the length of a block.

    Raises ServerDown, as a call of a tool does when the server has died.
    """
    # The first import takes half a second, which must not block the event loop.
    await asyncio.to_thread(importlib.import_module, "langchain_mcp_adapters.tools")
    with await asyncio.to_thread(tempfile.TemporaryFile, "w+", errors="replace") as stderr:
        session = _Session(server, stderr)
        try:
            yield await session.tools()
        finally:
            await session.close()


class _Session:
    """One session with a server."""

    def __init__(self, server: McpServer, stderr: TextIO) -> None:
        self._server = server
        self._stderr = stderr
        self._closing = asyncio.Event()
        self._loaded: asyncio.Future[list[BaseTool]] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live())
        # The caller that needs the server reports how it ended; asyncio logs what is never read.
        self._life.add_done_callback(lambda life: life.cancelled() or life.exception())

    async def tools(self) -> list[BaseTool]:
        await asyncio.wait({self._life, self._loaded}, return_when=asyncio.FIRST_COMPLETED)
        if self._loaded.done():
            return self._loaded.result()
        raise await self._down("did not start", self._life.exception())

    async def close(self) -> None:
        self._closing.set()
        if not self._loaded.done():
            self._life.cancel()
        await asyncio.wait({self._life})

    async def _live(self) -> None:
        from langchain_mcp_adapters.tools import load_mcp_tools  # noqa: PLC0415 - an extra

        async with _session(self._server, self._stderr) as session:
            async with asyncio.timeout(self._server.seconds):
                await session.initialize()
                tools = await load_mcp_tools(session, tool_interceptors=[self._call])
            self._loaded.set_result([_passing_all(tool) for tool in tools])
            await self._closing.wait()

    async def _call(self, request: Any, handler: Any) -> Any:
        """Wait for an answer only while the server lives.

        Over HTTP the library does not notice a server that dies during a call. Then this call runs
        into its time limit, and the next one finds the connection closed.
        """
        whole = request.override(args=request.args[_ARGUMENTS])
        call: asyncio.Future[Any] = asyncio.ensure_future(handler(whole))
        try:
            await asyncio.wait({call, self._life}, return_when=asyncio.FIRST_COMPLETED)
            error = call.exception() if call.done() else self._life.exception()
            if error and (self._life.done() or _is_closed(error)):
                raise await self._down("has died", error)
            return _readable(call.result())
        finally:
            call.cancel()

    async def _down(self, what: str, error: BaseException | None) -> ServerDown:
        """The error with its cause: the last line of the server's stderr, else the library's error."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            what = f"{what} within {self._server.seconds:g} s"
        why = f"{type(error).__name__}: {error}"
        if error is None or _is_closed(error):
            why = "it closed the connection"
        line = await asyncio.to_thread(self._last_line)
        return ServerDown(f"the MCP server `{self._server}` {what}: {one_line(line or why)}")

    def _last_line(self) -> str | None:
        self._stderr.seek(0)
        lines = [line for line in self._stderr if line.strip()]
        return lines[-1] if lines else None


_ARGUMENTS = "arguments"
"""The one argument under which all others pass LangChain, which keeps some names for itself."""


def _passing_all(tool: BaseTool) -> BaseTool:
    """The same tool, whose arguments may have any name."""
    call = cast("StructuredTool", tool).coroutine

    async def work(given: dict[str, Any]) -> Any:
        return await cast("Any", call)(**{_ARGUMENTS: given})

    return NamedArguments(
        name=tool.name,
        description=tool.description,
        args_schema=tool.args_schema,
        response_format=tool.response_format,
        handle_tool_error=tool.handle_tool_error,
        metadata=tool.metadata,
        work=work,
    )


def _readable(result: Any) -> Any:
    """A result with text: of what has only structured content, and of sounds, which have none."""
    from mcp.types import TextContent  # noqa: PLC0415 - an extra

    content = [
        TextContent(type="text", text="[audio]") if one.type == "audio" else one
        for one in result.content
    ]
    if not content and result.structuredContent is not None:
        text = json.dumps(result.structuredContent, ensure_ascii=False)
        content = [TextContent(type="text", text=text)]
    return result.model_copy(update={"content": content})


def _is_closed(error: BaseException) -> bool:
    """Whether a call failed because the connection is closed."""
    from anyio import BrokenResourceError, ClosedResourceError  # noqa: PLC0415 - an extra's

    gone = isinstance(error, BrokenResourceError | ClosedResourceError)
    return gone or str(error) == "Connection closed"


@contextlib.asynccontextmanager
async def _session(server: McpServer, stderr: TextIO) -> AsyncGenerator[ClientSession]:
    """A session that is not yet initialized."""
    from langchain_mcp_adapters import sessions  # noqa: PLC0415 - an extra
    from mcp import ClientSession, StdioServerParameters, stdio_client  # noqa: PLC0415 - an extra

    if server.url is not None:
        address = sessions.StreamableHttpConnection(
            transport="streamable_http", url=server.url, headers=dict(server.headers or {})
        )
        async with sessions.create_session(address) as session:
            yield session
        return
    started = StdioServerParameters(
        command=str(server.command), args=list(server.args), env=dict(server.env or {})
    )
    async with (
        stdio_client(started, stderr) as (read, write),
        ClientSession(read, write) as session,
    ):
        yield session
