"""The budget of one run, as its calls see it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.budgets.holds import Budgets
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from aideon_agents.ledger.budgets.units import Origin
    from aideon_agents.ledger.rows import Run


@dataclasses.dataclass(frozen=True)
class RunBudget:
    """What the calls of one run may still cost."""

    budgets: Budgets
    run: CallDimensions
    """The dimensions of the run that its calls are counted under: user, tier, batch."""
    origin: Origin | None = None
    """Who asked the service for it; None: no service runs it."""

    @classmethod
    def of(cls, budgets: Budgets, run: Run) -> RunBudget:
        """The budget of a run, by what is known of it at its start."""
        known = CallDimensions(
            at=utc_text(now()),
            run=run.run_id,
            batch=run.batch_id,
            item=run.item_id,
            user=run.user,
            tier=run.tier,
        )
        return cls(budgets, known, run.origin)

    def dimensions(
        self, node_path: str, provider: str, at: datetime, *, simulated: bool = False
    ) -> CallDimensions:
        """The dimensions of a call that starts at some time."""
        return dataclasses.replace(
            self.run, at=utc_text(at), node=node_path, provider=provider, simulated=simulated
        )

    def around(self, inner: Iterable[RunBudget]) -> RunBudget:
        """The budget of a call that nested runs make: the limits of all of them apply.

        Runs that are recorded in another ledger are left out: their limits are not known here.
        """
        nested = tuple(one.run for one in inner if one.budgets.ledger == self.budgets.ledger)
        if not nested:
            return self
        return dataclasses.replace(self, run=dataclasses.replace(self.run, inner=nested))
