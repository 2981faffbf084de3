"""From a request to a chain of chat models.

The names are imported at first use: the catalog is read by commands that need no LangChain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aideon_agents.models.chain import Models, default_models, models_for

__all__ = ["Models", "default_models", "models_for"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aideon_agents.models import chain  # noqa: PLC0415 - it imports LangChain

    return getattr(chain, name)
