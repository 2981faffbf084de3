"""The agent that composes texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from aideon_agents.agents.node import Agent, Options, make

if TYPE_CHECKING:
    from pydantic import BaseModel


def creative(
    name: str | None = None, *, output: type[BaseModel] | None = None, **options: Unpack[Options]
) -> Agent:
    """An agent that composes a text from the task and the results of other nodes.

    Args:
        name: Its name in the graph and in reports; None: `creative`.
        output: What the answer becomes: a pydantic model, a dataclass, a TypedDict, or a list of
            one of them. None: text.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph.

    Raises:
        UserError: An argument is not valid.
    """
    return make("creative", name, options, output=output)
