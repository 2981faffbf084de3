"""A workflow as a tool of any MCP client: `aideon serve`, asked with the `mcp` package."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

SERVE = [sys.executable, "-m", "aideon_agents", "serve", "--port", "0", "--workflow", "brief=brief"]


@contextmanager
def service() -> Generator[str]:
    """The address of a service. On loopback it needs no key until the first one is made."""
    process = subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
    with process as serving:
        lines = serving.stderr or ()
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        serving.terminate()


async def main(address: str) -> None:
    """Use the tool that the workflow is."""
    async with (
        streamable_http_client(f"{address}/mcp") as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        done = await session.call_tool("brief", {"task": "heat pumps", "budget": "0.05"})
        print(done.structuredContent)


with service() as where:
    asyncio.run(main(where))
