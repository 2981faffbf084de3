"""What is inside a graph, all levels down, without running it.

Which inputs a graph cannot do without, known before anything is called.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.state import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
            ours = getattr(given, "__self__", None)
            if callable(function := getattr(ours, "function", None)):
                yield function
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


_NAMED = re.compile(r"\{([^\W\d]\w*)\}")
"""A name in braces; other braces, such as those of a JSON example, are text."""


def required_keys(graph: Graph) -> list[str]:
    """The keys of inputs that a graph's agents name in their texts, or that choose a route."""
    return [key for key in dict.fromkeys(_keys(graph)) if key != "task"]


def _keys(graph: Graph) -> Iterator[str]:
    for node in nodes(graph):
        if isinstance(node, Enclosing):
            yield from node.needs
        elif (spec := getattr(node, "spec", None)) is not None:
            yield from _NAMED.findall(spec.description or "")


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and every graph inside it, all levels down."""
    yield graph
    for node in graph.builder.nodes.values():
        for inside in graphs_in(node.runnable):
            yield from graphs(inside)


def graphs_in(runnable: object) -> Iterator[Graph]:
    """The graphs that run in a node's place, or that it calls itself."""
    if isinstance(runnable, CompiledStateGraph):
        yield cast("Any", runnable)
    elif isinstance(runnable, Enclosing):
        for one in runnable.inside:
            yield from graphs_in(one)
