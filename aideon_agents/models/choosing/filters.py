"""Why a model cannot be asked for a request: the hard filters, each with its reason in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aideon_agents.ledger.identity import now
from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.ledger.pricing import Usage, context_window, price
from aideon_agents.models.pictures.sight import sight
from aideon_agents.models.providers import ModelName
from aideon_agents.state import GivenModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

    from aideon_agents.models.catalog import Catalog, Entry, Rung
    from aideon_agents.models.providers import Provider
    from aideon_agents.state import ModelRequest, Tier

LADDER: tuple[Rung, ...] = ("small", "medium", "large")
TIERS: tuple[Tier, ...] = ("free", "premium", "enterprise")
_CEILING: Mapping[Tier, Rung] = {"free": "small", "premium": "medium", "enterprise": "large"}

AnyModel: TypeAlias = ModelName | GivenModel
"""A model of our providers, or one of LangChain's."""
_NO_OTHER_WAY = ("tools", "vision")
"""Abilities without which a request cannot be met."""


class Asked(NamedTuple):
    """What is known of a call besides its request. The chains of nodes are chosen without it."""

    tokens: int = 0
    """The most input tokens of its prompt; 0: unknown."""
    budget: Decimal | None = None
    """US dollars that the call may cost; None: any price."""
    private: str | None = None
    """The kind of what its prompt holds that may not leave; None: nothing."""
    streams: bool = False


SOFT, ABILITY, HARD = 0, 1, 2
"""How much counts against a model: nothing that a chain cannot do without, what the catalog says of its
abilities, and what makes it impossible."""


class Objection(NamedTuple):
    """Why a model is not asked."""

    why: str
    weight: int = HARD


def ceiling_of(request: ModelRequest, tier: Tier) -> Rung:
    """The largest size of model that a tier may ask for a request."""
    # Premium is limited to medium, except for work that is marked as complex.
    is_complex = request.complexity == "high" or request.use in ("critical", "complex")
    return "large" if tier == "premium" and is_complex else _CEILING[tier]


class Filters:
    """The hard filters for one request."""

    def __init__(
        self,
        request: ModelRequest,
        tier: Tier,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        asked: Asked,
    ) -> None:
        self.request, self.asked = request, asked
        self.tier: Tier = tier
        self.catalog, self.providers = catalog, providers
        self._today = now().date()
        sees = ["vision"] if request.vision else []
        streams = ["streaming"] if asked.streams else []
        self._needs = tuple(dict.fromkeys([*request.needs, *sees, *streams]))

    def passing(self, names: Iterable[AnyModel], most: int = -1) -> list[AnyModel]:
        """The models against which nothing counts that is heavier than `most`."""
        return [
            name for name in names if (one := self.objection(name)) is None or one.weight <= most
        ]

    def objection(self, name: AnyModel) -> Objection | None:
        """What counts most against a model; None: nothing does."""
        if isinstance(name, GivenModel):
            return None
        entry = self.catalog.entries.get(str(name))
        found = (
            self.of_life(entry),
            self._of_provider(name),
            self._of_abilities(name, entry),
            self._of_cost(name),
        )
        return max(filter(None, found), key=lambda one: one.weight, default=None)

    def reason(self, name: AnyModel, rung: Rung | None) -> str:
        """Why a model is not in a chain of a size; None: the chain has no size."""
        entry = self.catalog.entries.get(str(name))
        against, top = self.objection(name), ceiling_of(self.request, self.tier)
        is_over = entry and entry.rung and rung and LADDER.index(entry.rung) > LADDER.index(top)
        is_of_other_tier = (
            entry and rung is None and TIERS.index(entry.tier) > TIERS.index(self.tier)
        )
        if against and against.why.startswith("retired"):
            return against.why
        if is_over or is_of_other_tier:
            return f"tier {self.tier} stops at {top if is_over else self.tier}"
        if against:
            return against.why
        if rung and entry and entry.rung != rung:
            return f"{entry.rung or 'of unknown size'}, and {rung} is wanted"
        return "others come before it"

    def of_life(self, entry: Entry | None) -> Objection | None:
        """Whether a model is retired, or will be."""
        if entry is None:
            return None
        ends = entry.lifecycle
        is_over = ends.is_over(self._today)
        # Who gives a model may know that its end was put off.
        if (is_over and not self.request.model) or self.catalog.is_gone(entry):
            return Objection(ends.in_words("retired"))
        if ends.status == "ending":
            return Objection(ends.in_words("was to end" if is_over else "ends"), SOFT)
        return None

    def _of_provider(self, name: ModelName) -> Objection | None:
        provider = self.providers.get(name.provider)
        if provider is None:
            return Objection(f"no chat models of {name.provider} here")
        if not provider.available:
            return Objection(f"no {provider.missing}")
        if self.asked.private and not provider.row.private:
            return Objection(f"private prompt: {self.asked.private}")
        return None

    def _of_abilities(self, name: ModelName, entry: Entry | None) -> Objection | None:
        provider = self.providers.get(name.provider)
        for need in self._needs:
            of_row = getattr(provider.row, need, None) if provider else None
            of_model = getattr(entry.capabilities, need) if entry else None
            if need == "vision":
                of_model = sight(self.catalog, name, provider).sees
            if False in (of_row, of_model) and of_row is not True:
                # A shape can be asked for in words, and an answer can come whole.
                return Objection(f"needs {need}", ABILITY if need in _NO_OTHER_WAY else SOFT)
        wanted = self.asked.tokens + self.request.max_tokens
        known = (provider and provider.row.context) or (entry and entry.context)
        window = known or (context_window(name.provider, name.model) if self.asked.tokens else None)
        if window is not None and window < wanted:
            return Objection(f"context {window:,} < {wanted:,} tokens", ABILITY)
        return None

    def _of_cost(self, name: ModelName) -> Objection | None:
        budget = self.asked.budget
        if budget is None:
            return None
        tokens = Usage(input_tokens=self.asked.tokens, output_tokens=self.request.max_tokens)
        most = price(name.provider, name.model, tokens, now()).nanousd
        if most is None:
            return Objection("its price is unknown, and there is a budget")
        if usd(most) > budget:
            return Objection(f"more expensive than the budget: up to ${usd_text(usd(most))}")
        return None
