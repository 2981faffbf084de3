"""A person's agreement to what a node gave, before anything goes on with it.

LangGraph runs a node again once its question is answered. So the node that asks is not the one that
was paid for: it stands after it, and the two are a graph of their own, wherever the pattern puts
them. A yes goes on. A no with feedback sends the work back where a pattern has rounds for that; any
other no ends the run.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast, runtime_checkable

from langgraph.errors import GraphDrained
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from aideon_agents.errors import Declined
from aideon_agents.graphs import Node
from aideon_agents.patterns import functions
from aideon_agents.patterns.functions import here
from aideon_agents.state import Approval, Context, Results, State, last, part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.graph.state import CompiledStateGraph


NODE = "approval"
"""The name of the node that asks."""


class Judged(Results, total=False):
    """What a node gives back that a person may send back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class Shown(State, total=False):
    """What nodes read where a person may send something back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class DeclinedResult(Declined, GraphDrained):
    """A no that ends the run, as LangGraph's own stop: what runs beside it comes to its end first."""

    def __init__(self, node_path: str, feedback: str | None) -> None:
        super().__init__(node_path, feedback)
        self.args = (self.reason,)  # not what LangGraph makes of it


@runtime_checkable
class Approvable(Protocol):
    """A node that knows whether a person must agree to its result."""

    @property
    def approve(self) -> bool:
        """Whether one must."""
        ...

    def without_approval(self) -> Runnable[Any, Any]:
        """The same node, for whoever sees to the approval."""
        ...


def alone(node: Node) -> Node:
    """A node for whoever sees to its approval."""
    if isinstance(node, Approvable) and node.approve:
        return node.without_approval()
    return cast("Node", node)


def followed(
    node: Runnable[Any, Any], name: str, metadata: Mapping[str, Any], rounds: int
) -> CompiledStateGraph[Any, Context, Any, Any]:
    """A node and the approval after it, as one graph that adds `approval` alone to the path."""
    gives = Judged if rounds > 1 else Results
    graph = StateGraph(Shown, context_schema=Context, input_schema=State, output_schema=gives)
    inner = f"{name}/"  # a name that no node of a user's can have
    graph.add_node(inner, node, metadata={**metadata, **part(inner, "")})
    asking = functions.node(_Asking(rounds).ask, NODE)
    graph.add_node(NODE, asking, metadata=part(NODE))
    graph.add_edge(START, inner)
    graph.add_edge(inner, NODE)
    graph.add_edge(NODE, END)
    return graph.compile(name=name)


def agreed(state: State, place: str, *, number: int, most: int) -> str | None:
    """Ask a person whether a result is right."""
    version = f", version {number}," if number > 1 else ""
    may_return = number < most
    returns = " with feedback has it done again, any other no" if may_return else ""
    asked = {
        "question": f"Is the result of {place}{version} right? A no{returns} ends the run.",
        "node_path": place,
        "result": (state.get("results") or {})[place].content,
    }
    answer = interrupt(asked, response_schema=Approval)
    if answer.approved:
        return None
    feedback = (answer.feedback or "").strip()
    if feedback and may_return:
        return feedback
    raise DeclinedResult(place, feedback or None)


@dataclasses.dataclass(frozen=True)
class _Asking:
    """The node that asks about the node before it."""

    rounds: int

    async def ask(self, state: Shown, config: RunnableConfig) -> dict[str, Any]:
        place = here(config).rpartition("/")[0]
        return {"declined": agreed(state, place, number=state.get("round", 1), most=self.rounds)}
