"""One node after another: prompt chaining."""

from __future__ import annotations

from typing import Any, overload

from aideon_agents.graphs import Node, Typed
from aideon_agents.patterns.nodes import (
    PatternGraph,
    add_chain,
    compile_graph,
    named_nodes,
    new_builder,
)
from aideon_agents.state import DataT, State


@overload
def sequential(
    *nodes: *tuple[*tuple[Node, ...], Typed[DataT]], name: str = "sequential"
) -> PatternGraph[DataT]: ...
@overload
def sequential(*nodes: Node, name: str = "sequential") -> PatternGraph: ...
def sequential(*nodes: Node, name: str = "sequential") -> PatternGraph[Any]:
    """Run nodes one after another; each sees the results of those before it.

    Args:
        *nodes: Agents, functions, or compiled graphs.
        name: Its name in reports, and as a node of another graph.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no node, or two nodes have the same name.
    """
    graph = new_builder(entry=State)
    add_chain(graph, *named_nodes(nodes, name))
    return compile_graph(graph, name)
