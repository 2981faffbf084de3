"""The result that a graph ends with: the last one, or those of all branches if it ends in several."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.graphs import Graph
from aideon_agents.graphs.topology import declared
from aideon_agents.graphs.walk import NodeInfo, inside, once_per_graph
from aideon_agents.state import StepResult, latest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.graphs.topology import Edge


class _End(NamedTuple):
    """A node that a graph ends with, or the graph itself."""

    name: str
    path: str
    """Its node path in the graph; empty for the graph itself."""
    last: tuple[_End, ...] = ()
    """The nodes that it ends with; empty if it is not a graph."""
    all_run: bool = False
    """Whether each of these is always reached, and there are several."""
    role: str | None = None
    """The agent's; None: it is no agent."""


def output(graph: object, results: Mapping[str, StepResult], path: str = "") -> StepResult | None:
    """The result of a graph, or of any other node, which ran at a path; None: it gave none.

    If the graph ends in several branches that always run, its text is that of each branch below the
    name of the branch, in the order in which the branches were added.
    """
    given = {at: one for at, one in results.items() if one.role != "validator"} or results
    end = _end(graph) if isinstance(graph, CompiledStateGraph) else _End("", "")
    return _output(end, given, path, 1)


def speaks(graph: Graph, path: str, role: str) -> bool:
    """Whether the text of a node is, or may become, the output of the graph or a part of it."""
    return role not in ("planner", "validator") and _leads_to(_end(graph), path)


def _leads_to(end: _End, path: str) -> bool:
    if end.path and not f"{path}/".startswith(f"{end.path}/"):
        return False
    spoken = [one for one in end.last if one.role != "validator"]
    return not spoken or any(_leads_to(one, path) for one in spoken)


@once_per_graph
def _end(graph: Graph) -> _End:
    return _end_of(NodeInfo(graph))


def _end_of(node: NodeInfo) -> _End:
    if node.opened is None:
        return _End(node.label, node.path, role=node.role)
    edges = declared(node.opened.builder)
    children, ends = _ends(node, edges)
    always, ahead = {START}, [START]
    while ahead:
        source = ahead.pop()
        new = {edge.target for edge in edges if edge.source == source and not edge.conditional}
        ahead += new - always
        always |= new
    all_run = len(ends) > 1 and always.issuperset(ends)
    return _End(node.label, node.path, tuple(_end_of(children[one]) for one in ends), all_run)


def _ends(node: NodeInfo, edges: Sequence[Edge]) -> tuple[dict[str, NodeInfo], list[str]]:
    """The nodes of a graph by name, and the names of those that give its result."""
    last = {edge.source for edge in edges if edge.target == END}
    # A node that only asks or checks gives no result: those before it do.
    children = {child.names[len(node.names)]: child for child in inside(node)}
    for name in [one for one in last if one in children and children[one].gives_nothing]:
        last |= {edge.source for edge in edges if edge.target == name}
        last.remove(name)
    return children, [name for name in children if name in last]


def last_agent(graph: Graph) -> str | None:
    """The path of the agent that ends a graph, whose text is the output whatever it is.

    None: another node ends it, or one of several does, or a loop may replace the text.
    """
    node = NodeInfo(graph)
    while node.opened is not None:
        edges = declared(node.opened.builder)
        children, ends = _ends(node, edges)
        if len(ends) != 1 or _is_in_a_loop(ends[0], edges):
            return None
        node = children[ends[0]]
    return node.path if node.role else None


def _is_in_a_loop(name: str, edges: Sequence[Edge]) -> bool:
    ahead, seen = [name], set[str]()
    while ahead:
        source = ahead.pop()
        new = {edge.target for edge in edges if edge.source == source} - seen
        seen |= new
        ahead += new
    return name in seen


def _output(
    end: _End, results: Mapping[str, StepResult], base: str, level: int
) -> StepResult | None:
    path = "/".join(filter(None, (base, end.path)))
    own = {at: one for at, one in results.items() if not path or f"{at}/".startswith(f"{path}/")}
    found = latest(own)
    if found is None or found.node_path == path:
        return found
    inner = [(one.name, _output(one, own, base, level + end.all_run)) for one in end.last]
    given = [(name, one) for name, one in inner if one]
    if not end.all_run or not given:
        return next((one for _, one in given if one.order == found.order), found)
    return dataclasses.replace(
        found,
        node_path=path,
        content="\n\n".join(f"{'#' * level} {name}\n\n{one.content}" for name, one in given),
        data=None,
        models=[model for _, one in given for model in one.models],
        truncated=any(one.truncated for _, one in given),
    )
