"""The nodes of a graph at every depth, and what can be read from them without running anything."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args
from weakref import WeakKeyDictionary

from langchain_core.runnables.base import RunnableBindingBase
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.protocol import PregelProtocol

from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.ledger.tags import ROLE
from aideon_agents.models.pictures import keys_in
from aideon_agents.node_paths import PART, node_path
from aideon_agents.state import ModelRequest, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import MethodType

    from langgraph.graph._node import StateNodeSpec


FactT = TypeVar("FactT")


def once_per_graph(read: Callable[[Graph], FactT]) -> Callable[[Graph], FactT]:
    """Remember what a function reads from a graph for as long as the graph exists.

    The result must not refer to the graph or its nodes: the graph would never be collected.
    """
    known: WeakKeyDictionary[Graph, FactT] = WeakKeyDictionary()

    @functools.wraps(read)
    def remembered(graph: Graph) -> FactT:
        if graph not in known:
            known[graph] = read(graph)
        return known[graph]

    return remembered


_PACKAGE = f"{__name__.partition('.')[0]}."
_APPROVAL = "approval"
_WITHOUT_RESULT = (_APPROVAL, "kept")


@dataclass(frozen=True)
class NodeInfo:
    """A node at its position in nested graphs. The root graph has no name and no metadata."""

    runs: Any
    """The subgraph; any other runnable when it is none."""
    names: tuple[str, ...] = ()
    """From the outside in."""
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """Its own and that of every graph around it, merged as LangGraph does when it runs, so that
    `path` is the node path in the ledger."""
    is_marked: bool = False
    """Whether one of our builders added it."""

    @property
    def id(self) -> str:
        """Its names; node names contain no `|`, so this is unique."""
        return "|".join(self.names)

    @property
    def path(self) -> str:
        """Its node path in the ledger."""
        return node_path(self.metadata | {"langgraph_checkpoint_ns": self.id})

    @property
    def role(self) -> Role | None:
        """The agent's role, None for what is no agent."""
        role = self.metadata.get(ROLE)
        return cast("Role", role) if role in get_args(Role) else None

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of its tools; of an MCP server, whose tools are known when it runs, its own."""
        toolbox: Any = getattr(getattr(self.runs, "spec", None), "toolbox", None)
        if toolbox is None:
            return ()
        servers = (server.short_name() for server in toolbox.servers)
        return tuple(one_line(name) for name in (*(one.name for one in toolbox.tools), *servers))

    @property
    def asks(self) -> bool:
        """Whether a person is asked here: our builders give that node its name and its mark."""
        return self.names[-1:] == (_APPROVAL,) and PART + _APPROVAL in self.metadata

    @property
    def gives_nothing(self) -> bool:
        """Whether our builders added it only to ask a person, or to check what failed."""
        return self.names[-1] in _WITHOUT_RESULT and PART + self.names[-1] in self.metadata

    @property
    def is_graph(self) -> bool:
        """Whether a subgraph runs here. The inside of an agent does not count."""
        return self.role is None and isinstance(self.runs, PregelProtocol)

    @property
    def opened(self) -> CompiledStateGraph[Any, Any, Any, Any] | None:
        """The subgraph, None when there is none or nothing in it can be drawn.

        A graph of the functional API has no nodes, and a remote one does not show them.
        """
        if not self.is_graph or not isinstance(self.runs, CompiledStateGraph):
            return None
        specs = self.runs.builder.nodes.values()
        return self.runs if any(not spec.is_error_handler for spec in specs) else None

    def child(self, name: str, spec: StateNodeSpec[Any, Any], runs: object) -> NodeInfo:
        """A node of the subgraph that runs here."""
        own = dict(spec.metadata or {})
        return NodeInfo(
            runs=runs,
            names=(*self.names, name),
            label=one_line(str(own.get(PART + name) or name.removesuffix("/"))),
            metadata=self.metadata | own,
            is_marked=PART + name in own,
        )


def walk(graph: Graph) -> Iterator[NodeInfo]:
    """Every node at every depth: of the graph, of graphs inside it, and those that nodes enclose.

    A node that encloses others comes before them, a subgraph before its nodes. Enclosed nodes have
    the names of the node around them.
    """
    yield from _nodes_of(NodeInfo(graph))


def _nodes_of(parent: NodeInfo) -> Iterator[NodeInfo]:
    for name, spec in parent.runs.builder.nodes.items():
        yield from _with_inside(parent.child(name, spec, spec.runnable))


def _with_inside(node: NodeInfo) -> Iterator[NodeInfo]:
    yield node
    if isinstance(node.runs, CompiledStateGraph):
        yield from _nodes_of(node)
    elif isinstance(node.runs, Enclosing):
        for enclosed in node.runs.inside:
            yield from _with_inside(replace(node, runs=enclosed))


def graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and every graph inside it, at every depth."""
    yield graph
    for node in walk(graph):
        if isinstance(node.runs, CompiledStateGraph):
            yield cast("Graph", node.runs)


