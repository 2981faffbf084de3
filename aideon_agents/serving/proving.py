"""Proves keys of providers: one free call, for the list of models, which no provider charges."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import InputError, ProviderError, RunError
from aideon_agents.models.protocol.ways import authorization, below
from aideon_agents.models.transport import get

if TYPE_CHECKING:
    from aideon_agents.access.audit import By
    from aideon_agents.access.provider_keys import ProviderKeys
    from aideon_agents.settings import Settings

_SECONDS = 15.0
_REJECTED = (401, 403)


async def prove(keys: ProviderKeys, user: str | None, provider: str, by: By) -> dict[str, Any]:
    """Prove the newest stored key of a user, or with None of the system, and record what was found."""
    key_id, secret = keys.secret_of(user, provider)
    works = await is_accepted(keys.settings, provider, secret)
    keys.proven(key_id, by, works=works)
    state = "proven" if works else "refused"
    return {"provider": provider, "key_id": key_id, "state": state}


async def begin(keys: ProviderKeys, provider: str, secret: str, by: By) -> None:
    """Begin to replace the system's key by one that the provider takes, if it can be asked now."""
    is_proven = False
    with contextlib.suppress(RunError):
        is_proven = await is_accepted(keys.settings, provider, keys.checked(provider, secret))
        if not is_proven:
            raise InputError(f"{provider} rejects this key: check it; nothing was changed")
    made = keys.rotate(provider, secret, by)
    if is_proven:
        keys.proven(made["key_id"], by, works=True)


async def is_accepted(settings: Settings, provider: str, secret: str) -> bool:
    """Whether a provider takes a key. A RunError says that it could not be asked."""
    row = settings.rows[provider]
    address = settings.address_of(row)
    if address is None:
        raise InputError(f"{provider} has no address here: set {row.base_url_env}")
    path = "v1/models" if row.dialect == "replicate" else "models"
    heads = {"Authorization": authorization(address, secret)}
    try:
        await get(str(below(address, path)), heads, _SECONDS)
    except (ProviderError, OSError) as error:
        if getattr(error, "status", None) in _REJECTED:
            return False
        raise RunError(
            f"{provider} could not be asked ({error}), so the key is neither proven nor refused:"
            " try again"
        ) from None
    return True
