"""From a request to the names of the models that may answer it, in order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aideon_agents.errors import NoModel
from aideon_agents.ledger.clock import now
from aideon_agents.ledger.pricing import price
from aideon_agents.ledger.usage import Usage
from aideon_agents.models.catalog import ModelName, Rung
from aideon_agents.models.providers import ANY_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.models.catalog import Catalog
    from aideon_agents.models.providers import Provider
    from aideon_agents.state import ModelRequest, Tier

_LADDER: tuple[Rung, ...] = ("small", "medium", "large")
_BY_ROLE: Mapping[str, Rung] = {
    "planner": "medium",
    "executor": "small",
    "validator": "small",
    "creative": "large",
}
_BY_COMPLEXITY: Mapping[str, Rung] = {"low": "small", "medium": "medium", "high": "large"}
_CEILING: Mapping[Tier, Rung] = {"free": "small", "premium": "medium", "enterprise": "large"}


def rung_for(request: ModelRequest, tier: Tier) -> Rung:
    """The size of model that a request gets.

    The complexity decides where one is given, else the role; never dearer than the tier allows.
    """
    complexity = request.complexity
    wanted = _BY_COMPLEXITY[complexity] if complexity else _BY_ROLE[request.role]
    # Premium stops at medium, except for work that is marked as complex.
    ceiling: Rung = "large" if tier == "premium" and complexity == "high" else _CEILING[tier]
    return _LADDER[min(_LADDER.index(wanted), _LADDER.index(ceiling))]


def choose(
    request: ModelRequest, tier: Tier, catalog: Catalog, providers: Mapping[str, Provider]
) -> tuple[ModelName, ...]:
    """The candidates for a request, primary first."""
    if request.model:
        wanted = tuple(catalog.checked(name) for name in request.model)
    else:
        wanted = (*catalog.rungs[rung_for(request, tier)], ModelName("local", ANY_MODEL))
    able = tuple(name for name in wanted if providers[name.provider].available)
    if not able:
        missing = dict.fromkeys(providers[name.provider].missing for name in wanted)
        raise NoModel(
            f"no model can be asked for the {request.role}: set {' or '.join(missing)}, "
            "or AIDEON_OFFLINE=1 to rehearse without one"
        )
    return able


def cheapest_first(
    chain: Sequence[tuple[int, ModelName]], request: ModelRequest
) -> list[tuple[int, ModelName]]:
    """A chain with its cheaper models first, for when a budget is nearly used up."""
    tokens = Usage(input_tokens=request.max_tokens, output_tokens=request.max_tokens)

    def worst(candidate: tuple[int, ModelName]) -> float:
        _, name = candidate
        known = price(name.provider, name.model, tokens, now()).nanousd
        return math.inf if known is None else known

    return sorted(chain, key=worst)
