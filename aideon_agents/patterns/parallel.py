"""Several nodes at the same time, on the same state: parallelization."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.patterns import nodes as making
from aideon_agents.state import State, part

if TYPE_CHECKING:
    from aideon_agents.patterns.nodes import Graph, Named, Node


def parallel(*branches: Node, name: str = "parallel") -> Graph:
    """Run branches at the same time; each sees what came before, none sees another.

    Args:
        *branches: Agents, functions, or compiled graphs.
        name: What it is called where it is a node itself, and in reports.

    Returns:
        A compiled graph.

    Raises:
        UserError: There is no branch, or two of the same name.
    """
    graph = making.builder(entry=State)
    for branch in making.named(branches, name):
        making.add(graph, dataclasses.replace(branch, runnable=_own_graph(branch)))
        graph.add_edge(START, branch.name)
        graph.add_edge(branch.name, END)
    return graph.compile(name=name)


def _own_graph(branch: Named) -> Graph:
    """The branch as a graph of its own.

    LangGraph's nodes move in step: a quick branch of plain nodes would wait for the slow one after
    each of its own. The wrapping adds no part to the path.
    """
    if isinstance(branch.runnable, CompiledStateGraph):
        return branch.runnable
    inner = f"{branch.name}/"  # a name that no node of a user's can have
    graph = making.builder(entry=State)
    graph.add_node(inner, branch.runnable, metadata=branch.metadata | part(inner, ""))
    graph.add_edge(START, inner)
    graph.add_edge(inner, END)
    return graph.compile(name=branch.name)
