"""What every pattern does with its nodes: take anything that can be one, name it, add it.

A node is an agent, a compiled graph (one of ours or anybody's), or a function of the state. Names
come from the node itself and are made unique; two that somebody gave by hand and that are the same
are a mistake, and are told so. A node that a person must agree to is followed by the approval.

How a graph from our patterns shows itself in a notebook.

LangGraph's compiled graph asks a public web service for its picture there. Ours asks whoever draws:
patterns and drawing do not know one another, so the package, which knows both, says who that is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, cast, runtime_checkable

from langchain_core.runnables import Runnable
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.errors import UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.ledger import tags
from aideon_agents.patterns import approval
from aideon_agents.patterns.foreign import adapted
from aideon_agents.patterns.functions import function_node
from aideon_agents.state import Context, Entry, PlanStep, Results, State, part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
        "node",
    ]
)
"""Names that nobody gave by hand: several nodes may have them, and are numbered."""


@runtime_checkable
class Decider(Protocol):
    """A node that can choose one of several routes."""

    def deciding(self, routes: Sequence[str]) -> Runnable[Any, Any]:
        """A node that writes one of `routes` as `route`."""
        ...


@runtime_checkable
class Planner(Protocol):
    """A node that can be told whom a plan may name."""

    def planning(self, agents: Sequence[str], max_steps: int) -> Runnable[Any, Any]:
        """A node that writes a `plan` of at most so many steps for `agents`."""
        ...


@runtime_checkable
class Worker(Protocol):
    """A node that can be given a step of a plan."""

    def for_step(self, step: PlanStep) -> Runnable[Any, Any]:
        """A node that does `step`."""
        ...


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


def named(
    nodes: Sequence[Node], pattern: str, *, reserved: Iterable[str] = (), rounds: int = 1
) -> list[Named]:
    """Give each node of a pattern its name."""
    if not nodes:
        raise UserError(f"{pattern} needs at least one node")
    taken = dict.fromkeys(reserved, 0)
    result: list[Named] = []
    for position, node in enumerate(nodes, 1):
        runnable = _runnable(node, pattern)
        wanted = str(getattr(runnable, "name", None) or "node")
        if not can_name(wanted):
            raise UserError(f"{pattern}: {wanted!r} cannot name a node: leave out /, | and :")
        if wanted in taken and wanted not in _DEFAULT_NAMES and not _is_function(node):
            number = taken[wanted]
            first = f"number {number}" if number else "one of its own"
            raise UserError(
                f"{pattern} has two nodes called {wanted!r}, {first} and "
                f"number {position}: give one of them another name"
            )
        name = _free(wanted, taken)
        taken[name] = position
        one = Named(name, runnable, getattr(node, "role", None))
        result.append(approved(one, rounds) if rounds else one)
    return result


def approved(node: Named, rounds: int = 1) -> Named:
    """A node, followed by the approval if it asks for one."""
    alone = approval.alone(node.runnable)
    if alone is node.runnable:
        return node
    graph = approval.followed(cast("Any", alone), node.name, node.metadata, rounds)
    return Named(node.name, graph, None)


def can_name(name: str) -> bool:
    """Whether LangGraph and node paths can do with a name."""
    return bool(name.strip()) and name not in {START, END} and not any(m in name for m in "/|:")


def builder(
    schema: type[Any] = State, *, entry: type[Any] = Entry, gives: type[Any] = Results
) -> StateGraph[Any, Context, Any, Any]:
    """The start of every pattern's graph."""
    return StateGraph(schema, context_schema=Context, input_schema=entry, output_schema=gives)


def add(
    graph: StateGraph[Any, Context, Any, Any],
    node: Named,
    runs: Runnable[Any, Any] | None = None,
) -> None:
    """Add a named node to a builder."""
    graph.add_node(node.name, runs or node.runnable, metadata=node.metadata)


def _free(wanted: str, taken: Iterable[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _is_function(node: Node) -> bool:
    return not isinstance(node, Runnable)


def _runnable(node: Node, pattern: str) -> Runnable[Any, Any]:
    if isinstance(node, CompiledStateGraph):
        return adapted(cast("Graph", node))
    if isinstance(node, Runnable):
        return cast("Runnable[Any, Any]", node)
    if callable(node):
        return function_node(node)
    raise UserError(
        f"{pattern} was given {node!r}: a node is an agent, a compiled graph or a function"
    )


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
