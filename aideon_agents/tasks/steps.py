"""What a task file can say, all levels down: a discriminated union on `type`.

The docstrings below are the descriptions in the JSON Schema that `aideon schema` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import TypeAliasType

from aideon_agents.state import Complexity  # noqa: TC001 - pydantic reads it
from aideon_agents.tasks.agent_step import AgentStep, Name, Part, Text
from aideon_agents.tasks.hints import nearest
from aideon_agents.tasks.older import OlderConditional, OlderIterative, OlderParallel


class Pattern(Part):
    """A step made of steps."""

    name: Name | None = None
    """Its place in the graph and in reports; left out: its type, and at the root the file's name."""
    description: Text | None = None
    """What it is for; no agent is told."""
    complexity: Complexity | None = None
    """How hard the agents' steps inside it are that do not say."""


class SequentialStep(Pattern):
    """One step after another; each sees the results of those before it."""

    type: Literal["sequential"]
    steps: Annotated[list[Step], Field(min_length=1)]
    """What to do, in this order."""


class ParallelStep(Pattern):
    """Several steps at the same time; none sees another."""

    type: Literal["parallel"]
    branches: Annotated[list[Step], Field(min_length=1)]
    """What to do at the same time."""
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    """How many branches run at once; left out: all."""
    on_failure: Literal["raise", "keep"] | None = None
    """What a failing branch does: fail the whole (`raise`, when left out), or stay as a failed result."""


class ConditionalStep(Pattern):
    """One of several ways."""

    type: Literal["conditional"]
    question: Text | None = None
    """What a validator is asked; it answers with the name of a route. Or `when`."""
    when: Text | None = None
    """The key of inputs whose value is the name of a route. Or `question`."""
    branches: Annotated[dict[Name, Branch], Field(min_length=1)]
    """Steps by the name of their route. Unquoted yes, no, on, off, true, false are names here."""
    default: Name | None = None
    """The route for an answer that is none; left out: such an answer is an error."""

    @field_validator("default")
    @classmethod
    def _is_a_route(cls, default: str | None, info: ValidationInfo) -> str | None:
        routes = info.data.get("branches")
        if default is not None and routes is not None and default not in routes:
            raise ValueError(f"{default!r} is no route: {nearest(default, routes)}")
        return default

    @model_validator(mode="after")
    def _is_decided_once(self) -> ConditionalStep:
        if (self.question is None) == (self.when is None):
            raise ValueError("say how it is decided, by `question` or by `when`, one of the two")
        return self


class IterativeStep(Pattern):
    """A step again and again, until a validator passes its result."""

    type: Literal["iterative"]
    step: Step
    """What to do; from round 2 on it is given the validator's feedback."""
    criteria: Text | None = None
    """What the result must meet; left out: what the task asks for."""
    max_rounds: Annotated[int, Field(ge=1)] | None = None
    """The most times to do it; left out: 3."""
    pass_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """What a passing score is; left out: the validator's `passed` alone decides."""


class OrchestratedStep(Part):
    """A planner makes the steps; those that do not depend on one another run at the same time."""

    type: Literal["orchestrated"]
    description: Text
    """What to plan and do, where `{task}` and `{key of inputs}` are filled in."""
    name: Name | None = None
    """Its place in the graph and in reports; left out: its type, and at the root the file's name."""
    complexity: Complexity | None = None
    """How hard the planning is; left out: the planner's role decides."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """The most steps a plan may have; left out: 12."""


_OLDER_KEYS = {
    "parallel": ("branches", {"agents"}),
    "conditional": ("branches", {"condition", "trueBranch", "falseBranch"}),
    "iterative": ("step", {"maxIterations", "description"}),
}
"""By type: the key that the form of today has, and those that only the older one has instead."""

TYPES = ("agent", "conditional", "iterative", "orchestrated", "parallel", "sequential")


def form(value: Any) -> str:
    """Which form a step has: its type; older ones have their own; without a type it is an agent's.

    The marks around it keep it apart from keys where pydantic names both in one path.
    """
    if not isinstance(value, Mapping):
        return "<agent>"
    step = cast("Mapping[str, Any]", value)
    kind = step.get("type", "agent")
    today, older = _OLDER_KEYS.get(kind, ("", set[str]())) if isinstance(kind, str) else ("", set())
    if today not in step and older & step.keys():
        return f"<older {kind}>"
    return f"<{kind}>"


def _several(value: Any) -> str:
    return "<several>" if isinstance(value, list) else "<one>"


Step = TypeAliasType(
    "Step",
    Annotated[
        Annotated[AgentStep, Tag("<agent>")]
        | Annotated[SequentialStep, Tag("<sequential>")]
        | Annotated[ParallelStep, Tag("<parallel>")]
        | Annotated[ConditionalStep, Tag("<conditional>")]
        | Annotated[IterativeStep, Tag("<iterative>")]
        | Annotated[OrchestratedStep, Tag("<orchestrated>")]
        | Annotated[OlderParallel, Tag("<older parallel>")]
        | Annotated[OlderConditional, Tag("<older conditional>")]
        | Annotated[OlderIterative, Tag("<older iterative>")],
        Discriminator(form),
    ],
)
"""Anything that can be done."""

Branch = TypeAliasType(
    "Branch",
    Annotated[
        Annotated[list[Step], Field(min_length=1), Tag("<several>")]
        | Annotated[Step, Tag("<one>")],
        Discriminator(_several),
    ],
)
"""What a route leads to: a step, or several one after another."""
