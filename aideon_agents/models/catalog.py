"""The models of the catalog.

Commands read it without asking a model, so this module does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Literal

from aideon_agents.errors import ModelNameError
from aideon_agents.models.providers import ModelName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path


Rung = Literal["small", "medium", "large"]


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
