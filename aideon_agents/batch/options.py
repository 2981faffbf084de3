"""What a batch can be told.

What came of a batch, as an object and as a JSON document.

Ending a batch before its end: first nothing starts any more, then what runs is cut off.

What makes a batch the same batch: then the same command goes on with it.

What TARGET is, the items, the inputs of all items, tier and models. Not what may change from one
call to the next: budgets, concurrency, engine, time limits, and OUT.
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
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.running import Running
from aideon_agents.settings import Settings
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path


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


StopReason = Literal["budget", "interrupted", "cancelled", "max_failures", "waiting"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What came of a batch. Its fields are those of the last line of `aideon batch`, and more."""

    batch_id: str
    items: int
    completed: int
    failed: int
    invalid: int
    pending: int
    """Items that are not finished; the same command goes on with them."""
    usd: Decimal
    """What all runs of all items have cost, in every call of this batch."""
    complete: bool
    """Whether that is all; if not, it is a lower bound."""
    stop_reason: StopReason | None
    """Why items are pending; None: none is. `waiting`: somebody has to answer what they ask."""
    wall_s: float
    """Seconds that this call took."""
    waiting: Sequence[str]
    """Runs that wait for an answer, the first few; `aideon runs resume RUN` answers."""
    nodes: Sequence[NodeCost]
    """What each node has cost over the whole batch, the dearest first."""


def document(result: BatchResult) -> dict[str, Any]:
    """A batch as the JSON document that `aideon batch` ends with."""
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
    """Whether a batch goes on, and what of it is in flight. For one event loop."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        """Why nothing starts any more; None: it does, or something broke."""
        self.error: Exception | None = None
        """What broke; None: nothing."""
        self.in_flight: set[Running] = set()
        self.outside = 0
        """Items that workers run elsewhere."""
        self.is_cut_off = False
        """Whether what is in flight is not waited for."""

    @property
    def count(self) -> int:
        """How many items are in flight, here or elsewhere."""
        return len(self.in_flight) + self.outside

    @property
    def is_over(self) -> bool:
        """Whether nothing starts any more."""
        return self.reason is not None or self.error is not None

    def drain(self, reason: StopReason = "interrupted") -> None:
        """Start nothing any more; what is in flight comes to its end."""
        self.reason = self.reason or reason

    def cancel(self) -> None:
        """Cut off what is in flight as well. It can go on later."""
        self.drain()
        self.is_cut_off = True
        for running in self.in_flight:
            running.interrupt()

    def broke(self, error: Exception) -> None:
        """Start nothing any more, because something is wrong with the ledger, OUT, or ourselves."""
        self.error = self.error or error


def identity_of(
    start: RunStart, graph: Graph, items: str, inputs: Mapping[str, Any], version: str | None
) -> str:
    """A batch's identity."""
    made_of = {
        "target": _target(start, graph),
        "version": version,
        "items": items,
        "inputs": dict(inputs),
        "tier": start.tier,
        "model": (start.options or {}).get("model"),
        "rehearsed": start.rehearsed,
    }
    return _digest(made_of)


def _target(start: RunStart, graph: Graph) -> list[Any]:
    if start.target_hash is None:
        return [start.workflow, _digest([model(graph), [vars(spec) for spec in specs(graph)]])]
    # One file may hold several workflows.
    return [start.target_hash, (start.target or "").partition(".py:")[2] or "graph"]


def _digest(value: object) -> str:
    plain = json.loads(to_json(value, fallback=_named, inf_nan_mode="strings"))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _named(value: object) -> str:
    """What says of an object which one it is, and is the same in the next process."""
    return (
        f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    )
