"""A person's approval of a node's result, before the next node runs.

LangGraph runs a node again once its question is answered. So the question is asked in a node of its
own, after the node that was paid for, and the two are one graph. With a yes the run continues, with
the result as the person has edited it, if they have. With a rejection and feedback the work is done
again, at most `AGAIN` times, or as often as the loop around it has rounds. Any other no ends the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from langgraph.errors import GraphDrained
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field, ValidationError, create_model, field_validator

from aideon_agents.errors import Declined
from aideon_agents.node_paths import part
from aideon_agents.patterns.functions import async_node, current_path
from aideon_agents.state import Approval, Context, OnDecline, Results, State, StepResult, last

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.graph.state import CompiledStateGraph


NODE = "approval"
"""The name of the node that asks."""

AGAIN = 3
"""How often work outside of a loop is done again; a rejection after that ends the run."""


class DeclinableResults(Results, total=False):
    """What a node writes whose result a person may send back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class DeclinableState(State, total=False):
    """What nodes read where a person may send a result back."""

    declined: Annotated[str | None, last]
    """What the person wants changed; None or absent: nothing."""


class ApprovedState(DeclinableState, total=False):
    """What the node and its approval read."""

    sent_back: int
    """How often the person has sent the result back here; absent: never."""


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

    @property
    def on_decline(self) -> OnDecline:
        """What a rejection with feedback does."""
        ...

    def without_approval(self) -> Runnable[Any, Any]:
        """The same node, for a pattern that asks the person itself."""
        ...

    def edited(self, result: StepResult, content: str) -> Results:
        """What the node would have written with this content; a ValueError says why it cannot be."""
        ...


def approved_graph(
    node: Approvable, name: str, metadata: Mapping[str, Any], rounds: int | None
) -> CompiledStateGraph[Any, Context, Any, Any]:
    """A node and the approval after it as one graph; only `approval` is added to the node path.

    A loop of several `rounds` does the work again: before the last one, a rejection with feedback is
    written as `declined`. `rounds` None: there is no loop, and the work is done again here.
    """
    inner = f"{name}/"  # a name that no node of a user can have
    most = AGAIN + 1 if rounds is None else rounds

    async def ask(state: ApprovedState, config: RunnableConfig) -> Any:
        path = current_path(config).rpartition("/")[0]
        back = state.get("sent_back", 0)
        number = back + 1 if rounds is None else state.get("round", 1)
        update = ask_approval(node, state, path, number=number, most=most)
        if rounds is not None or not update["declined"]:
            return update
        # The edge is not declared: a drawing would show it at every approval.
        return Command(update={**update, "sent_back": back + 1}, goto=inner)

    gives = Results if rounds is None else DeclinableResults
    graph = StateGraph(
        ApprovedState, context_schema=Context, input_schema=State, output_schema=gives
    )
    graph.add_node(inner, node.without_approval(), metadata={**metadata, **part(inner, "")})
    graph.add_node(NODE, async_node(ask, NODE), metadata=part(NODE))
    graph.add_edge(START, inner)
    graph.add_edge(inner, NODE)
    graph.add_edge(NODE, END)
    return graph.compile(name=name)


def ask_approval(
    node: Approvable,
    state: DeclinableState,
    node_path: str,
    *,
    number: int,
    most: int,
    wrong: Callable[[Results], str | None] = lambda _: None,
) -> dict[str, Any]:
    """Ask a person about a node's result, version `number` of at most `most`.

    Returns what to write: `declined` is None for a yes, and everything that was wanted so far for a
    rejection that sends the work back. Any other rejection, and each of the last version, raises
    DeclinedResult. `wrong` says what is wrong with an edited result.
    """
    version = f", version {number}," if number > 1 else ""
    may_return = number < most and node.on_decline == "again"
    returns = " with feedback has it done again, any other no" if may_return else ""
    result = (state.get("results") or {})[node_path]
    asked: dict[str, Any] = {
        "question": f"Is the result of {node_path}{version} right? A no{returns} ends the run.",
        "node_path": node_path,
        "result": result.content,
    }
    if (
        isinstance(result.data, BaseModel)
        and result.data.model_dump_json(indent=2) != result.content
    ):
        asked["data"] = result.data.model_dump(
            mode="json"
        )  # what an edited result has to look like

    def edited(content: str) -> Results:
        update = node.edited(result, content)
        if why := wrong(update):
            raise ValueError(why)
        return update

    answer = interrupt(asked, response_schema=_approval(edited))
    if answer.approved:
        changed = {} if answer.content is None else edited(answer.content)
        return {**changed, "declined": None}
    feedback = (answer.feedback or "").strip()
    if feedback and may_return:
        return {"declined": "\n\n".join(filter(None, (state.get("declined"), feedback)))}
    raise DeclinedResult(node_path, feedback or None)


def _approval(edited: Callable[[str], Results]) -> type[Approval]:
    """The class of the answer: LangGraph saves no answer that does not fit it, and the run waits on."""

    def check(content: str | None) -> str | None:
        if content is not None:
            try:
                edited(content)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"]))
                raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
        return content

    content: Any = (
        str | None,
        Field(None, description=Approval.model_fields["content"].description),
    )
    checks: Any = {"check": field_validator("content")(check)}
    return create_model(
        "Approval",
        __base__=Approval,
        __doc__=Approval.__doc__,
        __validators__=checks,
        content=content,
    )
