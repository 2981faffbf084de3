"""What a batch can be told."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aideon_agents.batch.progress import Progress
    from aideon_agents.ledger.budgets.budget import Amount
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings
    from aideon_agents.state import Tier

AT_ONCE = 50
"""Items in flight unless it is said otherwise."""

ENGINES = ("local", "distributed")

_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


class BatchOptions(TypedDict, total=False):
    """Everything that may be said about a batch besides its graph, its items and its OUT."""

    max_concurrency: int
    """Items in flight at once; 50 unless given. Model calls have a limit of their own,
    `AIDEON_MODEL_CONCURRENCY`."""
    budget: Amount | None
    """US dollars that all items together may cost; None: only what stands in the ledger limits
    them. Spent by earlier calls counts."""
    item_budget: Amount | None
    """US dollars that each item may cost."""
    engine: Literal["local", "distributed"]
    """Where the items are run; local unless given."""
    retry_failed: bool
    """Run items once more that have failed."""
    max_failures: int | str | None
    """Failed items after which none is started any more, or a share of all items (`"5%"`)."""
    checkpoint: bool | None
    """Whether an item's state is kept until it completes, so that it goes on where it was; None:
    where a budget stands."""
    inputs: Mapping[str, Any] | None
    """Inputs of every item, by key; an item's own come first."""
    tier: Tier | None
    user: str | None
    model: Mapping[str, str | Sequence[str]] | None
    timeout: float | None
    """Seconds until an item is stopped, which has failed then; None: never."""
    rehearse: bool
    record_content: bool
    ledger: Ledger | str | Path | None
    settings: Settings | None
    workflow: str | None
    target: str | None
    target_hash: str | None
    """These as for a run."""
    version: str | None
    """Whatever tells this graph from what it was before, where it has no address: what the code of
    its functions does is not looked into."""
    watch: Callable[[Progress], object] | None
    """Is told how far it has come, once a second; None: nobody watches."""


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse a word that no option has, as a function with these parameters would."""
    unknown = [word for word in options if word not in BatchOptions.__annotations__]
    if unknown:
        known = ", ".join(BatchOptions.__annotations__)
        raise TypeError(f"a batch has no option {unknown[0]!r}: {known}")


def known_engine(engine: str) -> str:
    """Refuse an engine that there is not."""
    if engine not in ENGINES:
        raise UserError(f"there is no engine {engine!r}: one of {', '.join(ENGINES)}")
    return engine


def at_once(given: int) -> int:
    """Refuse a number of items in flight that is none."""
    if given < 1:
        raise InputError(f"{given} items at once are none: give at least 1")
    return given


def most_failures(given: int | str | None, items: int) -> int | None:
    """How many failed items are too many."""
    if given is None:
        return None
    text = str(given).strip()
    share = _SHARE.fullmatch(text)
    if share and 0 < float(share[1]) <= 100:  # noqa: PLR2004 - per cent
        return max(1, math.ceil(items * float(share[1]) / 100))
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise InputError(f"{text!r} failures are neither a number from 1 on nor a share such as 5%")
