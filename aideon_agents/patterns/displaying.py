"""How a graph from our patterns shows itself in a notebook.

LangGraph's compiled graph asks a public web service for its picture there. Ours asks whoever draws:
patterns and drawing do not know one another, so the package, which knows both, says who that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents.state import Context

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

Drawer: TypeAlias = Callable[[Any], Mapping[str, str]]
"""From a graph to what a notebook can show of it, by MIME type."""


class PatternGraph(CompiledStateGraph[Any, Context, Any, Any]):
    """A compiled graph that is drawn on this machine."""

    drawn_by: ClassVar[Drawer | None] = None
    """None: nobody draws it, it is shown as text."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        drawer = type(self).drawn_by
        return {"text/plain": repr(self)} if drawer is None else dict(drawer(self))

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")

    def _repr_svg_(self) -> str | None:
        return self._repr_mimebundle_().get("image/svg+xml")


def compiled(builder: StateGraph[Any, Context, Any, Any], name: str) -> PatternGraph:
    """Compile a pattern's graph."""
    graph = builder.compile(name=name)
    # LangGraph names the class it makes, and a copy of it would lack what compiling has attached.
    graph.__class__ = PatternGraph
    return cast("PatternGraph", graph)
