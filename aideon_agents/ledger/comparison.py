"""The same tokens at another model's price.

That is all that is claimed: another model would count other tokens, answer at another length, and
perhaps do worse. Every call is priced by itself at its own time, so that a comparison of a model
with itself gives what was spent.
"""

from __future__ import annotations

import collections
import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING

from aideon_agents.ledger.database import Row
from aideon_agents.ledger.pricing import OWN_SERVER, PricedModel, usd
from aideon_agents.ledger.selection import CALLS, Selection
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against:
    """Some calls' tokens at another model's price."""

    model: str
    """`provider:model`."""
    usd: Decimal
    """US dollars, the sum over the calls whose tokens are known."""
    complete: bool
    """Whether the tokens of every call are known; if not, `usd` is a lower bound."""


class Compared:
    """Calls at another model's price, added up by key."""

    def __init__(self, model: PricedModel) -> None:
        self._model = model
        self._nanousd: collections.Counter[str] = collections.Counter()
        self._unknown: collections.Counter[str] = collections.Counter()

    def add(self, key: str, nanousd: int | None) -> None:
        """Count one call."""
        if nanousd is None:
            self._unknown[key] += 1
        else:
            self._nanousd[key] += nanousd

    def of(self, key: str) -> Against:
        """What the calls of a key add up to."""
        return self._against(self._nanousd[key], self._unknown[key])

    def total(self) -> Against:
        """What all calls add up to."""
        return self._against(self._nanousd.total(), self._unknown.total())

    def _against(self, nanousd: int, unknown: int) -> Against:
        return Against(model=self._model.name, usd=usd(nanousd), complete=not unknown)


def compared(
    ledger: Ledger,
    selection: Selection,
    model: PricedModel,
    keys: Mapping[str, str],
    *,
    condition: str = "1 = 1",
    values: Mapping[str, object] | None = None,
) -> dict[str, Compared]:
    """Price the selected calls at another model's price, each once however many the keys.

    `keys` are SQL by a name that no column of a call has; the result has the same names.
    """
    columns = ", ".join(f"{sql} AS {name}" for name, sql in keys.items())
    found = ledger.select(
        f"""
        SELECT {columns}, {_PRICED} FROM {CALLS}
        WHERE {selection.where("calls")} AND {condition}
        """,  # noqa: S608 - all parts are ours
        {**selection.values, **(values or {})},
    )
    made = {name: Compared(model) for name in keys}
    for row in found:
        nanousd = _price(row, model)
        for name, added in made.items():
            added.add(row[name], nanousd)
    return made


_PRICED = (
    "calls.provider AS provider, calls.started_at AS started_at, calls.cost_nanousd AS nanousd,"
    " calls.input_tokens AS input_tokens, calls.output_tokens AS output_tokens,"
    " calls.cache_read_tokens AS cache_read_tokens, calls.reasoning_tokens AS reasoning_tokens,"
    " calls.cache_creation_tokens AS cache_creation_tokens"
)


def _price(call: Row, model: PricedModel) -> int | None:
    """What one call's tokens cost at another model's price."""
    if call["input_tokens"] is None or call["output_tokens"] is None:
        used_nothing = call["nanousd"] == 0 and call["provider"] != OWN_SERVER
        return 0 if used_nothing else None
    usage = Usage(
        input_tokens=call["input_tokens"],
        output_tokens=call["output_tokens"],
        cache_read_tokens=call["cache_read_tokens"],
        cache_creation_tokens=call["cache_creation_tokens"],
        reasoning_tokens=call["reasoning_tokens"],
    )
    return model.nanousd(usage, datetime.fromisoformat(call["started_at"]))
