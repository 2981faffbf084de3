"""The tiers as data: what each includes, in tiers.toml."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from aideon_agents.errors import UserError, shown
from aideon_agents.ledger.budgets.units import Feature, Unit
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("tiers.toml")


def limits(tier: Tier, feature: Feature) -> Mapping[Unit, int]:
    """What a tier includes of a feature in a day; a unit that is not named has no limit."""
    return _read()[tier].get(feature, {})


def above(tier: Tier) -> Tier | None:
    """The next tier, which includes more; None: this is the highest."""
    tiers = get_args(Tier)
    rest = tiers[tiers.index(tier) + 1 :]
    return rest[0] if rest else None


def checked_tier(given: str) -> Tier:
    """A tier by its name."""
    if given not in _read():
        raise UserError(f"{shown(given)} is no tier: use {', '.join(_read())}")
    return given


@functools.cache
def _read() -> dict[Tier, dict[Feature, dict[Unit, int]]]:
    return cast(
        "dict[Tier, dict[Feature, dict[Unit, int]]]", tomllib.loads(_FILE.read_text("utf-8"))
    )
