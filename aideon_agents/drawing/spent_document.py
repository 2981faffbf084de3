"""A graph and what its runs spent as JSON: the plain model, each part with what is known of it.

Money is an exact decimal string and what is unknown is null, as in every document of the project.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.pricing import usd_text

if TYPE_CHECKING:
    from decimal import Decimal

    from aideon_agents.drawing.annotations import Annotations, Way
    from aideon_agents.drawing.spending import NodeFigures, RunFigures
    from aideon_agents.drawing.topology import Topology

_SHARE_PLACES = 6


def spent_document(
    figures: RunFigures, drawn: Topology, annotations: Annotations
) -> dict[str, Any]:
    """The plain model of a drawn graph, with what runs spent on it."""
    known = annotations.taken or ()
    times = Counter((edge.source, edge.target) for edge in drawn.edges)

    def taken(way: Way) -> bool | None:
        if way in annotations.unknown or (way in known and times[way] > 1):
            return None
        return way in known

    def parts(some: Any) -> list[dict[str, Any]]:
        return [{**vars(one), "figures": _figures(figures.nodes.get(one.id))} for one in some]

    return {
        "name": drawn.name,
        "nodes": parts(drawn.nodes),
        "groups": parts(drawn.groups),
        "edges": [
            {**vars(edge), "taken": taken((edge.source, edge.target))} for edge in drawn.edges
        ],
        "legs": [dataclasses.asdict(leg) for leg in drawn.legs],
        "run": {
            "title": annotations.title,
            "run_ids": list(figures.run_ids),
            "workflow": figures.workflow,
            "statuses": dict(figures.statuses),
            "stop_reason": figures.stop_reason,
            "rehearsed": figures.rehearsed,
            "duration_ms": figures.duration_ms,
            "totals": _figures(figures.totals),
        },
    }


def _figures(node: NodeFigures | None) -> dict[str, Any] | None:
    if node is None:
        return None
    return {
        **vars(node),
        "usd": _money(node.usd),
        "median_usd": _money(node.median_usd),
        "share": None if node.share is None else round(node.share, _SHARE_PLACES),
        "models": list(node.models),
        "gave_way": list(node.gave_way),
        "badges": dict(node.badges),
    }


def _money(usd: Decimal | None) -> str | None:
    return None if usd is None else usd_text(usd)
