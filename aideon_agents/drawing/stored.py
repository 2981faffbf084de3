"""A graph out of the plain model that a run's row keeps of it, as `-f json` prints it.

So a run is drawn as its graph was when it ran: where its workflow has changed since, and where there
never was a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from aideon_agents.drawing.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN = TypeAdapter(Topology)


def topology_in(model: Mapping[str, Any] | None) -> Topology | None:
    """The graph that a plain model describes."""
    try:
        return None if model is None else _PLAIN.validate_python(model)
    except ValidationError:
        return None
