"""One node after another: prompt chaining."""

from __future__ import annotations

from itertools import pairwise

from langgraph.graph import END, START

from aideon_agents.graphs import Graph, Node
from aideon_agents.patterns import nodes as making
from aideon_agents.patterns.nodes import compiled
from aideon_agents.state import State


def sequential(*nodes: Node, name: str = "sequential") -> Graph:
    """Run nodes one after another; each sees the results of those before it.

    Args:
        *nodes: Agents, functions, or compiled graphs.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no node, or two of the same name.
    """
    steps = making.named(nodes, name)
    graph = making.builder(entry=State)
    for step in steps:
        making.add(graph, step)
    graph.add_edge(START, steps[0].name)
    for before, after in pairwise(steps):
        graph.add_edge(before.name, after.name)
    graph.add_edge(steps[-1].name, END)
    return compiled(graph, name)
