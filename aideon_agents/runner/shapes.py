"""Which classes a graph's state may hold: nothing else is made out of a checkpoint's bytes."""

from __future__ import annotations

import dataclasses
import enum
import sys
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import BaseModel

from aideon_agents.patterns.iterative import Round, Rounds
from aideon_agents.patterns.walk import functions, specs
from aideon_agents.runner.places import graphs
from aideon_agents.state import Approval, Decision, Exchange, Plan, PlanStep, StepResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aideon_agents.patterns.nodes import Graph

_OURS = (StepResult, Plan, PlanStep, Verdict, Decision, Approval, Round, Rounds, Exchange)


def shapes(graph: Graph) -> set[type]:
    """The classes that may stand in a graph's state."""
    found: set[type] = set(_OURS)
    for one in graphs(graph):
        for schema in one.builder.schemas:
            _collect(schema, found)
    for spec in specs(graph):
        for output in filter(None, (spec.output, spec.kept_as)):
            _collect(output, found)
    for function in functions(graph):
        _collect(_returned(function), found)
        for beside in _beside(function):
            _collect(beside, found)
    return found


def _collect(hint: Any, found: set[type]) -> None:
    for argument in get_args(hint):
        _collect(argument, found)
    if not isinstance(hint, type) or hint in found or not _is_shape(hint):
        return
    found.add(hint)
    for inner in _hints(hint).values():
        _collect(inner, found)


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated)
    except Exception:  # noqa: BLE001 - names for type checkers alone, and whatever else is written there
        return {}


def _is_shape(kind: type) -> bool:
    """Whether it is a model, a dataclass, a typed dict, or an enumeration."""
    return hasattr(kind, "__annotations__") or issubclass(kind, enum.Enum)


def _returned(function: Callable[..., Any]) -> Any:
    return _hints(function).get("return")


def _beside(function: Callable[..., Any]) -> Iterator[type]:
    """The shapes that a function's own file defines: what it returns may be any of them."""
    module = sys.modules.get(str(getattr(function, "__module__", None)))
    if module is None:
        return
    for value in list(vars(module).values()):
        is_shape = dataclasses.is_dataclass(value) or _is_checked(value)
        if isinstance(value, type) and is_shape and value.__module__ == module.__name__:
            yield value


def _is_checked(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel | enum.Enum)
