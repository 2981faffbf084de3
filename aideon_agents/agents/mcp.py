"""MCP servers: started when a node runs, their tools loaded, closed when it is done.

A session per run of a node costs the server's start each time (a Python one: about a second), and
in return nothing outlives the node: no process, no connection that belongs to another event loop.

The session lives in a task of its own. The library's task groups would otherwise wrap whatever is
raised inside, and a graph's interrupt would reach nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import shlex
import tempfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aideon_agents.errors import StepFailed, UserError
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import TextIO

    from langchain_core.tools import BaseTool
    from mcp import ClientSession


class ServerDown(StepFailed):
    """An MCP server did not start, or has died."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class McpServer:
    """Where an MCP server is; made by `mcp_server`."""

    command: str | None
    args: tuple[str, ...]
    env: Mapping[str, str] | None
    url: str | None
    headers: Mapping[str, str] | None
    seconds: float
    """How long it may take to start and to list its tools."""

    def __str__(self) -> str:
        """The command, or the address without what may be secret in it."""
        if self.url is None:
            return one_line(shlex.join([str(self.command), *self.args]))
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def mcp_server(
    command: str | None = None,
    args: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> McpServer:
    """An MCP server whose tools an agent may use: `tools=[mcp_server("uvx", ["some-server"])]`.

    It is started, or connected to, each time the agent's node runs, and closed when that is done.

    Args:
        command: The program of a server that speaks over stdin and stdout.
        args: The program's arguments.
        env: What its environment has besides PATH, HOME and the like; the keys of this process
            are not handed on.
        url: The address of a server that speaks streamable HTTP, instead of a command.
        headers: What is sent with each request to the address.
        timeout: Seconds until it must have started and listed its tools.

    Returns:
        A description for an agent's `tools`.

    Raises:
        UserError: Neither or both of command and url are given, or the extra is not installed.
    """
    if (command is None) == (url is None):
        raise UserError("an MCP server has either a command or a url")
    if timeout <= 0:
        raise UserError("an MCP server's timeout must be more than 0")
    if importlib.util.find_spec("langchain_mcp_adapters") is None:
        raise UserError("MCP servers need an extra: pip install 'aideon-agents[mcp]'")
    return McpServer(
        command=command, args=tuple(args), env=env, url=url, headers=headers, seconds=timeout
    )


@contextlib.asynccontextmanager
async def connected(server: McpServer) -> AsyncGenerator[list[BaseTool]]:
    """Have a server's tools for the length of a block."""
    # It takes half a second the first time, which the event loop must not wait for.
    await asyncio.to_thread(importlib.import_module, "langchain_mcp_adapters.tools")
    with await asyncio.to_thread(tempfile.TemporaryFile, "w+", errors="replace") as said:
        session = _Session(server, said)
        try:
            yield await session.tools()
        finally:
            await session.close()


class _Session:
    """One session with a server."""

    def __init__(self, server: McpServer, said: TextIO) -> None:
        self._server = server
        self._said = said
        self._closing = asyncio.Event()
        self._loaded: asyncio.Future[list[BaseTool]] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live())
        # How it ended is said by whoever needs the server; unread, asyncio would log it.
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

        async with _session(self._server, self._said) as session:
            async with asyncio.timeout(self._server.seconds):
                await session.initialize()
                tools = await load_mcp_tools(session, tool_interceptors=[self._call])
            self._loaded.set_result(tools)
            await self._closing.wait()

    async def _call(self, request: Any, handler: Any) -> Any:
        """Wait for an answer as long as the server lives: from a dead one none will come.

        Over HTTP the library does not notice a server that dies in a call. Then the call takes too
        long, and the next one finds nobody there.
        """
        call: asyncio.Future[Any] = asyncio.ensure_future(handler(request))
        try:
            await asyncio.wait({call, self._life}, return_when=asyncio.FIRST_COMPLETED)
            error = call.exception() if call.done() else self._life.exception()
            if error and (self._life.done() or _is_closed(error)):
                raise await self._down("has died", error)
            return call.result()
        finally:
            call.cancel()

    async def _down(self, what: str, error: BaseException | None) -> ServerDown:
        """Say why: the server's own last words, else what the library made of them."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            what = f"{what} within {self._server.seconds:g} s"
        why = f"{type(error).__name__}: {error}"
        if error is None or _is_closed(error):
            why = "it closed the connection"
        said = await asyncio.to_thread(self._last_words)
        return ServerDown(f"the MCP server `{self._server}` {what}: {one_line(said or why)}")

    def _last_words(self) -> str | None:
        self._said.seek(0)
        lines = [line for line in self._said if line.strip()]
        return lines[-1] if lines else None


def _is_closed(error: BaseException) -> bool:
    """Whether a call failed because nobody is there."""
    from anyio import BrokenResourceError, ClosedResourceError  # noqa: PLC0415 - an extra's

    gone = isinstance(error, BrokenResourceError | ClosedResourceError)
    return gone or str(error) == "Connection closed"


@contextlib.asynccontextmanager
async def _session(server: McpServer, said: TextIO) -> AsyncGenerator[ClientSession]:
    """A session that is not initialized yet."""
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
    async with stdio_client(started, said) as (read, write), ClientSession(read, write) as session:
        yield session
