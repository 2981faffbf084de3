"""The providers: where they are, which key they take, and which client speaks to them."""

from __future__ import annotations

import dataclasses
import functools
import json
import urllib.request
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.redaction import keep_out

if TYPE_CHECKING:
    from aideon_agents.models.catalog import ModelName
    from aideon_agents.settings import Settings

_ASK_LOCAL_TIMEOUT = 2.0  # seconds
ANY_MODEL = "any"
"""`local:any` is whatever model the local server serves first."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """One provider as it is configured."""

    name: str
    base_url: str | None
    """None: not configured (a local server without an address)."""
    key: SecretStr | None
    key_variable: str | None
    """The variable that holds the key; None when none is needed."""
    pretend: bool = False
    """Rehearsal assumes every key."""

    @property
    def available(self) -> bool:
        """Whether it can be asked at all."""
        return self.pretend or bool(self.base_url and (self.key or self.key_variable is None))

    @property
    def missing(self) -> str:
        """The variable that would make it available."""
        return self.key_variable or "AIDEON_LOCAL_BASE_URL"


def providers(settings: Settings, *, pretend: bool = False) -> dict[str, Provider]:
    """Every provider we know, configured or not."""
    by_other_name = settings.together_ai_api_key and not settings.together_api_key
    known = (
        Provider(
            "together",
            settings.together_base_url or "https://api.together.xyz/v1",
            settings.together_api_key or settings.together_ai_api_key,
            "TOGETHER_AI_API_KEY" if by_other_name else "TOGETHER_API_KEY",
        ),
        Provider(
            "openai",
            settings.openai_base_url or "https://api.openai.com/v1",
            settings.openai_api_key,
            "OPENAI_API_KEY",
        ),
        Provider(
            "huggingface",
            settings.hf_base_url or "https://router.huggingface.co/v1",
            settings.hf_token,
            "HF_TOKEN",
        ),
        # A key of any kind keeps the client content; local servers ignore it.
        Provider("local", settings.local_base_url, SecretStr("none-needed"), None),
    )
    for provider in known:
        if provider.key and provider.key_variable:
            keep_out(provider.key.get_secret_value())
    return {provider.name: dataclasses.replace(provider, pretend=pretend) for provider in known}


def resolve(name: ModelName, provider: Provider) -> ModelName:
    """Replace `local:any` by the model that the local server serves first."""
    if (name.provider, name.model) != ("local", ANY_MODEL):
        return name
    key = provider.key.get_secret_value() if provider.key else ""
    return dataclasses.replace(name, model=_first_model(str(provider.base_url), key))


@functools.lru_cache(maxsize=8)
def _first_model(base_url: str, key: str) -> str:
    try:
        asked = urllib.request.Request(  # noqa: S310 - the user's own address
            base_url.rstrip("/") + "/models", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(asked, timeout=_ASK_LOCAL_TIMEOUT) as answer:  # noqa: S310 - as above
            listed = cast("dict[str, Any]", json.load(answer))["data"]
        return str(listed[0]["id"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelNameError(
            f"the local server at {base_url} does not list its models ({error}): "
            f"start it, or name one with --model ROLE=local:MODEL"
        ) from None
