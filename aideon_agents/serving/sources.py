"""Which model an answer comes from, as the founding documents show it to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from aideon_agents.access import flags
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

_NAMES: Mapping[str, tuple[str, str]] = {
    "together": ("together_ai", "Together AI"),
    "openai": ("openai", "OpenAI"),
    "huggingface": ("huggingface", "Hugging Face"),
    "local": ("local", "Local server"),
}
"""Providers as the documents name them: the id, and the name for people."""
_LAST = (
    "SELECT provider, requested_model, candidate, economized FROM calls WHERE run_id = :run_id"
    " AND status IN ('ok', 'cached') ORDER BY started_at DESC, call_id DESC LIMIT 1"
)


class Indicator(TypedDict):
    provider_id: str
    display_name: str
    is_free_tier: bool
    is_fallback: bool


def provider_id(provider: str) -> str:
    """The id of a provider in the documents."""
    return _NAMES.get(provider, (provider, ""))[0]


def indicator(
    ledger: Ledger, settings: Settings, user: Caller | Run, name: str, *, is_fallback: bool = False
) -> Indicator | None:
    """The source of a model, `provider:model`; None: the user's flag says that it is not shown."""
    if not flags.is_on(ledger, "together_ai_ui_indicators", user.user or ""):
        return None
    entry = catalog.load(settings.catalog, settings.profile).entries.get(name)
    provider = name.partition(":")[0]
    known, shown = _NAMES.get(provider, (provider, provider))
    return {
        "provider_id": known,
        "display_name": shown,
        "is_free_tier": (entry.tier if entry else user.tier) == "free",
        "is_fallback": is_fallback,
    }


def of_run(ledger: Ledger, settings: Settings, run: Run) -> Indicator | None:
    """The source of a run's newest answer; None: there is none, or it is not shown."""
    for row in ledger.select(_LAST, {"run_id": run.run_id}):
        is_fallback = row["candidate"] > 0 and not row["economized"]
        name = f"{row['provider']}:{row['requested_model']}"
        return indicator(ledger, settings, run, name, is_fallback=is_fallback)
    return None
