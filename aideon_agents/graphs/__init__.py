"""What a compiled LangGraph graph looks like inside, and what a node of any kind is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias

from langchain_core.runnables import Runnable
from langgraph.graph.state import CompiledStateGraph
from typing_extensions import TypeVar

from aideon_agents.state import Context

Graph: TypeAlias = CompiledStateGraph[Any, Context, Any, Any]
"""A compiled graph, as every pattern returns it."""

T_co = TypeVar("T_co", covariant=True, default=Any)


class Typed(Generic[T_co]):
    """A node or graph whose last result has data of a known class, for type checkers alone."""

    __slots__ = ()


Node: TypeAlias = Runnable[Any, Any] | Callable[..., Any] | Typed
"""Anything that can be a node."""
