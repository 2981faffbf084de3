"""The models that there are, and what is known of each.

Commands read the catalog without asking a model, so this package does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.forks import lazily
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import state_prices
from aideon_agents.ledger.pricing.shapes import StatedPrice
from aideon_agents.models.catalog.entries import (
    Capabilities,
    CatalogFile,
    Entry,
    Lifecycle,
    Prices,
    Rung,
)
from aideon_agents.models.providers import ModelName
from aideon_agents.settings.deployments import version_of
from aideon_agents.settings.providers import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aideon_agents.state import ModelRequest


__all__ = ["Catalog", "Entry", "Rung", "load"]


@dataclasses.dataclass(frozen=True)
class Catalog:
    """One profile of the catalog: ours, and the user's own over it."""

    profile: str
    rungs: Mapping[str, tuple[ModelName, ...]]
    """The models of each size, in the order in which they are asked."""
    entries: Mapping[str, Entry]
    """What is known of each model, by its name."""
    families: Mapping[str, Entry]
    """Families that the founding documents name without an id. None of them can be asked."""

    @lazily
    def prices(self) -> Mapping[tuple[str, str], StatedPrice]:
        """The prices per token that calls are billed at, by provider and model."""
        return {
            (one.provider, str(one.id)): StatedPrice(
                input=prices.input,
                output=prices.output,
                cache_read=prices.cache_read,
                source=prices.named,
                is_first=prices.overrides is not None,
            )
            for one in self.entries.values()
            if (prices := one.prices) and prices.billed and prices.input is not None
        }

    @lazily
    def reasoning(self) -> frozenset[str]:
        """`provider:model` of models that refuse `temperature`."""
        refuse = (one for one in self.entries.values() if one.capabilities.temperature is False)
        return frozenset(one.name for one in refuse)

    def checked(self, text: str) -> ModelName:
        """Read a model name that the user wrote, and refuse a retired one."""
        name = ModelName.parse(text)
        entry = self.entries.get(str(name))
        if entry and self.is_gone(entry):
            raise ModelNameError(f"{name} is {entry.lifecycle.in_words('retired')}")
        return name

    def successor(self, text: str) -> str:
        """The name to use instead of a model's that is retired, or whose announced end is over.

        Any other name stays as it is.
        """
        name, seen, today = text.strip(), set[str](), now().date()
        while name not in seen and (entry := self.entries.get(name)):
            seen.add(name)
            if self.is_gone(entry) or entry.lifecycle.is_over(today):
                name = entry.lifecycle.replaced_by or name
        return name

    def up_to_date(
        self, request: ModelRequest, *, replaces: bool
    ) -> tuple[ModelRequest, Mapping[str, str]]:
        """A request with successors for its retired models, and the name that each replaces.

        `replaces` is false: as it is.
        """
        if not replaces:
            return request, {}
        named = {one: self.successor(one) for one in request.model if isinstance(one, str)}
        models = tuple(named[one] if isinstance(one, str) else one for one in request.model)
        replaced = {by: one.strip() for one, by in named.items() if by != one.strip()}
        return dataclasses.replace(request, model=models), replaced

    def is_gone(self, entry: Entry) -> bool:
        """Whether it is retired. The profile `seed` exists to name the retired models of the seeds."""
        of_seed = self.profile == "seed" and entry.origin == "seed"
        return entry.lifecycle.status == "retired" and not of_seed


def load(path: Path | None = None, profile: str = "current") -> Catalog:
    """Read the catalog, and the user's own over it; None: the user has none.

    The process prices calls with what it says from then on.
    """
    catalog = _read(path, profile, *(version_of(path) if path else ()))
    state_prices(catalog.prices)
    return catalog


