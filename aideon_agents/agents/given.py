"""Refuses options of an agent that cannot be used, when the agent is made."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, get_args

from aideon_agents.errors import UserError

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


_NUMBERS = {
    "max_tokens": int,
    "max_tool_rounds": int,
    "timeout": float,
    "tool_timeout": float,
    "temperature": float,
}
_MAY_BE_NONE = {"timeout", "temperature"}


def _refuse_kinds(options: Mapping[str, Any], name: str) -> None:
    """Refuse a number that is a text, say, which would fail where it is compared or sent."""
    for key, kind in _NUMBERS.items():
        value = options.get(key)
        if key not in options or (value is None and key in _MAY_BE_NONE):
            continue
        is_number = isinstance(value, int | kind) and not isinstance(value, bool)
        if not is_number or value != value:  # noqa: PLR0124 - nan is not itself
            what = "a whole number" if kind is int else "a number"
            raise UserError(f"{name}: {key} must be {what}, not {value!r}")
    for key in ("fallback", "approve", "grounded"):
        if not isinstance(value := options.get(key, False), bool):
            raise UserError(f"{name}: {key} must be True or False, not {value!r}")


def refuse_wrong(options: Mapping[str, Any], kind: Any, name: str) -> None:
    """Refuse an option that `kind`, a TypedDict, does not have, and a value of another kind."""
    known = sorted(kind.__annotations__)
    for option in sorted(options.keys() - set(known)):
        near = difflib.get_close_matches(option, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
        raise UserError(f"{name}: unknown option {option!r}; {hint}")
    _refuse_kinds(options, name)
