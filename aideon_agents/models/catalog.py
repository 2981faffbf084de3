"""Which models there are to choose from: rungs by size, and names that are gone."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Literal

from aideon_agents.errors import ModelNameError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

Rung = Literal["small", "medium", "large"]
PROVIDERS = ("together", "openai", "huggingface", "local")


@dataclasses.dataclass(frozen=True)
class ModelName:
    """`provider:model`, split at the first colon."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Read a name."""
        provider, _, model = text.strip().partition(":")
        if provider not in PROVIDERS:
            near = difflib.get_close_matches(provider, PROVIDERS, n=1)
            hint = f"; did you mean {near[0]}:{model or 'MODEL'}?" if near else ""
            raise ModelNameError(
                f"unknown provider {provider!r} in model {text!r}: "
                f"write provider:model with one of {', '.join(PROVIDERS)}{hint}"
            )
        if not model:
            raise ModelNameError(f"the model {text!r} names no model: write {provider}:MODEL")
        return cls(provider, model)


@dataclasses.dataclass(frozen=True)
class Retirement:
    """A name that a provider no longer answers to."""

    since: date | None
    """The day it went, None when unknown."""
    use: str
    """What to write instead."""


@dataclasses.dataclass(frozen=True)
class Catalog:
    """One profile of a catalog file."""

    rungs: Mapping[str, tuple[ModelName, ...]]
    retired: Mapping[str, Retirement]
    reasoning: frozenset[str]
    """`provider:model` of models that refuse `temperature`."""

    def checked(self, text: str) -> ModelName:
        """Read a model name that somebody wrote, and refuse one that is gone."""
        name = ModelName.parse(text)
        gone = self.retired.get(str(name))
        on_a_rung = any(name in rung for rung in self.rungs.values())
        if gone and not on_a_rung:
            when = f" since {gone.since.isoformat()}" if gone.since else ""
            raise ModelNameError(f"{name} is retired{when}: use {gone.use}")
        return name


@functools.lru_cache(maxsize=8)
def load(path: Path | None = None, profile: str = "current") -> Catalog:
    """Read a catalog."""
    try:
        text = (path or resources.files("aideon_agents.models") / "catalog.toml").read_text("utf-8")
        raw = tomllib.loads(text)
        rungs = {
            rung: tuple(ModelName.parse(name) for name in raw["profiles"][profile][rung])
            for rung in ("small", "medium", "large")
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelNameError(f"the catalog {path} cannot be read: {error}") from None
    except KeyError as missing:
        raise ModelNameError(f"the catalog {path} has no {missing} in profile {profile}") from None
    retired = {
        name: Retirement(entry.get("since"), entry["use"])
        for name, entry in raw.get("retired", {}).items()
    }
    reasoning = frozenset(
        f"{provider}:{model}"
        for provider, models in raw.get("reasoning", {}).items()
        for model in models
    )
    return Catalog(rungs, retired, reasoning)
