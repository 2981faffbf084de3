"""What every pattern does with its nodes: take anything that can be one, name it, add it.

A node is an agent, a compiled graph (one of ours or anybody's), or a function of the state. Names
come from the node itself and are made unique; two that somebody gave by hand and that are the same
are a mistake, and are told so.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.errors import UserError
from aideon_agents.ledger import tags
from aideon_agents.models.bridge import blocking
from aideon_agents.state import (
    Context,
    Entry,
    Results,
    State,
    StepResult,
    next_order,
    node_path,
    part,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Graph: TypeAlias = CompiledStateGraph[Any, Context, Any, Any]
"""A compiled graph, as every pattern returns it."""

Node: TypeAlias = Runnable[Any, Any] | Callable[..., Any]
"""Anything that can be a node."""

_DEFAULT_NAMES = frozenset(
    [
        "planner",
        "executor",
        "validator",
        "creative",
        "sequential",
        "parallel",
        "conditional",
        "iterative",
        "orchestrated",
        "LangGraph",
    ]
)
"""Names that nobody gave by hand: several nodes may have them, and are numbered."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A node and its unique name in one graph."""

    name: str
    runnable: Runnable[Any, Any]
    role: str | None
    """An agent's role, None for anything else."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What marks the node as ours, for the ledger and for drawing."""
        return part(self.name) | ({tags.ROLE: self.role} if self.role else {})


def named(nodes: Sequence[Node], pattern: str) -> list[Named]:
    """Give each node of a pattern its name.

    Args:
        nodes: Agents, graphs or functions.
        pattern: The pattern's name, for the error.

    Returns:
        The nodes in the same order, each name once.

    Raises:
        UserError: There is none, one cannot be a node, or two were given the same name.
    """
    if not nodes:
        raise UserError(f"{pattern} needs at least one node")
    taken: dict[str, int] = {}
    result: list[Named] = []
    for position, node in enumerate(nodes, 1):
        runnable = _runnable(node, pattern)
        wanted = str(getattr(runnable, "name", None) or "node")
        if wanted in taken and wanted not in _DEFAULT_NAMES and not _is_function(node):
            raise UserError(
                f"{pattern} has two nodes called {wanted!r}, number {taken[wanted]} and "
                f"number {position}: give one of them another name"
            )
        name = _free(wanted, taken)
        taken[name] = position
        result.append(Named(name, runnable, getattr(node, "role", None)))
    return result


def builder(
    schema: type[Any] = State, *, entry: type[Any] = Entry
) -> StateGraph[Any, Context, Any, Any]:
    """The start of every pattern's graph.

    Args:
        schema: What its nodes read.
        entry: What it takes in.

    Returns:
        An empty builder that gives back `Results`.
    """
    return cast(
        "StateGraph[Any, Context, Any, Any]",
        StateGraph(schema, context_schema=Context, input_schema=entry, output_schema=Results),
    )


def add(graph: StateGraph[Any, Context, Any, Any], node: Named) -> None:
    """Add a named node to a builder."""
    graph.add_node(node.name, node.runnable, metadata=node.metadata)


def _free(wanted: str, taken: Iterable[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _is_function(node: Node) -> bool:
    return not isinstance(node, Runnable)


def _runnable(node: Node, pattern: str) -> Runnable[Any, Any]:
    if isinstance(node, Runnable):
        return cast("Runnable[Any, Any]", node)
    if callable(node):
        return _function_node(node)
    raise UserError(
        f"{pattern} was given {node!r}: a node is an agent, a compiled graph or a function"
    )


def _function_node(function: Callable[..., Any]) -> Runnable[Any, Any]:
    """A plain function as a node: what it returns is an update of the state, or a result."""

    async def work(state: State, config: RunnableConfig) -> Any:
        if inspect.iscoroutinefunction(function):
            returned = await function(state)
        else:
            returned = await asyncio.to_thread(function, state)
        if returned is None or isinstance(returned, Mapping):
            return cast("Any", returned)
        path = node_path(config.get("metadata") or {})
        results = state.get("results") or {}
        result = StepResult(
            node_path=path,
            role="function",
            content=returned if isinstance(returned, str) else repr(returned),
            data=None if isinstance(returned, str) else returned,
            round=state.get("round", 1),
            order=next_order(results),
        )
        return {"results": {path: result}}

    def work_blocking(state: State, config: RunnableConfig) -> Any:
        return blocking(work(state, config))

    name = getattr(function, "__name__", type(function).__name__)
    return RunnableLambda(work_blocking, work, name=name.strip("<>"))
