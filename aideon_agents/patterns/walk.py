"""What is inside a graph, all levels down, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langgraph.graph.state import CompiledStateGraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.state import ModelRequest


def requests(graph: Graph) -> Iterator[ModelRequest]:
    """What the agents in a graph will ask of models.

    Args:
        graph: Any compiled graph.

    Yields:
        One request per agent, as it was made.
    """
    for node in graph.builder.nodes.values():
        yield from _requests(node.runnable)


def _requests(runnable: object) -> Iterator[ModelRequest]:
    if isinstance(runnable, CompiledStateGraph):
        yield from requests(cast("Any", runnable))
    elif (check := getattr(runnable, "check", None)) is not None:
        yield from _requests(check)
    elif (spec := getattr(runnable, "spec", None)) is not None:
        yield spec.request
