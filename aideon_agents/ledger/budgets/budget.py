"""What a run may cost, as its caller says it."""

from __future__ import annotations

import dataclasses
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, TypeAlias

from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets.scopes import Account, run_account
from aideon_agents.ledger.pricing import NANO, usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Amount: TypeAlias = Decimal | str | float
"""US dollars. Text and Decimal are exact; of a float, what it prints as is meant."""

_MOST = Decimal(10**9)
"""A billion dollars: in nano-dollars it fits a column with room to spare."""


def nanousd(amount: Amount) -> int:
    """An amount of US dollars in whole nano-dollars."""
    text = str(amount).strip().removeprefix("$")
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    fits = value.is_finite() and 0 <= value <= _MOST
    whole = int(value.scaleb(NANO)) if fits else 0
    if not fits or usd(whole) != value:
        raise UserError(
            f"{text!r} is no budget: write US dollars such as 0.05, with at most {NANO} decimals"
        )
    return whole


@dataclasses.dataclass(frozen=True, init=False)
class Budget:
    """What one run may cost. Whatever does not fit is not asked for, and the run stops.

    Args:
        total: US dollars for the whole run; None: only what else is said limits it.
        nodes: US dollars by node path, for that node and all inside it.
        providers: US dollars by provider.

    Raises:
        UserError: An amount is none.
    """

    total_nanousd: int | None
    nodes: Mapping[str, int]
    """In nano-dollars."""
    providers: Mapping[str, int]
    """In nano-dollars."""

    def __init__(
        self,
        total: Amount | None = None,
        *,
        nodes: Mapping[str, Amount] | None = None,
        providers: Mapping[str, Amount] | None = None,
    ) -> None:
        put = object.__setattr__  # the class is frozen
        put(self, "total_nanousd", None if total is None else nanousd(total))
        put(self, "nodes", {name: nanousd(one) for name, one in (nodes or {}).items()})
        put(self, "providers", {name: nanousd(one) for name, one in (providers or {}).items()})

    @classmethod
    def of(cls, given: Budget | Amount) -> Budget:
        """A budget as it was given, or one of so many dollars in all."""
        return given if isinstance(given, Budget) else cls(given)

    @property
    def total(self) -> Decimal | None:
        """US dollars for the whole run; None: there is no such limit."""
        return None if self.total_nanousd is None else usd(self.total_nanousd)

    def limits(self, run_id: str) -> Iterator[tuple[Account, int]]:
        """Its limits, in nano-dollars, and the accounts of a run that they stand on."""
        if self.total_nanousd is not None:
            yield run_account(run_id), self.total_nanousd
        for name, limit in self.nodes.items():
            yield run_account(run_id, "node", name), limit
        for name, limit in self.providers.items():
            yield run_account(run_id, "provider", name), limit
