"""A person's approval of a node's result, before the next node runs.

LangGraph runs a node again once its question is answered. So the question is asked in a node of its
own, after the node that was paid for, and the two are one graph. With a yes the run continues. With
a rejection and feedback the work is done again where a pattern has rounds for that. Any other no ends the
run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from langgraph.errors import GraphDrained
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from aideon_agents.errors import Declined
from aideon_agents.node_paths import part
from aideon_agents.patterns.functions import async_node, current_path
from aideon_agents.state import Approval, Context, Results, State, last

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.graph.state import CompiledStateGraph


NODE = "approval"
"""The name of the node that asks."""


class DeclinableResults(Results, total=False):
    """What a node writes whose result a person may send back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class DeclinableState(State, total=False):
    """What nodes read where a person may send a result back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class DeclinedResult(Declined, GraphDrained):
    """A rejection that ends the run, as LangGraph's own stop: parallel branches finish first."""

    def __init__(self, node_path: str, feedback: str | None) -> None:
        super().__init__(node_path, feedback)
        self.args = (self.reason,)  # GraphDrained sets its own


@runtime_checkable
class Approvable(Protocol):
    """A node that knows whether a person must agree to its result."""

    @property
    def approve(self) -> bool:
        """Whether a person must agree to its result."""
        ...

    def without_approval(self) -> Runnable[Any, Any]:
        """The same node, for a pattern that asks the person itself."""
        ...


def approved_graph(
    node: Runnable[Any, Any], name: str, metadata: Mapping[str, Any], rounds: int
) -> CompiledStateGraph[Any, Context, Any, Any]:
    """A node and the approval after it as one graph; only `approval` is added to the node path.

    Before the last of `rounds`, a rejection with feedback is written as `declined`.
    """

    async def ask(state: DeclinableState, config: RunnableConfig) -> dict[str, Any]:
        path = current_path(config).rpartition("/")[0]
        return {"declined": ask_approval(state, path, number=state.get("round", 1), most=rounds)}

    gives = DeclinableResults if rounds > 1 else Results
    graph = StateGraph(
        DeclinableState, context_schema=Context, input_schema=State, output_schema=gives
    )
    inner = f"{name}/"  # a name that no node of a user can have
    graph.add_node(inner, node, metadata={**metadata, **part(inner, "")})
    graph.add_node(NODE, async_node(ask, NODE), metadata=part(NODE))
    graph.add_edge(START, inner)
    graph.add_edge(inner, NODE)
    graph.add_edge(NODE, END)
    return graph.compile(name=name)


def ask_approval(state: State, node_path: str, *, number: int, most: int) -> str | None:
    """Ask a person about a result, version `number` of at most `most`.

    Returns None for a yes, and the feedback of a rejection that sends the work back. Any other
    rejection, and each of the last version, raises DeclinedResult.
    """
    version = f", version {number}," if number > 1 else ""
    may_return = number < most
    returns = " with feedback has it done again, any other no" if may_return else ""
    asked = {
        "question": f"Is the result of {node_path}{version} right? A no{returns} ends the run.",
        "node_path": node_path,
        "result": (state.get("results") or {})[node_path].content,
    }
    answer = interrupt(asked, response_schema=Approval)
    if answer.approved:
        return None
    feedback = (answer.feedback or "").strip()
    if feedback and may_return:
        return feedback
    raise DeclinedResult(node_path, feedback or None)
