"""What makes a batch the same batch: then the same command goes on with it.

What TARGET is, the items, the inputs of all items, tier and models. Not what may change from one
call to the next: budgets, concurrency, engine, time limits, and OUT.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from aideon_agents.patterns.walk import specs
from aideon_agents.runner.changes import model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.patterns.nodes import Graph


def identity_of(
    start: RunStart, graph: Graph, items: str, inputs: Mapping[str, Any], version: str | None
) -> str:
    """A batch's identity."""
    made_of = {
        "target": _target(start, graph),
        "version": version,
        "items": items,
        "inputs": dict(inputs),
        "tier": start.tier,
        "model": (start.options or {}).get("model"),
        "rehearsed": start.rehearsed,
    }
    return _digest(made_of)


def _target(start: RunStart, graph: Graph) -> list[Any]:
    if start.target_hash is None:
        return [start.workflow, _digest([model(graph), [vars(spec) for spec in specs(graph)]])]
    # One file may hold several workflows.
    return [start.target_hash, (start.target or "").partition(".py:")[2] or "graph"]


def _digest(value: object) -> str:
    plain = json.loads(to_json(value, fallback=_named, inf_nan_mode="strings"))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _named(value: object) -> str:
    """What says of an object which one it is, and is the same in the next process."""
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    )
