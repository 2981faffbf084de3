"""The providers, the models of the catalog, and the choice of a chain's models for a request.

Commands read the catalog without asking a model, so this module does not import LangChain.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import tomllib
import urllib.error
import urllib.request
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import SecretStr

from aideon_agents.errors import ModelNameError, NoModel
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.ledger.redaction import keep_out
from aideon_agents.settings import Settings
from aideon_agents.state import ModelRequest, Tier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        """Read `provider:model`; the catalog need not know the model."""
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
            rung: tuple(ModelName.parse(name) for name in raw["profiles"][profile][rung])
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


_ASK_LOCAL_TIMEOUT = 2.0  # seconds
ANY_MODEL = "any"
"""`local:any` is the first model that the local server lists."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """One provider, as configured."""

    name: str
    base_url: str | None
    """None: it is not configured (a local server without an address)."""
    key: SecretStr | None
    key_variable: str | None
    """The environment variable that holds the key; None: it needs no key."""
    address_variable: str = ""
    """The environment variable that holds its base URL."""
    pretend: bool = False
    """True in a rehearsal, which assumes that every provider is available."""

    @property
    def available(self) -> bool:
        """Whether it can be asked."""
        return self.pretend or bool(self.base_url and (self.key or self.key_variable is None))

    @property
    def missing(self) -> str:
        """The environment variable that would make it available."""
        return self.key_variable or self.address_variable


def providers(settings: Settings, *, pretend: bool = False) -> dict[str, Provider]:
    """All providers by name, configured or not; `pretend` takes every one for available."""
    by_other_name = settings.together_ai_api_key and not settings.together_api_key
    known = (
        Provider(
            "together",
            settings.together_base_url or "https://api.together.xyz/v1",
            settings.together_api_key or settings.together_ai_api_key,
            "TOGETHER_AI_API_KEY" if by_other_name else "TOGETHER_API_KEY",
            "TOGETHER_BASE_URL",
        ),
        Provider(
            "openai",
            settings.openai_base_url or "https://api.openai.com/v1",
            settings.openai_api_key,
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
        ),
        Provider(
            "huggingface",
            settings.hf_base_url or "https://router.huggingface.co/v1",
            settings.hf_token,
            "HF_TOKEN",
            "HF_BASE_URL",
        ),
        # The client requires a key; local servers ignore it.
        Provider(
            "local",
            settings.local_base_url,
            SecretStr("none-needed"),
            None,
            "AIDEON_LOCAL_BASE_URL",
        ),
    )
    for provider in known:
        if provider.key and provider.key_variable:
            keep_out(provider.key.get_secret_value())
    return {provider.name: dataclasses.replace(provider, pretend=pretend) for provider in known}


def resolve(name: ModelName, provider: Provider) -> ModelName:
    """Replace `local:any` by the first model that the local server lists."""
    if (name.provider, name.model) != ("local", ANY_MODEL):
        return name
    key = provider.key.get_secret_value() if provider.key else ""
    return dataclasses.replace(name, model=_first_model(str(provider.base_url), key))


@functools.lru_cache(maxsize=8)
def _first_model(base_url: str, key: str) -> str:
    try:
        request = urllib.request.Request(  # noqa: S310 - the user's own address
            base_url.rstrip("/") + "/models", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=_ASK_LOCAL_TIMEOUT) as answer:  # noqa: S310 - as above
            listed = cast("dict[str, Any]", json.load(answer))["data"]
        return str(listed[0]["id"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        start = "start it" if "/v1" in base_url else "end AIDEON_LOCAL_BASE_URL with /v1"
        raise ModelNameError(
            f"the local server at {base_url} does not list its models ({error}): "
            f"{start}, or name one with --model ROLE=local:MODEL"
        ) from None


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
    """A chain by price, the cheapest first; models of unknown price are last.

    The price is that of a prompt as long as the longest answer. `chain` has the rank of each model.
    """
    tokens = Usage(input_tokens=request.max_tokens, output_tokens=request.max_tokens)

    def worst(candidate: tuple[int, ModelName]) -> float:
        _, name = candidate
        known = price(name.provider, name.model, tokens, now()).nanousd
        return math.inf if known is None else known

    return sorted(chain, key=worst)
