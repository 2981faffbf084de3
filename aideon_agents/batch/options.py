"""The options of a batch, its control and its result."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.batch.items import ITEM_KINDS, ItemOptions
from aideon_agents.batch.progress import Progress
from aideon_agents.errors import InputError, is_kind, refuse_kinds, shown
from aideon_agents.ledger.budgets.limits import Amount
from aideon_agents.ledger.budgets.units import Origin
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.money import usd_text
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import Images
from aideon_agents.runner.running import Running
from aideon_agents.settings import Settings
from aideon_agents.state import Model, OnRateLimit, Privacy, Strategy, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from langchain_core.callbacks import Callbacks
    from langchain_core.runnables import RunnableConfig


AT_ONCE = 50
"""The default number of items in flight."""
ENGINES = ("local", "distributed", "provider")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


class BatchOptions(ItemOptions, total=False):
    """The options of a batch, besides its graph, its items and its OUT."""

    max_concurrency: int
    """Items in flight at once; 50 by default. `AIDEON_MODEL_CONCURRENCY` limits model calls."""
    budget: Amount | None
    """US dollars for all items, earlier calls of the batch included; None: the ledger's budgets alone."""
    item_budget: Amount | None
    """US dollars for each item; None: there is no such limit."""
    engine: Literal["local", "distributed", "provider"]
    """Where the items are run; `local` by default. `provider`: by batches of OpenAI or Together."""
    wait: bool
    """Wait for the batches of a provider; False, the default: the same call again continues."""
    unordered: bool
    """Write each result as soon as its item ends: a slow one, or one that waits, holds none back."""
    keep_columns: bool
    """Repeat the columns of the input in OUT: a line under the key `columns`, a table before its own."""
    retry_failed: bool
    """Run failed items again."""
    from_batch: str | None
    """An earlier batch whose results are taken over: an id, its beginning, or `last`; None: OUT's."""
    max_failures: int | str | None
    """Failed items after which no more start, or a share of all items (`"5%"`); None: no limit."""
    checkpoint: bool | None
    """Whether an item's state is kept until it completes; None: with a budget or a person to ask."""
    inputs: Mapping[str, Any] | None
    """Inputs of every item, by key; an item's own inputs take precedence."""
    tier: Tier | None
    user: str | None
    model: Mapping[str, Model | Sequence[Model]] | None
    timeout: float | None
    """Seconds after which an item fails; None: no limit."""
    rehearse: bool
    fallback: bool | Sequence[Strategy]
    cache: str | None
    replace_retired: bool
    record_content: bool
    callbacks: Callbacks
    config: RunnableConfig | None
    ledger: Ledger | str | Path | None
    settings: Settings | None
    workflow: str | None
    target: str | None
    target_hash: str | None
    allow_outside: bool
    origin: Origin | None
    privacy: Privacy | None
    quality: bool | float | None
    images: Images | None
    """As in `RunOptions`; an item's own pictures, under its key `images`, come after these."""
    on_rate_limit: OnRateLimit | None
    """As in `RunOptions`; None: what the agent says, else `wait`."""
    version: str | None
    """Distinguishes versions of a graph without an address: its code is not part of the identity."""
    watch: Callable[[Progress], object] | None
    """Is called with the progress once a second."""


_KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("unordered", "retry_failed", "wait"), (bool, "True or False")),
    "checkpoint": ((bool, NoneType), "True, False or None"),
    "inputs": ((Mapping, NoneType), "values by key"),
    **ITEM_KINDS,
    "version": ((str, NoneType), "text"),
    "watch": ((Callable, NoneType), "a function of the progress"),
}
"""The options that a run does not have or does not check."""


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse an unknown option, as a function with these parameters would, and wrong values."""
    unknown = [word for word in options if word not in BatchOptions.__annotations__]
    if unknown:
        known = ", ".join(BatchOptions.__annotations__)
        raise TypeError(f"unknown option {unknown[0]!r} of a batch: {known}")
    refuse_kinds(options, _KINDS, error=InputError)


def refuse_objects(models: object) -> None:
    """Refuse models that are objects: a worker gets only the names of models."""
    for role, chain in models.items() if isinstance(models, Mapping) else ():
        for one in chain if isinstance(chain, list | tuple) else [chain]:
            if not isinstance(one, str):
                raise InputError(
                    f"the model of the {role} is a {type(one).__name__}, and workers get only the "
                    "names of models: give provider:model, or give it to the agent in its file"
                )


def at_once(given: int) -> int:
    """Refuse a concurrency below 1."""
    if not is_kind(given, int) or given < 1:
        raise InputError(f"the concurrency is {shown(given)}: give at least 1")
    return given


def most_failures(given: int | str | None, items: int) -> int | None:
    """The number of failed items that stops the batch; None: there is no limit."""
    if given is None:
        return None
    text = str(given).strip()
    share = _SHARE.fullmatch(text)
    if share and 0 < float(share[1]) <= 100:  # noqa: PLR2004 - per cent
        return max(1, math.ceil(items * float(share[1]) / 100))
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise InputError(f"max_failures is {text!r}: give a number from 1, or a share such as 5%")


StopReason = Literal[
    "budget",
    "rate_limit",
    "quota",
    "interrupted",
    "cancelled",
    "max_failures",
    "waiting",
    "provider",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchResult:
    """The result of a batch: the fields of the last line of `aideon batch`, and more."""

    batch_id: str
    items: int
    completed: int
    failed: int
    invalid: int
    pending: int
    """Items that are not finished; the same command continues them."""
    carried: int
    """Items that were completed, or failed, in an earlier batch and are the same work."""
    carried_from: str | None
    """The earlier batch that items were taken over from; None: there is none."""
    earlier_out: str | None
    """The file with all results of that batch; None: it is OUT now."""
    usd: Decimal
    """The costs of all runs of all items in this batch; the earlier one has paid for carried items."""
    complete: bool
    """False: some costs are unknown, and `usd` is a lower bound."""
    held: Decimal
    """US dollars besides: the worst cases of calls whose cost is not known. Budgets count them."""
    stop_reason: StopReason | None
    """Why items are pending; None: none is. `waiting`: they need answers to questions. `provider`:
    a batch at a provider is in progress."""
    wall_s: float
    """Seconds that this call took."""
    stopped_by: str | None
    """The limit that it stopped at, in words; None: it did not, or its workers have said it."""
    waiting: Sequence[str]
    """The runs that wait for an answer, among the pending; `aideon batches approve` answers them."""
    truncated: int
    """Answers that met `max_tokens` and are cut off."""
    saved: Decimal
    """US dollars that the prices of the providers' batches were below their list prices."""
    jobs: Sequence[str]
    """The provider's batches that are in progress, as text."""
    nodes: Sequence[NodeCost]
    """The costs of each node over the whole batch, in the declared order of the nodes."""


def document(result: BatchResult) -> dict[str, Any]:
    """The JSON document that `aideon batch` ends with."""
    return {
        "batch_id": result.batch_id,
        "items": result.items,
        "completed": result.completed,
        "failed": result.failed,
        "invalid": result.invalid,
        "pending": result.pending,
        "waiting": len(result.waiting),
        "carried": result.carried,
        "usd": usd_text(result.usd),
        "list_usd": usd_text(result.usd + result.saved),
        "saved_usd": usd_text(result.saved),
        "complete": result.complete,
        "stop_reason": result.stop_reason,
        "wall_s": round(result.wall_s, 3),
        "held_usd": usd_text(result.held),
    }


class Control:
    """Stops a batch, and knows its items in flight. For one event loop."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        """Why no more items start; None: they do, or there is an error."""
        self.why: str | None = None
        """More about it; None: there is nothing more."""
        self.error: Exception | None = None
        """What failed outside of the items; None: nothing."""
        self.in_flight: set[Running] = set()
        self.outside = 0
        """Items in flight in workers."""
        self.is_cut_off = False
        """Whether items in flight are cut off."""

    @property
    def count(self) -> int:
        """The number of items in flight, here or in workers."""
        return len(self.in_flight) + self.outside

    @property
    def is_over(self) -> bool:
        """Whether no more items start."""
        return self.reason is not None or self.error is not None

    def drain(self, reason: StopReason = "interrupted", why: str | None = None) -> None:
        """Start no more items; those in flight are finished."""
        if self.reason is None:
            self.reason, self.why = reason, why

    def cancel(self) -> None:
        """Cut off items in flight as well; they can continue later."""
        self.drain()
        self.is_cut_off = True
        for running in self.in_flight:
            running.interrupt()

    def broke(self, error: Exception) -> None:
        """Start no more items because of an error in the ledger, OUT, or our own code."""
        self.error = self.error or error
