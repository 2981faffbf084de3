"""An MCP server whose tools have names and arguments of every kind, with a word of its own."""

from __future__ import annotations

import asyncio
import sys

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

server = Server("odd")
WORD = sys.argv[1]
NAMES = ["notes.search", "notes/search", "find a note", "n" * 80, "n" * 80 + "x", "search"]
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("config", "runtime", "self", "_x")},
}


@server.list_tools()
async def list_tools() -> list[types.Tool]:
    """Name them."""
    return [types.Tool(name=name, description=name, inputSchema=SCHEMA) for name in NAMES]


@server.call_tool()
async def call_tool(name: str, arguments: dict[str, str]) -> types.CallToolResult:
    """Tell what was called; `search` has structured content alone."""
    said = {"word": WORD, "tool": name, "given": arguments}
    if name == "search":
        return types.CallToolResult(content=[], structuredContent=said)
    sound = types.AudioContent(type="audio", data="", mimeType="audio/wav")
    text = types.TextContent(type="text", text=f"{WORD} {name} {arguments}")
    return types.CallToolResult(content=[text, sound] if name == "find a note" else [text])


async def main() -> None:
    """Serve over stdin and stdout."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
