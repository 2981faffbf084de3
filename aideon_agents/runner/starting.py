"""The ways to start a run: wait for it, await it, or watch it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Unpack

from aideon_agents.models.bridge import blocking
from aideon_agents.runner.preparing import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.patterns.nodes import Graph, Node
    from aideon_agents.runner.events import Event
    from aideon_agents.runner.options import RunOptions
    from aideon_agents.runner.result import RunResult


def run(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult:
    """Run a workflow and wait for it.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    return blocking(arun(graph, task, **options))


async def arun(graph: Graph | Node, task: str, **options: Unpack[RunOptions]) -> RunResult:
    """Run a workflow.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    return await prepare(graph, task, **options).to_end()


async def astream(
    graph: Graph | Node, task: str, **options: Unpack[RunOptions]
) -> AsyncGenerator[Event]:
    """Run a workflow and watch it. Its model calls stream.

    The run goes at its own pace, however slowly it is watched. Closing the iterator early cancels
    it; `contextlib.aclosing` does so at the end of a block.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: See `RunOptions`.

    Yields:
        Events as they happen; the last one is `RunEnded`, with the result.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    running = prepare(graph, task, stream=True, **options)
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    work = asyncio.create_task(running.to_end(events.put_nowait))
    work.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
