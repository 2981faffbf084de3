"""Which inputs a graph cannot do without, known before anything is called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aideon_agents.patterns.enclosing import Enclosing
from aideon_agents.patterns.walk import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.patterns.nodes import Graph

_NAMED = re.compile(r"\{([^\W\d]\w*)\}")
"""A name in braces; other braces, such as those of a JSON example, are text."""


def required_keys(graph: Graph) -> list[str]:
    """The keys of inputs that a graph's agents name in their texts, or that choose a route."""
    return [key for key in dict.fromkeys(_keys(graph)) if key != "task"]


def _keys(graph: Graph) -> Iterator[str]:
    for node in nodes(graph):
        if isinstance(node, Enclosing):
            yield from node.needs
        elif (spec := getattr(node, "spec", None)) is not None:
            yield from _NAMED.findall(spec.description or "")
