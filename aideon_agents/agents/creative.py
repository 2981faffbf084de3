"""The agent that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from aideon_agents.agents.node import Agent, Options, make

if TYPE_CHECKING:
    from pydantic import BaseModel


def creative(
    name: str | None = None, *, output: type[BaseModel] | None = None, **options: Unpack[Options]
) -> Agent:
    """An agent that composes a text from the task and what others found out.

    Args:
        name: Its place in the graph and in reports; None: `creative`.
        output: A pydantic model that the answer must fit; None: text.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph.

    Raises:
        UserError: An argument cannot be.
    """
    return make("creative", name, options, output=output)
