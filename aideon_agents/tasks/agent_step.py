"""The step that asks one agent, and what it has in common with all other parts of a task file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from aideon_agents.state import Complexity, Role

_NAME = r"^[^/|:]*[^/|:\s][^/|:]*$"
_TEXT = r"\S"
_MODEL = r"^[^:\s]+:\S+$"
_TOOL = r"\.py:[^\W\d]\w*$"

LONGEST_NAME = 80
"""In characters."""

PATTERNS = {
    _NAME: "cannot be a name: leave out /, | and :",
    _TEXT: "says nothing: write some text, or leave the key out",
    _MODEL: "is no model: write provider:model, such as openai:gpt-4o-mini",
    _TOOL: "is no tool: write file.py:function",
}
"""What is wrong with text that does not fit."""

Name = Annotated[str, Field(pattern=_NAME, max_length=LONGEST_NAME)]
"""What a node can be called."""

Text = Annotated[str, Field(pattern=_TEXT)]
"""Text that says something."""

ModelName = Annotated[str, Field(pattern=_MODEL, examples=["openai:gpt-4o-mini"])]
"""`provider:model`."""

ToolAddress = Annotated[str, Field(pattern=_TOOL, examples=["tools.py:search"])]
"""`file.py:function`, relative to the task file."""


class Part(BaseModel):
    """Any part of a task file: what it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        """Name the unknown key alone: a misspelt one is not also missing."""
        unknown = (
            [key for key in values if key not in cls.model_fields] if _is_keyed(values) else []
        )
        if unknown:
            known = {"key": unknown[0], "known": _offered(cls)}
            raise PydanticCustomError("unknown_key", "unknown key", known)
        return values


def _offered(part: type[BaseModel]) -> list[str]:
    """The keys that a part can have."""
    return list(part.model_fields)


def _is_keyed(values: Any) -> bool:
    return isinstance(values, Mapping)


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
    """The system prompt; left out: the role's own."""
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
    purpose: Text | None = None
    """What its calls are for, a dimension of the cost report."""
    tools: Annotated[list[ToolAddress], Field(min_length=1)] | None = None
    """What it may call while it works: `file.py:function`, relative to this file."""
    approve: bool | None = None
    """Whether a person must agree to its result before the next step runs; left out: nobody must."""
