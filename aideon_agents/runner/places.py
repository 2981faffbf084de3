"""Which of the tasks that LangGraph runs are nodes, and where they stand.

LangGraph reports everything it runs as a task: agents and functions, but also the patterns around
them, the wrapping of a branch, and what goes on inside somebody else's graph. The ledger knows
fewer places (`state.node_path`), and so do the events of a run.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents.agents.node import Agent
from aideon_agents.ledger import tags
from aideon_agents.patterns.enclosing import Enclosing
from aideon_agents.state import INSIDE, PART, node_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aideon_agents.patterns.nodes import Graph

    Names = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a node stands, and what it is."""

    path: str
    role: str
    """Empty when it is no agent of ours."""
    round: int


class Places:
    """The nodes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._patterns = frozenset(_patterns(graph, ()))

    def of_task(self, namespace: Names, task: Mapping[str, Any]) -> Place | None:
        """The node that a task is."""
        metadata = cast("Mapping[str, Any]", task.get("metadata") or {})
        whole = "|".join((*namespace, f"{task['name']}:{task['id']}"))
        names = tuple(segment.partition(":")[0] for segment in whole.split("|"))
        marked = [PART + name in metadata for name in names]
        inside = any(marked) or names[-1].startswith(INSIDE)
        if names in self._patterns or (inside and not marked[-1]):
            return None
        path = node_path({**metadata, "langgraph_checkpoint_ns": whole})
        given = task.get("input")
        state = cast("Mapping[str, Any]", given) if isinstance(given, dict) else {}
        return Place(path, str(metadata.get(tags.ROLE, "")), int(state.get("round", 1)))


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and every graph inside it, all levels down."""
    yield graph
    for node in graph.builder.nodes.values():
        for inside in _graphs_in(node.runnable):
            yield from graphs(inside)


def holds_agents_alone(graph: Graph) -> bool:
    """Whether every node of a graph is an agent of ours that runs nothing inside it."""
    nodes = [node.runnable for node in graph.builder.nodes.values()]
    return all(isinstance(node, Agent) and node.is_alone for node in nodes)


def _patterns(graph: Graph, above: Names) -> Iterator[Names]:
    """The names, from the outside in, of whatever holds nodes and is none itself."""
    for name, node in graph.builder.nodes.items():
        here = (*above, name)
        inside = list(_graphs_in(node.runnable))
        holds = any(_holds_places(one, is_ours=_is_marked(name, node)) for one in inside)
        if holds or _hands_on(node.runnable):
            yield here
        for one in inside:
            yield from _patterns(one, here)


def _graphs_in(runnable: object) -> Iterator[Graph]:
    """The graphs that run in a node's place, or that it calls itself."""
    if isinstance(runnable, CompiledStateGraph):
        yield cast("Any", runnable)
    elif isinstance(runnable, Enclosing):
        for one in runnable.inside:
            yield from _graphs_in(one)


def _hands_on(runnable: object) -> bool:
    """Whether a node runs those inside in places of their own, below its own."""
    return isinstance(runnable, Enclosing) and not runnable.deps


def _holds_places(graph: Graph, *, is_ours: bool) -> bool:
    """Whether what a graph runs are nodes of their own: where nobody marks any, all are."""
    return not is_ours or any(_is_marked(name, node) for name, node in graph.builder.nodes.items())


def _is_marked(name: str, node: Any) -> bool:
    return PART + name in (node.metadata or {})
