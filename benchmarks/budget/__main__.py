"""Does a budget hold? 5,000 calls that cost ten times as much, from everywhere at once.

    python benchmarks/budget [--calls N] [--seed S]

Calls are made by tasks of one process, by threads, and by eight processes that are killed between
hold and settlement, all against one ledger; and through real chains over HTTP. What each of them
was charged is in a journal of its own. Ends with 1 when more was spent than the budget, or when
somebody was refused whose worst case the rest would have covered.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hot
import modes
from asking import ask
from calls import drawn
from judging import judge

if TYPE_CHECKING:
    from judging import Verdict

KILLED = 0.05
"""The share of admitted calls whose process is killed."""
ASKED = 10
"""Of so many calls one is asked over HTTP."""
SHOWN = 5
"""Complaints that are printed."""


def main() -> int:
    """Make the calls in every way, and print what came of it.

    Returns:
        0 when every budget held and nobody was refused without need, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="eight processes on a server")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # alerts at every tenth of a budget are part of the plan
    calls = drawn(given.calls, given.seed, KILLED)
    budget = sum(call.cost for call in calls) // 10
    print(
        f"calls       {given.calls:,}, which cost ten times the budget of {budget:,} nano-dollars"
    )
    if given.postgres:
        return hot.main(given.calls, given.seed)
    verdicts: list[Verdict] = []
    for way in (modes.tasks, modes.threads, modes.processes, modes.naive):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            run_id = modes.start_run(folder, budget)
            way(folder, run_id, calls)
            found = judge(folder, f"sqlite:///{folder / 'ledger.db'}", run_id, budget, calls)
        if way is modes.naive:
            print(f"naive       check, then spend: {found.spent / budget:.1f} times the budget")
        else:
            show(way.__name__, found, time.monotonic() - began)
            verdicts.append(found)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        found = ask(Path(name), given.calls // ASKED, given.seed)
        show("over HTTP", found, time.monotonic() - began)
        verdicts.append(found)
    return 0 if all(found.holds for found in verdicts) else 1


def show(name: str, found: Verdict, seconds: float) -> None:
    """Print one mode's figures."""
    print(f"{name:11} {found.admitted:,} admitted, {found.refused:,} refused,", end=" ")
    print(f"{found.killed:,} broken off in the middle; {seconds:.0f} s")
    print(f"            spent {found.spent:,} of {found.budget:,},", end=" ")
    print(f"overspent {found.overspent:,}; refused without need {found.wrongly:,}")
    line = f"            {found.rate:,.0f} admissions per second"
    print(f"{line}, p50 {found.p50:.2f} ms, p99 {found.p99:.2f} ms" if found.p50 else line)
    for complaint in found.complaints[:SHOWN]:
        print(f"wrong: {complaint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
