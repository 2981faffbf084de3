"""An agent as a LangGraph node.

It is a runnable with an asynchronous function and a synchronous bridge to it, because a node with
one alone cannot be used by both `graph.ainvoke` and `graph.invoke`.

What the four factories share: what an agent can be told, and what it must not be.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.runtime import get_runtime
from pydantic import BaseModel, Field, create_model

from aideon_agents.agents import material
from aideon_agents.agents.calling import ask
from aideon_agents.agents.tools import Tool, Toolbox, toolbox
from aideon_agents.errors import UserError
from aideon_agents.ledger import tags
from aideon_agents.ledger.redaction import safe_text
from aideon_agents.models import default_models
from aideon_agents.models.bridge import blocking
from aideon_agents.state import (
    NODE_PATH,
    Complexity,
    Context,
    Decision,
    ModelRequest,
    Plan,
    PlanStep,
    Results,
    Role,
    State,
    StepResult,
    next_order,
    node_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything an agent was told when it was made."""

    role: Role
    name: str
    description: str | None
    """What to do; None: the task itself."""
    instructions: str
    """The system prompt."""
    output: type[BaseModel] | None
    """The shape of the answer; None: text."""
    kept_as: type[BaseModel] | None = None
    """The class of the answer in the state, where `output` was made for one question; None: that."""
    request: ModelRequest
    write: Callable[[Any], tuple[str, Results]]
    """From a typed answer to its text, and what it writes besides its result."""
    toolbox: Toolbox | None = None
    """What the model may call; None: nothing."""
    approve: bool = False
    """Whether a person must agree to the result: the pattern around it sees to that."""


class Agent(RunnableLambda[State, Results]):
    """A node that asks a model."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        super().__init__(self._work_blocking, self._work, name=spec.name)

    @property
    def role(self) -> Role:
        """planner, executor, validator or creative."""
        return self.spec.role

    @property
    def approve(self) -> bool:
        """Whether a person must agree to its result."""
        return self.spec.approve

    @property
    def is_alone(self) -> bool:
        """Whether nothing runs inside it, as a tool that calls a graph would."""
        return self.spec.toolbox is None

    def without_approval(self) -> Agent:
        """The same agent, for a pattern that asks the person."""
        return Agent(dataclasses.replace(self.spec, approve=False))

    def for_step(self, step: PlanStep) -> Agent:
        """The same agent with a step of a plan to do."""
        request = dataclasses.replace(self.spec.request, complexity=step.complexity)
        return Agent(dataclasses.replace(self.spec, description=step.description, request=request))

    def deciding(self, routes: Sequence[str]) -> Agent:
        """The same agent, answering its question with one of some routes."""
        offered = ", ".join(routes)
        schema = create_model("Decision", __base__=Decision, route=(str, _one_of(routes)))
        question = f"{self.spec.description or 'Which way?'} Answer with one of: {offered}."
        return self._asked_for(schema, Decision, question, write=_route)

    def planning(self, agents: Sequence[str], max_steps: int) -> Agent:
        """The same agent, told who can do the steps of its plan and how many there may be."""
        agent: Any = (PlanStep.model_fields["agent"].annotation, _one_of(agents))
        step: Any = create_model("PlanStep", __base__=PlanStep, agent=agent)
        steps = Field(description=f"At most {max_steps} steps, in an order that can be followed")
        several: Any = (list[step], steps)
        schema = create_model("Plan", __base__=Plan, steps=several)
        return self._asked_for(schema, Plan, self.spec.description, write=self.spec.write)

    def _asked_for(
        self,
        output: type[BaseModel],
        kept_as: type[BaseModel],
        description: str | None,
        write: Callable[[Any], tuple[str, Results]],
    ) -> Agent:
        return Agent(
            dataclasses.replace(
                self.spec, output=output, kept_as=kept_as, description=description, write=write
            )
        )

    def _work_blocking(self, state: State, config: RunnableConfig) -> Results:
        return blocking(self._work(state, config))

    async def _work(self, state: State, config: RunnableConfig) -> Results:
        spec = self.spec
        if spec.approve:
            raise UserError(
                f"{spec.name} is to be approved, and nothing here would ask: put it into a "
                "pattern, such as sequential(...)"
            )
        given: Any = get_runtime(Context).context
        context = given if isinstance(given, Context) else Context()  # a larger graph has its own
        path = node_path(config.get("metadata") or {}, of_agent=True) or spec.name
        request = _for_run(spec, context)
        window = (context.models or default_models()).window(request, context)
        told = material.messages(
            state,
            instructions=spec.instructions,
            step=spec.description,
            node_path=path,
            conversation=context.earlier,
            room=None if window is None else window - request.max_tokens,
        )
        tagged = _tagged(config, request, path, state.get("round", 1))
        answer: Any = await ask(
            request, context, told, output=spec.output, toolbox=spec.toolbox, config=tagged
        )
        if spec.kept_as:
            answer = cast("Any", spec.kept_as.model_validate(answer.model_dump()))
        content, also = spec.write(answer) if spec.output else (safe_text(answer.text), Results())
        result = StepResult(
            node_path=path,
            role=spec.role,
            content=content,
            data=answer if spec.output else None,
            round=state.get("round", 1),
            order=next_order(state.get("results") or {}),
        )
        return {"results": {path: result}, **also}


def _one_of(names: Sequence[str]) -> Any:
    """A text field that names what may stand in it, to the model, not to its parser."""
    described = f"One of: {', '.join(names)}"
    return Field(description=described, json_schema_extra={"enum": list(names)})


def as_json(answer: BaseModel) -> tuple[str, Results]:
    """Write a typed answer that no role knows: its JSON is its text."""
    return answer.model_dump_json(indent=2), Results()


def _route(decision: Decision) -> tuple[str, Results]:
    return f"{decision.route}: {decision.reason}", Results(route=decision.route)


def _for_run(spec: Spec, context: Context) -> ModelRequest:
    """The agent's request as this run changes it: another chain for the role, a default purpose."""
    request = spec.request
    return dataclasses.replace(
        request,
        model=context.model.get(spec.role) or request.model,
        purpose=request.purpose or context.purpose,
    )


