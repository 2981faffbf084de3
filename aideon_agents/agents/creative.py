"""The agent that composes texts."""

from __future__ import annotations

from typing import Any, Unpack, overload

from aideon_agents.agents.given import Options
from aideon_agents.agents.node import Agent, make
from aideon_agents.state import DataT


@overload
def creative(
    name: str | None = None, *, output: type[DataT], **options: Unpack[Options]
) -> Agent[DataT]: ...
@overload
def creative(
    name: str | None = None, *, output: None = None, **options: Unpack[Options]
) -> Agent: ...
def creative(
    name: str | None = None, *, output: type[Any] | None = None, **options: Unpack[Options]
) -> Agent[Any]:
    """An agent that composes a text from the task and the results of other nodes.

    Args:
        name: Its name in the graph and in reports; None: `creative`.
        output: What the answer becomes: a pydantic model, a dataclass, a TypedDict, or a list of
            one of them. None: text.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph; a type checker knows the class of its data.

    Raises:
        UserError: An argument is not valid.
    """
    return make("creative", name, options, output=output)