def specs(graph: Graph) -> Iterator[Any]:
    """The specs of the agents in a graph."""
    for node in walk(graph):
        if (spec := getattr(node.runs, "spec", None)) is not None:
            yield spec


@once_per_graph
def requests(graph: Graph) -> tuple[ModelRequest | MethodType, ...]:
    """What the agents in a graph request of models, and what checks the models of other nodes."""
    asked = [spec.request for spec in specs(graph) if spec.asks]
    checks = (getattr(node.runs, "check_models", None) for node in walk(graph))
    return *asked, *filter(None, checks)


def functions(graph: Graph) -> Iterator[Callable[..., Any]]:
    """The plain functions that are nodes of a graph."""
    for node in walk(graph):
        for given in (getattr(node.runs, "func", None), getattr(node.runs, "afunc", None)):
            if callable(function := getattr(given, "function", None)):
                yield function
            elif callable(given) and not str(given.__module__).startswith(_PACKAGE):
                yield given


NAMED = re.compile(r"\{([^\W\d]\w*)\}")
"""A name in braces; other braces, such as those of a JSON example, are text."""


@once_per_graph
def required_keys(graph: Graph) -> tuple[str, ...]:
    """The keys of inputs that a graph's agents name in their texts, or that choose a route."""
    keys: list[str] = []
    for node in walk(graph):
        if needs := getattr(node.runs, "needs", ()):
            keys += needs
        elif (spec := getattr(node.runs, "spec", None)) is not None:
            keys += NAMED.findall(spec.description or "") + keys_in(spec.images)
    return tuple(key for key in dict.fromkeys(keys) if key != "task")


@once_per_graph
def named_images(graph: Graph) -> tuple[tuple[Any, Any], ...]:
    """The pictures of each agent that names inputs in their paths, and the folder of these."""
    return tuple((spec.images, spec.folder) for spec in specs(graph) if keys_in(spec.images))


@once_per_graph
def path_keys(graph: Graph) -> tuple[str, ...]:
    """The keys of inputs that name files or folders: a function says so with its attribute `reads`."""
    keys = [key for function in functions(graph) for key in getattr(function, "reads", ())]
    return tuple(dict.fromkeys(keys))


@once_per_graph
def patterns(graph: Graph) -> frozenset[tuple[str, ...]]:
    """The names of the nodes that only hold other nodes: they have no place in a run's story.

    The graph of an agent, or one that is not ours, is a node, whatever it runs inside. A graph holds nodes if
    our builders did not add it, or if they added a node inside it.
    """
    return frozenset(node.names for node in walk(graph) if _holds_nodes(node))


@once_per_graph
def error_handled(graph: Graph) -> frozenset[tuple[str, ...]]:
    """The names of the nodes whose errors another node of their graph handles."""
    return frozenset(
        (*around.names, name)
        for around in (NodeInfo(graph), *walk(graph))
        if isinstance(around.runs, CompiledStateGraph)
        for name, spec in around.runs.builder.nodes.items()
        if spec.error_handler_node is not None
    )


def _holds_nodes(node: NodeInfo) -> bool:
    if isinstance(node.runs, CompiledStateGraph):
        inside = node.runs.builder.nodes.items()
        return not node.is_marked or any(
            PART + name in (spec.metadata or {}) for name, spec in inside
        )
    # One that hides its nodes from LangGraph runs them below its own place.
    return isinstance(node.runs, Enclosing) and not node.runs.deps


def inside(parent: NodeInfo) -> list[NodeInfo]:
    """The nodes of one subgraph as they are drawn, without error handlers and wrappers."""
    return [_seen_through(node) for node in _drawn(parent)]


def _drawn(parent: NodeInfo) -> list[NodeInfo]:
    graph = parent.opened
    if graph is None:
        return []
    called = dict(graph.get_subgraphs())
    nodes: list[NodeInfo] = []
    for name, spec in graph.builder.nodes.items():
        if spec.is_error_handler:
            continue
        direct: Any = spec.runnable
        while isinstance(direct, RunnableBindingBase):
            direct = cast("Any", direct).bound
        subgraph = direct if isinstance(direct, PregelProtocol) else called.get(name)
        nodes.append(parent.child(name, spec, subgraph or direct))
    return nodes


def _seen_through(node: NodeInfo) -> NodeInfo:
    """The node inside a wrapper, under the wrapper's label.

    A parallel branch is wrapped into a graph with one node that adds nothing to the node path. The
    author of the graph did not write that wrapper, so it is not drawn.
    """
    nodes = _drawn(node)
    if len(nodes) != 1 or nodes[0].metadata.get(PART + nodes[0].names[-1]) != "":
        return node
    return _seen_through(replace(nodes[0], label=node.label))


def one_line(text: str) -> str:
    """The printable characters of a text on a single line, as a drawing shows them."""
    printable = (char if char.isprintable() or char == "\u200d" else " " for char in text)
    return " ".join("".join(printable).split())