def _tagged(
    config: RunnableConfig, request: ModelRequest, path: str, round_: int
) -> RunnableConfig:
    place = {NODE_PATH: path, tags.ROLE: request.role, tags.ROUND: round_}
    if request.purpose:
        place[tags.PURPOSE] = request.purpose
    metadata = {**(config.get("metadata") or {}), **place}
    return cast("RunnableConfig", {**config, "metadata": metadata})


_MAX_TOKENS: Mapping[Role, int] = {
    "planner": 2048,
    "executor": 1024,
    "validator": 512,
    "creative": 2048,
}


class Options(TypedDict, total=False):
    """What every agent can be told. The four factories take these by keyword."""

    description: str | None
    """What to do, where `{task}` and `{key of inputs}` are filled in; None: the task itself."""
    instructions: str | None
    """The system prompt; None: the role's own."""
    complexity: Complexity | None
    """How hard the work is: chooses the size of model; None: the role does."""
    purpose: str | None
    """What its calls are for, a dimension of the cost report."""
    model: str | Sequence[str] | None
    """`provider:model`, or several: the chain, without further fallbacks; None: chosen."""
    max_tokens: int
    """The most tokens an answer may have; always sent."""
    temperature: float | None
    """As providers define it; None: the provider's default."""
    timeout: float | None
    """Seconds for the whole chain of models; None: 300."""
    tools: Sequence[Tool]
    """LangChain tools, functions, and `mcp_server(...)`s that the model may call."""
    max_tool_rounds: int
    """How many of its answers may call tools, 8 unless given; then it has to do without."""
    tool_timeout: float
    """Seconds that one call of a tool may take, 300 unless given; then the model is told."""
    approve: bool
    """Whether a person must agree to its result before the next node runs; False unless given."""


def make(
    role: Role,
    name: str | None,
    options: Options,
    *,
    output: type[BaseModel] | None = None,
    write: Callable[[Any], tuple[str, Results]] | None = None,
) -> Agent:
    """Make an agent."""
    named = name or role
    if not named.strip() or any(mark in named for mark in "/|:"):
        raise UserError(f"{named!r} cannot name an agent: leave out /, | and :")
    if unknown := options.keys() - Options.__annotations__.keys():
        raise UserError(f"{named}: an agent cannot be told {', '.join(sorted(unknown))}")
    complexity = options.get("complexity")
    if complexity not in (None, *get_args(Complexity)):
        raise UserError(f"{named}: complexity {complexity!r} is none of low, medium, high")
    max_tokens = options.get("max_tokens", _MAX_TOKENS[role])
    timeout = options.get("timeout")
    if max_tokens < 1 or (timeout is not None and timeout <= 0):
        raise UserError(f"{named}: max_tokens and timeout must be more than 0")
    model = options.get("model") or ()
    request = ModelRequest(
        role=role,
        complexity=complexity,
        purpose=options.get("purpose"),
        model=(model,) if isinstance(model, str) else tuple(model),
        max_tokens=max_tokens,
        temperature=options.get("temperature"),
        timeout=timeout,
    )
    spec = Spec(
        role=role,
        name=named,
        description=options.get("description"),
        instructions=options.get("instructions") or prompt(role),
        output=output,
        request=request,
        write=write or as_json,
        toolbox=_tools(named, options),
        approve=options.get("approve", False),
    )
    return Agent(spec)


def _tools(named: str, options: Options) -> Toolbox | None:
    try:
        return toolbox(
            options.get("tools", ()),
            max_rounds=options.get("max_tool_rounds", 8),
            seconds=options.get("tool_timeout", 300.0),
        )
    except UserError as mistake:
        raise UserError(f"{named}: {mistake}") from None


@functools.cache
def prompt(role: Role) -> str:
    """The role's own instructions."""
    return (
        (resources.files("aideon_agents.agents") / "prompts" / f"{role}.md")
        .read_text("utf-8")
        .strip()
    )
