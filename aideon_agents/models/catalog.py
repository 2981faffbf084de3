"""The models of the catalog, and the choice of a chain's models for a request.

Commands read the catalog without asking a model, so this module does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.errors import ModelNameError, NoModel
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.models.providers import ANY_MODEL, ModelName, Provider
from aideon_agents.state import GivenModel, ModelRequest, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path


Rung = Literal["small", "medium", "large"]

Choice: TypeAlias = ModelName | GivenModel
"""A candidate of a chain: a model of our providers, or one of LangChain's."""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """One profile of a catalog file."""

    rungs: Mapping[str, tuple[ModelName, ...]]
    retired: Mapping[str, str]
    """By name: since when it is retired, if known, and what to use instead."""
    reasoning: frozenset[str]
    """`provider:model` of models that refuse `temperature`."""

    def checked(self, text: str) -> ModelName:
        """Read a model name that the user wrote, and refuse a retired one."""
        name = ModelName.parse(text)
        retired = self.retired.get(str(name))
        if retired and not any(name in rung for rung in self.rungs.values()):
            raise ModelNameError(f"{name} is retired{retired}")
        return name


@functools.lru_cache(maxsize=8)
def load(path: Path | None = None, profile: str = "current") -> Catalog:
    """Read a catalog; None: the one in the package."""
    try:
        text = (path or resources.files("aideon_agents.models") / "catalog.toml").read_text("utf-8")
        raw = tomllib.loads(text)
        rungs = {
            rung: tuple(ModelName.ours(name) for name in raw["profiles"][profile][rung])
            for rung in ("small", "medium", "large")
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelNameError(f"the catalog {path} cannot be read: {error}") from None
    except KeyError as missing:
        raise ModelNameError(f"the catalog {path} has no {missing} in profile {profile}") from None
    retired = {
        name: f"{_since(entry.get('since'))}: use {entry['use']}"
        for name, entry in raw.get("retired", {}).items()
    }
    reasoning = frozenset(
        f"{provider}:{model}"
        for provider, models in raw.get("reasoning", {}).items()
        for model in models
    )
    return Catalog(rungs, retired, reasoning)


def _since(day: date | None) -> str:
    return f" since {day.isoformat()}" if day else ""


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
) -> tuple[Choice, ...]:
    """The candidates for a request, primary first."""
    wanted: tuple[Choice, ...]
    if request.model:
        wanted = tuple(
            one if isinstance(one, GivenModel) else catalog.checked(one) for one in request.model
        )
    else:
        wanted = (*catalog.rungs[rung_for(request, tier)], ModelName("local", ANY_MODEL))
    able = tuple(
        one for one in wanted if isinstance(one, GivenModel) or providers[one.provider].available
    )
    if not able:
        missing = dict.fromkeys(
            providers[one.provider].missing for one in wanted if isinstance(one, ModelName)
        )
        raise NoModel(
            f"no model can be asked for the {request.role}: set {' or '.join(missing)}, "
            "or AIDEON_OFFLINE=1 to rehearse without one"
        )
    return able


def cheapest_first(
    chain: Sequence[tuple[int, Choice]], request: ModelRequest
) -> list[tuple[int, Choice]]:
    """A chain by price, the cheapest first; models of unknown price are last.

    The price is that of a prompt as long as the longest answer. `chain` has the rank of each model.
    """
    tokens = Usage(input_tokens=request.max_tokens, output_tokens=request.max_tokens)

    def worst(candidate: tuple[int, Choice]) -> float:
        _, name = candidate
        known = price(name.provider, name.model, tokens, now()).nanousd
        return math.inf if known is None else known

    return sorted(chain, key=worst)
