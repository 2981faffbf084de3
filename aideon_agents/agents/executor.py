"""The agent that carries out a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from aideon_agents.agents.node import Agent, Options, make

if TYPE_CHECKING:
    from pydantic import BaseModel


def executor(
    name: str | None = None, *, output: type[BaseModel] | None = None, **options: Unpack[Options]
) -> Agent:
    """An agent that carries out a step and reports its result.

    Args:
        name: Its name in the graph and in reports; None: `executor`.
        output: What the answer becomes: a pydantic model, a dataclass, a TypedDict, or a list of
            one of them. None: text.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph.

    Raises:
        UserError: An argument is not valid.
    """
    return make("executor", name, options, output=output)
