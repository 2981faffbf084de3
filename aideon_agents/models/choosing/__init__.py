"""Which models are asked for a request, in which order, and why.

Commands choose without asking a model, so this package does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aideon_agents.errors import NoModel
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.models.catalog import Rung
from aideon_agents.models.providers import ANY_MODEL, ModelName
from aideon_agents.state import GivenModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.models.catalog import Catalog
    from aideon_agents.models.providers import Provider
    from aideon_agents.state import ModelRequest, Tier

AnyModel: TypeAlias = ModelName | GivenModel
"""A model of our providers, or one of LangChain's."""

Rule = Literal[
    "model", "role", "complexity", "use", "learned", "privacy", "content", "budget", "quality"
]
"""What decided: the caller gave the model, or it was chosen by this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """The models that are asked for a request, and why."""

    chain: tuple[AnyModel, ...]
    """The candidates, primary first."""
    rule: Rule
    rung: Rung | None
    """The size of model; None: the caller gave the models."""
    learned: Mapping[str, Any] | None = None
    """What outcomes say about the candidates, as JSON values; None: they were not asked."""

    def row(self, name: AnyModel) -> str:  # noqa: ARG002
        """Why one of them is asked, as JSON for the rows of its calls."""
        known: dict[str, Any] = {"rule": self.rule, "rung": self.rung, "learned": self.learned}
        return json.dumps({key: value for key, value in known.items() if value is not None})


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
    """The size of model for a request: by its complexity if given, else its role, up to the tier's."""
    complexity = request.complexity
    wanted = _BY_COMPLEXITY[complexity] if complexity else _BY_ROLE[request.role]
    # Premium is limited to medium, except for work that is marked as complex.
    ceiling: Rung = "large" if tier == "premium" and complexity == "high" else _CEILING[tier]
    return _LADDER[min(_LADDER.index(wanted), _LADDER.index(ceiling))]


def choose(
    request: ModelRequest, tier: Tier, catalog: Catalog, providers: Mapping[str, Provider]
) -> Choice:
    """Choose the candidates for a request."""
    wanted: tuple[AnyModel, ...]
    rung = None
    if request.model:
        wanted = tuple(
            one if isinstance(one, GivenModel) else catalog.checked(one) for one in request.model
        )
    else:
        rung = rung_for(request, tier)
        wanted = (*catalog.rungs[rung], ModelName("local", ANY_MODEL))
    able = tuple(
        one for one in wanted if isinstance(one, GivenModel) or providers[one.provider].available
    )
    if not able:
        missing = dict.fromkeys(
            providers[one.provider].missing for one in wanted if isinstance(one, ModelName)
        )
        error = NoModel(
            f"no model can be asked for the {request.role}: set {' or '.join(missing)}, "
            "or AIDEON_OFFLINE=1 to rehearse without one"
        )
        error.missing = next(iter(missing))
        raise error
    rule = "model" if request.model else "complexity" if request.complexity else "role"
    return Choice(chain=able, rule=rule, rung=rung)


def cheapest_first(
    chain: Sequence[tuple[int, AnyModel]], request: ModelRequest
) -> list[tuple[int, AnyModel]]:
    """A chain by price, the cheapest first; models of unknown price are last.

    The price is that of a prompt as long as the longest answer. `chain` has the rank of each model.
    """
    tokens = Usage(input_tokens=request.max_tokens, output_tokens=request.max_tokens)

    def worst(candidate: tuple[int, AnyModel]) -> float:
        _, name = candidate
        known = price(name.provider, name.model, tokens, now()).nanousd
        return math.inf if known is None else known

    return sorted(chain, key=worst)
