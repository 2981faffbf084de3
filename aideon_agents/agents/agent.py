"""What the four factories share: what an agent can be told, and what it must not be."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, TypedDict, get_args

from aideon_agents.agents.node import Agent, Spec, as_json
from aideon_agents.agents.tools import toolbox
from aideon_agents.errors import UserError
from aideon_agents.state import Complexity, ModelRequest, Results, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel

    from aideon_agents.agents.tools import Tool, Toolbox

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
