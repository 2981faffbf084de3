"""Refuses options of an agent that cannot be used, when the agent is made."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from aideon_agents.errors import UserError, refuse_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping


def chosen(options: Mapping[str, Any], key: str, kind: Any, name: str) -> Any:
    """The value of an option that has a few; None: it is not given."""
    value = options.get(key)
    if value not in (None, *(known := get_args(kind))):
        raise UserError(
            f"{name}: {key} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r}"
        )
    return value


_TEXT = ((str, NoneType), "text")
_FLAG = (bool, "True or False")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "description": _TEXT,
    "instructions": _TEXT,
    "purpose": _TEXT,
    "prompt": ((str, Path, NoneType), "text or the path of a file"),
    "max_tokens": (int, "a whole number"),
    "max_tool_rounds": (int, "a whole number"),
    "timeout": ((int, float, NoneType), "a number"),
    "tool_timeout": ((int, float), "a number"),
    "temperature": ((int, float, NoneType), "a number"),
    "approve": _FLAG,
    "grounded": _FLAG,
}
"""What would fail where it is compared or sent, had it another type."""


def refuse_wrong(options: Mapping[str, Any], kind: Any, name: str) -> None:
    """Refuse an option that `kind`, a TypedDict, does not have, and a value of another kind."""
    known = sorted(kind.__annotations__)
    for option in sorted(options.keys() - set(known)):
        near = difflib.get_close_matches(option, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
        raise UserError(f"{name}: unknown option {option!r}; {hint}")
    refuse_kinds(options, _KINDS, f"{name}: ")
