"""The models that there are, and what is known of each.

Commands read the catalog without asking a model, so this package does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from aideon_agents.errors import ModelNameError
from aideon_agents.models.catalog.entries import CatalogFile, Entry, Rung
from aideon_agents.models.providers import ModelName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


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

    @functools.cached_property
    def reasoning(self) -> frozenset[str]:
        """`provider:model` of models that refuse `temperature`."""
        refuse = (one for one in self.entries.values() if one.capabilities.temperature is False)
        return frozenset(one.name for one in refuse)

    def checked(self, text: str) -> ModelName:
        """Read a model name that the user wrote, and refuse a retired one."""
        name = ModelName.parse(text)
        entry = self.entries.get(str(name))
        if entry and self.is_gone(entry):
            raise ModelNameError(f"{name} is retired{_since(entry)}")
        return name

    def is_gone(self, entry: Entry) -> bool:
        """Whether it is retired. The profile `seed` exists to name the retired models of the seeds."""
        of_seed = self.profile == "seed" and entry.origin == "seed"
        return entry.lifecycle.status == "retired" and not of_seed


def _since(entry: Entry) -> str:
    ended = entry.lifecycle
    since = f" since {ended.date.isoformat()}" if ended.date else ""
    return since + (f": use {ended.replaced_by}" if ended.replaced_by else "")


@functools.lru_cache(maxsize=8)
def load(path: Path | None = None, profile: str = "current") -> Catalog:
    """Read the catalog, and the user's own over it; None: the user has none."""
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
                why = f"{name} is retired{_since(entry)}"
                raise _invalid(path, ("profiles", profile, rung), why)
    return catalog


@functools.cache
def _ours() -> CatalogFile:
    text = (resources.files("aideon_agents.models.catalog") / "models.toml").read_text("utf-8")
    return CatalogFile.model_validate(tomllib.loads(text))


def _over(ours: CatalogFile, path: Path) -> CatalogFile:
    """The user's own catalog over ours: models by name and field, profiles by size."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelNameError(f"the catalog {path} cannot be read: {error}") from None
    models = raw.get("models")
    if isinstance(models, dict):
        named = cast("Mapping[str, Any]", models).items()
        raw["models"] = {name: _merged(ours.models.get(name), given) for name, given in named}
    try:
        own = CatalogFile.model_validate(raw)
        for name in own.models:
            ModelName.parse(name)
    except ValidationError as error:
        first = error.errors()[0]
        raise _invalid(path, first["loc"], first["msg"]) from None
    except ModelNameError as error:
        raise _invalid(path, ("models",), str(error)) from None
    profiles = {
        name: {**rungs, **own.profiles.get(name, {})} for name, rungs in ours.profiles.items()
    }
    return CatalogFile.model_construct(profiles=profiles, models={**ours.models, **own.models})


def _merged(known: Entry | None, given: Any) -> Any:
    """An entry of the user's own with what ours says besides."""
    if not isinstance(given, dict):
        return given
    fields = cast("dict[str, Any]", given)
    base = known.model_dump(exclude_unset=True, by_alias=True) if known else {}
    can = fields.get("capabilities")
    if isinstance(can, dict):
        fields = {**fields, "capabilities": {**base.get("capabilities", {}), **can}}
    return {**base, **fields, "origin": "user"}


def _invalid(path: Path | None, place: Sequence[int | str], why: str) -> ModelNameError:
    steps = (str(step) for step in place)
    where = ".".join(step if step.replace("_", "").isalnum() else f'"{step}"' for step in steps)
    return ModelNameError(f"the catalog {path}: {where}: {why}")
