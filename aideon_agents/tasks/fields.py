"""What the fields of a task file may hold, and what is wrong with other text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

_NAME = r"^[^/|:]*[^/|:\s][^/|:]*$"
_TEXT = r"\S"
_MODEL = r"^[^:\s]+:\S*$"
_TOOL = r"\.py:[^\W\d]\w*$"
_FUNCTION = r"^.*\.py:[^\W\d]\w*$"
_AGE = r"^[0-9]{1,9}[smhdw]$"

LONGEST_NAME = 80
"""In characters."""

PATTERNS = {
    _NAME: "is not a valid name: it must not be empty or contain /, | or :",
    _TEXT: "is empty: write some text, or leave the key out",
    _MODEL: "is not a model: write provider:model, such as openai:gpt-6-luna",
    _TOOL: "is not a tool: write file.py:function",
    _FUNCTION: "is not a function: write file.py:function",
    _AGE: "is not an age: write 90s, 30m, 12h, 1d or 1w",
}
"""What is wrong with text that does not match."""

Name = Annotated[str, Field(pattern=_NAME, max_length=LONGEST_NAME)]
"""What a node can be called."""

Text = Annotated[str, Field(pattern=_TEXT)]
"""Text that is not blank."""

ModelName = Annotated[str, Field(pattern=_MODEL, examples=["openai:gpt-6-luna"])]
"""`provider:model`."""

ToolAddress = Annotated[str, Field(pattern=_TOOL, examples=["tools.py:search"])]
"""`file.py:function`, relative to the task file."""

FunctionAddress = Annotated[str, Field(pattern=_FUNCTION, examples=["steps.py:count"])]
"""`file.py:function`, relative to the task file."""


Cache = Annotated[str, Field(pattern=_AGE, examples=["1d"])] | bool
"""How old an answer may be, or false."""


class Part(BaseModel):
    """Any part of a task file: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        """Report an unknown key alone: a misspelt key is not also missing."""
        for key in values if isinstance(values, Mapping) else ():
            if key not in cls.model_fields:
                known = {"key": key, "known": list(cls.model_fields)}
                raise PydanticCustomError("unknown_key", "unknown key", known)
        return values
