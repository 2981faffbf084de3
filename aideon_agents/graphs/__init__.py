"""What a compiled LangGraph graph looks like inside, read without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.state import Context

Graph: TypeAlias = CompiledStateGraph[Any, Context, Any, Any]
"""A compiled graph, as every pattern returns it."""

Node: TypeAlias = Runnable[Any, Any] | Callable[..., Any]
"""Anything that can be a node."""
