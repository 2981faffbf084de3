"""What the journals say of a mode, beside what the ledger says."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import statistics
from typing import TYPE_CHECKING

from aideon_agents import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from calls import Call


@dataclasses.dataclass
class Verdict:
    """What came of one mode; amounts in nano-dollars."""

    budget: int
    admitted: int = 0
    refused: int = 0
    killed: int = 0
    """Calls whose process died between their hold and their end."""
    spent: int = 0
    """What the provider charged."""
    wrongly: int = 0
    """Refused although the rest would have covered the worst case."""
    rate: float = 0.0
    """Admissions per second, from the first to the last."""
    p50: float = 0.0
    """Of an admission that did not wait, in milliseconds."""
    p99: float = 0.0
    complaints: list[str] = dataclasses.field(default_factory=list[str])

    @property
    def overspent(self) -> int:
        """What was charged beyond the budget."""
        return max(0, self.spent - self.budget)

    @property
    def holds(self) -> bool:
        """Whether the budget held and nobody was refused without need."""
        return not (self.overspent or self.wrongly or self.complaints)


def judge(folder: Path, url: str, run_id: str, budget: int, calls: Sequence[Call]) -> Verdict:
    """Judge one mode by its journals, and the ledger by them.

    Args:
        folder: Where the journals are.
        url: The ledger's address.
        run_id: The run that had the budget.
        budget: In nano-dollars.
        calls: What was asked for.

    Returns:
        The verdict.
    """
    found = Verdict(budget)
    lines = [
        line.split() for path in folder.glob("*.log") for line in path.read_text().splitlines()
    ]
    events = [(what, int(number), *map(int, rest)) for what, number, *rest in lines]
    of = {
        kind: {event[1]: event for event in events if event[0] == kind}
        for kind in ("admitted", "refused", "charged", "settled")
    }
    found.admitted, found.refused = len(of["admitted"]), len(of["refused"])
    found.killed = len(of["admitted"].keys() - of["settled"].keys())
    found.spent = sum(calls[number].cost for number in of["charged"])
    if len(of["admitted"]) + len(of["refused"]) != len(calls):
        found.complaints.append("some calls were neither admitted nor refused")
    quick = sorted(event[3] / 1e6 for event in of["admitted"].values() if not event[4])
    found.p50 = statistics.median(quick)
    found.p99 = quick[len(quick) * 99 // 100]
    times = sorted(event[2] for event in of["admitted"].values())
    found.rate = len(times) / max(1e-9, (times[-1] - times[0]) / 1e9)
    found.wrongly = _wrongly_refused(of, calls, budget)
    _look_at_the_ledger(found, url, run_id, of, calls)
    return found


def _wrongly_refused(
    of: Mapping[str, Mapping[int, tuple[int, ...]]], calls: Sequence[Call], budget: int
) -> int:
    """Refusals that cannot have been right.

    By the refusal's own figures; and by the journals, where what may have been spent by then is
    at most what had been charged, and the worst cases of what nobody settled with a cost.
    """
    gone: list[tuple[int, int]] = []
    for number, admitted in of["admitted"].items():
        is_known = number in of["settled"] and calls[number].is_told
        amount = calls[number].cost if is_known else calls[number].worst
        since = of["charged"].get(number, admitted)[2]
        gone.append((since if is_known else admitted[2] - admitted[3], amount))
    gone.sort()
    sums = list(itertools.accumulate(amount for _, amount in gone))
    wrongly = 0
    for number, (_, _, at, _, limit, spent) in of["refused"].items():
        needed = calls[number].worst
        before = bisect.bisect_right(gone, at, key=lambda one: one[0])
        may_be_spent = sums[before - 1] if before else 0
        wrongly += spent + needed <= limit or may_be_spent + needed <= budget
    return wrongly


def _look_at_the_ledger(
    found: Verdict,
    url: str,
    run_id: str,
    of: Mapping[str, Mapping[int, tuple[int, ...]]],
    calls: Sequence[Call],
) -> None:
    """At rest nothing is held, and what counts as spent is what the journals say."""
    with Ledger.from_url(url) as ledger:
        ledger.budgets.forfeit_dead()
        key = {"key": f"run:{run_id}"}
        (row,) = ledger.select("SELECT * FROM accounts WHERE account = :key", key)
        open_ = ledger.select("SELECT COUNT(*) AS n FROM holds WHERE status = 'held'")[0]["n"]
    least = most = 0
    for number in of["admitted"]:
        call, is_settled = calls[number], number in of["settled"]
        least += call.cost if call.is_told and number in of["charged"] else call.worst
        most += call.cost if call.is_told and is_settled else call.worst
    if open_ or row["held_nanousd"]:
        found.complaints.append(f"{open_} holds are left open, {row['held_nanousd']} nano-dollars")
    if not least <= row["spent_nanousd"] <= most:
        told = f"the ledger counts {row['spent_nanousd']}, the journals {least} to {most}"
        found.complaints.append(told)
    if row["spent_nanousd"] > found.budget:
        found.complaints.append(f"the ledger counts {row['spent_nanousd']} of {found.budget}")
