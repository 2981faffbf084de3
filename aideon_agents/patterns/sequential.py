"""One node after another: prompt chaining."""

from __future__ import annotations

from aideon_agents.graphs import Graph, Node
from aideon_agents.patterns.nodes import add_chain, compile_graph, named_nodes, new_builder
from aideon_agents.state import State


def sequential(*nodes: Node, name: str = "sequential") -> Graph:
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
