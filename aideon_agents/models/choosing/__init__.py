"""Which models are asked for a request, in which order, and why.

Commands choose without asking a model, so this package does not import LangChain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.errors import NoModel
from aideon_agents.models.catalog import Rung
from aideon_agents.models.choosing.filters import (
    ABILITY,
    LADDER,
    SOFT,
    TIERS,
    AnyModel,
    Asked,
    Filters,
    ceiling_of,
)
from aideon_agents.models.choosing.pool import (
    cost,
    entries_for,
    named,
    of_modality,
    of_size,
    others_of_size,
)
from aideon_agents.models.providers import ANY_MODEL, ModelName, private_models
from aideon_agents.state import GivenModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.models.catalog import Catalog
    from aideon_agents.models.catalog.entries import Modality
    from aideon_agents.models.providers import Provider
    from aideon_agents.state import ContentClass, ModelRequest, Tier, Use

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
    rung: Rung | None = None
    """The size of model; None: the caller gave the models, or they have no sizes."""
    use: Use | None = None
    """What the model is wanted for; None: nothing in particular."""
    content: ContentClass | None = None
    """What the task is about; None: it is general, or it was not read."""
    rejected: tuple[tuple[str, str], ...] = ()
    """Each other model that was considered, by name, and why it is not asked."""
    ending: tuple[str, ...] = ()
    """A line for each candidate that its provider will end."""
    learned: Mapping[str, Any] | None = None
    """What outcomes say about the candidates, as JSON values; None: they were not asked."""
    replaced: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """The retired models that were asked for, by the names that replace them."""

    def row(self, name: AnyModel) -> str:
        """Why one of them is asked, as JSON for the rows of its calls."""
        known: dict[str, Any] = {
            "rule": self.rule,
            "rung": self.rung,
            "use": self.use,
            "content": self.content,
            "learned": self.learned,
            "replaces": self.replaced.get(str(name)),
        }
        return json.dumps({key: value for key, value in known.items() if value is not None})


_BY_ROLE: Mapping[str, Rung] = {
    "planner": "medium",
    "executor": "small",
    "validator": "small",
    "creative": "large",
}
_BY_COMPLEXITY: Mapping[str, Rung] = {"low": "small", "medium": "medium", "high": "large"}
_BY_USE: Mapping[str, Rung] = {"critical": "large", "complex": "large", "quick": "small"}
_BY_PURPOSE: Mapping[str, Modality] = {"coding": "code", "code": "code"}
_LOCAL = ModelName("local", ANY_MODEL)
_FEWEST_PROVIDERS = 2
"""Where so many have keys."""
_MOST_OTHERS = 3
"""Models that are asked where a profile lists none that can be."""
_MOST_OF_MODALITY = 2
"""Models for code or vision that a chain begins with, before those for text."""
_EITHER = ("code", "vision")
"""What models for text can do as well."""


def rung_for(request: ModelRequest, tier: Tier) -> Rung:
    """The size of model for a request, up to the tier's: by its use, its complexity, or its role."""
    complexity, use, ceiling = request.complexity, request.use, ceiling_of(request, tier)
    by_role = _BY_COMPLEXITY[complexity] if complexity else _BY_ROLE[request.role]
    wanted = ceiling if use == "high_quality" else _BY_USE.get(use or "", by_role)
    steps_up = request.steps_up + (request.content == "complex" and not use)
    return LADDER[min(LADDER.index(wanted) + steps_up, LADDER.index(ceiling))]


def can_step_up(request: ModelRequest, tier: Tier) -> bool:
    """Whether there is a larger model to ask for a request, or another one of those that are given."""
    if request.model:
        return len(request.model) > request.steps_up + 1
    larger = dataclasses.replace(request, steps_up=request.steps_up + 1)
    return rung_for(larger, tier) != rung_for(request, tier)


def choose(
    request: ModelRequest,
    tier: Tier,
    catalog: Catalog,
    providers: Mapping[str, Provider],
    *,
    modality: Modality | None = None,
    asked: Asked | None = None,
) -> Choice:
    """Choose the candidates for a request: those that pass the hard filters, the best first.

    `modality` is what the model is for; None: text, or code where the purpose says so. `asked` is what
    is known of the call besides; None: nothing. Of providers that the user has a key of, every model
    can be chosen, whatever the tier; those that the tier includes follow.
    """
    opened = {name for name, one in providers.items() if one.own_key}
    if not opened or request.model or tier == TIERS[-1]:
        return _choice(request, tier, catalog, providers, modality=modality, asked=asked)
    own = {
        name: one if name in opened else dataclasses.replace(one, key=None, pretend=False)
        for name, one in providers.items()
    }
    given: Any = {"modality": modality, "asked": asked}
    try:
        first = _choice(request, TIERS[-1], catalog, own, **given)
    except NoModel:
        return _choice(request, tier, catalog, providers, **given)
    with contextlib.suppress(NoModel):
        then = _choice(request, tier, catalog, providers, **given)
        chain = tuple(dict.fromkeys([*first.chain, *then.chain]))
        ending = tuple(dict.fromkeys([*first.ending, *then.ending]))
        others = {str(name) for name in chain}
        rejected = tuple(one for one in first.rejected if one[0] not in others)
        first = dataclasses.replace(first, chain=chain, ending=ending, rejected=rejected)
    return first


