"""The agent that breaks a task into steps."""

from __future__ import annotations

from typing import Unpack

from aideon_agents.agents.node import Agent, Options, make
from aideon_agents.state import Plan, Results


def planner(name: str | None = None, **options: Unpack[Options]) -> Agent:
    """An agent that breaks the task into steps; its typed answer is a `Plan`.

    Args:
        name: Its name in the graph and in reports; None: `planner`.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph; it writes `plan`.

    Raises:
        UserError: An argument is not valid.
    """
    return make("planner", name, options, output=Plan, write=_write)


def _write(plan: Plan) -> tuple[str, Results]:
    lines = (f"{number}. {step.description}" for number, step in enumerate(plan.steps, 1))
    return "\n".join(lines), Results(plan=plan)
