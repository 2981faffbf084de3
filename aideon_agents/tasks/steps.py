"""The models of a task file: a discriminated union on `type`, nested to any depth.

The JSON Schema that `aideon schema` prints is made from them; their docstrings are its descriptions.
An older form, with camelCase keys and agents without steps, is read where it cannot be mistaken.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import (
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import TypeAliasType

from aideon_agents.state import (
    Complexity,
    OnDecline,
    OnRateLimit,
    Privacy,
    ReasoningEffort,
    Role,
    Strategy,
    Use,
)
from aideon_agents.tasks.document import nearest
from aideon_agents.tasks.fields import (
    Cache,
    FunctionAddress,
    ModelName,
    Name,
    Part,
    Text,
    ToolAddress,
)


class AgentStep(Part):
    """One agent does one thing."""

    type: Literal["agent"] = "agent"
    """May be left out: a step with an `agent` is one."""
    agent: Role
    """Who does it."""
    name: Name | None = None
    """Its place in the graph and in reports; left out: the agent's role."""
    description: Text | None = None
    """What to do, where `{task}` and `{key of inputs}` are filled in; left out: the task itself."""
    instructions: Text | None = None
    """What the system prompt says after the text of the role."""
    prompt: Text | None = None
    """The text of the role in the system prompt, or a file that ends in .md, relative to this file; left out: `prompts/ROLE.md` beside this file, else the role's own."""
    grounded: bool | None = None
    """Whether only the given material counts, and statements cite it; left out: what the model knows counts as well."""
    complexity: Complexity | None = None
    """How hard it is: chooses the size of model; left out: the pattern around it or the role does."""
    model: ModelName | Annotated[list[ModelName], Field(min_length=1)] | None = None
    """`provider:model`, or several: the chain, without further fallbacks; left out: chosen."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds for the whole chain of models; left out: 300."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """The most tokens an answer may have; left out: as the role needs."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """As providers define it; left out: the provider's default."""
    reasoning_effort: ReasoningEffort | None = None
    """How much a reasoning model thinks; left out: it is not sent."""
    fallback: bool | Annotated[list[Strategy], Field(min_length=1)] | None = None
    """Whether the chain's other models are asked when the primary fails; left out: they are. A list says who, in this order; `cached` is the newest kept answer to the same prompt."""
    cache: Cache | None = None
    """How old a kept answer to the same question may be: `90s`, `30m`, `12h`, `1d` or `1w`; false: none is kept; left out: as the pattern around it or the run says."""
    on_rate_limit: OnRateLimit | None = None
    """When the primary limits its rate: `wait` for it as long as the chain may take, or `fallback` after 20 seconds; left out: wait in a batch, fall back in a single run."""
    privacy: Privacy | None = None
    """Whether private prompts are kept from models that are not one's own: `on`, `off`, or `strict`, which counts words such as `confidential` as well; left out: as the run says, else on."""
    use: Use | None = None
    """What the model is wanted for, apart from the role: `critical` and `complex` ask a large one, `quick` a small one, `high_quality` the largest of the tier; left out: the complexity or the role chooses."""
    quality: bool | Annotated[float, Field(ge=0, le=1)] | None = None
    """The score that a validator must give its answer, `true`: 0.8; else the next larger model is asked as well, and the better answer is kept. Left out: as the run says."""
    purpose: Text | None = None
    """What its calls are for, a dimension of the cost report."""
    images: Literal[False] | Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """Pictures that it is sent after those of the task: paths, relative to this file, or URLs, where `{task}` and `{key of inputs}` are filled in; false: none, not even those of the task; left out: those of the task."""
    tools: Annotated[list[ToolAddress], Field(min_length=1)] | None = None
    """What it may call while it works: `file.py:function`, relative to this file."""
    approve: bool | None = None
    """Whether a person must agree to its result before the next step runs; left out: no approval is needed."""
    on_decline: OnDecline | None = None
    """After a rejection with feedback: do the work `again`, at most 3 times (in a loop: as often as the loop has rounds), or `stop` the run; left out: again."""


class FunctionStep(Part):
    """One function of the state does one thing; no model is asked."""

    type: Literal["function"] = "function"
    """May be left out: a step with a `function` is one."""
    function: FunctionAddress
    """The function: `file.py:function`, in this file's folder or below."""
    name: Name | None = None
    """Its place in the graph and in reports; left out: the function's name."""
    description: Text | None = None
    """What it is for. A planner reads it of a worker; left out: the first line of its docstring."""


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
    """The instruction of each of them."""
    name: Name | None = None
    """What reports call it."""
    complexity: Complexity | None = None
    """How hard it is for the agents that do not say."""


class OlderConditional(Part):
    """Older form: one of two branches, by a condition that a validator judges."""

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
    """A note for readers; it is not sent to a model."""
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


