"""The options of a batch, its result, its control while it runs, and its identity.

The identity decides whether the same command continues a batch. It is made of the workflow, the
items, the inputs of all items, the tier and the models. Budgets, concurrency, engine, time limits and
OUT may change between two calls.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic_core import to_json

from aideon_agents.batch.progress import Progress
from aideon_agents.errors import InputError, UserError
from aideon_agents.graphs import Graph
from aideon_agents.graphs.topology import model
from aideon_agents.graphs.walk import specs
from aideon_agents.ledger.budgets.limits import Amount
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.pricing import usd_text
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.running import Running
from aideon_agents.settings import Settings
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path


AT_ONCE = 50
"""The default number of items in flight."""

ENGINES = ("local", "distributed")

_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


class BatchOptions(TypedDict, total=False):
    """The options of a batch, besides its graph, its items and its OUT."""

    max_concurrency: int
    """Items in flight at once; 50 by default. `AIDEON_MODEL_CONCURRENCY` limits model calls."""
    budget: Amount | None
    """US dollars for all items together, with the costs of earlier calls of the same batch; None:
    only the budgets of the ledger apply."""
    item_budget: Amount | None
    """US dollars for each item; None: there is no such limit."""
    engine: Literal["local", "distributed"]
    """Where the items are run; `local` by default."""
    retry_failed: bool
    """Run failed items again."""
    max_failures: int | str | None
    """Failed items after which no more start, or a share of all items (`"5%"`); None: no limit."""
    checkpoint: bool | None
    """Whether the state of an item is kept until it completes, so that it can continue; None: if there
    is a budget that may stop it."""
    inputs: Mapping[str, Any] | None
    """Inputs of every item, by key; an item's own inputs take precedence."""
    tier: Tier | None
    user: str | None
    model: Mapping[str, str | Sequence[str]] | None
    timeout: float | None
    """Seconds after which an item fails; None: no limit."""
    rehearse: bool
    record_content: bool
    ledger: Ledger | str | Path | None
    settings: Settings | None
    workflow: str | None
    target: str | None
    target_hash: str | None
    """As in `RunOptions`."""
    version: str | None
    """Distinguishes versions of a graph that has no address: the code of its functions is not part of
    the identity of the batch."""
    watch: Callable[[Progress], object] | None
    """Is called with the progress once a second."""


def refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse an unknown option, as a function with these parameters would."""
    unknown = [word for word in options if word not in BatchOptions.__annotations__]
    if unknown:
        known = ", ".join(BatchOptions.__annotations__)
        raise TypeError(f"unknown option {unknown[0]!r} of a batch: {known}")


def known_engine(engine: str) -> str:
    """Refuse an unknown engine."""
    if engine not in ENGINES:
        raise UserError(f"unknown engine {engine!r}: use one of {', '.join(ENGINES)}")
    return engine


def at_once(given: int) -> int:
    """Refuse a concurrency below 1."""
    if given < 1:
        raise InputError(f"the concurrency is {given}: give at least 1")
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


StopReason = Literal["budget", "interrupted", "cancelled", "max_failures", "waiting"]


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
    usd: Decimal
    """The costs of all runs of all items, in every call of this batch."""
    complete: bool
    """False: some costs are unknown, and `usd` is a lower bound."""
    stop_reason: StopReason | None
    """Why items are pending; None: none is. `waiting`: they need answers to questions."""
    wall_s: float
    """Seconds that this call took."""
    waiting: Sequence[str]
    """The first runs that wait for an answer; `aideon runs resume RUN` answers them."""
    nodes: Sequence[NodeCost]
    """The costs of each node over the whole batch, the highest first."""


def document(result: BatchResult) -> dict[str, Any]:
    """The JSON document that `aideon batch` ends with."""
    return {
        "batch_id": result.batch_id,
        "items": result.items,
        "completed": result.completed,
        "failed": result.failed,
        "invalid": result.invalid,
        "pending": result.pending,
        "usd": usd_text(result.usd),
        "complete": result.complete,
        "stop_reason": result.stop_reason,
        "wall_s": round(result.wall_s, 3),
    }


class Control:
    """Stops a batch, and knows its items in flight. For one event loop."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        """Why no more items start; None: they do, or there is an error."""
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

    def drain(self, reason: StopReason = "interrupted") -> None:
        """Start no more items; those in flight are finished."""
        self.reason = self.reason or reason

    def cancel(self) -> None:
        """Cut off items in flight as well; they can continue later."""
        self.drain()
        self.is_cut_off = True
        for running in self.in_flight:
            running.interrupt()

    def broke(self, error: Exception) -> None:
        """Start no more items because of an error in the ledger, OUT, or our own code."""
        self.error = self.error or error


def identity_of(
    start: Run, graph: Graph, items: str, inputs: Mapping[str, Any], version: str | None
) -> str:
    """The identity of a batch; `items` is their digest."""
    parts = {
        "target": _target(start, graph),
        "version": version,
        "items": items,
        "inputs": dict(inputs),
        "tier": start.tier,
        "model": (start.options or {}).get("model"),
        "rehearsed": start.rehearsed,
    }
    return _digest(parts)


def _target(start: Run, graph: Graph) -> list[Any]:
    if start.target_hash is None:
        return [start.workflow, _digest([model(graph), [vars(spec) for spec in specs(graph)]])]
    # A file may define several workflows.
    return [start.target_hash, (start.target or "").partition(".py:")[2] or "graph"]


def _digest(value: object) -> str:
    plain = json.loads(to_json(value, fallback=_named, inf_nan_mode="strings"))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _named(value: object) -> str:
    """The name of an object that JSON cannot hold; it is the same in the next process."""
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    )