def _choice(
    request: ModelRequest,
    tier: Tier,
    catalog: Catalog,
    providers: Mapping[str, Provider],
    *,
    modality: Modality | None,
    asked: Asked | None,
) -> Choice:
    asked = asked or Asked()
    kind = modality or _BY_PURPOSE.get(request.purpose or "", "text")
    if request.content == "code" and kind == "text" and catalog.profile != "seed":
        kind = "code"
    if kind == "vision":
        request = dataclasses.replace(request, needs=(*request.needs, "vision"))
    filters = Filters(request, tier, catalog, providers, asked)
    rung = None
    if request.model:
        considered = [
            one if isinstance(one, GivenModel) else catalog.checked(one)
            for one in request.model[request.steps_up :]
        ]
        # Who gives a model may know better than the catalog what it can do.
        chain = filters.passing(considered, SOFT) or filters.passing(considered, ABILITY)
    else:
        is_table = catalog.profile == "seed" and bool(modality or request.use)
        rung, considered, chain = _found(filters, kind, is_table=is_table)
    if not chain:
        raise _nothing(filters, considered)
    kinds = (kind,) if rung is None or kind == "text" else (kind, "text")
    known = (
        [] if request.model else named(one for each in kinds for one in entries_for(catalog, each))
    )
    lives = [(name, filters.of_life(catalog.entries.get(str(name)))) for name in chain]
    return Choice(
        chain=tuple(dict.fromkeys(chain)),
        rule=_rule(request, asked, modality),
        rung=rung,
        use=request.use,
        content=request.content,
        rejected=tuple(
            (str(name), filters.reason(name, rung))
            for name in dict.fromkeys([*considered, *known])
            if name not in chain
        ),
        ending=tuple(f"{name} {one.why}" for name, one in lives if one),
    )


def _found(
    filters: Filters, kind: Modality, *, is_table: bool
) -> tuple[Rung | None, list[AnyModel], list[AnyModel]]:
    """The size, what is considered, and what passes; `is_table`: as the seeds' tables have it."""
    request, catalog, tier = filters.request, filters.catalog, filters.tier
    considered: list[AnyModel] = []
    chain: list[AnyModel] = []
    if kind != "text" or is_table:
        considered += of_modality(catalog, kind, request.use, tier, rung_for(request, tier))
        chain = filters.passing(considered) or filters.passing(considered, SOFT)
    has_sizes = kind in _EITHER and catalog.profile != "seed"
    if not has_sizes and (kind != "text" or is_table):
        return None, considered, chain
    own = [*(private_models(filters.providers) if filters.asked.private else ()), _LOCAL]
    rung, sized = _of_sizes(filters, filters.passing(own))
    considered += [*catalog.rungs[rung], *own]
    if not chain and not sized:
        deployed = [one for one in filters.providers.values() if one.row.deployment]
        last = [ModelName(one.name, one.row.model) for one in deployed if one.row.model]
        considered += last
        sized = filters.passing(last) or filters.passing(last, SOFT)
    return rung, considered, [*chain[:_MOST_OF_MODALITY], *sized]


def _of_sizes(filters: Filters, own: list[AnyModel]) -> tuple[Rung, list[AnyModel]]:
    """The text models of the size that is wanted, else of the nearest that has any; then those of one's own."""
    request, catalog, tier = filters.request, filters.catalog, filters.tier
    wanted, top = rung_for(request, tier), LADDER.index(ceiling_of(request, tier))
    near: list[Rung] = sorted(
        LADDER[: top + 1], key=lambda one: abs(LADDER.index(one) - LADDER.index(wanted))
    )
    for most in (-1, SOFT):
        for rung in (wanted,) if own else near:
            chain = filters.passing(of_size(catalog, rung, request.use, tier), most)
            if len({one.provider for one in chain}) < _FEWEST_PROVIDERS:
                others = sorted(filters.passing(others_of_size(catalog, rung), most), key=cost)
                elsewhere = [one for one in others if chain and one.provider != chain[0].provider]
                chain = [*chain, *elsewhere[:1]] or others[:_MOST_OTHERS]
            if chain:
                return rung, [*chain, *own]
    return wanted, own


def _rule(request: ModelRequest, asked: Asked, modality: Modality | None) -> Rule:
    """What decided the size of model, or the models."""
    if request.steps_up:
        return "quality"
    if request.model:
        return "model"
    if asked.private:
        return "privacy"
    if request.use or modality:
        return "use"
    if request.content:
        return "content"
    return "complexity" if request.complexity else "role"


def _nothing(filters: Filters, considered: Sequence[AnyModel]) -> NoModel:
    """Why no model can be asked, and what to do."""
    lacking = [filters.providers.get(one.provider) for one in considered]
    keys = dict.fromkeys(one.missing for one in lacking if one and not one.available)
    others = [
        f"{name}: {one.why}"
        for name in considered
        if (one := filters.objection(name)) and not one.why.startswith("no ")
    ]
    text = f"no model can be asked for the {filters.request.role}"
    text += f" ({'; '.join(others)})" if others else ""
    what = f"set {' or '.join(keys)}, or AIDEON_OFFLINE=1 to rehearse without one"
    deployed = [one for one in filters.providers.values() if one.row.deployment and one.available]
    unnamed = [one.name for one in deployed if not one.row.model]
    if unnamed and not filters.request.model:
        what = f"give --model {filters.request.role}={unnamed[0]}:MODEL, {what}"
    error = NoModel(f"{text}: {what if keys else 'ask for less, or name another with --model'}")
    error.missing = next(iter(keys), "")
    return error


def cheapest_first(
    chain: Sequence[tuple[int, AnyModel]], request: ModelRequest
) -> list[tuple[int, AnyModel]]:
    """A chain by price, the cheapest first; models of unknown price are last.

    The price is that of a prompt as long as the longest answer. `chain` has the rank of each model.
    """
    return sorted(chain, key=lambda one: cost(one[1], request.max_tokens))