class Pattern(Part):
    """A step made of steps."""

    name: Name | None = None
    """Its place in the graph and in reports; left out: its type, and at the root the file's name."""
    description: Text | None = None
    """A note for readers. Of a worker, the planner is sent it; else no model is."""
    complexity: Complexity | None = None
    """How hard the agents' steps inside it are that do not say."""
    cache: Cache | None = None
    """How old kept answers may be for the agents inside it that do not say; left out: as the pattern around it or the run says."""


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
    """One of several branches."""

    type: Literal["conditional"]
    question: Text | None = None
    """What a validator is asked; it answers with the name of a route. Or `when`."""
    when: Text | None = None
    """The key of inputs whose value is the name of a route. Or `question`."""
    branches: Annotated[dict[Name, Branch], Field(min_length=1)]
    """Steps by the name of their route. Unquoted yes, no, on, off, true, false are names here."""
    routes: dict[Name, Text] | None = None
    """When to choose a route, by its name; for a `question`."""
    default: Name | None = None
    """The route for an answer that is none; left out: such an answer is an error."""

    @field_validator("default")
    @classmethod
    def _is_a_route(cls, default: str | None, info: ValidationInfo) -> str | None:
        routes = info.data.get("branches")
        if default is not None and routes is not None and default not in routes:
            raise ValueError(f"{default!r} is not a route: {nearest(default, routes)}")
        return default

    @field_validator("routes")
    @classmethod
    def _are_routes(
        cls, routes: dict[str, str] | None, info: ValidationInfo
    ) -> dict[str, str] | None:
        branches: Mapping[str, Any] | None = info.data.get("branches")
        for route in routes or ():
            if branches is not None and route not in branches:
                raise ValueError(f"{route!r} is not a branch: {nearest(route, branches)}")
        if routes and info.data.get("when"):
            raise ValueError("with `when` no agent reads this: use `question`, or leave it out")
        return routes

    @model_validator(mode="after")
    def _is_decided_once(self) -> ConditionalStep:
        if (self.question is None) == (self.when is None):
            raise ValueError(
                "set exactly one of `question` and `when`, to say how the route is chosen"
            )
        return self


class IterativeStep(Pattern):
    """A step again and again, until a validator passes its result."""

    type: Literal["iterative"]
    step: Step
    """What to do; from round 2 on it is given the feedback of the check."""
    criteria: Text | None = None
    """What the result must meet, for a validator; left out: what the task asks for."""
    check: FunctionAddress | None = None
    """A function that checks the result in place of a validator: `file.py:function`, in this file's folder or below. It takes the state, and returns True or False, `(bool, feedback)` or a `Verdict`."""
    max_rounds: Annotated[int, Field(ge=1)] | None = None
    """The most times to do it; left out: 3."""
    pass_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """What a passing score is; left out: `passed` alone decides."""

    @model_validator(mode="after")
    def _is_checked_once(self) -> IterativeStep:
        if self.criteria and self.check:
            raise ValueError(
                "set only one of `criteria` and `check`, to say what checks the result"
            )
        return self


class OrchestratedStep(Part):
    """A planner makes the steps; those that do not depend on one another run at the same time."""

    type: Literal["orchestrated"] = "orchestrated"
    """May be left out: a step without an `agent` or a `function` is one."""
    description: Text
    """What to plan and do, where `{task}` and `{key of inputs}` are filled in."""
    name: Name | None = None
    """Its place in the graph and in reports; left out: its type, and at the root the file's name."""
    complexity: Complexity | None = None
    """How hard the planning is; left out: the planner's role decides."""
    cache: Cache | None = None
    """As in the other patterns."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """The most steps a plan may have; left out: 12."""
    workers: Workers | None = None
    """Who does the steps, as a list or by name. The planner is sent each one's name, description and tools; left out: an executor and a creative."""


_OLDER_KEYS = {
    "parallel": ("branches", {"agents"}),
    "conditional": ("branches", {"condition", "trueBranch", "falseBranch"}),
    "iterative": ("step", {"maxIterations", "description"}),
}
"""By type: the key of the current form, and the keys that only the older form has instead."""

TYPES = ("agent", "conditional", "function", "iterative", "orchestrated", "parallel", "sequential")


def form(value: Any) -> str:
    """The form of a step: its type, or `older` and its type.

    Without a type it is that of a (misspelt) agent or of a function that it names, else orchestrated.
    The angle brackets distinguish it from keys: pydantic names both in one path.
    """
    if not isinstance(value, Mapping):
        return "<agent>"
    step = cast("Mapping[str, Any]", value)
    near = difflib.get_close_matches("agent", map(str, step))
    named = "function" if "function" in step and "agent" not in step else "agent" if near else ""
    kind = step.get("type", named or "orchestrated")
    current, older = (
        _OLDER_KEYS.get(kind, ("", set[str]())) if isinstance(kind, str) else ("", set())
    )
    if current not in step and older & step.keys():
        return f"<older {kind}>"
    return f"<{kind}>"


def _several(value: Any) -> str:
    return "<several>" if isinstance(value, list) else "<one>"


Step = TypeAliasType(
    "Step",
    Annotated[
        Annotated[AgentStep, Tag("<agent>")]
        | Annotated[FunctionStep, Tag("<function>")]
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

AnyStep: TypeAlias = Any
"""One of the models of the union `Step`."""

Branch = TypeAliasType(
    "Branch",
    Annotated[
        Annotated[list[Step], Field(min_length=1), Tag("<several>")]
        | Annotated[Step, Tag("<one>")],
        Discriminator(_several),
    ],
)
"""What runs on a route: a step, or several one after another."""

Workers = TypeAliasType(
    "Workers",
    Annotated[
        Annotated[list[Step], Field(min_length=1), Tag("<several>")]
        | Annotated[dict[Name, Step], Field(min_length=1), Tag("<one>")],
        Discriminator(_several),
    ],
)
"""Who does the steps of a plan: each with its own name, or by name."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema of task files, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://github.com/AllienNova/aideon-agents/task-file.schema.json",
        "title": "Aideon task file",
        "description": "A workflow, written down: one step, made of steps all levels down.",
        **TypeAdapter[Any](Step).json_schema(),
    }
