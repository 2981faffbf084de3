"""What is inside a graph, all levels down, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents.patterns.enclosing import Enclosing
from aideon_agents.patterns.functions import Answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.state import ModelRequest

_PACKAGE = f"{__name__.partition('.')[0]}."


def requests(graph: Graph) -> Iterator[ModelRequest]:
    """What the agents in a graph will ask of models."""
    for spec in specs(graph):
        yield spec.request


def specs(graph: Graph) -> Iterator[Any]:
    """What the agents in a graph were told."""
    for node in nodes(graph):
        if (spec := getattr(node, "spec", None)) is not None:
            yield spec


def functions(graph: Graph) -> Iterator[Callable[..., Any]]:
    """The plain functions that are nodes of a graph."""
    for node in nodes(graph):
        for given in (getattr(node, "func", None), getattr(node, "afunc", None)):
            doing = getattr(given, "__self__", None)
            if isinstance(doing, Answering):
                yield doing.function
            elif callable(given) and not str(given.__module__).startswith(_PACKAGE):
                yield given


def nodes(graph: Graph) -> Iterator[object]:
    """Every node of a graph, those of the graphs in it and those that nodes enclose."""
    for node in graph.builder.nodes.values():
        yield from _within(node.runnable)


def _within(runnable: object) -> Iterator[object]:
    if isinstance(runnable, CompiledStateGraph):
        yield from nodes(cast("Any", runnable))
        return
    yield runnable
    if isinstance(runnable, Enclosing):
        for node in runnable.inside:
            yield from _within(node)
