"""The agent that breaks a task into steps.

By itself it writes an outline, which other nodes read: it is asked only what each part contains. An
orchestrated pattern carries the plan out, and asks it for everything that a step needs.
"""

from __future__ import annotations

from typing import Any, Literal, Unpack, cast

from pydantic import BaseModel, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from aideon_agents.agents.given import Options
from aideon_agents.agents.node import Agent, make
from aideon_agents.state import Complexity, Plan, Results


class OutlinePart(BaseModel):
    """One part of an outline."""

    description: str = Field(description="What this part has to contain, in one sentence")
    id: SkipJsonSchema[str] = ""
    agent: SkipJsonSchema[Literal["executor", "creative"]] = "executor"
    complexity: SkipJsonSchema[Complexity] = "medium"
    depends_on: SkipJsonSchema[list[str]] = []


class Outline(BaseModel):
    """The parts of the work."""

    steps: list[OutlinePart] = Field(
        description="The parts, in a useful order", json_schema_extra={"maxItems": 12}
    )

    @model_validator(mode="before")
    @classmethod
    def _as_parts(cls, answer: Any) -> Any:
        """Small models write a part as a text alone."""
        steps = cast("dict[str, Any]", answer).get("steps") if isinstance(answer, dict) else None
        if not isinstance(steps, list):
            return answer
        parts = [
            {"description": one} if isinstance(one, str) else one
            for one in cast("list[Any]", steps)
        ]
        return {**answer, "steps": parts}

    @model_validator(mode="after")
    def _named(self) -> Outline:
        for number, part in enumerate(self.steps, 1):
            part.id = part.id or f"s{number}"
        return self


def planner(name: str | None = None, **options: Unpack[Options]) -> Agent[Plan]:
    """An agent that breaks the task into steps; its typed answer is a `Plan`.

    By itself it writes an outline for the nodes after it. In `orchestrated` it plans steps that are
    carried out.

    Args:
        name: Its name in the graph and in reports; None: `planner`.
        **options: See `Options`.

    Returns:
        A node for any pattern or LangGraph graph; it writes `plan`.

    Raises:
        UserError: An argument is not valid.
    """
    return make("planner", name, options, output=Outline, kept_as=Plan, write=_write)


def _write(plan: Plan) -> tuple[str, Results]:
    lines = (f"{number}. {step.description}" for number, step in enumerate(plan.steps, 1))
    return "\n".join(lines), Results(plan=plan)
