"""Task objects as they were written before task files: camelCase keys, agents without steps.

They are read where they cannot be mistaken for anything else. A sequence is the same in both.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aideon_agents.state import Complexity, Role  # noqa: TC001 - pydantic reads them
from aideon_agents.tasks.agent_step import AgentStep, ModelName, Name, Part, Text


class OlderAgent(Part):
    """Who takes part in an older parallel task."""

    type: Role
    """Which agent."""
    complexity: Complexity | None = None
    """How hard its part is; left out: that of the task."""


class OlderParallel(Part):
    """Older form: several agents do the same thing at the same time."""

    type: Literal["parallel"]
    agents: Annotated[list[OlderAgent], Field(min_length=1)]
    """Who works on it."""
    description: Text
    """What each of them is told to do."""
    name: Name | None = None
    """What reports call it."""
    complexity: Complexity | None = None
    """How hard it is for the agents that do not say."""


class OlderConditional(Part):
    """Older form: one of two ways, by a condition that a validator judges."""

    type: Literal["conditional"]
    condition: Text
    """What has to be true for `trueBranch`."""
    trueBranch: Annotated[list[AgentStep], Field(min_length=1)]  # noqa: N815 - as it is written
    """Steps, one after another."""
    falseBranch: Annotated[list[AgentStep], Field(min_length=1)]  # noqa: N815 - as it is written
    """Steps, one after another."""
    name: Name | None = None
    """What reports call it."""
    description: Text | None = None
    """What it is for; no agent is told."""
    complexity: Complexity | None = None
    """How hard the steps are that do not say."""


class OlderIterative(Part):
    """Older form: one agent again and again until its text meets the criteria."""

    type: Literal["iterative"]
    description: Text
    """What to do."""
    agent: Role = "executor"
    """Who does it."""
    criteria: Text | None = None
    """What the text must meet; left out: what the task asks for."""
    maxIterations: Annotated[int, Field(ge=1)] = 3  # noqa: N815 - as it is written
    """The most times to do it."""
    name: Name | None = None
    """What reports call it."""
    complexity: Complexity | None = None
    """How hard it is; left out: the role decides."""
    model: ModelName | None = None
    """`provider:model`; left out: chosen."""
