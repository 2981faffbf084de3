"""The way to run a batch from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from aideon_agents.batch.running import BatchRunning

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.batch.options import BatchOptions
    from aideon_agents.batch.result import BatchResult
    from aideon_agents.batch.source import Items
    from aideon_agents.patterns.nodes import Graph, Node


async def abatch(
    graph: Graph | Node, items: Items, out: str | Path, **options: Unpack[BatchOptions]
) -> BatchResult:
    """Run many items through a workflow. The same call again goes on where it stopped.

    Args:
        graph: A compiled graph, or a node.
        items: A file of JSON lines or CSV, `-` for stdin, or the items themselves: tasks, or
            mappings with a `task`, perhaps an `id`, and inputs.
        out: The file that results go to, in the order of the items.
        **options: See `BatchOptions`.

    Returns:
        What came of it, also when items failed or it stopped at a limit.

    Raises:
        UserError: The caller's mistake; nothing was called.
        RunError: OUT cannot be written any more. What is done is kept.
    """
    return await BatchRunning(graph, items, out, **options).to_end()
