"""What the four agents share: one model call, made a LangGraph node.

An agent is a runnable with an asynchronous function and a synchronous bridge to it, because a node
with one alone cannot be used by both `graph.ainvoke` and `graph.invoke`.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, TypedDict, cast

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.runtime import get_runtime

from aideon_agents.agents import material
from aideon_agents.errors import UserError
from aideon_agents.ledger import tags
from aideon_agents.models import default_models
from aideon_agents.models.bridge import blocking
from aideon_agents.state import (
    NODE_PATH,
    Complexity,
    Context,
    ModelRequest,
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything an agent can be told when it is made."""

    role: Role
    name: str
    description: str | None
    """What to do; None: the task itself."""
    instructions: str
    """The system prompt."""
    output: type[BaseModel] | None
    """The shape of the answer; None: text."""
    request: ModelRequest


class Agent(RunnableLambda[State, Results]):
    """A node that asks a model once.

    Args:
        spec: What it was told.
        write: What a typed answer adds to the results besides itself.
    """

    def __init__(self, spec: Spec, write: Callable[[Any], tuple[str, Results]]) -> None:
        self.spec = spec

        async def work(state: State, config: RunnableConfig) -> Results:
            return await _work(spec, write, state, config)

        def work_blocking(state: State, config: RunnableConfig) -> Results:
            return blocking(work(state, config))

        super().__init__(work_blocking, work, name=spec.name)

    @property
    def role(self) -> Role:
        """planner, executor, validator or creative."""
        return self.spec.role


def make(
    role: Role,
    name: str | None,
    options: Options,
    *,
    output: type[BaseModel] | None = None,
    write: Callable[[Any], tuple[str, Results]] | None = None,
) -> Agent:
    """Make an agent.

    Args:
        role: Which of the four.
        name: Its place in the graph and in reports; None: the role.
        options: What the caller says of it.
        output: The role's own answer shape, None for text.
        write: From a typed answer to its text and what else it writes; None: its JSON, nothing.

    Returns:
        The node.

    Raises:
        UserError: An argument cannot be.
    """
    named = name or role
    if not named.strip() or any(mark in named for mark in "/|:"):
        raise UserError(f"{named!r} cannot name an agent: leave out /, | and :")
    max_tokens = options.get("max_tokens", _MAX_TOKENS[role])
    timeout = options.get("timeout")
    if max_tokens < 1 or (timeout is not None and timeout <= 0):
        raise UserError(f"{named}: max_tokens and timeout must be more than 0")
    model = options.get("model") or ()
    request = ModelRequest(
        role=role,
        complexity=options.get("complexity"),
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
    )
    return Agent(spec, write or _as_json)


@functools.cache
def prompt(role: Role) -> str:
    """The role's own instructions.

    Args:
        role: Which of the four.

    Returns:
        The text of its prompt file.
    """
    return (
        (resources.files("aideon_agents.agents") / "prompts" / f"{role}.md")
        .read_text("utf-8")
        .strip()
    )


async def _work(
    spec: Spec, write: Callable[[Any], tuple[str, Results]], state: State, config: RunnableConfig
) -> Results:
    context = get_runtime(Context).context or Context()
    path = node_path(config.get("metadata") or {}) or spec.name
    results = state.get("results") or {}
    told = material.messages(
        state, instructions=spec.instructions, step=spec.description, node_path=path
    )
    request = _for_run(spec, context)
    chain = cast("Any", (context.models or default_models()).chat(request, context))
    asking = chain.with_structured_output(spec.output) if spec.output else chain
    answer = await asking.ainvoke(told, _tagged(config, spec, path, state, request.purpose))
    content, also = write(answer) if spec.output else (answer.text, Results())
    result = StepResult(
        node_path=path,
        role=spec.role,
        content=content,
        data=answer if spec.output else None,
        round=state.get("round", 1),
        order=next_order(results),
    )
    return {"results": {path: result}, **also}


def _for_run(spec: Spec, context: Context) -> ModelRequest:
    """The agent's request as this run changes it: another chain for the role, a default purpose."""
    request = spec.request
    return dataclasses.replace(
        request,
        model=context.model.get(spec.role) or request.model,
        purpose=request.purpose or context.purpose,
    )


def _tagged(
    config: RunnableConfig, spec: Spec, path: str, state: State, purpose: str | None
) -> RunnableConfig:
    place = {NODE_PATH: path, tags.ROLE: spec.role, tags.ROUND: state.get("round", 1)}
    if purpose:
        place[tags.PURPOSE] = purpose
    metadata = {**(config.get("metadata") or {}), **place}
    return cast("RunnableConfig", {**config, "metadata": metadata})


def _as_json(answer: BaseModel) -> tuple[str, Results]:
    return answer.model_dump_json(indent=2), Results()
