"""What every pattern does with its nodes: accept, name, add, and compile them.

A node is an agent, a compiled graph (from these patterns or from elsewhere) or a function of the
state. Default names are numbered to make them unique. Two nodes that were given the same name by
hand are an error. A node with `approve` is followed by a node that asks a person.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Protocol,
    TypeAlias,
    cast,
    get_args,
    runtime_checkable,
)

from langchain_core.language_models import BaseLanguageModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.protocol import PregelProtocol

from aideon_agents.errors import UserError, refuse_kinds
from aideon_agents.graphs import Graph, Node, T_co, Typed
from aideon_agents.graphs.walk import NodeInfo
from aideon_agents.graphs.walk import inside as nodes_inside
from aideon_agents.ledger import tags
from aideon_agents.node_paths import part
from aideon_agents.patterns.approval import Approvable, approved_graph
from aideon_agents.patterns.foreign import adapted, chain_node, remote_graph
from aideon_agents.patterns.functions import function_node
from aideon_agents.state import (
    Context,
    Entry,
    PlanStep,
    Results,
    Role,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


Builder: TypeAlias = StateGraph[Any, Context, Any, Any]

_PATTERNS = ("sequential", "parallel", "conditional", "iterative", "orchestrated")
_DEFAULT_NAMES = {*get_args(Role), *_PATTERNS, "LangGraph", "node"}
"""Names that were not chosen by the user: several nodes may have them, and are numbered."""

NAME_RULE = "it must not be empty or contain /, | or :"
"""What a node's name must be, for errors."""


Workers: TypeAlias = Sequence[Node] | Mapping[str, Node | tuple[str, Node]]
"""Workers as a list, or by name: each alone, or with what it is for."""


@runtime_checkable
class Decider(Protocol):
    """A node that can choose one of several routes."""

    def deciding(self, routes: Mapping[str, str]) -> Runnable[Any, Any]:
        """A node that writes one of `routes` as `route`; each has when to choose it, or ""."""
        ...


@runtime_checkable
class Planner(Protocol):
    """A node that can plan for given workers."""

    def planning(self, workers: Mapping[str, str], max_steps: int) -> Runnable[Any, Any]:
        """A node that writes a `plan` of at most `max_steps` steps.

        `workers` has for each name that a step may give as its agent what that worker is for.
        """
        ...


@runtime_checkable
class Worker(Protocol):
    """A node that can do a step of a plan."""

    @property
    def introduction(self) -> str:
        """What it is for and its tools, as a planner reads it."""
        ...

    def for_step(self, step: PlanStep) -> Runnable[Any, Any]:
        """A node that does `step`."""
        ...


@dataclasses.dataclass(frozen=True)
class NamedNode:
    """A node and its unique name in one graph."""

    name: str
    runnable: Runnable[Any, Any]
    role: str | None
    """An agent's role; None for any other node."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What marks the node as ours, for the ledger and for drawing."""
        return part(self.name) | ({tags.ROLE: self.role} if self.role else {})


def named_nodes(
    nodes: Sequence[Node],
    pattern: str,
    *,
    reserved: Iterable[str] = (),
    rounds: int | None = None,
    asks: bool = True,
) -> list[NamedNode]:
    """Give each node of a pattern a unique name, and add the approval to nodes that need it.

    `reserved` are the names of the pattern's other nodes. `rounds` is how often the pattern, a loop,
    runs a node whose result a person sends back; None: it is no loop. `asks`: False if the pattern
    adds approvals itself.
    """
    if not nodes:
        raise UserError(f"{pattern} needs at least one node")
    taken = dict.fromkeys(reserved, 0)
    result: list[NamedNode] = []
    for position, node in enumerate(nodes, 1):
        runnable = _runnable(node, pattern)
        name = str(getattr(runnable, "name", None) or "node")
        if not is_valid_name(name):
            raise UserError(f"{pattern}: {name!r} is not a valid node name: {NAME_RULE}")
        if name in taken and name not in _DEFAULT_NAMES and isinstance(node, Runnable):
            first = f"number {taken[name]}" if taken[name] else "one of its own"
            raise UserError(
                f"{pattern} has two nodes called {name!r}, {first} and "
                f"number {position}: give one of them another name"
            )
        wanted, number = name, 1
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken[name] = position
        one = NamedNode(name, runnable, getattr(node, "role", None))
        result.append(with_approval(one, rounds) if asks else one)
    return result


def with_approval(node: NamedNode, rounds: int | None = None) -> NamedNode:
    """A node, as a graph with the approval after it where a person must agree to its result."""
    if not isinstance(node.runnable, Approvable) or not node.runnable.approve:
        return node
    return NamedNode(
        node.name, approved_graph(node.runnable, node.name, node.metadata, rounds), None
    )


