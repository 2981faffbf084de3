"""The models of the catalog that are considered for a request, in the order of their score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.models.choosing.filters import LADDER, TIERS, AnyModel
from aideon_agents.models.providers import ANY_MODEL, ModelName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aideon_agents.models.catalog import Catalog, Entry, Rung
    from aideon_agents.models.catalog.entries import Modality
    from aideon_agents.state import Tier, Use

_OTHER_WORD: Mapping[Use, Use] = {
    "critical": "complex",
    "complex": "critical",
    "fallback": "secondary",
    "secondary": "fallback",
}
"""Uses that mean much the same; a table often has one of them."""
_FIRST = (None, "primary")
_STAND_INS = ("fallback", "secondary")
_WITH_USES, _WITHOUT = "003", "002"
"""The founding document whose tables give each model a use, and the one whose tables do not."""


def entries_for(catalog: Catalog, modality: Modality) -> list[Entry]:
    """What a profile holds for one modality."""
    of_seed = catalog.profile == "seed"
    return [
        entry
        for entry in catalog.entries.values()
        if entry.modality == modality
        and (not of_seed or entry.origin != "current")
        and entry.id != ANY_MODEL
    ]


def named(entries: Iterable[Entry]) -> list[ModelName]:
    """The names of entries."""
    return [ModelName(entry.provider, entry.id) for entry in entries if entry.id]


def of_size(catalog: Catalog, rung: Rung, use: Use | None, tier: Tier) -> list[ModelName]:
    """The text models of a size that a profile lists, those for the use first."""
    listed = list(catalog.rungs[rung])
    if use in _FIRST:
        return listed
    if use in _STAND_INS:
        listed = [*listed[1:], *listed[:1]]
    entries = entries_for(catalog, "text")
    meant = [one for one in entries if one.rung == rung and _is_for(one, use)]
    meant.sort(key=lambda one: _distance(one, tier))
    return list(dict.fromkeys([*named(meant), *listed]))


def others_of_size(catalog: Catalog, rung: Rung) -> list[ModelName]:
    """The text models of a size that a profile does not list."""
    entries = [one for one in entries_for(catalog, "text") if one.rung == rung]
    listed = set(catalog.rungs[rung])
    return [one for one in named(entries) if one not in listed]


def cost(name: AnyModel, tokens: int = 1000) -> float:
    """What so many tokens of prompt, and of answer, cost; infinite where that is unknown."""
    usage = Usage(input_tokens=tokens, output_tokens=tokens)
    known = price(name.provider, name.model, usage, now()).nanousd
    return math.inf if known is None else known


def of_modality(
    catalog: Catalog, modality: Modality, use: Use | None, tier: Tier, rung: Rung
) -> list[ModelName]:
    """The models for a modality up to a tier, the best first; of the seeds, as their tables have them.

    `rung` is the size that is wanted of those that have sizes.
    """
    if catalog.profile == "seed":
        return named(_in_tables(catalog, modality, use, tier))
    meant = [one for one in entries_for(catalog, modality) if _distance(one, tier) >= 0]
    meant.sort(
        key=lambda one: (
            use is not None and not _is_for(one, use),
            abs(LADDER.index(one.rung) - LADDER.index(rung)) if one.rung else 0,
            _distance(one, tier),
            "primary" not in one.uses,
            not _is_for(one, "fallback"),
        )
    )
    return named(meant)


def _in_tables(catalog: Catalog, modality: Modality, use: Use | None, tier: Tier) -> list[Entry]:
    """The entries of the seeds' tables for a tier: those for the use, then those that stand in."""
    rows = [
        (row.document, row.use, entry)
        for entry in entries_for(catalog, modality)
        for row in entry.listed
        if row.tier == tier
    ]
    if tier == "enterprise" and (use or not rows):
        return _in_tables(catalog, modality, use, "premium")
    if use is None:
        wanted = [[one for document, _, one in rows if document == _WITHOUT]]
    else:
        both = (use, _OTHER_WORD.get(use, use))
        wanted = [
            [one for named_in, has, one in rows if (named_in, has) == (document, word)]
            for word in both
            for document in (_WITH_USES, _WITHOUT)
        ]
    first = next(filter(None, wanted), [])[:1]
    others = [one for _, has, one in rows if has in _STAND_INS] if use in _FIRST else []
    return list({one.name: one for one in [*first, *others]}.values())


def _is_for(entry: Entry, use: Use | None) -> bool:
    return use in entry.uses or _OTHER_WORD.get(use or "primary") in entry.uses


def _distance(entry: Entry, tier: Tier) -> int:
    """How many tiers below a tier an entry begins; negative: above it."""
    return TIERS.index(tier) - TIERS.index(entry.tier)
