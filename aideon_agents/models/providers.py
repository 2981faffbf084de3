"""The providers: their names, addresses and keys. A new provider begins here.

Commands read them without asking a model, so this module does not import LangChain. The class of its
chat models is chosen in `chain.py`, its models and their sizes are listed in `catalog.toml`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from typing import Any

from pydantic import SecretStr

from aideon_agents.errors import AideonError, ModelNameError
from aideon_agents.ledger.redaction import keep_out
from aideon_agents.settings import Settings

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
    # Imported here: commands that list providers need no HTTP.
    from aideon_agents.models.bridge import blocking  # noqa: PLC0415 - see above
    from aideon_agents.models.transport import get  # noqa: PLC0415 - see above

    headers = {"Authorization": f"Bearer {key}"}
    asking = get(base_url.rstrip("/") + "/models", headers, _ASK_LOCAL_TIMEOUT)
    try:
        listed: Any = json.loads(blocking(asking))
        return str(listed["data"][0]["id"])
    except (AideonError, OSError, ValueError, LookupError, TypeError) as error:
        start = "start it" if "/v1" in base_url else "end AIDEON_LOCAL_BASE_URL with /v1"
        raise ModelNameError(
            f"the local server at {base_url} does not list its models ({error}): "
            f"{start}, or name one with --model ROLE=local:MODEL"
        ) from None
