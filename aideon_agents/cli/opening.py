"""What commands open: the settings, with `.env` below them, and the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings


def settings() -> Settings:
    """The environment, and below it the `.env` of the working directory."""
    from aideon_agents.settings import load  # noqa: PLC0415 - help must not wait

    return load(Path(".env"))


def ledger() -> Ledger:
    """The ledger that the settings name."""
    from aideon_agents.ledger.store import Ledger  # noqa: PLC0415 - help must not wait

    return Ledger.from_url(settings().ledger)