@functools.lru_cache(maxsize=8)
def _read(path: Path | None, profile: str, *version: int) -> Catalog:
    del version
    found = _ours()
    if path is not None:
        found = _over(found, path)
    rungs: dict[str, tuple[ModelName, ...]] = {}
    for rung, names in found.profiles[cast("Any", profile)].items():
        try:
            rungs[rung] = tuple(ModelName.ours(name) for name in names)
        except ModelNameError as error:
            raise _invalid(path, ("profiles", profile, rung), str(error)) from None
    entries = {name: one for name, one in found.models.items() if not one.family}
    families = {name: one for name, one in found.models.items() if one.family}
    catalog = Catalog(profile, rungs, entries, families)
    for rung, names in rungs.items():
        for name in names:
            entry = entries.get(str(name))
            if entry and catalog.is_gone(entry):
                why = f"{name} is {entry.lifecycle.in_words('retired')}"
                raise _invalid(path, ("profiles", profile, rung), why)
    return catalog


@functools.cache
def _ours() -> CatalogFile:
    text = (resources.files("aideon_agents.models.catalog") / "models.toml").read_text("utf-8")
    raw = tomllib.loads(text)
    raw["models"] = {name: {"name": name, **one} for name, one in raw["models"].items()}
    return CatalogFile.model_validate(raw)


def _over(ours: CatalogFile, path: Path) -> CatalogFile:
    """The user's own catalog over ours: models by name and field, profiles by size."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelNameError(
            f"the catalog {path} cannot be read: {why}: mend it, or unset AIDEON_CATALOG"
        ) from None
    models = raw.get("models")
    if isinstance(models, dict):
        named = cast("Mapping[str, Any]", models).items()
        raw["models"] = {name: _merged(name, ours.models.get(name), one) for name, one in named}
    try:
        own = CatalogFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(step for step in first["loc"] if step != "[key]")
        why = first["msg"].partition(" or instance of ")[0]
        if first["type"] == "too_short":
            why = "name at least one, or leave it out"
        if first["type"] == "string_pattern_mismatch":
            why = "write provider:model"
        if first["type"] == "extra_forbidden":
            parts = (CatalogFile, Entry, Lifecycle, Capabilities, Prices)
            names = [one.alias or name for part in parts for name, one in part.model_fields.items()]
            near = difflib.get_close_matches(str(place[-1]), names, n=1)
            why = "there is no such field" + (f": did you mean {near[0]}?" if near else "")
        raise _invalid(path, place, why) from None
    for name, entry in own.models.items():
        try:
            parsed = ModelName.parse(name)
        except ModelNameError as error:
            raise _invalid(path, ("models",), str(error)) from None
        row = TABLE.get(parsed.provider)
        if row and row.free and entry.prices:
            why = f"calls of {parsed.provider} cost nothing: a deployment has prices"
            raise _invalid(path, ("models", name, "prices"), why)
    profiles = {
        name: {**rungs, **own.profiles.get(name, {})} for name, rungs in ours.profiles.items()
    }
    return CatalogFile.model_construct(profiles=profiles, models={**ours.models, **own.models})


def _merged(name: str, known: Entry | None, given: Any) -> Any:
    """An entry of the user's own with what ours says besides."""
    if not isinstance(given, dict):
        return given
    fields = cast("dict[str, Any]", given)
    base = known.model_dump(exclude_unset=True, by_alias=True) if known else {}
    can, prices = fields.get("capabilities"), fields.get("prices")
    if isinstance(can, dict):
        fields = {**fields, "capabilities": {**base.get("capabilities", {}), **can}}
    if isinstance(prices, dict):
        fields = {**fields, "prices": {"overrides": "the user's own", **prices}}
    return {**base, **fields, "name": name, "origin": "user"}


def _invalid(path: Path | None, place: Sequence[int | str], why: str) -> ModelNameError:
    steps = (str(step) for step in place)
    where = ".".join(step if step.replace("_", "").isalnum() else f'"{step}"' for step in steps)
    return ModelNameError(f"the catalog {path}: {where}: {why}")