def named_workers(
    nodes: Sequence[Node], workers: Workers, pattern: str
) -> tuple[dict[str, NamedNode], dict[str, str]]:
    """The workers by name, and what each is for."""
    by_name: dict[str, Node | tuple[str, Node]] = {}
    listed: list[Node] = list(nodes)
    if isinstance(workers, Mapping):
        by_name.update(workers)
    else:
        listed += workers
    if not listed and not by_name:
        raise UserError(f"{pattern} needs at least one worker")
    named = {one.name: one for one in named_nodes(listed, pattern, asks=False)} if listed else {}
    purposes: dict[str, str] = {}
    for name, given in by_name.items():
        what, node = given if isinstance(given, tuple) else ("", given)
        if not isinstance(cast("object", name), str) or not is_valid_name(name):
            raise UserError(f"{pattern}: {name!r} is not a valid name of a worker: {NAME_RULE}")
        if name in named:
            raise UserError(f"{pattern} has two workers called {name!r}: name one differently")
        (one,) = named_nodes([node], pattern, asks=False)
        named[name] = dataclasses.replace(one, name=name)
        purposes[name] = what
    introduced = {name: purposes.get(name) or _introduction(one) for name, one in named.items()}
    return named, introduced


def _introduction(worker: NamedNode) -> str:
    """What a worker is for, where the mapping does not say it."""
    runnable = worker.runnable
    if isinstance(runnable, Worker):
        return runnable.introduction
    if isinstance(runnable, CompiledStateGraph):
        inside = NodeInfo(cast("Graph", runnable))
        return f"Does: {', '.join(one.label for one in nodes_inside(inside))}."
    function = getattr(getattr(runnable, "afunc", None), "function", None)
    lines = (inspect.getdoc(function) or "").strip().splitlines() or [worker.name]
    return lines[0].translate(str.maketrans("{}", "()"))


def is_valid_name(name: str) -> bool:
    """Whether LangGraph and node paths allow a name."""
    return bool(name.strip()) and name not in {START, END} and not any(m in name for m in "/|:")


def new_builder(
    schema: type[Any] = State, *, entry: type[Any] = Entry, gives: type[Any] = Results
) -> Builder:
    """An empty builder: its nodes read `schema`, the graph takes `entry` and returns `gives`."""
    return StateGraph(schema, context_schema=Context, input_schema=entry, output_schema=gives)


def add_node(graph: Builder, node: NamedNode, runs: Runnable[Any, Any] | None = None) -> None:
    """Add a named node to a builder; `runs` is what runs in its place, None: the node itself."""
    graph.add_node(node.name, runs or node.runnable, metadata=node.metadata)


def add_chain(graph: Builder, *nodes: NamedNode) -> None:
    """Add nodes that run one after another, from the graph's start to its end."""
    for node in nodes:
        add_node(graph, node)
    for before, after in pairwise([START, *(node.name for node in nodes), END]):
        graph.add_edge(before, after)


def _runnable(node: Node, pattern: str) -> Runnable[Any, Any]:
    if isinstance(node, CompiledStateGraph):
        return adapted(cast("Graph", node))
    if isinstance(node, PregelProtocol) and hasattr(node, "assistant_id"):
        return remote_graph(node)
    if isinstance(node, Runnable):
        inner = cast("Any", node)
        while isinstance(inner, RunnableBindingBase):
            inner = cast("Any", inner).bound
        if isinstance(inner, BaseLanguageModel):
            raise UserError(
                f"{pattern}: {type(inner).__name__} is a model and cannot be a node: give an agent "
                "that asks it, such as executor(model=...)"
            )
        of_langchain = type(cast("object", inner)).__module__.startswith("langchain_core.")
        if of_langchain or isinstance(inner, BaseRetriever):
            return chain_node(node, pattern)
        return cast("Runnable[Any, Any]", node)
    if callable(node):
        return function_node(node, pattern)
    raise UserError(
        f"{pattern}: {node!r} cannot be a node: give an agent, a compiled graph or a function"
    )


Drawer: TypeAlias = Callable[[Any], Mapping[str, str]]
"""From a graph to what a notebook can show of it, by MIME type."""


class PatternGraph(CompiledStateGraph[Any, Context, Any, Any], Typed[T_co]):
    """A compiled graph that a notebook draws on this machine.

    LangGraph's own compiled graph asks a public web service for its picture. The rooms patterns and
    drawing do not import one another, so the package sets `drawn_by`.
    """

    drawn_by: ClassVar[Drawer | None] = None
    """What draws graphs; None: they are shown as text."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        drawer = type(self).drawn_by
        return {"text/plain": repr(self)} if drawer is None else dict(drawer(self))

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")

    def _repr_svg_(self) -> str | None:
        return self._repr_mimebundle_().get("image/svg+xml")


def compile_graph(builder: Builder, name: str) -> PatternGraph:
    """Compile a pattern's graph."""
    refuse_kinds({"name": name}, {"name": (str, "text")}, "a pattern: ")
    graph = builder.compile(name=name)
    # LangGraph names the class it makes, and a copy of it would lack what compiling has attached.
    graph.__class__ = PatternGraph
    return cast("PatternGraph", graph)
