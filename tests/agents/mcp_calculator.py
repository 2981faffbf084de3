"""An MCP server of our own: it adds, it fails, and it dies on request.

Over stdin and stdout, or with a port as its argument over streamable HTTP.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from mcp.server.fastmcp import FastMCP, Image

server = FastMCP("calculator", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)


@server.tool()
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


@server.tool()
def divide(a: int, b: int) -> float:
    """Divide a number by another."""
    return a / b


@server.tool()
def process() -> str:
    """Tell the server's process id and what it knows of a key."""
    return f"{os.getpid()} {os.environ.get('TOGETHER_API_KEY')} {os.environ.get('PRECISION')}"


@server.tool()
def draw() -> Image:
    """Draw one pixel."""
    return Image(data=b"GIF89a", format="gif")


@server.tool()
def die(last_words: str) -> str:
    """End the server while it answers."""
    sys.stderr.write(last_words + "\n")
    sys.stderr.flush()
    os._exit(3)


@server.tool()
def die_soon(after: str) -> str:
    """End the server once it has answered and the file is there."""

    def wait() -> None:
        while not Path(after).exists():
            pass
        os._exit(3)

    threading.Thread(target=wait, daemon=True).start()
    return "goodbye"


if __name__ == "__main__":
    server.run("streamable-http" if len(sys.argv) > 1 else "stdio")
