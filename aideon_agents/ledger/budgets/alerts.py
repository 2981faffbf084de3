"""What is said when a part of a budget is spent.

It is read far from here, in a log or on a telephone, by somebody who may not have started the run.
So one line names the budget, its window and the money, and at its end says what happens now.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from aideon_agents.ledger.pricing import usd, usd_text
from aideon_agents.ledger.redaction import one_line

Urgency: TypeAlias = Literal["info", "warning", "failure"]

_NEWS = 80
"""Percent below which an alert is only news: nothing changes there yet."""
_ALL = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alert:
    """A budget has passed one of its thresholds."""

    scope: str
    """As `aideon budget` writes it: `day`, `run`, `user:alice`, `day:user:alice`."""
    window: str | None
    """The UTC day or month, such as `2026-11-21` or `2026-11`; None: the budget has none."""
    run_id: str | None
    """The run whose call passed the threshold; None: the call belongs to none."""
    percent: int
    """The threshold: 50, 80, 95 or 100. What is spent may be more."""
    limit_nanousd: int
    spent_nanousd: int
    """Worst cases of calls whose end is unknown included."""
    warns: bool
    """True: it only warns. False: it is enforced, and refuses what does not fit."""

    @property
    def urgency(self) -> Urgency:
        """How much it matters: `failure` when calls are refused from here on."""
        if self.percent < _NEWS:
            return "info"
        return "failure" if self.percent >= _ALL and not self.warns else "warning"

    @property
    def title(self) -> str:
        """A headline, for channels that show one."""
        return one_line(f"Aideon Agents: {self.percent} % of the {self.scope} budget is spent")

    def __str__(self) -> str:
        budget = f"the {self.scope} budget of {_dollars(self.limit_nanousd)}{self._where()}"
        spent = f"{self.percent} % is spent, {_dollars(self.spent_nanousd)}"
        return one_line(f"{budget}: {spent}{self._what_now()}")

    def _where(self) -> str:
        places = [f"{self.window}, UTC"] if self.window else []
        kind = self.scope.removeprefix("day:").removeprefix("month:").partition(":")[0]
        if self.run_id and kind == "run":
            places.append(f"run {self.run_id}")
        elif self.run_id and not self.window:
            places.append(f"reached in run {self.run_id}")
        return f" ({', '.join(places)})" if places else ""

    def _what_now(self) -> str:
        if self.percent < _ALL:
            return ""
        if self.warns:
            return "; it only warns, nothing is stopped"
        return "; calls are refused from here on"


def _dollars(nanousd: int) -> str:
    """An amount as people write it, and exact: `$5`, `$4.02`, `$0.0012345`."""
    whole, _, places = usd_text(usd(nanousd)).partition(".")
    cents = places.rstrip("0")
    return f"${whole}.{cents.ljust(2, '0')}" if cents else f"${whole}"
