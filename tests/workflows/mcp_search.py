"""An MCP server that searches."""

from __future__ import annotations

from mcp.server.fastmcp import FastMCP

server = FastMCP("library")


@server.tool()
def search_library(query: str) -> str:
    """Search the library."""
    return f"{query}: heat pumps work down to -25 °C (https://library.example/cold)."


if __name__ == "__main__":
    server.run("stdio")
