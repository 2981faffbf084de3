"""Where the nodes of nested graphs stand, and what runs there.

Metadata is gathered on the way down as LangGraph does at run time, so that a place's node path is
worked out by the same function, and comes out the same, as the one in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from langchain_core.runnables.base import RunnableBindingBase
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.protocol import PregelProtocol

from aideon_agents.ledger.tags import ROLE
from aideon_agents.state import PART, Role, node_path

if TYPE_CHECKING:
    AnyGraph = CompiledStateGraph[Any, Any, Any, Any]


_APPROVAL = "approval"


@dataclass(frozen=True)
class Place:
    """A node in its place. The root graph is a place without a name."""

    runs: Any
    """The subgraph; any other runnable when it is none."""
    names: tuple[str, ...] = ()
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """Its own and that of every graph around it."""

    @property
    def id(self) -> str:
        """Its names from the outside in; node names hold no `|`, so this is unique."""
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
    def asks(self) -> bool:
        """Whether a person is asked here: our builders give that node its name and its mark."""
        return self.names[-1:] == (_APPROVAL,) and PART + _APPROVAL in self.metadata

    @property
    def is_graph(self) -> bool:
        """Whether a subgraph runs here. What an agent is made of is its own affair."""
        return self.role is None and isinstance(self.runs, PregelProtocol)

    @property
    def opened(self) -> AnyGraph | None:
        """The subgraph, None when there is none or nothing in it can be drawn.

        A graph of the functional API has no nodes, and a remote one keeps them to itself.
        """
        if not self.is_graph or not isinstance(self.runs, CompiledStateGraph):
            return None
        specs = self.runs.builder.nodes.values()
        return self.runs if any(not spec.is_error_handler for spec in specs) else None


def inside(place: Place) -> list[Place]:
    """The nodes of the subgraph at `place`, error handlers and wrappers left out."""
    return [_seen_through(node) for node in _nodes(place)]


def _nodes(place: Place) -> list[Place]:
    graph = place.opened
    if graph is None:
        return []
    called = dict(graph.get_subgraphs())
    places: list[Place] = []
    for name, spec in graph.builder.nodes.items():
        if spec.is_error_handler:
            continue
        own = spec.metadata or {}
        direct = _unbound(spec.runnable)
        subgraph = direct if isinstance(direct, PregelProtocol) else called.get(name)
        places.append(
            Place(
                runs=subgraph or direct,
                names=(*place.names, name),
                label=one_line(str(own.get(PART + name) or name.removesuffix("/"))),
                metadata=place.metadata | own,
            )
        )
    return places


def _unbound(runnable: Any) -> Any:
    while isinstance(runnable, RunnableBindingBase):
        runnable = cast("Any", runnable).bound
    return runnable


def _seen_through(place: Place) -> Place:
    """What stands inside a wrapper, under the wrapper's name.

    A parallel branch is wrapped into a graph with one node that adds nothing to the node path:
    that is how it runs, not how its author thinks of it.
    """
    nodes = _nodes(place)
    if len(nodes) != 1 or nodes[0].metadata.get(PART + nodes[0].names[-1]) != "":
        return place
    return _seen_through(replace(nodes[0], label=place.label))


def one_line(text: str) -> str:
    """The printable characters of `text` on a single line: what may stand in a drawing."""
    printable = (char if char.isprintable() or char == "\u200d" else " " for char in text)
    return " ".join("".join(printable).split())
