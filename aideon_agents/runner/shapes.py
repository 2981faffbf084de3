"""Which classes a graph's state may hold: nothing else is made out of a checkpoint's bytes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from aideon_agents.runner.places import graphs

if TYPE_CHECKING:
    from aideon_agents.patterns.nodes import Graph


def shapes(graph: Graph) -> set[type]:
    """The classes that the schemas of a graph name.

    Args:
        graph: Any compiled graph.

    Returns:
        Its models, dataclasses, typed dicts and enumerations, and those of all graphs inside.
    """
    found: set[type] = set()
    for one in graphs(graph):
        for schema in one.builder.schemas:
            _collect(schema, found)
    return found


def _collect(hint: Any, found: set[type]) -> None:
    for argument in get_args(hint):
        _collect(argument, found)
    if not isinstance(hint, type) or hint in found or not _is_shape(hint):
        return
    found.add(hint)
    try:
        hints = get_type_hints(hint)
    except NameError:  # a name that is there for type checkers alone
        return
    for inner in hints.values():
        _collect(inner, found)


def _is_shape(kind: type) -> bool:
    """Whether it is a model, a dataclass, a typed dict, or an enumeration."""
    return hasattr(kind, "__annotations__") or issubclass(kind, enum.Enum)
